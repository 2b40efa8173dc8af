"""Where the pixels of a source are: an array, or files that are decoded on demand."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf


def mapped(dataset: tf.data.Dataset, function: Callable, parallel: int = 1) -> tf.data.Dataset:
    """`dataset.map` in order, without AutoGraph: our functions need none, and it takes seconds."""
    return dataset.map(
        tf.autograph.experimental.do_not_convert(function),
        num_parallel_calls=parallel,
        deterministic=True,
    )


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset without tf.data's autotuning, which can stall at the end of an epoch."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


class Store:
    """Images of one shape, and their masks if they have some, by row number.

    Attributes:
        shape: (n, height, width, channels).
        dtype: uint8, or float32 for images in [0, 1].
        masked: whether there are masks.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype
    masked: bool
    parallel = 1  # batches that are read at a time

    @property
    def nbytes(self) -> int:
        """What arrays of all images, and of all masks, would take."""
        pixels = math.prod(self.shape[:3])
        return pixels * (self.shape[3] * self.dtype.itemsize + 4 * self.masked)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`images` of some rows as they are stored and, if there are any, `masks` int32."""
        raise NotImplementedError

    def batches(self, rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """A dataset of row numbers (int64) to batches of `rows`, `images` and maybe `masks`."""
        specs = {"images": tf.TensorSpec((None, *self.shape[1:]), self.dtype)}
        if self.masked:
            specs["masks"] = tf.TensorSpec((None, *self.shape[1:3]), tf.int32)

        def gather(rows):
            tensors = tf.numpy_function(
                lambda rows: list(self.read(rows).values()),
                [rows],
                [spec.dtype for spec in specs.values()],
                stateful=False,
            )
            batch = {
                name: tf.ensure_shape(tensor, spec.shape)
                for (name, spec), tensor in zip(specs.items(), tensors, strict=True)
            }
            return {"rows": rows, **batch}

        # Whole batches are read by number, and as they are stored (uint8): several times faster
        # than slicing an array image by image, and a quarter of float32's memory.
        return mapped(rows.batch(batch_size), gather, self.parallel)


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


class ArrayStore(Store):
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
        self.masked = masks is not None

    def read(self, rows):
        """See `Store`."""
        found = {"images": self.images[rows]}
        if self.masked:
            found["masks"] = self.masks[rows].astype(np.int32)
        return found
