"""What the names of NIfTI files tell: which mask is whose, and which volumes are one patient's."""

import re
from collections.abc import Iterator
from pathlib import Path

from keras_medgen.data.found import UnreadableError
from keras_medgen.data.readers.nifti_volume import misfit

MASK = re.compile(r"(?:^|[_-])(seg|mask|labels?|roi)$", re.IGNORECASE)
SEPARATOR = re.compile(r"[_-](?=[^_-]+$)")
BIDS_SUBJECT = re.compile(r"^sub-[a-z0-9]+", re.IGNORECASE)
# What one patient's volumes are told apart by.
MODALITIES = {
    *("t1", "t1w", "t1c", "t1ce", "t1gd", "t1n", "t1post", "t2", "t2w", "t2f", "flair", "pd"),
    *("pdw", "mra", "mrv", "dwi", "adc", "swi", "bold", "epi", "asl", "dti", "cbf", "mr", "mri"),
    *("ct", "cta", "ctp", "cbct", "pet", "spect", "us"),
}
GENERIC = {"image", "img", "volume", "vol", "scan", "anat", "data", "nifti"}


def is_mask(path: Path) -> bool:
    """Whether a file's name says that it is a mask."""
    return MASK.search(_stem(path)) is not None


def match_masks(
    masks: list[Path], images: list[Path], given: dict[Path, Path]
) -> tuple[dict[Path, Path], list[tuple[str, str]]]:
    """Finds the volumes' masks: a mask is taken if its name and its voxels fit.

    Args:
        masks: files that `is_mask` says are masks.
        images: the volumes.
        given: the masks that some volumes have already, by volume.

    Returns:
        The mask of each volume that has one, those of `given` among them, and (name, reason) of
        each mask that fits none.
    """
    matched = dict(given)
    left_out = []
    for mask in masks:
        reason = "a mask without a volume of its name beside it"
        used = mask in given.values()
        for image in _siblings(mask, images):
            if image in matched:
                reason = f"{matched[image].name} is already the mask of {image.name}"
                continue
            try:
                reason = misfit(mask, image)
            except UnreadableError as error:
                reason = str(error)
                break
            if reason is None:
                matched[image] = mask
                used = True
        if not used:
            left_out.append((mask.name, reason))
    return matched, left_out


def patient_of(path: Path, masks: list[Path]) -> str:
    """Tells volumes of one patient by their names.

    Args:
        path: of a volume.
        masks: files that `is_mask` says are masks.

    Returns:
        What all volumes of the patient share; not to be shown, as it may be a folder's path.
    """
    stem = _stem(path)
    subject = BIDS_SUBJECT.match(stem)
    if subject:
        return subject.group()
    if stem.lower() in MODALITIES | GENERIC:
        return str(path.parent)
    base = _base(stem)
    if stem[len(base) + 1 :].lower() in MODALITIES:
        return base
    # Several modalities of any name can share a mask.
    if any(_belongs(mask, path) and _mask_base(mask) == base for mask in masks):
        return base
    return stem


def _siblings(mask: Path, images: list[Path]) -> Iterator[Path]:
    for image in images:
        if _belongs(mask, image):
            yield image


def _belongs(mask: Path, image: Path) -> bool:
    """Whether a mask is an image's by its name; a mask called "seg" is all its folder's."""
    base, stem = _mask_base(mask), _stem(image)
    return mask.parent == image.parent and base in ("", stem, _base(stem))


def _mask_base(path: Path) -> str:
    stem = _stem(path)
    return stem[: MASK.search(stem).start()]


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$|\.img$|\.hdr$", "", path.name, flags=re.IGNORECASE)


def _base(stem: str) -> str:
    """The stem without its last part."""
    return SEPARATOR.split(stem, maxsplit=1)[0]
