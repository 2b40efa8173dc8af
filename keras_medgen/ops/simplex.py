"""Simplex noise: noise of many scales, as an image's own structures have."""

import functools
import math

import numpy as np
import tensorflow as tf

COARSEST = 0.25  # pixels between lattice points, of the longer side: 64 of 256 in AnoDDPM
FINEST = 2.0  # pixels between lattice points, at least
PERSISTENCE = 0.8  # amplitude of an octave, of that of the next coarser one
# The lattices of the octaves would have points in common, where there is no noise: each is shifted,
# in distances of its own points, by that many of Roberts' R2 sequence, (1/p, 1/p²), p³ = p + 1.
SHIFT = np.array([0.7548776662466927, 0.5698402909980532])
SKEW = (math.sqrt(3) - 1) / 2  # of the plane, that takes triangles to halves of squares
UNSKEW = (3 - math.sqrt(3)) / 6


def simplex_noise_size(height, width):
    """How many standard normal values `simplex_noise` needs for a channel of an image.

    Raises:
        ValueError: for images of less than 8 pixels on their longer side.
    """
    return sum(len(vertices) * 2 for vertices, _, _ in _noise_map(height, width))


def simplex_noise(normals, height, width):
    """Gaussian noise with structures from two pixels to a quarter of the image.

    Simplex noise (Perlin 2001) is a sum over the corners of the triangle that a pixel lies in, of
    max(0, 1/2 - r²)^4 times the inner product of the corner's gradient and the pixel's distance
    from it. With gradients that are standard normal, in the place of unit vectors, it is exactly
    Gaussian, as the formulas of diffusion suppose. The octaves are those of AnoDDPM: distances of
    a quarter of the longer side, halved down to 2 pixels, and amplitudes that fall by 0.8. The sum
    is divided by its standard deviation, which is known for each pixel.

    AnoDDPM takes planes of noise in three dimensions; this is noise in two.

    Args:
        normals: float32 (n, `simplex_noise_size(height, width)`, channels), standard normal.
        height: of the images, in pixels.
        width: of the images; the longer side has at least 8 pixels.

    Returns:
        float32 (n, height, width, channels): at each pixel of mean 0 and variance 1, and Gaussian
        jointly, the images and their channels independent. A linear function of `normals`.

    Raises:
        ValueError: for another number of normals, or images that are too small.

    Reference:
        Wyatt, Leach, Schmon and Willcocks, AnoDDPM: Anomaly Detection with Denoising Diffusion
        Probabilistic Models using Simplex Noise, CVPR Workshops, 2022.

        Gustavson, Simplex noise demystified, 2005.
    """
    normals = tf.convert_to_tensor(normals, tf.float32)
    size = simplex_noise_size(height, width)
    if normals.shape.rank != 3 or normals.shape[1] != size:
        raise ValueError(
            f"normals must be of shape (n, {size}, channels) for images of {height}x{width} "
            f"pixels. Received: shape {tuple(normals.shape)}."
        )
    number, _, channels = tf.unstack(tf.shape(normals))
    # Rows that hold one value of each image and channel: gathered whole.
    rows = tf.reshape(tf.transpose(normals, (1, 0, 2)), (size, number * channels))
    noise, first = 0.0, 0
    for vertices, indices, weights in _noise_map(height, width):
        gradients = tf.gather(rows, first + indices)  # (pixels, 6, n * channels)
        noise += tf.matmul(weights[:, None], gradients)[:, 0]
        first += 2 * len(vertices)
    noise = tf.reshape(noise, (height, width, number, channels))
    noise = tf.transpose(noise, (2, 0, 1, 3))
    return tf.ensure_shape(noise, (normals.shape[0], height, width, normals.shape[2]))


@functools.lru_cache
def _noise_map(height, width):
    """The linear map from normals to noise, of each octave, the coarsest first.

    Returns:
        A list of the octave's lattice points, int (points, 2), in the order of their normals, two
        for each; of each pixel the six normals that it is made of, counted from the octave's
        first, int32 (pixels, 6); and their weights, float32 (pixels, 6).
    """
    distance, octaves = COARSEST * max(height, width), []
    if distance < FINEST:
        raise ValueError(
            "the longer of height and width must be at least 8 for simplex noise. "
            f"Received: height={height}, width={width}."
        )
    while distance >= FINEST:
        vertices, indices, weights = _octave(height, width, distance, len(octaves) * SHIFT)
        octaves.append((vertices, indices, weights * PERSISTENCE ** len(octaves)))
        distance /= 2
    # No value counts twice in a pixel: the variance is the sum of the squared weights.
    variance = sum(np.square(weights).sum(axis=1, keepdims=True) for _, _, weights in octaves)
    return [
        (vertices, indices.astype(np.int32), (weights / np.sqrt(variance)).astype(np.float32))
        for vertices, indices, weights in octaves
    ]


def _octave(height, width, distance, shift):
    """One octave of `_noise_map`, its weights float64 and not normalised.

    Args:
        height: of the image.
        width: of the image.
        distance: between lattice points along the sides of the skewed squares, in pixels.
        shift: (2,), of the lattice, x and y, in that distance.
    """
    y, x = np.indices((height, width)).reshape(2, -1)
    points = (np.stack([x, y], axis=1) + 0.5) / distance + shift
    origin = np.floor(points + SKEW * points.sum(axis=1, keepdims=True)).astype(int)
    from_origin = points - _place(origin)
    # The triangle is the one below the diagonal of its skewed square, or the one above.
    second = np.where(from_origin[:, :1] > from_origin[:, 1:], [[1, 0]], [[0, 1]])
    corners = np.stack([origin, origin + second, origin + 1], axis=1)  # (pixels, 3, 2)
    offsets = points[:, None] - _place(corners)
    kernel = np.maximum(0.5 - np.square(offsets).sum(axis=2, keepdims=True), 0) ** 4
    vertices, numbers = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    indices = 2 * numbers.reshape(-1, 3, 1) + np.arange(2)
    return vertices, indices.reshape(-1, 6), (kernel * offsets).reshape(-1, 6)


def _place(vertices):
    """The places in the plane of lattice points, int (..., 2)."""
    return vertices - UNSKEW * vertices.sum(axis=-1, keepdims=True)
