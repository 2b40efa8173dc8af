"""Finding near duplicates among small grey thumbnails.

All pairs are compared by a short descriptor; the few that are alike are laid over each other and
correlated. Images of one modality look alike, so that a perceptual hash alone takes one patient for
another; only the same picture still correlates when what the whole set shares is whitened away.
"""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

THUMBNAIL = 32

# Similarity from which two pictures laid over each other count as one. On six public sets (X-ray,
# ultrasound, MRI, retina, prostate), 1,439 of 1,440 copies as JPEG of quality 60 or zoomed by 1.1
# and cropped reach it; of 17 million pairs of chest X-rays, none exceeds 0.89.
_SAME = 0.92
_LARGEST_ZOOM = 1.12

# Standard deviations, in pixels of a thumbnail, of the difference of Gaussians that every
# comparison sees: without it the gross anatomy, alike in all images of a modality, would outweigh
# what is one patient's own. It also drops the finest grain, which JPEG alters most.
_FINE, _COARSE = 0.9, 1.6
_EDGE = 2  # pixels that no comparison sees: filter and alignment need neighbours
# Pictures of less detail match nothing: nearly constant ones, and those of one small spot, which
# fits any other spot after a shift.
_LEAST_CONTRAST = 0.5  # grey levels, root mean square after the filter
_LEAST_SPREAD = 20  # pixels that the detail is spread over, of 784

_SAMPLE = 3000  # images that the principal components are fitted on
_COMPONENTS = 128
_COARSEST = 64  # the strongest of them, mostly coarse, which a small shift hardly changes
_ALIKE = 0.7  # similarity in the coarsest from which a pair is laid over each other
_CANDIDATES = 16  # pairs an image, on average, the most alike, of which that is done at most
# A picture zoomed by 1.1 and cropped is shifted by up to (1 - 1 / 1.1) / 2 of its side.
_SHIFT = (1 - 1 / 1.1) / 2 * THUMBNAIL
# Zoom, shift down and shift right from which pictures are laid over each other.
_STARTS = np.array(
    [(1, 0, 0)] + [(1.1, y, x) for y in (-_SHIFT, 0, _SHIFT) for x in (-_SHIFT, 0, _SHIFT)]
)
_PLAY = 1.0  # pixels that a copy may be shifted besides
_STEP = np.array([0.04, 0.8, 0.8])  # the longest of one Gauss-Newton step
# Similarity from which the first step is taken, the second, and so on: the first brings copies near
# 0.9, so that most other pairs are given up after it.
_REQUIRED = (0.5, 0.8, 0.88, 1.0)
_OFFSETS = np.arange(THUMBNAIL, dtype=np.float32) - (THUMBNAIL - 1) / 2


def near_pairs(thumbs: np.ndarray, sides: np.ndarray | None) -> np.ndarray:
    """Finds pairs of thumbnails that show one picture.

    Args:
        thumbs: uint8 (n, THUMBNAIL, THUMBNAIL).
        sides: int (n,), from 0: only pairs of different sides are looked for; None for all pairs.

    Returns:
        int (m, 2), each pair in either order or in both.
    """
    detailed = [_has_detail(part) for _, part in _parts(thumbs)]
    rows = np.flatnonzero(np.concatenate([np.empty(0, bool), *detailed]))
    if len(rows) < 2:
        return np.empty((0, 2), int)
    thumbs, sides = thumbs[rows], None if sides is None else sides[rows]
    whitening = _fit_whitening(thumbs)
    pairs, starts = _candidates(thumbs, sides, whitening)
    same = np.empty(len(pairs), bool)
    for start, (i, j) in ((start, part.T) for start, part in _parts(pairs, 256)):
        chosen = slice(start, start + len(i))
        similarity = _similarity(thumbs[i], thumbs[j], _STARTS[starts[chosen]], whitening)
        same[chosen] = similarity >= _SAME
    return rows[pairs[same]]


def _parts(array: np.ndarray, size: int = 256) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(array), size):
        yield start, array[start : start + size]


