import math

import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.ops import simplex
from keras_medgen.ops.simplex import simplex_noise, simplex_noise_size

SIZES = [(28, 28), (64, 64), (20, 33)]


@pytest.fixture(params=SIZES, ids=str)
def size(request):
    return request.param


def normals(rng, n, height, width, channels=1):
    shape = n, simplex_noise_size(height, width), channels
    return rng.standard_normal(shape).astype(np.float32)


def linear_map(height, width):
    """From normals to pixels, (pixels, normals): what unit vectors become."""
    identity = np.eye(simplex_noise_size(height, width), dtype=np.float32)[..., None]
    parts = [identity[start : start + 1000] for start in range(0, len(identity), 1000)]
    noise = np.concatenate([simplex_noise(part, height, width) for part in parts])
    return noise.reshape(len(identity), -1).T


def corners(x, y):
    """Gustavson's three corners of a point: the lattice point, its kernel, and the offset to it."""
    skew, unskew = 0.5 * (math.sqrt(3) - 1), (3 - math.sqrt(3)) / 6
    i, j = math.floor(x + (x + y) * skew), math.floor(y + (x + y) * skew)
    x0, y0 = x - (i - (i + j) * unskew), y - (j - (i + j) * unskew)
    i1, j1 = (1, 0) if x0 > y0 else (0, 1)
    offsets = {
        (i, j): (x0, y0),
        (i + i1, j + j1): (x0 - i1 + unskew, y0 - j1 + unskew),
        (i + 1, j + 1): (x0 - 1 + 2 * unskew, y0 - 1 + 2 * unskew),
    }
    for point, (dx, dy) in offsets.items():
        t = 0.5 - dx * dx - dy * dy
        yield point, (t**4 if t > 0 else 0.0), (dx, dy)


def octave_by_hand(height, width, distance, shift, values):
    """Noise (height, width), and its variance if `values`, two for each point, are normal."""
    pixels = [
        [
            list(corners((x + 0.5) / distance + shift[0], (y + 0.5) / distance + shift[1]))
            for x in range(width)
        ]
        for y in range(height)
    ]
    points = sorted({point for row in pixels for pixel in row for point, _, _ in pixel})
    gradients = dict(zip(points, np.reshape(values[: 2 * len(points)], (-1, 2)), strict=True))
    noise, variance = np.zeros((2, height, width))
    for y, row in enumerate(pixels):
        for x, pixel in enumerate(row):
            for point, kernel, (dx, dy) in pixel:
                noise[y, x] += kernel * (gradients[point][0] * dx + gradients[point][1] * dy)
                variance[y, x] += kernel**2 * (dx**2 + dy**2)
    return noise, variance, 2 * len(points)


@pytest.mark.parametrize(("distance", "shift"), [(7.0, (0.0, 0.0)), (2.3, (0.7, -5.2))])
def test_an_octave_is_simplex_noise(rng, size, distance, shift):
    vertices, indices, weights = simplex._octave(*size, distance, np.array(shift))
    values = rng.standard_normal(2 * len(vertices))
    ours = (weights * values[indices]).sum(axis=1).reshape(size)
    by_hand, variance, used = octave_by_hand(*size, distance, shift, values)
    assert used == len(values)
    np.testing.assert_allclose(ours, by_hand, atol=1e-12)
    np.testing.assert_allclose(np.square(weights).sum(axis=1).reshape(size), variance, atol=1e-14)
    assert np.abs(by_hand).max() > 0.01


@pytest.mark.parametrize(
    ("size", "distances"),
    [
        ((28, 28), [7, 3.5]),
        ((64, 64), [16, 8, 4, 2]),
        ((20, 33), [8.25, 4.125, 2.0625]),
        ((8, 5), [2]),
    ],
    ids=str,
)
def test_noise_is_the_sum_of_its_octaves(rng, size, distances):
    values = normals(rng, 1, *size)
    left, total, variance = values[0, :, 0].astype(np.float64), 0, 0
    for number, distance in enumerate(distances):
        octave = octave_by_hand(*size, distance, number * simplex.SHIFT, left)
        total = total + 0.8**number * octave[0]
        variance = variance + 0.64**number * octave[1]
        left = left[octave[2] :]
    assert len(left) == 0
    noise = simplex_noise(values, *size)[0, :, :, 0]
    np.testing.assert_allclose(noise, total / np.sqrt(variance), atol=2e-5)


