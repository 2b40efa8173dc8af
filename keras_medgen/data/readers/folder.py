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
MASK_FOLDERS = ("masks", "mask", "labels", "label", "segmentations", "annotations")
IMAGE_FOLDERS = ("images", "image", "imgs")
UNSEEN = ("thumbs.db", "desktop.ini", "__macosx")


def list_folder(root: Path) -> tuple[list[Entry], list[tuple[str, str]], bool]:
    """Lists a folder of images, with or without folders of splits and classes.

    `root/[Training | Testing | train | val | test]/class/image`, every part of it optional, and
    folders around all of it passed through. Folders below a class keep their images in one split
    (a patient's, say). An image's mask is `name_mask` (or `_seg`, `_mask_1`, ...) beside it, or
    `masks/.../name` where it is `images/.../name`. Hidden files are passed over.

    Args:
        root: the folder.

    Returns:
        An `Entry` for each file in a stable order; (name, reason) of folders and files that
        cannot be used; and whether the labels are names of folders.

    Raises:
        ValueError: if there are no files, or a test or validation split but none for training.
    """
    files = list(_files(root))
    if not files:
        raise ValueError(f"The folder {root.resolve().name} is empty: expected images.")
    files, masks, image_folders, left_out = _masks_apart(files)
    entries = [Entry(path, masks=masks.get(path, [])) for path in files]
    images = [entry for entry in entries if is_image_file(entry.path)]

    places = [_place(root, entry.path, image_folders) for entry in images]
    around = []  # folders that hold all images
    while places and all(place[:1] == places[0][:1] != [] for place in places):
        around.append(places[0][0])
        places = [place[1:] for place in places]
    splits = _split_folders({place[0] for place in places if place}, root)
    outside = set()
    for entry, place in zip(images, places, strict=True):
        if splits:
            if not place or place[0] not in splits:
                left_out.append((entry.path.name, "it lies outside the folders of the splits"))
                outside.add(entry.path)
                continue
            entry.split = splits[place[0]]
            place = place[1:]
        entry.label = place[0] if place else None
        if len(place) > 1:
            entry.patient = "/".join(place)
    entries = [entry for entry in entries if entry.path not in outside]
    classes = {entry.label for entry in entries} - {None}
    if len(classes) < 2:  # one folder says nothing
        for entry in entries:
            entry.label = None
        return entries, left_out, False
    top = root.joinpath(*around)
    for folder in [top / name for name in splits] or [top]:
        for inside in _folders(folder) if folder.is_dir() else []:
            if not any(_files(inside)):
                left_out.append((inside.name, "a folder without images"))
    return entries, left_out, True


def _split_folders(names: set[str], root: Path) -> dict[str, str]:
    splits = {n: SPLIT_FOLDERS[n.casefold()] for n in names if n.casefold() in SPLIT_FOLDERS}
    if "train" in splits.values():
        return splits
    if splits and len(splits) == len(names):
        raise ValueError(
            f"The folder {root.resolve().name} has images in {', '.join(sorted(splits))} but "
            "none to train on: expected a folder train or Training beside it."
        )
    return {}


def _place(root: Path, path: Path, image_folders: set[Path]) -> list[str]:
    """The folders between the root and a file, but for those that only say "images"."""
    folders = list(path.relative_to(root).parents)[-2::-1]
    return [folder.name for folder in folders if root / folder not in image_folders]


def _masks_apart(
    files: list[Path],
) -> tuple[list[Path], dict[Path, list[Path]], set[Path], list[tuple[str, str]]]:
    """Tells images from masks by name and place.

    Returns:
        The images; the masks of each; the folders of images that have one of masks beside them;
        and (name, reason) of masks without an image.
    """
    by_stem = {}
    for path in files:
        by_stem.setdefault((path.parent, path.stem.casefold()), path)
    folders = dict.fromkeys(folder for path in files for folder in path.parents)
    image_folders = {f.parent: f for f in folders if f.name.casefold() in IMAGE_FOLDERS}
    # The folder of images beside one of masks: names and places within the two are alike.
    images_of = {
        folder: image_folders[folder.parent]
        for folder in folders
        if folder.name.casefold() in MASK_FOLDERS and folder.parent in image_folders
    }
    images, masks, left_out = [], {}, []
    for path in files:
        if path.name.casefold().endswith((".nii", ".nii.gz", ".dcm")):
            images.append(path)  # a volume's mask is its reader's business
            continue
        match = MASK_NAME.fullmatch(path.stem)
        stems = [path.stem.casefold(), *([match[1].casefold()] if match else [])]
        owners = [by_stem.get((path.parent, stem)) for stem in stems[1:]]
        apart = next((folder for folder in path.parents if folder in images_of), None)
        if apart is not None:
            place = images_of[apart] / path.parent.relative_to(apart)
            owners += [by_stem.get((place, stem)) for stem in stems]
        owner = next((owner for owner in owners if owner is not None), None)
        if owner is not None:
            masks.setdefault(owner, []).append(path)
        elif apart is not None and is_image_file(path):
            left_out.append((path.name, "a mask without an image of its name"))
        else:
            images.append(path)
    return images, masks, set(images_of.values()), left_out


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
