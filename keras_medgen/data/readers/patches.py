"""Patches of the real photographs that scikit-image ships: medical images with no download."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import skimage

from keras_medgen.data.found import Found
from keras_medgen.data.splits import SPLITS

DARKEST_RETINA = 40  # red, in grey levels: between the black surround and the dimmest fundus
SMALLEST_PATCH = 16


@dataclasses.dataclass(frozen=True)
class Picture:
    """A photograph, where it is from, and which of its pixels are tissue."""

    read: Callable[[], np.ndarray]
    source: str
    licence: str
    tissue: Callable[[np.ndarray], np.ndarray]
    outside: str


# The package is bound late (`skimage.data` is read when called): it is slow to import.
PICTURES = {
    "retina_patches": Picture(
        read=lambda: skimage.data.retina(),
        source="skimage.data.retina(): fundus photograph of a normal left eye, M. Häggström, "
        "Medical gallery of Mikael Häggström 2014, doi:10.15347/wjm/2014.008",
        licence="CC0 1.0",
        tissue=lambda picture: picture[..., 0] > DARKEST_RETINA,
        outside="outside the retina",
    ),
    "histology_patches": Picture(
        read=lambda: skimage.data.immunohistochemistry(),
        source="skimage.data.immunohistochemistry(): colonic glands, FHL2 revealed with DAB, "
        "haematoxylin counterstain, Center for Microscopy And Molecular Imaging",
        licence="no known copyright restrictions",
        tissue=lambda picture: np.ones(picture.shape[:2], bool),
        outside="outside the tissue",
    ),
}


def cut_patches(name: str, side: int, fractions: dict[str, float], seed: int) -> Found:
    """Cuts square patches at the photograph's own resolution.

    The photograph is divided into blocks of about two patches a side, and each block belongs to
    one split; within a block the patches overlap (one starts every eighth of a side, or every 8
    pixels), across blocks no two share a pixel.

    Args:
        name: a key of `PICTURES`.
        side: of the patches, in pixels, from 16.
        fractions: share of the tissue that goes to "val" and to "test".
        seed: of the choice of blocks.

    Returns:
        `Found`, images uint8 (n, side, side, 3).

    Raises:
        ValueError: if the photograph is too small for three blocks of such patches.
    """
    source = PICTURES[name]
    picture = source.read()
    if side < SMALLEST_PATCH:
        raise ValueError(f"{name}: image_size must be at least {SMALLEST_PATCH}. Received: {side}.")
    # Sums over any patch of the pixels that are not tissue, from one cumulative table.
    outside = np.pad(~source.tissue(picture), ((1, 0), (1, 0))).cumsum(0).cumsum(1)

    blocks, left_out = [], []
    step = max(8, side // 8)
    for top, bottom in _divide(picture.shape[0], side):
        for left, right in _divide(picture.shape[1], side):
            corners = []
            for y in range(top, bottom - side + 1, step):
                for x in range(left, right - side + 1, step):
                    missing = (
                        outside[y + side, x + side]
                        - outside[y, x + side]
                        - outside[y + side, x]
                        + outside[y, x]
                    )
                    if missing > 0:
                        left_out.append((f"{name} at row {y}, column {x}", source.outside))
                    else:
                        corners.append((y, x))
            if corners:
                blocks.append(corners)
    if len(blocks) < len(SPLITS):
        raise ValueError(
            f"{name}: the photograph of {picture.shape[0]} x {picture.shape[1]} pixels is too "
            f"small for three separate regions of {side} x {side} patches. "
            f"Received: image_size={side}."
        )

    corners = _assign(blocks, fractions, seed)
    images = [picture[y : y + side, x : x + side] for split in SPLITS for y, x in corners[split]]
    return Found(
        images=np.stack(images),
        splits=np.repeat(SPLITS, [len(corners[split]) for split in SPLITS]),
        names=np.array(
            [f"row {y}, column {x}" for split in SPLITS for y, x in corners[split]], dtype=object
        ),
        task="none",
        class_names=None,
        provenance={
            "source": source.source,
            "licence": source.licence,
            "sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
            "scikit_image": skimage.__version__,
        },
        preprocessing=[
            f"patches of {side} x {side} pixels, every {step} pixels, in blocks of "
            "the photograph that each belong to one split"
        ],
        left_out=left_out,
        compared=False,  # patches overlap within a split, and share no pixel across
    )


def _divide(length: int, side: int) -> list[tuple[int, int]]:
    """Start and end of the blocks along one axis: of about two patches, and at least two blocks."""
    number = max(2, length // (2 * side))
    edges = np.linspace(0, length, number + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _assign(blocks: list, fractions: dict[str, float], seed: int) -> dict[str, list]:
    """Deals the blocks out: at least one each to "val" and "test", by their share of patches."""
    total = sum(len(corners) for corners in blocks)
    order = list(np.random.default_rng(seed).permutation(len(blocks)))
    splits = {}
    for waiting, split in ((2, "test"), (1, "val")):  # splits that still need a block after this
        chosen = []
        while not chosen or (len(chosen) < fractions[split] * total and len(order) > waiting):
            chosen += blocks[order.pop()]
        splits[split] = chosen
    splits["train"] = [corner for block in order for corner in blocks[block]]
    return {split: splits[split] for split in SPLITS}
