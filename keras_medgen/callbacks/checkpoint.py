"""A training that can be killed."""

import json
import os
import time
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_medgen._files import written_whole

TRAINING = "training.json"  # a member of the archive, beside those of Keras


class Checkpoint(keras.callbacks.Callback):
    """Keeps, after each epoch, what a training needs to go on from there, in one file.

    The file is the model as `.keras`, weights and state of its optimizers included, together with
    the state of its layers' random numbers, the number of epochs, the seconds that they took and
    the history. It is written beside its place and renamed, so that a process killed at any moment
    leaves the whole file of the last epoch or of the one before. An epoch that has diverged is not
    kept.

    Not in it is the order in which a data set comes: where that is to be the same as in an
    unbroken training, it has to be brought to the epoch at which the training goes on.

    Args:
        path: of the file, a `.keras`.
        csv: of the history that `keras.callbacks.CSVLogger` writes, which is kept too. That
            callback must stand before this one.

    Attributes:
        seconds: what all epochs so far took, those before `restore` included.

    Example:
    ```python
    checkpoint = kmg.callbacks.Checkpoint("checkpoint.keras")
    done = checkpoint.restore(model)  # 0 at first, more after the process was killed
    model.fit(data.train, epochs=20, initial_epoch=done, callbacks=[checkpoint])
    ```
    """

    def __init__(self, path: str | Path, csv: str | Path | None = None):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".keras":
            raise ValueError(f"path must name a .keras file. Received: path={path}.")
        self.csv = None if csv is None else Path(csv)
        self.seconds = 0.0
        self._last = None  # when the epoch began, or the training

    def restore(self, model: keras.Model) -> int:
        """Brings a compiled model, and the history, to where the file says.

        Args:
            model: made and compiled by the same arguments as the one that was trained.

        Returns:
            How many epochs are done: 0, and nothing is changed, where there is no file.

        Raises:
            ValueError: if the file cannot be read, or is of another model.
        """
        if not self.path.exists():
            return 0
        try:
            with zipfile.ZipFile(self.path) as archive:
                training = json.loads(archive.read(TRAINING))
            if not model.optimizer.built:  # or its state would be skipped
                model.optimizer.build(model.trainable_variables)
            model.load_weights(self.path)
            for seed, state in zip(_seeds(model), training["seeds"], strict=True):
                seed.assign(state)
        except Exception as error:  # whatever a damaged archive makes Keras raise
            raise ValueError(
                f"{self.path} is no checkpoint of this model ({type(error).__name__})."
            ) from error
        if self.csv is not None:
            with written_whole(self.csv) as file:
                file.write_text(training["history"], newline="")
        self.seconds = training.get("seconds", 0.0)
        return training["epochs"]

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self._last = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the file."""
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now
        if not all(np.isfinite(value).all() for value in (logs or {}).values()):
            return
        training = {
            "epochs": epoch + 1,
            "seconds": self.seconds,
            "history": None if self.csv is None else self.csv.read_bytes().decode(),
            "seeds": [seed.numpy().tolist() for seed in _seeds(self.model)],
        }
        with written_whole(self.path) as file:
            self.model.save(file)
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(TRAINING, json.dumps(training))
            # Renamed before its content is on the disk, it could be empty after a power cut.
            with file.open("rb") as written:
                os.fsync(written.fileno())


def _seeds(model):
    """The variables of a model's random numbers, as of Dropout, which `.keras` files leave out."""
    return [v for v in model.variables if v.name == "seed_generator_state"]
