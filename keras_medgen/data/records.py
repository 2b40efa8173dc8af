"""Prepared data sets: shards of TFRecords with a manifest, written once and read by `load`."""

import dataclasses
import hashlib
import json
import struct
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_medgen._files import written_whole
from keras_medgen.data.duplicates import digest
from keras_medgen.data.found import Found
from keras_medgen.data.image_data import ImageData, LoadReport
from keras_medgen.data.reading import choose_cache
from keras_medgen.data.settings import DEFAULTS, Settings
from keras_medgen.data.splits import SPLITS
from keras_medgen.data.store import ArrayStore, Store, mapped, new_array

FORMAT = "keras_medgen shards 1"
MANIFEST, PLAN, COLUMNS = "manifest.json", "plan.json", "columns.npz"
SHARD_BYTES = 64 * 2**20
CHUNK = 64  # images read at a time
# What was settled when the data were prepared, and cannot be asked for after it.
SETTLED = (
    *("resize", "window", "axis", "validation_fraction", "test_fraction", "deduplicate"),
    *("on_error", "decoding"),
)
LENGTH = struct.Struct("<QI")  # a record's frame: length, its checksum, the data, their checksum
FOOTER_BYTES = 4


def write_shards(data: ImageData, directory: str | Path, images_per_shard: int | None = None):
    """Writes a data set as TFRecords that `load` reads, and any other reader of TFRecords.

    Each record is a `tf.train.Example`: `image`, the pixels' bytes, `shape`, `dtype`, `digest`,
    and where they exist `label`, `mask` (int32 bytes) and `text`. Shards are written beside and
    renamed, and one that is there is kept: killed and run again, it ends with the same shards.

    Args:
        data: the data set, of any store.
        directory: to write to; made as needed.
        images_per_shard: None for shards of about 64 MiB.

    Raises:
        ValueError: if the directory holds shards of another data set.
    """
    directory = Path(directory)
    store = data.store
    image_bytes = int(np.prod(store.shape[1:])) * store.dtype.itemsize
    rows = {split: data.rows(split) for split in SPLITS}
    per_shard = images_per_shard or max(1, SHARD_BYTES // image_bytes)
    plan = {
        "format": FORMAT,
        "image_shape": list(data.image_shape),
        "dtype": str(store.dtype),
        "task": data.task,
        "class_names": data.class_names,
        "images_per_shard": per_shard,
        "content": _content_hash(data, rows),
        "provenance": data.provenance,
        "report": dataclasses.asdict(data.report),
    }
    plan = json.loads(json.dumps(plan))
    check_target(directory, plan)
    with written_whole(directory / PLAN) as path:
        path.write_text(json.dumps(plan, indent=2) + "\n")

    for abandoned in directory.glob(".*.tfrecord"):  # a shard that a killed run was writing
        abandoned.unlink()

    columns = {
        f"{split}_{name}": np.asarray(column[rows[split]], "U" if name == "texts" else None)
        for name, column in data.columns.items()
        for split in SPLITS
    }
    with written_whole(directory / COLUMNS) as path:
        np.savez(path, **columns)
    shards = []
    for split in SPLITS:
        parts = range(0, len(rows[split]), per_shard)
        for number, start in enumerate(parts):
            chosen = rows[split][start : start + per_shard]
            name = f"{split}-{number:05d}-of-{len(parts):05d}.tfrecord"
            shards.append({"name": name, "split": split, "images": len(chosen)})
            if not (directory / name).exists():
                _write_shard(directory / name, data, chosen)
                print(f"{name}: {len(chosen)} images", file=sys.stderr)
    with written_whole(directory / MANIFEST) as path:
        path.write_text(json.dumps({**plan, "shards": shards}, indent=2) + "\n")


def is_prepared(path: Path) -> bool:
    """Whether a folder was written by `write_shards`, completely or not."""
    return (path / PLAN).is_file() or (path / MANIFEST).is_file()


def read_shards(directory: Path, settings: Settings) -> tuple[Found, Store, LoadReport]:
    """Opens what `write_shards` wrote; images, splits and report are as they were prepared.

    Raises:
        ValueError: if it is incomplete or damaged, or prepared for another size.
    """
    if not (directory / MANIFEST).is_file():
        raise ValueError(
            f"{directory.name} was not prepared to the end: give the same command again."
        )
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}")
        with np.load(directory / COLUMNS, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        records = Records(directory, manifest)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{directory.name} is damaged ({error}): prepare it again.") from None

    def column(name):
        if f"train_{name}" not in columns:
            return None
        return np.concatenate([columns[f"{split}_{name}"] for split in SPLITS])

    texts = column("texts")
    report = manifest["report"]
    report["left_out"] = [tuple(pair) for pair in report["left_out"]]
    counts = manifest["provenance"]["counts"]
    found = Found(
        images=[],
        splits=np.repeat(SPLITS, [counts[split] for split in SPLITS]),
        task=manifest["task"],
        class_names=manifest["class_names"],
        labels=column("labels"),
        volumes=column("volumes"),
        texts=None if texts is None else texts.astype(object),
        provenance={
            key: value
            for key, value in manifest["provenance"].items()
            if key not in ("counts", "preprocessing", "augmentation", "seed", "report")
        }
        | {"prepared_with_seed": manifest["provenance"]["seed"]},
        preprocessing=manifest["provenance"]["preprocessing"],
    )
    for name, asked, prepared in (
        ("image_size", settings.size, tuple(records.shape[1:3])),
        ("channels", settings.channels, records.shape[3]),
    ):
        if asked is not None and asked != prepared:
            raise ValueError(
                f"{directory.name} was prepared with {name} {prepared}: prepare it again for "
                f"another. Received: {asked}."
            )
    for name in SETTLED:
        asked = getattr(settings, name)
        if asked != getattr(DEFAULTS, name):
            raise ValueError(
                f"{directory.name} was prepared, and {name} settled then: prepare it again. "
                f"Received: {name}={asked!r}."
            )
    cache = choose_cache(settings.cache, records.nbytes, settings.data_dir)
    store = records if cache == "none" else records.in_array(cache, settings.data_dir)
    return found, store, LoadReport(**report)


class Records:
    """The images of prepared shards; a `Store`. Every record is checked by its digest.

    Args:
        directory: of the shards.
        manifest: what `write_shards` wrote.
    """

    def __init__(self, directory: Path, manifest: dict):
        self._paths = [directory / shard["name"] for shard in manifest["shards"]]
        self._places = []  # (shard, offset, length) of each record
        for number, shard in enumerate(manifest["shards"]):
            places = list(_places(self._paths[number]))
            if len(places) != shard["images"]:
                raise ValueError(
                    f"{shard['name']} holds {len(places)} of {shard['images']} records"
                )
            self._places += [(number, *place) for place in places]
        self._places = np.array(self._places, np.int64)
        self.shape = (len(self._places), *manifest["image_shape"])
        self.dtype = np.dtype(manifest["dtype"])
        self._masked = len(self._places) > 0 and "mask" in self._features(0)

    def read(self, rows):
        """See `Store`."""
        found = {"images": np.empty((len(rows), *self.shape[1:]), self.dtype)}
        if self._masked:
            found["masks"] = np.empty((len(rows), *self.shape[1:3]), np.int32)
        for i, row in enumerate(rows):
            features = self._features(row)
            image = np.frombuffer(features["image"].bytes_list.value[0], self.dtype)
            found["images"][i] = image.reshape(self.shape[1:])
            if features["digest"].bytes_list.value[0] != digest(found["images"][i]):
                raise ValueError(f"{self._paths[self._places[row, 0]].name} is damaged")
            if self._masked:
                mask = np.frombuffer(features["mask"].bytes_list.value[0], np.int32)
                found["masks"][i] = mask.reshape(self.shape[1:3])
        return found

    def batches(self, rows, batch_size):
        """See `Store`."""

        def gather(rows):
            names = ["images", "masks"] if self._masked else ["images"]
            dtypes = [self.dtype, np.int32][: len(names)]
            read = tf.numpy_function(
                lambda rows: list(self.read(rows).values()), [rows], dtypes, stateful=False
            )
            batch = dict(zip(names, read, strict=True))
            for name, tensor in batch.items():
                tensor.set_shape((None, *self.shape[1 : 4 if name == "images" else 3]))
            return {"rows": rows, **batch}

        return mapped(rows.batch(batch_size), gather, 2)

    @property
    def nbytes(self) -> int:
        """What arrays of all of it would take."""
        masks = int(np.prod(self.shape[:3])) * 4 if self._masked else 0
        return int(np.prod(self.shape)) * self.dtype.itemsize + masks

    def in_array(self, cache: str, folder: Path | None) -> ArrayStore:
        """All of it, in memory or in a file (see `new_array`)."""
        images = new_array(self.shape, self.dtype, cache, folder)
        masks = new_array(self.shape[:3], np.int32, cache, folder) if self._masked else None
        for start in range(0, self.shape[0], CHUNK):
            read = self.read(np.arange(start, min(start + CHUNK, self.shape[0])))
            images[start : start + CHUNK] = read["images"]
            if masks is not None:
                masks[start : start + CHUNK] = read["masks"]
        return ArrayStore(images, masks)

    def _features(self, row):
        shard, offset, length = self._places[row]
        with self._paths[shard].open("rb") as file:
            file.seek(offset)
            record = file.read(length)
        try:
            return tf.train.Example.FromString(record).features.feature
        except Exception as error:  # protobuf's own
            raise ValueError(f"{self._paths[shard].name} is damaged ({error})") from None


def _write_shard(path: Path, data: ImageData, rows: np.ndarray):
    with written_whole(path) as beside, tf.io.TFRecordWriter(str(beside)) as writer:
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            read = data.store.read(some)
            for i, row in enumerate(some):
                image = read["images"][i]
                features = {
                    "image": _bytes(image.tobytes()),
                    "shape": _integers(image.shape),
                    "dtype": _bytes(str(image.dtype).encode()),
                    "digest": _bytes(digest(image)),
                }
                if "masks" in read:
                    features["mask"] = _bytes(read["masks"][i].astype(np.int32).tobytes())
                if "labels" in data.columns:
                    features["label"] = _integers(np.atleast_1d(data.columns["labels"][row]))
                if "texts" in data.columns:
                    features["text"] = _bytes(str(data.columns["texts"][row]).encode())
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString(deterministic=True))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integers(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(v) for v in values]))