def _interpolation(zooms: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Matrices that zoom and shift one axis of a thumbnail by cubic convolution.

    The kernel is that of Keys (1981), "Cubic convolution interpolation for digital image
    processing", equation 15. What lies outside is taken for zero.

    Args:
        zooms: (n,), about the centre; above 1 enlarges.
        shifts: (n,), in pixels: where the new centre lies from the old one.

    Returns:
        float32 (n, THUMBNAIL, THUMBNAIL), to be multiplied from the left.
    """
    sources = (_OFFSETS / zooms[:, None] + shifts[:, None]).astype(np.float32)
    d = np.abs(sources[..., None] - _OFFSETS)
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, np.float32(0)))


def _warp(images: np.ndarray, warps: np.ndarray) -> np.ndarray:
    """Zooms and shifts each image by its row (zoom, down, right) of `warps`."""
    rows = _interpolation(warps[:, 0], warps[:, 1])
    columns = _interpolation(warps[:, 0], warps[:, 2])
    return rows @ images @ columns.transpose(0, 2, 1)


@functools.cache
def _blurs() -> list[np.ndarray]:
    """Matrices that blur one axis of a thumbnail, finely and coarsely."""
    from scipy import ndimage  # slow to import

    identity = np.eye(THUMBNAIL)
    return [
        ndimage.gaussian_filter1d(identity, sigma, axis=0).astype(np.float32)
        for sigma in (_FINE, _COARSE)
    ]


def _band_pass(images: np.ndarray) -> np.ndarray:
    images = images.astype(np.float32)
    fine, coarse = _blurs()
    return fine @ images @ fine.T - coarse @ images @ coarse.T


def _inner(images: np.ndarray) -> np.ndarray:
    """The pixels that are compared, (n, pixels), their mean taken off."""
    inner = images[:, _EDGE:-_EDGE, _EDGE:-_EDGE].reshape(len(images), -1)
    return inner - inner.mean(axis=1, keepdims=True)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _has_detail(thumbs: np.ndarray) -> np.ndarray:
    seen = _inner(_band_pass(thumbs))
    # Inverse participation ratio: the number of pixels, were the detail equal in them and 0 else.
    spread = 1 / np.maximum(np.sum(_unit(seen) ** 4, axis=1), 1e-6)
    return (seen.std(axis=1) >= _LEAST_CONTRAST) & (spread >= _LEAST_SPREAD)


def _fit_whitening(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the band-passed thumbnails, scaled to similar variances.

    After it, what all images of the set share (the rim of a retina, the ribs) counts no more than
    what is a patient's own. It is fitted on images as they are and zoomed, for otherwise the zoom
    would count as well.

    Returns:
        (pixels,), the mean, and (pixels, _COMPONENTS), the strongest component last.
    """
    rng = np.random.default_rng(0)
    sample = thumbs[np.sort(rng.permutation(len(thumbs))[:_SAMPLE])]
    warps = _STARTS[rng.integers(1, len(_STARTS), len(sample))]
    vectors = np.concatenate([_sight(sample), _sight(_warp(sample.astype(np.float32), warps))])
    mean = vectors.mean(axis=0)
    vectors -= mean
    # TensorFlow's algebra here and in `_whiten`: where other work is going on, the threads of
    # NumPy's wait for each other.
    covariance = tf.matmul(vectors, vectors, transpose_a=True) / len(vectors)
    variances, components = (x.numpy() for x in tf.linalg.eigh(covariance))
    # A constant is added, so that components of mostly noise, or of no variance in a small set,
    # do not outweigh the others.
    floor = max(variances[-_COMPONENTS], 4 * variances.sum() / len(vectors), 1e-6)
    components = components[:, -_COMPONENTS:] / np.sqrt(variances[-_COMPONENTS:].clip(0) + floor)
    return mean, components.astype(np.float32)


def _whiten(vectors: np.ndarray, whitening: tuple, components: int = _COMPONENTS) -> np.ndarray:
    mean, matrix = whitening
    return _unit(tf.matmul(vectors - mean, matrix[:, -components:]).numpy())


def _sight(images: np.ndarray) -> np.ndarray:
    return _unit(_inner(_band_pass(images)))


def _candidates(
    thumbs: np.ndarray, sides: np.ndarray | None, whitening: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Compares all pairs coarsely, the first of each as it is and zoomed and shifted.

    Returns:
        int (m, 2), the pairs that are most alike, and (m,), the row of `_STARTS` that lays the
        first best over the second.
    """
    warped = np.empty((len(_STARTS), len(thumbs), _COARSEST), np.float32)
    for start, part in _parts(thumbs):
        rows = slice(start, start + len(part))
        for number, warp in enumerate(_STARTS):
            zoomed = _warp(part.astype(np.float32), warp[None])
            warped[number, rows] = _whiten(_sight(zoomed), whitening, _COARSEST)
    plain = warped[0]
    limit, threshold = _CANDIDATES * len(thumbs), np.float32(_ALIKE)
    found, best = [np.empty((0, 2), int)], [np.empty(0, np.float32)]
    for rows, others in _blocks(len(thumbs), sides):
        for _, columns in _parts(others, 4096):
            hits, alike = (x.numpy() for x in _hits(warped[:, rows], plain[columns], threshold))
            pairs = np.stack([rows[hits[:, 0]], columns[hits[:, 1]]], axis=1)
            different = np.not_equal(*(pairs if sides is None else sides[pairs]).T)
            found.append(pairs[different])
            best.append(alike[different])
        if sum(map(len, best)) > 2 * limit:
            found, best = _most_alike(found, best, limit)
            threshold = best[0].min()
    found = _most_alike(found, best, limit)[0][0]
    starts = np.empty(len(found), int)
    for start, part in _parts(found):
        alike = np.einsum("snc,nc->sn", warped[:, part[:, 0]], plain[part[:, 1]])
        starts[start : start + len(part)] = alike.argmax(axis=0)
    # A pair that no zoom makes more alike has come in both orders.
    once = (starts > 0) | (found[:, 0] < found[:, 1])
    return found[once], starts[once]


def _most_alike(found: list, best: list, limit: int) -> tuple[list, list]:
    found, best = np.concatenate(found), np.concatenate(best)
    if len(best) > limit:
        kept = np.argpartition(-best, limit)[:limit]
        found, best = found[kept], best[kept]
    return [found], [best]


def _blocks(count: int, sides: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A few rows at a time, and the rows that they are compared with."""
    everything = np.arange(count)
    order = everything if sides is None else np.argsort(sides, kind="stable")
    for _, rows in _parts(order, 64):
        if sides is None or sides[rows[0]] != sides[rows[-1]]:
            yield rows, everything
        else:
            yield rows, np.flatnonzero(sides != sides[rows[0]])


@tf.function(
    input_signature=[
        tf.TensorSpec((len(_STARTS), None, _COARSEST)),
        tf.TensorSpec((None, _COARSEST)),
        tf.TensorSpec(()),
    ]
)
def _hits(queries: tf.Tensor, others: tf.Tensor, threshold: tf.Tensor) -> tuple:
    """Where the best start's product reaches the threshold, (m, 2), and the products, (m,)."""
    flat = tf.reshape(queries, (-1, _COARSEST))
    products = tf.reshape(
        tf.matmul(flat, others, transpose_b=True),
        (len(_STARTS), tf.shape(queries)[1], tf.shape(others)[0]),
    )
    alike = tf.reduce_max(products, axis=0)
    hits = tf.where(alike >= threshold)
    return hits, tf.gather_nd(alike, hits)


def _similarity(
    images: np.ndarray, targets: np.ndarray, starts: np.ndarray, whitening: tuple
) -> np.ndarray:
    """Similarity of pairs of thumbnails after laying each image over its target.

    Zoom and shift are found by Gauss-Newton steps (Lucas and Kanade, as in Baker and Matthews
    (2004), "Lucas-Kanade 20 years on", section 2, on normalised images).

    Args:
        images: uint8 (n, THUMBNAIL, THUMBNAIL).
        targets: likewise.
        starts: (n, 3), zoom, shift down and shift right to begin with.
        whitening: of `_fit_whitening`.

    Returns:
        (n,), the lower of two correlations: of the band-passed images as they are and whitened.
    """
    images, targets = images.astype(np.float32), _sight(targets)
    white = _whiten(targets, whitening)
    warps, best, open_ = starts.copy(), np.full(len(images), -1.0), np.arange(len(images))
    for required in _REQUIRED:
        seen = _band_pass(_warp(images[open_], warps[open_]))
        vectors = _inner(seen)
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        vectors /= norms
        correlation = np.sum(vectors * targets[open_], axis=1)
        whitened = np.sum(_whiten(vectors, whitening) * white[open_], axis=1)
        reached = np.minimum(correlation, whitened)
        best[open_] = np.maximum(best[open_], reached)
        going = reached >= required
        if not going.any():
            break
        open_, seen, vectors, norms = open_[going], seen[going], vectors[going], norms[going]
        zooms = warps[open_, 0][:, None, None]
        down, right = np.gradient(seen, axis=(1, 2))
        outward = _OFFSETS[:, None] * down + _OFFSETS * right
        slopes = (-outward / zooms, down * zooms, right * zooms)
        slopes = np.stack([_inner(slope) / norms for slope in slopes], axis=1)
        slopes -= (slopes @ vectors[..., None]) * vectors[:, None]
        residual = targets[open_] - correlation[going][:, None] * vectors
        normal = slopes @ slopes.transpose(0, 2, 1) + 1e-6 * np.eye(3)
        step = np.linalg.solve(normal, slopes @ residual[..., None])[..., 0]
        warps[open_] = _limit(warps[open_] + np.clip(step, -_STEP, _STEP))
    return best


def _limit(warps: np.ndarray) -> np.ndarray:
    """Keeps zooms and shifts within what a copy may have."""
    zooms = np.clip(warps[:, :1], 1, _LARGEST_ZOOM)
    play = (1 - 1 / zooms) / 2 * THUMBNAIL + _PLAY
    return np.concatenate([zooms, np.clip(warps[:, 1:], -play, play)], axis=1)
