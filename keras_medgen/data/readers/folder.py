"""Folders of images: what their layout says of splits, classes and masks."""

import os
import re
from pathlib import Path

from keras_medgen.data.readers.files import Entry, is_image_file, natural

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
MASK_NAME = re.compile(r"(.+?)[_-](?:mask|seg|segmentation)(?:_\d+)?$", re.IGNORECASE)
MASK_FOLDERS = {"images": "masks", "image": "mask"}
UNSEEN = ("thumbs.db", "desktop.ini", "__macosx")


def list_folder(root: Path) -> tuple[list[Entry], list[tuple[str, str]], bool]:
    """Lists a folder of images, with or without folders of splits and classes.

    `root/[Training | Testing | train | val | test]/class/image`, every part of it optional.
    Folders below a class keep their images in one split (a patient's, say). An image's mask is
    `name_mask` (or `_seg`, `_mask_1`, ...) beside it, or `masks/name` beside `images/name`.
    Hidden files are passed over.

    Args:
        root: the folder.

    Returns:
        An `Entry` for each file in a stable order; (name, reason) of folders and files that
        cannot be used; and whether the labels are names of folders.

    Raises:
        ValueError: if there are no files.
    """
    root = _unwrapped(root)
    files = list(_files(root))
    if not files:
        raise ValueError(f"The folder {root.name} is empty: expected images.")
    splits = {
        folder.name: SPLIT_FOLDERS[folder.name.casefold()]
        for folder in _folders(root)
        if folder.name.casefold() in SPLIT_FOLDERS
    }
    if "train" not in splits.values():
        splits = {}
    entries, left_out, places = [], [], {}
    files, masks = _masks_apart(files)
    for path in files:
        parts = list(path.relative_to(root).parts[:-1])
        split = None
        if splits:
            if not parts or parts[0] not in splits:
                if is_image_file(path):
                    left_out.append((path.name, "it lies outside the folders of the splits"))
                else:
                    entries.append(Entry(path))  # is named as no image
                continue
            split = splits[parts.pop(0)]
        if parts and parts[-1].casefold() in MASK_FOLDERS:
            parts.pop()
        entry = Entry(path, split=split, masks=masks.get(path, []))
        entry.label = parts[0] if parts else None
        if len(parts) > 1:
            entry.patient = "/".join(parts)
        entries.append(entry)
        if is_image_file(path):
            places.setdefault(entry.label, []).append(entry)
    classes = [name for name in places if name is not None]
    if len(classes) < 2:  # one folder says nothing
        for entry in entries:
            entry.label = None
        classes = []
    for top in [root / name for name in splits] or [root]:
        for folder in _folders(top):
            if classes and folder.name not in classes and not any(_files(folder)):
                left_out.append((folder.name, "a folder without images"))
    return entries, left_out, bool(classes)


def _unwrapped(root: Path) -> Path:
    """Goes down through folders that hold one folder alone, as archives often do."""
    while True:
        inside = [path for path in root.iterdir() if not _unseen(path)]
        if len(inside) != 1 or not inside[0].is_dir():
            return root
        root = inside[0]


def _masks_apart(files: list[Path]) -> tuple[list[Path], dict[Path, list[Path]]]:
    """Tells images from masks by name and place: (the images, the masks of each)."""
    by_stem = {}
    for path in files:
        by_stem.setdefault((path.parent, path.stem.casefold()), path)
    images, masks = [], {}
    for path in files:
        match = MASK_NAME.fullmatch(path.stem)
        owner = match and by_stem.get((path.parent, match[1].casefold()))
        if owner is None:
            for image_folder, mask_folder in MASK_FOLDERS.items():
                if path.parent.name.casefold() == mask_folder:
                    for sibling in _folders(path.parent.parent):
                        if sibling.name.casefold() == image_folder:
                            stem = (match[1] if match else path.stem).casefold()
                            owner = owner or by_stem.get((sibling, stem))
        # A volume's mask is its reader's business: it must lie in the same space.
        if owner is not None and not path.name.casefold().endswith((".nii", ".nii.gz", ".dcm")):
            masks.setdefault(owner, []).append(path)
        else:
            images.append(path)
    return images, masks


def _files(root: Path):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted((name for name in folders if not _unseen(Path(name))), key=natural)
        for name in sorted(names, key=natural):
            if not _unseen(Path(name)):
                yield Path(folder) / name


def _folders(root: Path) -> list[Path]:
    return sorted(
        (path for path in root.iterdir() if path.is_dir() and not _unseen(path)),
        key=lambda path: natural(path.name),
    )


def _unseen(path: Path) -> bool:
    return path.name.startswith(".") or path.name.casefold() in UNSEEN
