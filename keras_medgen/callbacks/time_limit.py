"""An end to training by the clock."""

import time

import keras


class TimeLimit(keras.callbacks.Callback):
    """Ends training before the epoch that would, going by the longest so far, end too late.

    Args:
        seconds: from the start of `fit`.
    """

    def __init__(self, seconds: float):
        super().__init__()
        if seconds <= 0:
            raise ValueError(f"seconds must be positive. Received: seconds={seconds}.")
        self.seconds = seconds

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self._started = time.monotonic()
        self._longest = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Notes when the epoch starts."""
        self._epoch_started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Stops if there is no time for another epoch."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._epoch_started)
        if now - self._started + self._longest > self.seconds:
            self.model.stop_training = True
