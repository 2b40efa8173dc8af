"""Prepared data sets: shards of TFRecords with a manifest, as `write_shards` leaves them."""

import json
import struct
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_medgen.data.duplicates import digest
from keras_medgen.data.found import Found
from keras_medgen.data.image_data import LoadReport
from keras_medgen.data.reading import choose_cache
from keras_medgen.data.settings import DEFAULTS, Settings
from keras_medgen.data.splits import SPLITS
from keras_medgen.data.store import ArrayStore, Store, new_array

FORMAT = "keras_medgen shards 1"
MANIFEST, PLAN, COLUMNS = "manifest.json", "plan.json", "columns.npz"
CHUNK = 64  # images read at a time
# What was settled when the data were prepared, and cannot be asked for after it.
SETTLED = (
    *("resize", "window", "axis", "validation_fraction", "test_fraction", "deduplicate"),
    *("on_error", "decoding"),
)
LENGTH = struct.Struct("<QI")  # a record's frame: length, its checksum, the data, their checksum
FOOTER_BYTES = 4


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


class Records(Store):
    """The images of prepared shards; a `Store`. Every record is checked by its digest.

    Args:
        directory: of the shards.
        manifest: what `write_shards` wrote.
    """

    parallel = 2

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
        self.masked = len(self._places) > 0 and "mask" in self._features(0)

    def read(self, rows):
        """See `Store`."""
        found = {"images": np.empty((len(rows), *self.shape[1:]), self.dtype)}
        if self.masked:
            found["masks"] = np.empty((len(rows), *self.shape[1:3]), np.int32)
        for i, row in enumerate(rows):
            features = self._features(row)
            image = np.frombuffer(features["image"].bytes_list.value[0], self.dtype)
            found["images"][i] = image.reshape(self.shape[1:])
            if features["digest"].bytes_list.value[0] != digest(found["images"][i]):
                raise ValueError(f"{self._paths[self._places[row, 0]].name} is damaged")
            if self.masked:
                mask = np.frombuffer(features["mask"].bytes_list.value[0], np.int32)
                found["masks"][i] = mask.reshape(self.shape[1:3])
        return found

    def in_array(self, cache: str, folder: Path | None) -> ArrayStore:
        """All of it, in memory or in a file (see `new_array`)."""
        images = new_array(self.shape, self.dtype, cache, folder)
        masks = new_array(self.shape[:3], np.int32, cache, folder) if self.masked else None
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
