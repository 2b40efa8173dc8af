"""Finding pictures that stand in a source more than once, as they are or slightly changed."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from scipy import sparse

from keras_medgen.data.near_duplicates import THUMBNAIL, near_pairs

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclasses.dataclass
class Duplicates:
    """Pairs of rows that show one picture.

    Attributes:
        exact: int (k, 2), i < j: the same pixels. Each copy is paired with the first of its kind,
            or, between sides, with the first on another side.
        near: int (m, 2), i < j: the same picture re-encoded, zoomed or shifted a little, or
            taken again; no pair of `exact`.
    """

    exact: np.ndarray
    near: np.ndarray


def digest(image: np.ndarray) -> bytes:
    """16 bytes that two images share if their shape, dtype and pixels are the same."""
    state = hashlib.blake2b(f"{image.shape}{image.dtype.str}".encode(), digest_size=16)
    state.update(np.ascontiguousarray(image))
    return state.digest()


def thumbnail(image: tf.Tensor) -> tf.Tensor:
    """A small grey copy, antialiased, stretched to a square.

    Args:
        image: (height, width, channels) or (n, height, width, channels), uint8, or floating point
            in [0, 1]. Three channels are taken for RGB; others are averaged.

    Returns:
        uint8 (THUMBNAIL, THUMBNAIL) or (n, THUMBNAIL, THUMBNAIL).
    """
    scale = 1 if image.dtype == tf.uint8 else 255
    image = tf.cast(image, tf.float32)
    channels = image.shape[-1]
    if channels == 3:
        grey = tf.tensordot(image, tf.constant(_LUMA), 1)[..., None]
    else:
        grey = image if channels == 1 else tf.reduce_mean(image, axis=-1, keepdims=True)
    small = tf.image.resize(grey, (THUMBNAIL, THUMBNAIL), method="bicubic", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(small[..., 0] * scale), 0, 255), tf.uint8)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """`thumbnail` of many images.

    Args:
        images: (n, height, width, channels), uint8, or floating point in [0, 1].

    Returns:
        uint8 (n, THUMBNAIL, THUMBNAIL).
    """
    small = np.empty((len(images), THUMBNAIL, THUMBNAIL), np.uint8)
    for start in range(0, len(images), 256):  # float32 copies of a whole set would not fit
        small[start : start + 256] = thumbnail(tf.constant(images[start : start + 256]))
    return small


def find_duplicates(
    digests: Sequence[bytes] | np.ndarray,
    thumbs: np.ndarray | None = None,
    sides: np.ndarray | None = None,
    near: bool = True,
) -> Duplicates:
    """Finds pairs of rows that show one picture.

    Near duplicates are copies re-encoded (JPEG of quality 60), brightened, zoomed by up to 1.1 and
    cropped, or shifted by up to a twentieth of the side; flipped and rotated copies are not found.
    Pictures without detail (nearly constant) match nothing but their exact copies. Slices or
    frames that follow each other may count as near duplicates: they are nearly the same picture.

    Args:
        digests: n results of `digest`.
        thumbs: uint8 (n, THUMBNAIL, THUMBNAIL), of `thumbnails`; needed for near duplicates only.
        sides: int (n,), such as numbers of splits: only pairs of different sides are looked for.
        near: whether to look for near duplicates. The time grows with the square of n.

    Returns:
        `Duplicates`.

    Raises:
        ValueError: if the arguments do not belong together.
    """
    count = len(digests)
    if near and (thumbs is None or thumbs.shape != (count, THUMBNAIL, THUMBNAIL)):
        raise ValueError(
            f"thumbs must be of shape ({count}, {THUMBNAIL}, {THUMBNAIL}), one for each digest. "
            f"Received: {'None' if thumbs is None else f'shape {thumbs.shape}'}."
        )
    if sides is not None and np.shape(sides) != (count,):
        raise ValueError(
            f"sides must be of shape ({count},), one for each digest. "
            f"Received: shape {np.shape(sides)}."
        )
    sides = None if sides is None else np.unique(sides, return_inverse=True)[1]
    kinds: dict[bytes, list[int]] = {}
    for row, key in enumerate(digests):
        kinds.setdefault(bytes(key), []).append(row)
    exact = [pair for rows in kinds.values() for pair in _exact_pairs(rows, sides)]
    alike = []
    if near:
        # Of each picture, one copy on each side is compared; the others follow from it.
        copies: dict[int, list[int]] = {}
        for rows in kinds.values():
            firsts: dict[int, int] = {}
            for row in rows:
                first = firsts.setdefault(0 if sides is None else int(sides[row]), row)
                copies.setdefault(first, []).append(row)
        rows = np.array(sorted(copies), int)
        pairs = rows[near_pairs(thumbs[rows], None if sides is None else sides[rows])]
        kind = np.empty(count, int)
        for number, members in enumerate(kinds.values()):
            kind[members] = number
        for i, j in pairs[kind[pairs[:, 0]] != kind[pairs[:, 1]]]:
            alike.append((i, j))
            if sides is not None:  # copies on one side are no pair, so that each is named here
                alike += [(i, copy) for copy in copies[j][1:]]
                alike += [(j, copy) for copy in copies[i][1:]]
    return Duplicates(exact=_as_pairs(exact), near=_as_pairs(alike))


def clusters(count: int, pairs: np.ndarray) -> np.ndarray:
    """Numbers the sets of rows that pairs connect, to serve as groups of a split.

    Args:
        count: number of rows.
        pairs: int (m, 2).

    Returns:
        int (count,): rows share a number if a chain of pairs leads from one to the other.
    """
    pairs = np.reshape(pairs, (-1, 2))
    ones = np.ones(len(pairs), bool)
    graph = sparse.coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def _exact_pairs(rows: list[int], sides: np.ndarray | None) -> Iterator[tuple[int, int]]:
    """Pairs equal rows, in ascending order, with the first, or the first on another side."""
    if sides is None:
        yield from ((rows[0], row) for row in rows[1:])
        return
    other = next((row for row in rows if sides[row] != sides[rows[0]]), None)
    if other is None:
        return
    for row in rows[1:]:
        yield (rows[0], row) if sides[row] != sides[rows[0]] else (other, row)


def _as_pairs(pairs: list[tuple[int, int]]) -> np.ndarray:
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    return np.unique(np.sort(pairs, axis=1), axis=0)
