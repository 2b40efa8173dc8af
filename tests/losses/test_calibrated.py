import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.losses import CalibratedGaussian


def nll(images, reconstructions, variance):
    """Of a Gaussian, in float64, per image."""
    squared = (images.astype(np.float64) - reconstructions) ** 2
    return (0.5 * np.log(2 * np.pi * variance) + squared / (2 * variance)).sum((1, 2, 3))


@pytest.fixture
def pair(rng):
    images = rng.random((5, 4, 3, 2)).astype(np.float32)
    return images, (images + rng.normal(0, 0.1, images.shape)).astype(np.float32)


def test_training_uses_the_variance_that_makes_the_batch_most_likely(pair):
    layer = CalibratedGaussian()
    result = layer(*pair, training=True)
    optimum = np.mean((pair[0].astype(np.float64) - pair[1]) ** 2)
    np.testing.assert_allclose(result, nll(*pair, optimum), rtol=1e-5)
    for other in (0.8 * optimum, 1.25 * optimum):
        assert nll(*pair, other).sum() > float(tf.reduce_sum(result))


def test_everything_else_uses_the_moving_average(pair):
    layer = CalibratedGaussian(momentum=0.5)
    np.testing.assert_allclose(layer(*pair), nll(*pair, 1.0), rtol=1e-5)  # before training
    first = np.mean((pair[0] - pair[1]) ** 2)
    layer(*pair, training=True)
    assert float(layer.scale) == pytest.approx(first, rel=1e-5)
    layer(pair[0], pair[0] + 0.5, training=True)
    expected = 0.5 * first + 0.5 * 0.25
    assert float(layer.scale) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(layer(*pair), nll(*pair, expected), rtol=1e-4)
    assert float(layer.scale) == pytest.approx(expected, rel=1e-5)  # looking changes nothing


def test_the_average_starts_as_the_plain_mean_of_what_it_saw(pair):
    layer = CalibratedGaussian(momentum=0.99)
    for shift in (0.1, 0.2, 0.3):
        layer(pair[0], pair[0] + shift, training=True)
    assert float(layer.scale) == pytest.approx(np.mean([0.01, 0.04, 0.09]), rel=1e-4)


def test_gradient_is_that_of_the_optimised_likelihood(pair):
    images, reconstructions = pair
    variable = tf.Variable(reconstructions)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(CalibratedGaussian()(images, variable, training=True))
    optimum = np.mean((images - reconstructions) ** 2)
    expected = (reconstructions - images) / optimum  # of n/2 log(MSE), n the number of values
    np.testing.assert_allclose(tape.gradient(loss, variable), expected, rtol=1e-3, atol=1e-3)


def test_perfect_reconstructions_stay_finite(pair):
    layer = CalibratedGaussian()
    assert np.isfinite(layer(pair[0], pair[0], training=True)).all()
    assert float(layer.scale) == pytest.approx(1e-6, rel=0.05)


def test_a_batch_that_overflowed_leaves_the_average_alone(pair):
    layer = CalibratedGaussian()
    layer(*pair, training=True)
    before = float(layer.scale)
    layer(pair[0], pair[1] * np.inf, training=True)
    assert float(layer.scale) == before
    assert int(layer.updates) == 1


def test_is_float32_under_any_policy(pair):
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert CalibratedGaussian()(*pair).dtype == tf.float32


def test_config_round_trip():
    layer = CalibratedGaussian.from_config(CalibratedGaussian(momentum=0.9).get_config())
    assert layer.momentum == 0.9
