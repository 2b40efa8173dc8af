"""The losses as a picture."""

from pathlib import Path

import keras

from keras_medgen.pictures import save_curves


class LossCurves(keras.callbacks.Callback):
    """Draws every loss against the epochs, training and validation, and redraws it each epoch.

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

    def on_epoch_end(self, epoch, logs=None):
        """Adds the epoch and draws."""
        if self.csv is not None:
            self.history = read_history(self.csv)
        else:
            for name, value in (logs or {}).items():
                self.history.setdefault(name, []).append(float(value))
        save_curves(self.path, self.history)


def read_history(path: str | Path) -> dict[str, list[float]]:
    """Reads a history.csv: from the name of each term to its values, by epoch."""
    header, *lines = Path(path).read_text().splitlines()
    rows = [line.split(",") for line in lines]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header.split(","))}
    del columns["epoch"]
    # Keras writes "NA" for the validation that a training did not have.
    return {name: list(map(float, v)) for name, v in columns.items() if "NA" not in v}
