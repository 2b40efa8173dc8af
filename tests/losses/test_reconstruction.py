import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen import losses


@pytest.fixture
def pair(rng):
    images = rng.random((4, 28, 28, 1)).astype(np.float32)
    noise = rng.normal(0, 0.1, images.shape)
    return images, (images + noise).clip(0.01, 0.99).astype(np.float32)


def image_sums(values):
    return values.reshape(len(values), -1).sum(1)


def expected_losses(images, reconstructions):
    """Of each name, in float64, per image; of calibrated ones with the scale of the batch."""
    x, y = images.astype(np.float64), reconstructions.astype(np.float64)
    n = x[0].size
    squared, absolute = (x - y) ** 2, np.abs(x - y)

    def calibrated(energies):
        return n / 2 * (np.log(2 * np.pi * energies.mean()) + energies / energies.mean())

    def cumulative(k):  # of the logistic whose mean absolute deviation is that of the batch
        return 1 / (1 + np.exp(-(k - 255 * y) / (255 * absolute.mean() / (2 * math.log(2)))))

    k = np.round(255 * x)
    upper = np.where(k == 255, 1, cumulative(k + 0.5))
    lower = np.where(k == 0, 0, cumulative(k - 0.5))
    similarity = np.asarray(kmg.ops.ms_ssim(images, reconstructions), np.float64)
    return {
        "gaussian": calibrated(squared.mean((1, 2, 3))),
        "mse": image_sums(squared / 2 + np.log(2 * np.pi) / 2),
        "mae": image_sums(absolute + np.log(2)),
        "bernoulli": image_sums(-(x * np.log(y) + (1 - x) * np.log(1 - y))),
        "quantized_logistic": image_sums(-np.log(upper - lower)),
        "ms_ssim": calibrated(1 - similarity),
        "ms_ssim_l1": calibrated(np.asarray(kmg.ops.ms_ssim_l1(images, reconstructions))),
    }


@pytest.mark.parametrize("name", losses.RECONSTRUCTIONS)
def test_equals_numpy(pair, name):
    loss = losses.get(name)(*pair, training=True)
    assert loss.dtype == tf.float32
    # MS-SSIM as a loss has a floor, which moves its value a little.
    atol = 0.05 if name.startswith("ms_ssim") else 0
    np.testing.assert_allclose(loss, expected_losses(*pair)[name], rtol=2e-4, atol=atol)


def test_the_likelihoods_are_normalised():
    # Over the values that one pixel can have, the others held: densities over a fine grid that
    # reaches far beyond [0, 1], probabilities over the values themselves.
    def total(name, values, width):
        loss = losses.get(name)
        if isinstance(loss, losses.QuantizedLogistic):
            loss.scale.assign(0.05)
        images = np.asarray(values, np.float32).reshape(-1, 1, 1, 1)
        return width * np.exp(-loss(images, np.full_like(images, 0.3)).numpy()).sum()

    grid = np.linspace(-20, 20, 40001)
    for name in ("gaussian", "mse", "mae"):
        assert total(name, grid, 0.001) == pytest.approx(1, abs=1e-3)
    assert total("quantized_logistic", np.arange(256) / 255, 1) == pytest.approx(1, abs=1e-3)
    assert total("bernoulli", [0, 1], 1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", losses.RECONSTRUCTIONS)
def test_gradients_are_finite_at_the_extremes(rng, name):
    images = np.stack([np.zeros((28, 28, 1)), np.ones((28, 28, 1)), rng.random((28, 28, 1))])
    images = images.astype(np.float32)
    for reconstructions in (images, 1 - images, np.zeros_like(images), np.ones_like(images)):
        variable = tf.Variable(reconstructions)
        with tf.GradientTape() as tape:
            loss = losses.get(name)(images, variable, training=True)
        assert np.isfinite(loss).all()
        assert np.isfinite(tape.gradient(loss, variable)).all()


@pytest.mark.parametrize("name", ["gaussian", "mse", "mae", "bernoulli", "quantized_logistic"])
def test_a_pixel_of_weight_two_counts_as_two(pair, name):
    images, reconstructions = (array[:, :4, :4] for array in pair)
    weights = np.ones((4, 4, 4, 1), np.float32)
    weights[:, :2] = 2
    weighted = losses.get(name)(images, reconstructions, weights, training=True)
    twice = [np.concatenate([array, array[:, :2]], axis=1) for array in (images, reconstructions)]
    expected = losses.get(name)(*twice, training=True)
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


class TestKerasLosses:
    def test_are_summed_over_the_image(self, pair):
        images, reconstructions = pair
        by_pixel = losses.get(keras.losses.MeanAbsoluteError())
        np.testing.assert_allclose(
            by_pixel(*pair), image_sums(np.abs(images - reconstructions)), rtol=1e-5
        )
        weights = np.full((4, 28, 28, 1), 3, np.float32)
        np.testing.assert_allclose(by_pixel(*pair, weights), 3 * by_pixel(*pair), rtol=1e-5)

    def test_one_without_pixels_takes_no_weights(self, pair):
        class Whole(keras.losses.Loss):
            def call(self, y_true, y_pred):
                return tf.reduce_mean(tf.abs(y_true - y_pred), axis=[1, 2, 3])

        loss = losses.get(Whole())
        np.testing.assert_allclose(loss(*pair), np.abs(pair[0] - pair[1]).mean((1, 2, 3)), 1e-4)
        with pytest.raises(ValueError, match="value for each pixel"):
            loss(*pair, np.ones((4, 28, 28, 1), np.float32))


class TestPerceptual:
    @pytest.fixture
    def network(self):
        images = keras.Input((28, 28, 1))
        shallow = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(images)
        return keras.Model(images, [shallow, keras.layers.Conv2D(8, 3, strides=2)(shallow)])

    def test_equals_numpy(self, pair, network):
        features = [[np.asarray(t, np.float64) for t in network(x)] for x in pair]
        energies = np.mean(
            [((a - b) ** 2).mean((1, 2, 3)) for a, b in zip(*features, strict=True)], axis=0
        )
        expected = 784 / 2 * (np.log(2 * np.pi * energies.mean()) + energies / energies.mean())
        loss = losses.Perceptual(network)(*pair, training=True)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)

    def test_the_network_is_frozen_and_saved(self, pair, network, tmp_path):
        model = kmg.models.VAE((28, 28, 1), 4, reconstruction=losses.Perceptual(network))
        model.compile()
        before = [np.asarray(w) for w in network.weights]
        model.fit(pair[0], verbose=0)
        for value, weight in zip(before, model.reconstruction.network.weights, strict=True):
            np.testing.assert_array_equal(value, weight)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        for value, weight in zip(before, again.reconstruction.network.weights, strict=True):
            np.testing.assert_array_equal(value, weight)

    def test_the_given_network_trains_on_and_changes_nothing(self, pair, network):
        layer = kmg.losses.Perceptual(network)
        before = np.asarray(layer(*pair))
        assert network.trainable
        network.set_weights([2 * w for w in network.get_weights()])
        np.testing.assert_array_equal(layer(*pair), before)

    def test_by_name_it_says_what_it_needs(self):
        with pytest.raises(ValueError, match=r"losses\.Perceptual\(network\)"):
            losses.get("perceptual")


def test_anything_else_is_refused():
    with pytest.raises(ValueError, match=r"ms_ssim_l1.*'ssim'"):
        losses.get("ssim")
