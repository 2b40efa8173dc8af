import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.layers import GroupNormalization


@pytest.fixture
def pair(rng):
    """Our layer and Keras', with the same random scale and offset."""
    layers = GroupNormalization(4), keras.layers.GroupNormalization(4, epsilon=1e-5)
    gamma, beta = rng.normal(1, 0.3, 16), rng.normal(0, 1, 16)
    for layer in layers:
        layer.build((None, 7, 6, 16))
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    return layers


def values_and_gradients(layer, x, weights):
    """Outputs, first derivatives to everything, and a second derivative."""
    x = tf.constant(x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            outputs = layer(x)
            objective = tf.reduce_sum(weights * outputs**2)
        first = inner.gradient(objective, [x, layer.gamma.value, layer.beta.value])
        squared = tf.reduce_sum(first[0] ** 2)
    return [outputs, *first, outer.gradient(squared, x)]


def test_equals_keras_in_value_and_in_first_and_second_derivatives(pair, rng):
    x = rng.normal(3, 2, (4, 7, 6, 16)).astype(np.float32)
    weights = rng.normal(0, 1, x.shape).astype(np.float32)
    ours, theirs = (values_and_gradients(layer, x, weights) for layer in pair)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=2e-6 * np.abs(their).max())


def test_equals_float64_where_the_mean_is_ten_times_the_spread(rng):
    x = rng.normal(10, 1, (2, 8, 8, 8)).astype(np.float32)
    groups = x.astype(np.float64).reshape(2, 64, 2, 4)
    mean = groups.mean((1, 3), keepdims=True)
    expected = (groups - mean) / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(GroupNormalization(2)(x), expected.reshape(x.shape), atol=1e-4)


def test_a_constant_image_stays_finite():
    x = tf.fill((1, 4, 4, 8), 7.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = GroupNormalization()(x)
    assert np.isfinite(outputs).all()
    assert np.isfinite(tape.gradient(outputs, x)).all()


def test_half_precision_keeps_its_statistics_in_single(rng):
    x = rng.normal(0, 1, (2, 8, 8, 16)).astype(np.float32)
    half = GroupNormalization(dtype="mixed_float16")(x)
    assert half.dtype == tf.float16
    np.testing.assert_allclose(half, GroupNormalization()(x.astype(np.float16)), atol=2e-3)


def test_channels_must_divide_by_groups():
    with pytest.raises(ValueError, match="channels=12, groups=8"):
        GroupNormalization().build((None, 4, 4, 12))
