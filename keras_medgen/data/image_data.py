"""What `load` returns: the splits as datasets and as arrays, and where they came from."""

import collections
import dataclasses
from functools import cached_property

import numpy as np
import tensorflow as tf

from keras_medgen.data.augment import Augment
from keras_medgen.data.found import Found
from keras_medgen.data.splits import SPLITS
from keras_medgen.data.store import Store, mapped, without_autotune

NAMES_KEPT = 10  # of the files left out for one reason, in what is written


@dataclasses.dataclass
class LoadReport:
    """What was found, what was used, what was left out and why, and which pictures come twice.

    Attributes:
        found: images that the source holds, and files that could be none: used + left out.
        used: images that stand in one of the splits.
        left_out: (where, reason) of every image that does not; names of files without folders.
        exact_copies: images, of those used, that have the pixels of an earlier one.
        near_duplicates: pairs of images, of those compared, that show one picture: re-encoded,
            resized or slightly cropped. None if they were not looked for.
        leaks: for each pair of splits, as "train/test", how many images of the second have a copy
            ("exact") or near duplicate ("near") in the first.
        notes: sentences on what else a user should know.
    """

    found: int
    used: int
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    exact_copies: int = 0
    near_duplicates: int | None = None
    leaks: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def as_dict(self) -> dict:
        """For a JSON: `left_out` as {reason: {"images": count, "first": [names]}}."""
        reasons = {}
        for name, reason in self.left_out:
            entry = reasons.setdefault(reason, {"images": 0, "first": []})
            entry["images"] += 1
            if len(entry["first"]) < NAMES_KEPT:
                entry["first"].append(name)
        return {**dataclasses.asdict(self), "left_out": reasons}

    def summary(self, counts: dict[str, int]) -> str:
        """One line of it all, for splits of these sizes."""
        text = f"{self.used} of {self.found} images used (" + ", ".join(
            f"{name} {count}" for name, count in counts.items()
        )
        text += ")"
        reasons = collections.Counter(reason for _, reason in self.left_out)
        if reasons:
            most = reasons.most_common(1)[0][0]
            text += f"; {len(self.left_out)} left out"
            text += f" ({most})" if len(reasons) == 1 else f" (most: {most})"
        if self.exact_copies:
            copies = "copy" if self.exact_copies == 1 else "copies"
            text += f"; {self.exact_copies} exact {copies}"
        for pair, leak in self.leaks.items():
            first, second = pair.split("/")
            number = leak["exact"] + leak["near"]
            share = number / max(1, counts[second])
            text += (
                f"; LEAK: {number} images of {second} ({share:.1%}) are also in {first}, "
                f"{leak['exact']} exactly"
            )
        return "; ".join([text, *self.notes])


