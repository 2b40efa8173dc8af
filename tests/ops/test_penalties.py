import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.ops.penalties import gradient_penalty, r1_penalty

SHAPE = (4, 3, 2, 1)


@pytest.fixture
def weights(rng):
    """Of a discriminator tanh(x a) b whose slope is known: one hidden layer of 5."""
    return rng.normal(0, 0.7, (6, 5)), rng.normal(0, 0.7, 5)


@pytest.fixture
def images(rng):
    return rng.uniform(-1, 1, (2, *SHAPE)).astype(np.float32)


def slopes(images, a, b):
    """The gradients of the logits, by hand in float64."""
    hidden = np.tanh(images.reshape(len(images), -1).astype(np.float64) @ a)
    return ((1 - hidden**2) * b) @ a.T


def penalties(images, uniform, a, b):
    """Both penalties, by hand in float64."""
    real, fake = images.astype(np.float64)
    share = uniform[:, None, None, None]
    norm = np.linalg.norm(slopes(share * real + (1 - share) * fake, a, b), axis=1)
    return (norm - 1) ** 2, (slopes(real, a, b) ** 2).sum(axis=1)


def tensor_penalties(images, uniform, a, b):
    def discriminate(x):
        hidden = tf.tanh(tf.reshape(x, (-1, 6)) @ a)
        return tf.linalg.matvec(hidden, b)

    real, fake = map(tf.constant, images)
    return gradient_penalty(discriminate, real, fake, uniform), r1_penalty(discriminate, real)


@pytest.mark.parametrize("which", [0, 1], ids=["gradient_penalty", "r1_penalty"])
@pytest.mark.parametrize("in_graph", [False, True])
def test_values_and_gradients_to_the_weights(which, in_graph, weights, images, rng):
    uniform = rng.uniform(size=4)
    variables = [tf.Variable(w, dtype=tf.float32) for w in weights]

    def compute():
        with tf.GradientTape() as tape:
            values = tensor_penalties(images, tf.constant(uniform, tf.float32), *variables)[which]
        return values, tape.gradient(values, variables)

    values, gradients = (tf.function(compute) if in_graph else compute)()
    assert values.dtype == tf.float32
    expected = penalties(images, uniform, *weights)[which]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    for number, gradient in enumerate(gradients):
        numeric = np.zeros(weights[number].shape)
        for place in np.ndindex(numeric.shape):
            totals = []
            for step in (1e-5, -1e-5):
                moved = [w.copy() for w in weights]
                moved[number][place] += step
                totals.append(penalties(images, uniform, *moved)[which].sum())
            numeric[place] = (totals[0] - totals[1]) / 2e-5
        np.testing.assert_allclose(gradient, numeric, atol=1e-5 * np.abs(numeric).max() + 1e-5)


def test_the_uniform_numbers_lead_from_the_fake_to_the_real_image(images):
    real, fake = map(tf.constant, images)
    seen = []

    def discriminate(x):
        seen.append(x)
        return tf.reduce_sum(x, axis=(1, 2, 3))

    gradient_penalty(discriminate, real, fake, tf.constant([0.0, 1.0, 0.5, 0.25]))
    np.testing.assert_allclose(seen[0][0], fake[0])
    np.testing.assert_allclose(seen[0][1], real[1])
    np.testing.assert_allclose(seen[0][2], (real[2] + fake[2]) / 2, atol=1e-6)
    np.testing.assert_allclose(seen[0][3], 0.25 * real[3] + 0.75 * fake[3], atol=1e-6)


def test_a_flat_discriminator_has_finite_gradients(images):
    real, fake = map(tf.constant, images)
    slope = tf.Variable(0.0)

    def discriminate(x):
        return slope * tf.reduce_sum(x, axis=(1, 2, 3))

    with tf.GradientTape() as tape:
        values = gradient_penalty(discriminate, real, fake, tf.fill(4, 0.5))
    np.testing.assert_allclose(values, 1.0, atol=1e-5)
    assert np.isfinite(tape.gradient(values, slope))


def test_images_learn_nothing(images):
    real, fake = (tf.Variable(x) for x in images)

    def discriminate(x):
        return tf.reduce_sum(x**3, axis=(1, 2, 3))

    with tf.GradientTape(persistent=True) as tape:
        values = gradient_penalty(discriminate, real, fake, tf.fill(4, 0.5))
        values += r1_penalty(discriminate, real)
    assert tape.gradient(values, [real, fake]) == [None, None]


def test_a_network_in_half_precision(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="leaky_relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, dtype="float32"),
        ]
    )
    images = tf.constant(rng.uniform(-1, 1, (3, 8, 8, 1)), tf.float32)
    with tf.GradientTape() as tape:
        values = r1_penalty(lambda x: network(x)[:, 0], images)
    assert values.dtype == tf.float32
    assert np.isfinite(tape.gradient(values, network.trainable_variables[0])).all()
