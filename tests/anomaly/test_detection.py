import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.filters import gaussian

import keras_medgen as kmg
from keras_medgen.anomaly import detect
from keras_medgen.ops.random import normal_rows
from tests.conftest import blobs
from tests.models.contract import MODELS, SHAPE


@pytest.fixture
def images(rng):
    return blobs(rng, 3).astype(np.float32) / 255


@pytest.fixture(params=["VAE", "VAEGAN"])
def autoencoder(request):
    return MODELS[request.param].make(1)


def kl_divergence(model, images):
    """Kingma and Welling, appendix B, in float64."""
    mean, log_var = (model.encode(images)[k].astype(np.float64) for k in ("mean", "log_var"))
    return 0.5 * np.sum(mean**2 + np.exp(log_var) - 1 - log_var, axis=1)


def features(model, images, labels=None):
    layer = model.discriminator.get_layer("features")
    network = keras.Model(model.discriminator.input, layer.output)
    return network(2 * images - 1, training=False).numpy().astype(np.float64)


class TestReconstruction:
    def test_is_the_difference(self, autoencoder, images):
        found = detect(autoencoder, images)
        expected = np.abs(images - autoencoder.reconstruct(images))[..., 0]
        assert found["maps"].dtype == found["scores"].dtype == np.float32
        np.testing.assert_allclose(found["maps"], expected, atol=1e-6)
        percentile = np.percentile(expected.reshape(3, -1), 99.5, axis=1)
        np.testing.assert_allclose(found["scores"], percentile, atol=1e-6)

    def test_signs_and_channels(self):
        class Grey:
            def reconstruct(self, images):
                return np.full_like(images, 0.5)

        images = np.array([[[[0.8, 0.1], [0.4, 0.5]]]], np.float32)
        for arguments, expected in (
            ({}, [0.35, 0.05]),
            ({"channel": 0}, [0.3, 0.1]),
            ({"channel": 1, "sign": "darker"}, [0.4, 0.0]),
            ({"sign": "brighter"}, [0.15, 0.0]),
        ):
            maps = detect(Grey(), images, **arguments)["maps"]
            np.testing.assert_allclose(maps, [[expected]], atol=1e-7)

    @pytest.mark.parametrize(
        ("score", "reduce"),
        [
            ("mean", lambda x: x.mean()),
            ("max", lambda x: x.max()),
            ("p90", lambda x: np.percentile(x, 90)),
        ],
    )
    def test_scores_of_maps(self, images, score, reduce):
        found = detect(None, images, "intensity", score=score)
        expected = [reduce(one) for one in found["maps"]]
        np.testing.assert_allclose(found["scores"], expected, rtol=1e-6)
        by_function = detect(None, images, "intensity", score=lambda maps: list(map(reduce, maps)))
        np.testing.assert_array_equal(by_function["scores"], found["scores"])

    def test_no_images(self, autoencoder):
        found = detect(autoencoder, np.zeros((0, *SHAPE), np.float32))
        assert found["maps"].shape == (0, 16, 16)
        assert found["scores"].shape == (0,)


class TestDivergence:
    def test_kl_in_nats(self, autoencoder, images):
        found = detect(autoencoder, images, "kl")
        np.testing.assert_allclose(found["scores"], kl_divergence(autoencoder, images), rtol=1e-4)

    def test_the_sum_is_in_nats(self, autoencoder, images):
        reconstructed = autoencoder.reconstruct(images)
        if isinstance(autoencoder, kmg.models.VAE):
            scale = 0.02  # of a trained one
            autoencoder.reconstruction.scale.assign(scale)
            squares = np.sum((images - reconstructed).astype(np.float64) ** 2, axis=(1, 2, 3))
            loss = 0.5 * (16 * 16 * np.log(2 * np.pi * scale) + squares / scale)
        else:
            pair = (features(autoencoder, batch) for batch in (images, reconstructed))
            loss = 0.5 * np.sum(np.subtract(*pair) ** 2, axis=(1, 2, 3))
        found = detect(autoencoder, images, "reconstruction+kl")
        expected = loss + kl_divergence(autoencoder, images)
        np.testing.assert_allclose(found["scores"], expected, rtol=1e-4)

    @pytest.mark.parametrize("method", ["kl", "reconstruction+kl"])
    def test_maps_are_gradients(self, autoencoder, images, method):
        images, change = np.clip(images, 0.02, 0.98), 2e-3
        maps = detect(autoencoder, images, method)["maps"]
        for row, column in ((5, 5), (8, 9)):
            moved = np.repeat(images[None], 2, axis=0)
            moved[:, :, row, column, 0] += np.array([[change], [-change]], np.float32)
            scores = detect(autoencoder, moved.reshape(-1, *SHAPE), method)["scores"]
            expected = np.abs(np.subtract(*scores.reshape(2, 3).astype(np.float64))) / (2 * change)
            np.testing.assert_allclose(
                maps[:, row, column], expected, rtol=0.05, atol=0.02 * maps.max()
            )

    def test_of_a_mixture_it_is_an_average_over_draws(self, images):
        model = kmg.models.VAE(SHAPE, latent_dim=3, prior="mixture", prior_components=4)
        found = detect(model, images, "kl", num_draws=8)
        again = detect(model, images[:2], "kl", num_draws=8)
        np.testing.assert_allclose(again["scores"], found["scores"][:2], rtol=1e-4)
        posterior, prior = model.posterior(images), model.prior_distribution()
        draws = posterior.sample(2000, seed=0)
        terms = (posterior.log_prob(draws) - prior.log_prob(draws)).numpy()
        error = terms.std(axis=0) / np.sqrt(8)
        assert (np.abs(found["scores"] - terms.mean(axis=0)) < 4 * error).all()
        assert (found["maps"] > 0).any(axis=(1, 2)).all()


