"""What `load` returns: the splits as datasets and as arrays, and where they came from."""

import dataclasses
from functools import cached_property

import numpy as np
import tensorflow as tf

SPLITS = ("train", "val", "test")


@dataclasses.dataclass
class LoadReport:
    """What was found, what was used, and what was left out and why.

    Attributes:
        found: images that the source holds.
        used: images that stand in one of the splits.
        left_out: (where, reason) of every image that does not.
    """

    found: int
    used: int
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class ImageData:
    """Images in three splits that share none.

    Attributes:
        train: shuffled anew for each epoch, a `tf.data.Dataset` of dicts: `images` float32
            (batch, height, width, channels) in [0, 1] and, where they exist, `labels` int32
            (batch,), or (batch, num_classes) of 0 and 1 where the task is multi-label.
        val: as `train`, in the order of `arrays("val")`.
        test: as `train`, in the order of `arrays("test")`.
        image_shape: (height, width, channels).
        num_classes: int, or None where there are no labels.
        class_names: list of str, or None where there are no labels.
        task: "multi-class", "multi-label" or "none".
        provenance: dict of the source, licence, sha256, counts and preprocessing.
        report: a `LoadReport`.
    """

    def __init__(
        self,
        splits: dict[str, dict[str, np.ndarray]],
        *,
        batch_size: int,
        seed: int,
        task: str,
        class_names: list[str] | None,
        provenance: dict,
        report: LoadReport,
    ):
        self._splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.task = task
        self.class_names = class_names
        self.num_classes = None if class_names is None else len(class_names)
        self.image_shape = splits["train"]["images"].shape[1:]
        self.report = report
        self.provenance = {
            **provenance,
            "counts": {name: len(splits[name]["images"]) for name in SPLITS},
        }

    @cached_property
    def train(self) -> tf.data.Dataset:
        """The training split, shuffled anew for each epoch."""
        return self._dataset("train", shuffle=True)

    @cached_property
    def val(self) -> tf.data.Dataset:
        """The validation split, in order."""
        return self._dataset("val", shuffle=False)

    @cached_property
    def test(self) -> tf.data.Dataset:
        """The test split, in order."""
        return self._dataset("test", shuffle=False)

    def arrays(self, split: str, limit: int | None = None) -> dict[str, np.ndarray]:
        """The first `limit` examples of a split (all of them by default) as arrays.

        Args:
            split: "train", "val" or "test".
            limit: the most examples to return.

        Returns:
            A dict of `images`, float32 (n, height, width, channels) in [0, 1], and where they
            exist `labels`, int32.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}. Received: split={split!r}.")
        arrays = {name: array[:limit] for name, array in self._splits[split].items()}
        return {**arrays, "images": _to_unit_float(arrays["images"])}

    def _dataset(self, split: str, shuffle: bool) -> tf.data.Dataset:
        # Whole batches are gathered by index from the stored (uint8) array: several times
        # faster than slicing it image by image, and a quarter of float32's memory.
        arrays = {name: tf.constant(array) for name, array in self._splits[split].items()}
        count = len(self._splits[split]["images"])

        def gather(rows):
            batch = {name: tf.gather(array, rows) for name, array in arrays.items()}
            return {**batch, "images": _to_unit_float(batch["images"])}

        dataset = tf.data.Dataset.range(count)
        if shuffle:
            dataset = dataset.shuffle(count, seed=self.seed, reshuffle_each_iteration=True)
        dataset = dataset.batch(self.batch_size).map(gather, num_parallel_calls=1).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False  # it can stall at the end of an epoch
        return dataset.with_options(options)

    def __repr__(self):
        counts = ", ".join(f"{name} {n}" for name, n in self.provenance["counts"].items())
        return (
            f"ImageData({self.provenance['source']}: {counts}; image_shape={self.image_shape}, "
            f"task={self.task!r}, num_classes={self.num_classes})"
        )


def _to_unit_float(images):
    """8-bit images, an array or a tensor, to float32 in [0, 1]; float32 ones as they are."""
    if images.dtype == np.float32:  # true of a tensor's dtype too
        return images
    if isinstance(images, tf.Tensor):
        return tf.cast(images, tf.float32) / 255.0
    return images.astype(np.float32) / np.float32(255.0)
