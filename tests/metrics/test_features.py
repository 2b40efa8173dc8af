import hashlib
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.feature import graycomatrix, graycoprops

from keras_medgen import metrics
from keras_medgen.metrics.features import random_kernels
from keras_medgen.metrics.radiomics import RadiomicsLite

# Of the bytes of the kernels for one channel, made once with NumPy 2.
KERNELS = "d63d0a31815896fe9231a1bce48549ea0de2231d03f6b36f71342b8514f25285"


@pytest.fixture
def images(rng):
    grid = np.mgrid[0:20, 0:16].sum(0) / 34
    noise = rng.normal(0, 0.1, (80, 20, 16, 1))
    return np.clip(grid[None, ..., None] * rng.uniform(0.5, 1, (80, 1, 1, 1)) + noise, 0, 1)


class TestExtractor:
    def test_standardises_and_projects_as_the_real_images_vary(self, images):
        extractor = metrics.RandomConvolutions(components=8).fit(images)
        features = extractor(images)
        assert features.values.shape == (80, 8)
        assert features.values.dtype == np.float64
        assert features.name == extractor.label == "randconv-v1/8"
        np.testing.assert_allclose(features.values.mean(axis=0), 0, atol=1e-9)
        covariance = np.cov(features.values, rowvar=False)
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-6)
        assert (np.diff(np.diag(covariance)) <= 0).all()

    def test_what_hardly_varies_is_not_blown_up(self, images):
        class Three(metrics.FeatureExtractor):
            kind = "three"

            def describe(self, images):
                means = images.mean((1, 2, 3))
                return np.stack([means, 2 * means, 1e-6 * means], axis=1)

        deviations = Three(components=None).fit(images)(images).values.std(axis=0)
        np.testing.assert_allclose(deviations[:2], 1)
        assert deviations[2] < 1e-4

    def test_hash_tells_apart_what_must_not_be_compared(self, images):
        def sha(extractor, fitted_on=images):
            return extractor.fit(fitted_on).sha256

        first = sha(metrics.RandomConvolutions(8))
        assert first == sha(metrics.RandomConvolutions(8))
        others = [
            sha(metrics.RandomConvolutions(9)),
            sha(metrics.RandomConvolutions(8), images[1:]),
            sha(RadiomicsLite()),
        ]
        assert len({first, *others}) == 4
        pair = [metrics.RandomConvolutions(n).fit(images)(images) for n in (8, 9)]
        with pytest.raises(ValueError, match=r"randconv-v1/8.*randconv-v1/9"):
            metrics.frechet_distance(*pair)

    def test_bad_input(self, images):
        extractor = metrics.RandomConvolutions()
        with pytest.raises(RuntimeError, match="must be fitted"):
            extractor(images)
        with pytest.raises(ValueError, match="at least 65 real training images"):
            extractor.fit(images[:64])
        with pytest.raises(ValueError, match="lie in"):
            extractor.fit(images * 2)
        with pytest.raises(ValueError, match=r"shape=\(80, 20, 16\)"):
            extractor.fit(images[..., 0])

    def test_bytes_are_images_too(self, images):
        pixels = np.round(images * 255).astype(np.uint8)
        extractor = metrics.RandomConvolutions(8).fit(pixels)
        np.testing.assert_allclose(extractor(pixels).values, extractor(pixels / 255).values)


class TestRandomConvolutions:
    def test_weights_are_the_same_everywhere(self):
        digest = hashlib.sha256()
        for kernel in random_kernels(1):
            digest.update(kernel.tobytes())
        assert digest.hexdigest() == KERNELS

    def test_equals_a_plain_network(self, images):
        extractor = metrics.RandomConvolutions(8)
        found = extractor.describe(images.astype(np.float32))
        x, expected = 2 * images.astype(np.float32) - 1, []
        for number, kernel in enumerate(random_kernels(1)):
            layer = keras.layers.Conv2D(
                kernel.shape[-1], 3, 1 + (number > 0), padding="same", use_bias=False
            )
            layer.build(x.shape)
            layer.set_weights([kernel])
            x = layer(x).numpy()
            x = np.where(x > 0, x, 0.2 * x)
            expected += [x.mean((1, 2)), np.sqrt(x.var((1, 2)) + 1e-6)]
            if number == 1:
                halves = [(slice(n), slice(n, None)) for n in (5, 4)]
                quarters = itertools.product(*halves)
                expected += [x[:, rows, columns].mean((1, 2)) for rows, columns in quarters]
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=2e-5)

    def test_sees_noise_and_mirrors(self, images, rng):
        extractor = metrics.RandomConvolutions(8).fit(images[:40])
        real, other = extractor(images[:40]), extractor(images[40:])
        floor = metrics.frechet_distance(real, other)
        changed = {
            "noise": np.clip(images[40:] + rng.normal(0, 0.2, (40, 20, 16, 1)), 0, 1),
            "mirror": images[40:, :, ::-1],
        }
        for worse in changed.values():
            assert metrics.frechet_distance(real, extractor(worse)) > 2 * floor


