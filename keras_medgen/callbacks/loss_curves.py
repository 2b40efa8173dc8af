"""The losses as a picture."""

import time
from pathlib import Path

import keras

from keras_medgen.pictures import save_curves

SHARE = 0.05  # of the time of a training, at most, that goes into drawing


class LossCurves(keras.callbacks.Callback):
    """Draws every loss against the epochs, training and validation, and redraws it as they come.

    It draws after the first epoch and at the end, and in between after each epoch, but for those
    so short that drawing would take a twentieth of the time.

    Args:
        path: of the PNG.
        csv: of the history that `keras.callbacks.CSVLogger` writes; where it is given, the
            curves are drawn from it, so that they reach back over an interrupted run. That
            callback must stand before this one.
    """

    def __init__(self, path: str | Path, csv: str | Path | None = None):
        super().__init__()
        self.path = Path(path)
        self.csv = None if csv is None else Path(csv)
        self.history = {}

    def on_train_begin(self, logs=None):
        """Starts an empty history."""
        self.history = {}
        self._waiting, self._not_before = False, 0.0

    def on_epoch_end(self, epoch, logs=None):
        """Adds the epoch, and draws unless it has just done so."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self._waiting = True
        if time.monotonic() >= self._not_before:
            self._draw()

    def on_train_end(self, logs=None):
        """Draws what has not been drawn yet."""
        if self._waiting:
            self._draw()

    def _draw(self):
        started = time.monotonic()
        if self.csv is not None:
            self.history = read_history(self.csv)
        save_curves(self.path, self.history)
        ended = time.monotonic()
        self._waiting, self._not_before = False, ended + (ended - started) / SHARE


def read_history(path: str | Path) -> dict[str, list[float]]:
    """Reads a history.csv: from the name of each term to its values, by epoch."""
    header, *lines = Path(path).read_text().splitlines()
    rows = [line.split(",") for line in lines]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header.split(","))}
    del columns["epoch"]
    # Keras writes "NA" for the validation that a training did not have.
    return {name: list(map(float, v)) for name, v in columns.items() if "NA" not in v}