def test_the_variance_is_1_at_each_pixel(size):
    norms = np.linalg.norm(linear_map(*size).astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)


def test_octaves_have_no_points_in_common():
    """Where all lattices met, all octaves would be 0, and their sum could not be normalised."""
    for side in (16, 28, 64, 96, 128):
        octaves, distance = [], side / 4
        while distance >= 2:
            _, _, weights = simplex._octave(side, side, distance, len(octaves) * simplex.SHIFT)
            octaves.append(0.64 ** len(octaves) * np.square(weights).sum(axis=1))
            distance /= 2
        deviation = np.sqrt(sum(octaves))
        assert deviation.min() > 0.25 * deviation.max()


def test_samples_have_the_covariance_of_the_map(rng):
    noise = simplex_noise(normals(rng, 4000, 20, 33), 20, 33).numpy().reshape(4000, -1)
    matrix = linear_map(20, 33)
    pixels = rng.permutation(20 * 33)[:200]
    covariance = noise[:, pixels].T @ noise[:, pixels] / 4000
    expected = matrix[pixels] @ matrix[pixels].T
    errors = (covariance - expected) * np.sqrt(4000 / (1 + expected**2))  # in standard deviations
    assert np.abs(errors).max() < 6
    assert np.square(errors).mean() == pytest.approx(1, abs=0.25)


def test_correlation_falls_with_distance():
    matrix = linear_map(64, 64).reshape(64, 64, -1)

    def correlation(rows, columns):
        ends = matrix[rows:, columns:], matrix[: 64 - rows, : 64 - columns]
        return (ends[0] * ends[1]).sum(axis=-1)

    for direction in ((1, 0), (0, 1)):
        near = correlation(*direction)
        assert (near > 0).mean() > 0.98  # not beside points of the coarsest lattice
        means = [correlation(*(d * steps for d in direction)).mean() for steps in (1, 2, 4, 8)]
        assert means[0] > 0.6
        assert means == sorted(means, reverse=True)
        # Two kernels, of 0.71 lattice distances each, are the most that noise reaches.
        np.testing.assert_array_equal(correlation(*(23 * d for d in direction)), 0)
    assert correlation(0, 1).mean() == pytest.approx(correlation(1, 0).mean(), abs=0.02)


def test_images_and_channels_are_apart(rng):
    values = normals(rng, 3, 20, 33, channels=2)
    noise = simplex_noise(values, 20, 33)
    assert noise.shape == (3, 20, 33, 2)
    assert noise.dtype == tf.float32
    for image in range(3):
        for channel in range(2):
            alone = simplex_noise(values[[image]][..., [channel]], 20, 33)[0, ..., 0]
            np.testing.assert_allclose(noise[image, ..., channel], alone, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_it_is_the_same_with_its_gradient(rng, size, jit_compile):
    values = tf.constant(normals(rng, 2, *size))
    weights = tf.constant(rng.standard_normal((2, *size, 1)), tf.float32)

    def noise_and_slope(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            noise = simplex_noise(values, *size)
            total = tf.reduce_sum(weights * noise)
        return noise, tape.gradient(total, values)

    compiled = tf.function(
        noise_and_slope,
        input_signature=[tf.TensorSpec((None, values.shape[1], None))],
        jit_compile=jit_compile,
    )
    noise, slope = compiled(values)
    expected, eager_slope = noise_and_slope(values)
    np.testing.assert_allclose(noise, expected, atol=1e-6)
    np.testing.assert_allclose(slope, eager_slope, atol=1e-5)
    # Of a linear map, the gradient gives the value back.
    total = np.sum(np.asarray(weights, np.float64) * expected)
    assert np.sum(np.asarray(slope, np.float64) * values) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("shape", [(2, 385, 1), (2, 386), (386, 1)])
def test_other_numbers_of_normals_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(n, 386, channels\) for images of 28x28"):
        simplex_noise(tf.zeros(shape), 28, 28)


def test_small_images_are_refused():
    with pytest.raises(ValueError, match=r"at least 8 .* Received: height=7, width=5"):
        simplex_noise_size(7, 5)