class ImageData:
    """Images in three splits.

    Attributes:
        train: shuffled anew for each epoch, a `tf.data.Dataset` of dicts: `images` float32
            (batch, height, width, channels) in [0, 1] and, where they exist, `labels` int32
            (batch,), or (batch, num_classes) of 0 and 1 where the task is multi-label, `masks`
            int32 (batch, height, width) and `texts` string (batch,).
        val: as `train`, in the order of `arrays("val")`.
        test: as `train`, in the order of `arrays("test")`.
        image_shape: (height, width, channels).
        num_classes: int, or None where there are no labels.
        class_names: list of str, or None where there are no labels.
        task: "multi-class", "ordinal", "multi-label" or "none".
        provenance: dict of the source, licence, sha256, counts, preprocessing and report; of
            MedMNIST also of the images' origin and the citation.
        report: a `LoadReport`.
        store: the images of all splits, a `Store`.
        columns: what else is known of each of its rows, by name: `labels`, `texts`, `volumes`.
    """

    def __init__(
        self,
        found: Found,
        store: Store,
        *,
        batch_size: int,
        seed: int,
        report: LoadReport,
        balance: bool = False,
        augment: Augment | None = None,
    ):
        self.store = store
        self._rows = {split: np.flatnonzero(found.splits == split) for split in SPLITS}
        columns = {"labels": found.labels, "texts": found.texts, "volumes": found.volumes}
        self.columns = {name: column for name, column in columns.items() if column is not None}
        self.batch_size = batch_size
        self.seed = seed
        self.balance = balance
        self.augment = augment
        self.task = found.task
        self.class_names = found.class_names
        self.num_classes = None if found.class_names is None else len(found.class_names)
        self.image_shape = tuple(store.shape[1:])
        self.report = report
        self.provenance = {
            **found.provenance,
            "counts": {name: len(rows) for name, rows in self._rows.items()},
            "preprocessing": found.preprocessing,
            "seed": seed,
            "report": report.as_dict(),
        }

    @cached_property
    def train(self) -> tf.data.Dataset:
        """The training split, shuffled anew for each epoch."""
        return self._dataset("train", training=True)

    @cached_property
    def val(self) -> tf.data.Dataset:
        """The validation split, in order."""
        return self._dataset("val", training=False)

    @cached_property
    def test(self) -> tf.data.Dataset:
        """The test split, in order."""
        return self._dataset("test", training=False)

    def arrays(
        self, split: str, limit: int | None = None, volumes: bool = False
    ) -> dict[str, np.ndarray]:
        """The examples of a split as arrays.

        Args:
            split: "train", "val" or "test".
            limit: the most examples to return, from all over the split: those of a folder stand
                in the order of their classes. Default: all.
            volumes: put the slices of each volume together again: `limit` volumes,
                `images` (n, slices, height, width, channels).

        Returns:
            A dict of `images`, float32 (n, height, width, channels) in [0, 1], and where they
            exist `labels` and `masks`, int32, and `texts`.

        Raises:
            ValueError: for an unknown split; for `volumes` if the images are no slices, or the
                volumes differ in their number.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}. Received: split={split!r}.")
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative. Received: limit={limit}.")
        rows = self._rows[split]
        if volumes:
            rows = self._by_volume(rows)
        rows = spread(rows, limit)
        arrays = self.examples(rows.ravel())
        if not volumes:
            return arrays
        arrays = {name: a.reshape(*rows.shape, *a.shape[1:]) for name, a in arrays.items()}
        # What is said of a slice is said of its volume.
        return {name: a[:, 0] if name in self.columns else a for name, a in arrays.items()}

    def rows(self, split: str) -> np.ndarray:
        """The row numbers of a split in `store` and `columns`."""
        return self._rows[split]

    def examples(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What `arrays` gives, of some row numbers."""
        found = self.store.read(rows)
        found["images"] = _to_unit_float(found["images"])
        return found | {name: column[rows] for name, column in self._told().items()}

    def _told(self) -> dict[str, np.ndarray]:
        """The columns that a batch holds."""
        return {name: column for name, column in self.columns.items() if name != "volumes"}

    def _by_volume(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers (volumes, slices) of a split."""
        volumes = self.columns.get("volumes")
        if volumes is None:
            raise ValueError("volumes=True: these images are no slices of volumes.")
        of_volume = {}
        for row in rows:
            of_volume.setdefault(volumes[row], []).append(row)
        lengths = {len(slices) for slices in of_volume.values()}
        if len(lengths) > 1:
            raise ValueError(
                "volumes=True: the volumes must have the same number of slices. "
                f"Received: {min(lengths)} to {max(lengths)} slices."
            )
        return np.array(list(of_volume.values()))

    def _dataset(self, split: str, training: bool) -> tf.data.Dataset:
        rows = self._rows[split]
        if training and self.balance:
            rows = oversampled(rows, self.columns["labels"], self.seed)
        dataset = tf.data.Dataset.from_tensor_slices(rows)
        if training:
            dataset = dataset.shuffle(len(rows), seed=self.seed, reshuffle_each_iteration=True)
        dataset = self.store.batches(dataset, self.batch_size)
        columns = {name: tf.constant(column) for name, column in self._told().items()}

        def finish(batch, seeds=None):
            batch = dict(batch)
            rows = batch.pop("rows")
            batch["images"] = _to_unit_float(batch["images"])
            batch |= {name: tf.gather(column, rows) for name, column in columns.items()}
            return batch if seeds is None else self.augment(batch, seeds[: tf.size(rows)])

        if training and self.augment is not None:
            seeds = tf.data.Dataset.random(self.seed, rerandomize_each_iteration=True)
            dataset = tf.data.Dataset.zip(dataset, seeds.batch(self.batch_size))
        return without_autotune(mapped(dataset, finish, 2).prefetch(2))

    def __repr__(self):
        counts = ", ".join(f"{name} {n}" for name, n in self.provenance["counts"].items())
        return (
            f"ImageData({self.provenance['source']}: {counts}; image_shape={self.image_shape}, "
            f"task={self.task!r}, num_classes={self.num_classes})"
        )


def spread(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """At most `limit` rows of an array, from all over it, in their order."""
    count = len(rows) if limit is None else min(limit, len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]


def oversampled(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Repeats rows so that each class has as many as the largest.

    What does not go into whole repetitions is drawn without replacement.
    """
    rng = np.random.default_rng(seed)
    classes = labels[rows]
    largest = np.bincount(classes).max()
    repeated = []
    for number in np.unique(classes):
        members = rows[classes == number]
        whole, rest = divmod(largest, len(members))
        repeated += [members] * whole + [rng.permutation(members)[:rest]]
    return np.concatenate(repeated)


def _to_unit_float(images):
    """8-bit images, an array or a tensor, to float32 in [0, 1]; float32 ones as they are."""
    if images.dtype == np.float32:  # true of a tensor's dtype too
        return images
    if isinstance(images, tf.Tensor):
        return tf.cast(images, tf.float32) / 255.0
    return images.astype(np.float32) / np.float32(255.0)