class TestRadiomics:
    def test_named_figures(self, images):
        images = images.astype(np.float32)
        columns = RadiomicsLite().describe(images).T
        named = dict(zip(RadiomicsLite.names(1), columns, strict=True))
        pixels = images.reshape(80, -1).astype(np.float64)
        np.testing.assert_allclose(named["mean_0"], pixels.mean(1))
        np.testing.assert_allclose(named["percentile_95_0"], np.percentile(pixels, 95, axis=1))
        levels = np.minimum((images[0, ..., 0] * 16).astype(np.uint8), 15)
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        matrix = graycomatrix(levels, [2], angles, 16, symmetric=True, normed=True)
        assert named["contrast_2"][0] == pytest.approx(graycoprops(matrix, "contrast").mean())
        patterns = [named[f"pattern_{n}"] for n in range(10)]
        np.testing.assert_allclose(np.sum(patterns, axis=0), 1)

    def test_gradient_of_a_ramp(self):
        ramp = np.tile(np.linspace(0, 1, 11), (1, 11, 1))[..., None]
        named = dict(zip(RadiomicsLite.names(1), RadiomicsLite().describe(ramp)[0], strict=True))
        assert named["gradient_percentile_95"] == pytest.approx(0.1)
        assert named["skewness_0"] == pytest.approx(0, abs=1e-6)

    def test_each_image_is_seen_by_itself(self, rng):
        images = rng.random((3, 12, 12, 2))
        together = RadiomicsLite().describe(images)
        assert together.shape == (3, len(RadiomicsLite.names(2)))
        alone = [RadiomicsLite().describe(images[number : number + 1]) for number in range(3)]
        np.testing.assert_allclose(together, np.concatenate(alone))


def test_constant_images_stay_finite():
    assert np.isfinite(RadiomicsLite().describe(np.zeros((2, 12, 12, 1)))).all()


def test_classifiers_stand_side_by_side(images):
    inputs = keras.Input((20, 16, 1))
    networks = []
    for seed in (0, 1):
        layer = keras.layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(seed))
        networks.append(keras.Model(inputs, layer(keras.layers.Flatten()(inputs))))
    extractor = metrics.ClassifierFeatures(networks, components=None).fit(images)
    raw = extractor.describe(images.astype(np.float32))
    expected = [network(tf.constant(images, tf.float32)) for network in networks]
    np.testing.assert_allclose(raw, np.concatenate(expected, axis=1), rtol=1e-5)
    before = extractor.sha256
    networks[1].set_weights([2 * w for w in networks[1].get_weights()])
    assert extractor.sha256 != before


@pytest.mark.slow
def test_inception_from_a_file(tmp_path, images):
    keras.utils.set_random_seed(0)
    network = keras.applications.InceptionV3(
        include_top=False, pooling="avg", weights=None, input_shape=(299, 299, 3)
    )
    network.save_weights(tmp_path / "inception.weights.h5")
    extractor = metrics.Inception(tmp_path / "inception.weights.h5").fit(images)
    features = extractor(images[:2])
    assert features.name == "inception/2048"
    pixels = np.round(np.repeat(images[:2], 3, axis=-1).astype(np.float32) * 255)
    resized = tf.image.resize(pixels, (299, 299), antialias=True)
    np.testing.assert_allclose(features.values, network(resized / 127.5 - 1), atol=1e-5)
    with pytest.raises(ValueError, match="images of 2"):
        extractor(np.zeros((1, 20, 16, 2)))
