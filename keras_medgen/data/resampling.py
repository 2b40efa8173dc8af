"""Images and masks read at other places: affine maps, smooth displacements, interpolation."""

import math

import numpy as np
import tensorflow as tf


def affine(
    flips: tf.Tensor, angles: tf.Tensor, shifts: tf.Tensor, scales: tf.Tensor, offsets: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The map from places in the new image to places in the old one, both from the centre.

    Args:
        flips: bool (b, 2), mirror y, mirror x.
        angles: float32 (b,), degrees counter-clockwise.
        shifts: float32 (b, 2), pixels by which the picture moves down and right.
        scales: float32 (b,), size of the part of the old image that the new one shows.
        offsets: float32 (b, 2), pixels in the old image from its centre to that part's centre.

    Returns:
        matrices: float32 (b, 2, 2), and
        offsets: float32 (b, 2), with old = matrix @ new + offset for (y, x) in pixels.
    """
    radians = angles * (math.pi / 180)
    cosine, sine = scales * tf.cos(radians), scales * tf.sin(radians)
    rotations = tf.stack([tf.stack([cosine, sine], -1), tf.stack([-sine, cosine], -1)], 1)
    matrices = tf.where(flips, -1.0, 1.0)[:, :, None] * rotations
    return matrices, offsets - tf.linalg.matvec(matrices, shifts)


def displacement_field(
    controls: tf.Tensor, smoothness: float, height: int, width: int
) -> tf.Tensor:
    """A smooth field from the values at a coarse grid, by cubic B-splines.

    Their weights are positive and sum to 1, so no displacement exceeds the largest control value.

    Args:
        controls: float32 (b, 2, grid, grid), displacements along y and x as fractions of the side;
            the grid begins one point before the image and ends at least one after it.
        smoothness: distance of the grid's points as a fraction of the side.
        height: of the field.
        width: of the field.

    Returns:
        float32 (b, 2, height, width), displacements in pixels.
    """
    along_y = _spline_weights(height, controls.shape[2], smoothness)
    along_x = _spline_weights(width, controls.shape[3], smoothness)
    field = tf.matmul(along_y, tf.matmul(controls, along_x, transpose_b=True))
    return field * tf.constant([height, width], tf.float32)[:, None, None]


def _spline_weights(side: int, grid: int, smoothness: float) -> np.ndarray:
    places = (np.arange(side) + 0.5) / side / smoothness + 1
    distances = np.abs(places[:, None] - np.arange(grid))
    near = 2 / 3 - distances**2 + distances**3 / 2
    far = np.maximum(2 - distances, 0) ** 3 / 6
    return np.where(distances < 1, near, far).astype(np.float32)


def source_places(
    matrices: tf.Tensor,
    offsets: tf.Tensor,
    displacements: tf.Tensor | None,
    height: int,
    width: int,
) -> tf.Tensor:
    """Where in the old image each pixel of the new one is read.

    Args:
        matrices: float32 (b, 2, 2), of `affine`.
        offsets: float32 (b, 2), of `affine`.
        displacements: float32 (b, 2, height, width) in pixels of the new image, or None.
        height: of the images.
        width: of the images.

    Returns:
        float32 (b, 2, height * width): y and x, pixels from the first one's centre.
    """
    centre = np.array([[height - 1], [width - 1]], np.float32) / 2
    places = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32) - centre
    if displacements is not None:
        places = tf.reshape(displacements, (-1, 2, height * width)) + places
    return tf.matmul(matrices, places) + offsets[:, :, None] + centre


def resample(images: tf.Tensor, places: tf.Tensor, fill: str) -> tf.Tensor:
    """Reads images at places between their pixels, bilinearly.

    Args:
        images: float32 (b, height, width, channels).
        places: float32 (b, 2, height * width), of `source_places`.
        fill: "zero", "reflect" or "edge".

    Returns:
        float32 (b, height, width, channels).
    """
    height, width, channels = images.shape[1:]
    places = _inside(places, height, width, fill)
    # The last pixel that has a neighbour, in an image with a border of one pixel.
    lower = tf.minimum(tf.floor(places), np.array([[height], [width]], np.float32))
    weights = (places - lower)[..., None]
    down, right = weights[:, 0], weights[:, 1]
    read = _reader(images, tf.cast(lower, tf.int32))
    upper_left, lower_left = read(0, 0), read(1, 0)
    upper = upper_left + (read(0, 1) - upper_left) * right
    below = lower_left + (read(1, 1) - lower_left) * right
    return tf.reshape(upper + (below - upper) * down, (-1, height, width, channels))


def resample_nearest(masks: tf.Tensor, places: tf.Tensor, fill: str) -> tf.Tensor:
    """Reads masks at the nearest pixel.

    Args:
        masks: int32 (b, height, width).
        places: float32 (b, 2, height * width), of `source_places`.
        fill: "zero", "reflect" or "edge".

    Returns:
        int32 (b, height, width).
    """
    height, width = masks.shape[1:]
    nearest = tf.cast(tf.floor(_inside(places, height, width, fill) + 0.5), tf.int32)
    return tf.reshape(_reader(masks[..., None], nearest)(0, 0), (-1, height, width))


def _inside(places: tf.Tensor, height: int, width: int, fill: str) -> tf.Tensor:
    """Brings places into the image with its border of one pixel, counted from the border."""
    sides = np.array([[height], [width]], np.float32)
    if fill == "zero":
        return tf.clip_by_value(places, -1.0, sides) + 1
    if fill == "reflect":
        # The pixel at the border is repeated, as by NumPy's "symmetric".
        folded = tf.math.floormod(places + 0.5, 2 * sides)
        places = tf.minimum(folded, 2 * sides - folded) - 0.5
    return tf.clip_by_value(places, 0.0, sides - 1) + 1


def _reader(images: tf.Tensor, pixels: tf.Tensor):
    """A function that reads `images` at `pixels`, moved down and right by whole pixels."""
    height, width, channels = images.shape[1:]
    rows = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), (-1, channels))
    first = tf.range(tf.shape(images)[0]) * ((height + 2) * (width + 2))
    indices = (first[:, None] + pixels[:, 0] * (width + 2) + pixels[:, 1])[..., None]
    # On a CPU, tf.gather_nd takes a fifth less time here than tf.gather.
    return lambda down, right: tf.gather_nd(rows, indices + (down * (width + 2) + right))
