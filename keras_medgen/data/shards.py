"""Writing a data set as shards of TFRecords with a manifest, which `records` reads."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_medgen._files import written_whole
from keras_medgen.data.duplicates import digest
from keras_medgen.data.image_data import ImageData
from keras_medgen.data.records import CHUNK, COLUMNS, FORMAT, MANIFEST, PLAN
from keras_medgen.data.splits import SPLITS

SHARD_BYTES = 64 * 2**20


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