def _places(path: Path):
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            header = file.read(LENGTH.size)
            if len(header) < LENGTH.size:
                raise ValueError(f"{path.name} ends within a record")
            length = LENGTH.unpack(header)[0]
            offset += LENGTH.size
            if offset + length + FOOTER_BYTES > size:
                raise ValueError(f"{path.name} ends within a record")
            yield offset, length
            offset += length + FOOTER_BYTES
            file.seek(offset)


def _content_hash(data: ImageData, rows: dict[str, np.ndarray]) -> str:
    """Of the order of the images, and of all that is said of each but its pixels."""
    told = hashlib.sha256()
    for split in SPLITS:
        told.update(rows[split].tobytes())
        for name, column in sorted(data.columns.items()):
            values = column[rows[split]]
            told.update(repr([name, values.tolist()]).encode())
        for start in range(0, len(rows[split]), CHUNK):
            read = data.store.read(rows[split][start : start + CHUNK])
            if "masks" not in read:
                break
            told.update(read["masks"].tobytes())
    return told.hexdigest()


def check_target(directory: Path, plan: dict | None = None) -> None:
    """Refuses a folder that shards cannot be written to.

    Args:
        directory: the folder; it need not exist.
        plan: what is to be written, if it is known already.

    Raises:
        ValueError: if it is a file, or holds something else or other shards.
    """
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file: give a folder to write to.")
    try:
        there = json.loads((directory / PLAN).read_text())
    except FileNotFoundError:
        if directory.exists() and any(directory.iterdir()):
            raise ValueError(
                f"{directory} is not empty and holds no prepared data: give another folder."
            ) from None
        return
    except ValueError:
        there = None
    if plan is not None and there != plan:
        raise ValueError(
            f"{directory} holds shards of another source or of other settings: give another folder."
        )