def test_feature_distance(images):
    model = MODELS["VAEGAN"].make(0)
    found = detect(model, images, "features")
    pair = (features(model, batch) for batch in (images, model.reconstruct(images)))
    squares = np.subtract(*pair) ** 2
    np.testing.assert_allclose(found["scores"], 0.5 * squares.sum(axis=(1, 2, 3)), rtol=1e-4)
    expected = tf.image.resize(squares.mean(axis=3, keepdims=True), (16, 16))[..., 0]
    np.testing.assert_allclose(found["maps"], expected, rtol=1e-3, atol=1e-6)


class TestLatentSearch:
    @pytest.fixture
    def gan(self):
        return MODELS["GAN"].make(0)

    def test_the_loss_is_that_of_schlegl(self, gan, images):
        made = gan.decode(normal_rows(7, tf.range(3), (1, 4))[:, 0])
        residual = np.abs(2 * (images - made).astype(np.float64)).sum(axis=(1, 2, 3))
        pair = (features(gan, batch) for batch in (images, made))
        mismatch = np.abs(np.subtract(*pair)).sum(axis=(1, 2, 3))
        found = detect(gan, images, steps=0, seed=7)
        np.testing.assert_allclose(found["scores"], 0.9 * residual + 0.1 * mismatch, rtol=1e-4)
        np.testing.assert_allclose(found["maps"], np.abs(images - made)[..., 0], atol=1e-6)

    def test_finds_what_the_generator_made(self, gan):
        images = gan.generate(2, seed=5)
        first, found = (
            detect(gan, images, "latent_search", steps=steps, restarts=2) for steps in (0, 100)
        )
        assert (found["scores"] < 0.3 * first["scores"]).all()
        alone = detect(gan, images[:1], "latent_search", steps=100, restarts=2)
        np.testing.assert_allclose(alone["maps"], found["maps"][:1], atol=1e-3)
        fewer = detect(gan, images, "latent_search", steps=100, restarts=1)
        assert (found["scores"] <= fewer["scores"] * (1 + 1e-6)).all()


def test_diffusion_is_the_difference_to_the_mean_restoration(blurring, images):
    found = detect(blurring, images, num_draws=3, timestep=40, seed=2)
    assert [asked["seed"] for asked in blurring.asked] == [6, 7, 8]
    assert {asked["timestep"] for asked in blurring.asked} == {40}
    draws = [blurring.reconstruct(images, 40, seed=seed) for seed in (6, 7, 8)]
    expected = np.abs(images - np.mean(draws, axis=0))[..., 0]
    np.testing.assert_allclose(found["maps"], expected, atol=1e-6)
    np.testing.assert_allclose(found["restored"], np.mean(draws, axis=0), atol=1e-6)


def test_baselines(images):
    np.testing.assert_array_equal(detect(None, images, "intensity")["maps"], images[..., 0])
    blurred = [gaussian(image, 1.0, mode="reflect", truncate=4.0) for image in images[..., 0]]
    found = detect(None, images, "blurred")
    np.testing.assert_allclose(found["maps"], np.abs(images[..., 0] - blurred), atol=2e-6)


def test_labels_reach_a_conditional_model(images):
    model = kmg.models.VAE(SHAPE, latent_dim=4, num_classes=2)
    labels = np.array([0, 1, 1])
    maps = detect(model, images, labels=labels)["maps"]
    expected = np.abs(images - model.reconstruct(images, labels))[..., 0]
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    for method in ("kl", "reconstruction+kl"):
        assert np.isfinite(detect(model, images, method, labels=labels)["maps"]).all()
    with pytest.raises(ValueError, match="needs labels"):
        detect(model, images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "features"}, "method must be one that the model has: reconstruction, kl"),
        ({"method": "diffusion"}, "Received: method='diffusion', model=VAE"),
        ({"channel": 1}, "channel must be None or from 0 to 0"),
        ({"sign": "up"}, "sign must be one of absolute, brighter, darker"),
        ({"method": "kl", "sign": "darker"}, "sign='darker' is for reconstruction, "),
        ({"score": "q90"}, "score must be auto, mean, max, pN"),
        ({"score": "p101"}, "score must be"),
        ({"num_draws": 0}, "num_draws must be an integer of at least 1"),
    ],
)
def test_arguments_are_checked(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        detect(MODELS["VAE"].make(0), images, **arguments)


def test_without_a_model_there_are_the_baselines_only(images):
    with pytest.raises(ValueError, match=r"intensity, blurred\. Received: method='auto'"):
        detect(None, images)


def test_features_need_maps_of_features(images):
    model = MODELS["VAEGAN"].make(0)
    model.feature_layer = model.discriminator.layers[-2].name
    with pytest.raises(ValueError, match="needs a feature_layer of feature maps"):
        detect(model, images, "features")
