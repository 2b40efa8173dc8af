"""Signs of progress."""

import time

import keras

PATIENCE = 10.0  # seconds that a run may take without one


class Progress:
    """A progress bar for runs that turn out to be long.

    Args:
        total: steps that there will be.
        verbose: 1 shows it, 0 does not, "auto" does where the run seems to take long.
    """

    def __init__(self, total, verbose):
        self._total, self._verbose, self._done = total, verbose, 0
        self._start = time.monotonic()
        self._bar = None

    def add(self, steps):
        """Says that so many more steps are done."""
        self._done += steps
        elapsed = time.monotonic() - self._start
        is_long = elapsed * self._total / self._done > PATIENCE
        if self._bar is None and (self._verbose == 1 or (self._verbose == "auto" and is_long)):
            self._bar = keras.utils.Progbar(self._total, unit_name="step")
        if self._bar is not None:
            self._bar.update(self._done)
