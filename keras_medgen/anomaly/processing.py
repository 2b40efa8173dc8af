"""What is done to maps and masks with no model: brain masks, median filter, small regions."""

import numpy as np
import scipy.ndimage

# Pixels of one image that touch, corners included; never those of two images.
TOUCHING = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]).astype(int)


def brain_masks(images: np.ndarray, threshold: float, erosion: int = 0) -> np.ndarray:
    """Where in each image the brain is, or whatever else stands before a dark background.

    Pixels brighter than a threshold in any channel, of these the largest region, its holes
    filled.

    Args:
        images: (n, height, width, channels).
        threshold: intensity, 0 where the background is exactly black.
        erosion: pixels that are taken off the edge, where maps are high without a lesion.

    Returns:
        bool (n, height, width).
    """
    masks = (images > threshold).any(axis=-1)
    regions, count = scipy.ndimage.label(masks, TOUCHING)
    if count:
        sizes = np.bincount(regions.ravel())
        sizes[0] = 0
        largest = sizes[regions].max(axis=(1, 2), keepdims=True)
        masks &= sizes[regions] == largest
    masks = np.array([scipy.ndimage.binary_fill_holes(mask) for mask in masks], bool)
    masks = masks.reshape(images.shape[:3])
    if erosion and masks.size:
        masks = scipy.ndimage.binary_erosion(masks, TOUCHING, iterations=erosion)
    return masks


def median_filtered(maps: np.ndarray, size: int) -> np.ndarray:
    """The median over a square of `size` pixels around each, the edge mirrored."""
    return scipy.ndimage.median_filter(maps, size=(1, size, size))


def without_small_regions(masks: np.ndarray, smallest: int) -> np.ndarray:
    """Masks (n, height, width) without the regions of fewer than `smallest` pixels."""
    regions, _ = scipy.ndimage.label(masks, TOUCHING)
    return masks & (np.bincount(regions.ravel()) >= smallest)[regions]
