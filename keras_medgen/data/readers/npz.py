"""An .npz with MedMNIST's keys: `train_images`, `train_labels`, `val_…`, `test_…`."""

import zipfile
from pathlib import Path

import numpy as np

from keras_medgen._files import file_digest
from keras_medgen.data.found import Found
from keras_medgen.data.splits import SPLITS

GROUPS = ("patient", "slide")


def read_npz(path: Path) -> Found:
    """Reads an .npz with MedMNIST's keys.

    Args:
        path: the file: `*_images` of shape (n, height, width) or (n, height, width, channels),
            uint8, or floating point in [0, 1]; optional `*_labels` of shape (n,), (n, 1) or, for
            several labels an image, (n, num_classes) of 0 and 1; optional `*_masks`, integers of
            shape (n, height, width); optional `class_names`; optional `*_patient` or `*_slide`,
            (n,): where a split is missing, each of them stays in one split.

    Returns:
        `Found`.

    Raises:
        ValueError: if the file cannot be used; the message names the file.
    """
    arrays = read_arrays(path)
    if "train_images" not in arrays:
        raise ValueError(
            f"{path.name} holds no images: expected the key 'train_images'. "
            f"Received: {sorted(arrays) or 'no keys'}."
        )
    splits = {}
    for name in SPLITS:
        if f"{name}_images" not in arrays:
            continue
        images = _images(arrays.pop(f"{name}_images"), f"{name}_images", path.name)
        splits[name] = {"images": images}
        if f"{name}_labels" in arrays:
            labels = as_labels(arrays[f"{name}_labels"], f"{name}_labels", path.name)
            if len(labels) != len(images):
                raise ValueError(
                    f"{path.name}: {len(images)} {name}_images but {len(labels)} {name}_labels."
                )
            splits[name]["labels"] = labels
        if f"{name}_masks" in arrays:
            key, shape = f"{name}_masks", images.shape[:3]
            splits[name]["masks"] = _masks(arrays.pop(key), key, shape, path.name)
        kind = next((kind for kind in GROUPS if f"{name}_{kind}" in arrays), None)
        if kind is not None:
            groups = arrays[f"{name}_{kind}"]
            if groups.shape != (len(images),):
                raise ValueError(
                    f"{path.name}: {name}_{kind} must be of shape ({len(images)},). "
                    f"Received: shape {groups.shape}."
                )
            splits[name]["groups"] = groups
    _check_alike(splits, path.name)

    def column(key):
        parts = [split[key] for split in splits.values() if key in split]
        return np.concatenate(parts) if len(parts) == len(splits) else None

    labels = column("labels")
    task, class_names = _task(labels, arrays.get("class_names"))
    return Found(
        images=column("images"),
        splits=np.repeat(list(splits), [len(split["images"]) for split in splits.values()]),
        task=task,
        class_names=class_names,
        labels=labels,
        masks=column("masks"),
        groups=_groups(splits),
        names=np.concatenate(
            [
                np.array([f"{name} {row}" for row in range(len(split["images"]))], dtype=object)
                for name, split in splits.items()
            ]
        ),
        provenance={
            "source": path.name,
            "licence": "not stated in the file",
            "sha256": file_digest(path),
        },
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz; ValueError with its name if it is none."""
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


def _masks(masks: np.ndarray, key: str, shape: tuple, file: str) -> np.ndarray:
    if masks.shape[3:] == (1,):
        masks = masks[..., 0]
    whole = np.issubdtype(masks.dtype, np.integer) or masks.dtype == bool
    if masks.shape != shape or not whole:
        raise ValueError(
            f"{file}: {key} must be integers of shape {shape}. "
            f"Received: {masks.dtype} of shape {masks.shape}."
        )
    return masks.astype(np.uint8) if masks.dtype == bool else masks


def as_labels(labels: np.ndarray, key: str, file: str) -> np.ndarray:
    """Labels as int32 (n,) or (n, num_classes); ValueError if they are none."""
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


def _groups(splits: dict[str, dict[str, np.ndarray]]) -> np.ndarray | None:
    """Numbers of patients or slides; an image of which none is known has one of its own."""
    if not any("groups" in split for split in splits.values()):
        return None
    numbers, keys = {}, []
    for name, split in splits.items():
        count = len(split["images"])
        keys += split["groups"].tolist() if "groups" in split else [(name, i) for i in range(count)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _check_alike(splits: dict[str, dict[str, np.ndarray]], file: str):
    shapes = {name: split["images"].shape[1:] for name, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{file}: the splits' images must be of one shape. Received: {shapes}.")
    dtypes = {name: str(split["images"].dtype) for name, split in splits.items()}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"{file}: the splits' images must be of one dtype. Received: {dtypes}.")
    for key in ("labels", "masks"):
        having = {name for name, split in splits.items() if key in split}
        if having and having != set(splits):
            raise ValueError(
                f"{file}: either all splits have {key} or none. "
                f"Received: {key} for {sorted(having)} of {sorted(splits)}."
            )
    labelled = "labels" in splits["train"]
    widths = {split["labels"].shape[1:] for split in splits.values() if labelled}
    if len(widths) > 1:
        raise ValueError(f"{file}: the splits' labels must be of one shape. Received: {widths}.")


def _task(labels: np.ndarray | None, names: np.ndarray | None) -> tuple[str, list[str] | None]:
    if labels is None:
        return "none", None
    if labels.ndim == 2:
        task, num_classes = "multi-label", labels.shape[1]
    else:
        task, num_classes = "multi-class", 1 + int(labels.max(initial=0))
    if names is not None and names.ndim == 1 and len(names) >= num_classes:
        return task, [str(name) for name in names]
    return task, [str(label) for label in range(num_classes)]
