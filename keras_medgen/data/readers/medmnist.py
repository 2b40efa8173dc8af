"""The MedMNIST sets: which file serves a name and a size, and what is in it."""

from pathlib import Path

import numpy as np

from keras_medgen._files import file_digest
from keras_medgen.data.found import Found
from keras_medgen.data.readers.download import find_or_download, native_side
from keras_medgen.data.readers.npz import as_labels, read_arrays, read_npz
from keras_medgen.data.readers.registry import MEDMNIST
from keras_medgen.data.splits import SPLITS


def read_medmnist(name: str, image_size: int | None, axis: int | None, data_dir) -> Found:
    """Finds or downloads a MedMNIST set and reads it.

    Args:
        name: a key of `MEDMNIST`.
        image_size: that is wanted: of the files, the smallest that is not smaller.
        axis: of a three-dimensional set, that its volumes are cut along: 0 (the default), 1 or 2
            of the file's array. Every slice is kept.
        data_dir: folder to look in first, and to download to.

    Returns:
        `Found`.

    Raises:
        ValueError, OSError: if the file is not what it should be, or cannot be had.
    """
    facts = MEDMNIST[name]
    side = native_side(facts, image_size)
    path = find_or_download(facts, side, data_dir)
    found = read_npz(path) if facts.dimensions == 2 else _read_volumes(path, axis or 0)
    found.task = facts.task
    found.class_names = list(facts.class_names)
    found.provenance |= {
        "source": f"MedMNIST v2, {path.name}",
        "origin": facts.source,
        "citation": facts.citation,
        "licence": facts.licence,
        "md5": facts.files[side].md5,
    }
    return found


def _read_volumes(path: Path, axis: int) -> Found:
    arrays = read_arrays(path)
    images, labels, splits, volumes, names = [], [], [], [], []
    before = 0  # volumes of the splits before
    for split in SPLITS:
        cubes = np.moveaxis(arrays.pop(f"{split}_images"), 1 + axis, 1)
        count, slices = cubes.shape[:2]
        of_cube = as_labels(arrays[f"{split}_labels"], f"{split}_labels", path.name)
        images.append(cubes.reshape(-1, *cubes.shape[2:])[..., None])
        labels.append(np.repeat(of_cube, slices))
        splits.append(np.repeat(split, count * slices))
        volumes.append(before + np.repeat(np.arange(count), slices))
        before += count
        names += [f"{split} {n} slice {i}" for n in range(count) for i in range(slices)]
    volumes = np.concatenate(volumes)
    return Found(
        images=np.concatenate(images),
        splits=np.concatenate(splits),
        task="multi-class",
        class_names=None,
        labels=np.concatenate(labels),
        volumes=volumes,
        groups=volumes,
        names=np.array(names, dtype=object),
        preprocessing=[f"volumes cut into all slices along axis {axis}"],
        provenance={"sha256": file_digest(path)},
    )
