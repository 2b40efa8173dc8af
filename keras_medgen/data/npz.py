"""An .npz with MedMNIST's keys: `train_images`, `train_labels`, `val_…`, `test_…`."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from keras_medgen.data.found import Found
from keras_medgen.data.image_data import SPLITS
from keras_medgen.data.splits import split_off

GROUPS = ("patient", "slide")


def read_npz(path: Path, fractions: dict[str, float], seed: int) -> Found:
    """Reads an .npz with MedMNIST's keys; a missing split is cut off the training images.

    Args:
        path: the file: `*_images` of shape (n, height, width) or (n, height, width, channels),
            uint8, or floating point in [0, 1]; optional `*_labels` of shape (n,), (n, 1) or, for
            several labels an image, (n, num_classes) of 0 and 1; optional `class_names`; where a
            split is missing, `train_patient` or `train_slide` keeps each group in one split.
        fractions: share of "val" and of "test", for the one that the file lacks.
        seed: of the cut.

    Returns:
        `Found`.

    Raises:
        ValueError: if the file cannot be used; the message names the file.
    """
    arrays = _read_arrays(path)
    if "train_images" not in arrays:
        raise ValueError(
            f"{path.name} holds no images: expected the key 'train_images'. "
            f"Received: {sorted(arrays) or 'no keys'}."
        )
    splits = {}
    for name in SPLITS:
        if f"{name}_images" not in arrays:
            continue
        splits[name] = {"images": _images(arrays[f"{name}_images"], f"{name}_images", path.name)}
        if f"{name}_labels" in arrays:
            labels = _labels(arrays[f"{name}_labels"], f"{name}_labels", path.name)
            if len(labels) != len(splits[name]["images"]):
                raise ValueError(
                    f"{path.name}: {len(splits[name]['images'])} {name}_images but "
                    f"{len(labels)} {name}_labels."
                )
            splits[name]["labels"] = labels
    _check_alike(splits, path.name)

    preprocessing = []
    groups = next((arrays[f"train_{g}"] for g in GROUPS if f"train_{g}" in arrays), None)
    if groups is not None and groups.shape != (len(splits["train"]["images"]),):
        raise ValueError(
            f"{path.name}: train_patient or train_slide must be of shape "
            f"({len(splits['train']['images'])},). Received: shape {groups.shape}."
        )
    rng = np.random.default_rng(seed)
    whole = len(splits["train"]["images"])  # both fractions are shares of it
    total = sum(len(split["images"]) for split in splits.values())
    for name in ("test", "val"):
        if name in splits:
            continue
        count = len(splits["train"]["images"])
        if count < 2:
            raise ValueError(f"{path.name} gives {total} images; too few to split.")
        try:
            chosen = split_off(count, fractions[name] * whole / count, rng, groups)
        except ValueError as error:
            raise ValueError(
                f"{path.name} has no {name} split and cannot be cut: {error}"
            ) from None
        splits[name] = {key: array[chosen] for key, array in splits["train"].items()}
        splits["train"] = {key: array[~chosen] for key, array in splits["train"].items()}
        groups = None if groups is None else groups[~chosen]
        preprocessing.append(
            f"{name}: {fractions[name]:g} of the training images, cut off at random"
            + ("" if groups is None else " by group")
        )

    task, class_names = _task(splits, arrays.get("class_names"))
    return Found(
        splits={name: splits[name] for name in SPLITS},
        task=task,
        class_names=class_names,
        provenance={
            "source": path.name,
            "licence": "not stated in the file",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        preprocessing=preprocessing,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path.name} cannot be read as an .npz of plain arrays ({error})."
        ) from None


def _images(images: np.ndarray, key: str, file: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not 1 <= images.shape[-1] <= 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"{file}: {key} must be of shape (n, height, width) or (n, height, width, channels) "
            f"with 1 to 4 channels. Received: shape {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"{file}: {key} must be uint8, or floating point in [0, 1]. Received: {images.dtype}."
        )
    if not np.isfinite(images).all():
        share = np.mean(~np.isfinite(images))
        raise ValueError(f"{file}: {share:.0%} of the pixels in {key} are NaN or infinite.")
    if len(images) and (images.min() < 0 or images.max() > 1):
        raise ValueError(
            f"{file}: {key} must lie in [0, 1] if not uint8. "
            f"Received: [{images.min():g}, {images.max():g}]."
        )
    return images.astype(np.float32)


def _labels(labels: np.ndarray, key: str, file: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool
    multi_label = labels.ndim == 2
    if labels.ndim not in (1, 2) or not whole or (len(labels) and labels.min() < 0):
        raise ValueError(
            f"{file}: {key} must be integers from 0 of shape (n,), (n, 1) or (n, num_classes). "
            f"Received: {labels.dtype} of shape {labels.shape}."
        )
    if multi_label and labels.max(initial=0) > 1:
        raise ValueError(f"{file}: {key} of shape {labels.shape} must hold only 0 and 1.")
    return labels.astype(np.int32)


def _check_alike(splits: dict[str, dict[str, np.ndarray]], file: str):
    shapes = {name: split["images"].shape[1:] for name, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{file}: the splits' images must be of one shape. Received: {shapes}.")
    dtypes = {name: str(split["images"].dtype) for name, split in splits.items()}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"{file}: the splits' images must be of one dtype. Received: {dtypes}.")
    labelled = {name for name, split in splits.items() if "labels" in split}
    if labelled and labelled != set(splits):
        raise ValueError(
            f"{file}: either all splits have labels or none. "
            f"Received: labels for {sorted(labelled)} of {sorted(splits)}."
        )
    widths = {split["labels"].shape[1:] for split in splits.values() if labelled}
    if len(widths) > 1:
        raise ValueError(f"{file}: the splits' labels must be of one shape. Received: {widths}.")


def _task(splits, names: np.ndarray | None) -> tuple[str, list[str] | None]:
    labels = splits["train"].get("labels")
    if labels is None:
        return "none", None
    if labels.ndim == 2:
        task, num_classes = "multi-label", labels.shape[1]
    else:
        task = "multi-class"
        num_classes = 1 + max(int(split["labels"].max(initial=0)) for split in splits.values())
    if names is not None and names.ndim == 1 and len(names) >= num_classes:
        return task, [str(name) for name in names]
    return task, [str(label) for label in range(num_classes)]
