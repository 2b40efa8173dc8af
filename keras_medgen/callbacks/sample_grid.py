"""Pictures of what a model can do, epoch by epoch."""

import numbers
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from keras_medgen.pictures import save_grid, save_reconstructions


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of samples, and one of reconstructions, as PNG files while a model trains.

    The samples come from the same noise each time, so that a row of files shows the same images
    take shape: `samples_epoch_0001.png`, and for a model that reconstructs
    `reconstructions_epoch_0001.png`, rows of originals each above their reconstructions. Both
    carry a mark of generated images: the PNG text `Synthetic`, "true" or "partly".

    Args:
        directory: where to, made if it does not exist.
        images: (n, height, width, channels), float in [0, 1] or uint8, to reconstruct. Default:
            the first of `fit`'s validation data, or of its training data if these are an array;
            without either there is no grid of reconstructions.
        labels: of `images`, for a conditional model.
        num: how many samples, and at most how many reconstructions. Default 32.
        epochs: the epochs, counted from 1, after which to write; an int n stands for every n-th.
            Default 1, every epoch.
        seed: of the samples.

    Example:
    ```python
    grids = kmg.callbacks.SampleGrid("runs/grids", epochs=[1, 5, 20])
    model.fit(data.train, validation_data=data.val, epochs=20, callbacks=[grids])
    ```
    """

    def __init__(
        self,
        directory: str | Path,
        images: np.ndarray | None = None,
        num: int = 32,
        epochs: int | Iterable[int] = 1,
        seed: int = 0,
        labels: np.ndarray | None = None,
    ):
        super().__init__()
        if num < 1:
            raise ValueError(f"num must be positive. Received: num={num}.")
        self.directory = Path(directory)
        self.images = None if images is None else images[:num]
        self.labels = None if labels is None else labels[:num]
        self.num = num
        self.every = epochs if isinstance(epochs, numbers.Integral) else None
        if self.every is not None and self.every < 1:
            raise ValueError(f"epochs must be positive. Received: epochs={epochs}.")
        self.epochs = frozenset() if self.every else frozenset(epochs)
        self.seed = seed

    def on_train_begin(self, logs=None):
        """Fetches the images to reconstruct."""
        self._examples = None
        if self.images is not None:
            self._examples = {"images": self.images, "labels": self.labels}
        elif hasattr(self.model, "reconstruct"):
            self._examples = self.model.example_batch(self.num)

    def on_epoch_end(self, epoch, logs=None):
        """Writes the grids, if it is their epoch."""
        number = epoch + 1
        if number not in self.epochs and (self.every is None or number % self.every):
            return
        columns = min(8, self.num)
        samples = self.model.generate(self.num, seed=self.seed)
        path = self.directory / f"samples_epoch_{number:04d}.png"
        save_grid(path, samples, columns, synthetic=True)
        if self._examples is not None:
            reconstructions = self.model.reconstruct(**self._examples)
            originals = np.asarray(self._examples["images"]).reshape(reconstructions.shape)
            if originals.dtype == np.uint8:
                originals = originals / np.float32(255)
            save_reconstructions(
                self.directory / f"reconstructions_epoch_{number:04d}.png",
                originals,
                reconstructions,
                columns,
            )
