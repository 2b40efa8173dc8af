"""Where the pixels of a source are: an array, or files that are decoded on demand."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf


def mapped(dataset: tf.data.Dataset, function: Callable, parallel: int = 1) -> tf.data.Dataset:
    """`dataset.map` in order, without AutoGraph: our functions need none, and it takes seconds."""
    return dataset.map(
        tf.autograph.experimental.do_not_convert(function),
        num_parallel_calls=parallel,
        deterministic=True,
    )


class Store(Protocol):
    """Images of one shape, and their masks if they have some, by row number.

    Attributes:
        shape: (n, height, width, channels).
        dtype: uint8, or float32 for images in [0, 1].
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`images` of some rows as they are stored and, if there are any, `masks` int32."""

    def batches(self, rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """A dataset of row numbers (int64) to batches of `rows`, `images` and maybe `masks`."""


def new_array(
    shape: tuple[int, ...], dtype: np.dtype, cache: str, folder: Path | None
) -> np.ndarray:
    """An array to fill, in memory, or (`cache="file"`) in a file of a folder.

    The file has no name in the folder: its space is free again when the process ends, however it
    ends.
    """
    if cache != "file" or 0 in shape:
        return np.empty(shape, dtype)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, prefix="keras_medgen-") as file:
        return np.memmap(file, dtype, "w+", shape=shape)


class ArrayStore:
    """Images in an array, in memory or in a file that is mapped into it.

    Args:
        images: (n, height, width, channels), uint8 or float32 in [0, 1].
        masks: integers (n, height, width), or None.
    """

    def __init__(self, images: np.ndarray, masks: np.ndarray | None = None):
        self.images = images
        self.masks = masks
        self.shape = images.shape
        self.dtype = images.dtype

    def read(self, rows):
        """See `Store`."""
        found = {"images": self.images[rows]}
        if self.masks is not None:
            found["masks"] = self.masks[rows].astype(np.int32)
        return found

    def batches(self, rows, batch_size):
        """See `Store`."""
        # Whole batches are gathered by number from the stored (uint8) array: several times
        # faster than slicing it image by image, and a quarter of float32's memory.
        return mapped(rows.batch(batch_size), self._gather)

    def _gather(self, rows):
        batch = {"rows": rows}
        for name, shape, dtype in (
            ("images", self.shape, self.dtype),
            ("masks", self.shape[:3], np.int32),
        ):
            if name == "masks" and self.masks is None:
                continue
            read = lambda rows, name=name: self.read(rows)[name]  # noqa: E731
            batch[name] = tf.numpy_function(read, [rows], dtype, stateful=False)
            batch[name].set_shape((None, *shape[1:]))
        return batch
