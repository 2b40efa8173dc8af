import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import keras_medgen as kmg
from tests.conftest import blobs
from tests.models.contract import SHAPE


def linear_vae(rng, shape=(16, 16, 1), latent_dim=3, **arguments):
    """A VAE of one affine layer each way, and its weights in float64."""
    pixels = int(np.prod(shape))
    images, latents = keras.Input(shape), keras.Input((latent_dim,))
    flat = keras.layers.Flatten()(images)
    heads = {name: keras.layers.Dense(latent_dim, name=name) for name in ("mean", "log_var")}
    encoder = keras.Model(images, {name: head(flat) for name, head in heads.items()})
    decode = keras.layers.Dense(pixels)
    decoder = keras.Model(latents, keras.layers.Reshape(shape)(decode(latents)))
    weights = {}
    for name, layer in {**heads, "decode": decode}.items():
        values = [rng.normal(0, 0.05, w.shape) for w in layer.weights]
        layer.set_weights(values)
        weights[name] = [np.asarray(w, np.float64) for w in layer.get_weights()]
    return kmg.models.VAE(shape, latent_dim, encoder=encoder, decoder=decoder, **arguments), weights


def numpy_losses(weights, images, noise, variance, kl_weight):
    """The loss terms of `linear_vae`, per image, in float64."""
    x = images.reshape(len(images), -1).astype(np.float64)
    mean, log_var = (x @ weights[n][0] + weights[n][1] for n in ("mean", "log_var"))
    z = mean + np.exp(log_var / 2) * noise
    squared = (x - (z @ weights["decode"][0] + weights["decode"][1])) ** 2
    variance = squared.mean() if variance is None else variance
    reconstruction = (0.5 * np.log(2 * np.pi * variance) + squared / (2 * variance)).sum(1)
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1)
    return {
        "loss": reconstruction + kl_weight * kl,
        "reconstruction_loss": reconstruction,
        "kl_loss": kl,
    }


class TestLosses:
    @pytest.mark.parametrize("training", [True, False])
    def test_of_a_hand_made_batch_equal_numpy(self, rng, monkeypatch, training):
        model, weights = linear_vae(rng, kl_weight=2.5)
        model.compile()
        model.likelihood.variance.assign(0.3)
        images = rng.random((6, 16, 16, 1), np.float32)
        noise = rng.standard_normal((6, 3), np.float32)
        monkeypatch.setattr(model, "noise", lambda shape, training: tf.constant(noise))
        variance = None if training else 0.3
        expected = numpy_losses(weights, images, noise, variance, kl_weight=2.5)
        objectives, terms = model.compute_losses({"images": tf.constant(images)}, training)
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=2e-5, err_msg=name)
        np.testing.assert_array_equal(objectives["optimizer"], terms["loss"])

    def test_history_is_the_mean_over_images(self, rng, monkeypatch):
        model, weights = linear_vae(rng)
        model.compile()
        model.likelihood.variance.assign(0.2)
        monkeypatch.setattr(model, "noise", lambda shape, training: tf.zeros(shape))
        images = rng.random((10, 16, 16, 1), np.float32)  # batches of 4, 4 and 2
        losses = model.evaluate(images, batch_size=4, verbose=0, return_dict=True)
        for name, value in numpy_losses(weights, images, 0.0, 0.2, kl_weight=5.0).items():
            assert losses[name] == pytest.approx(value.mean(), rel=1e-5)

    def test_kl_equals_tfp_and_the_closed_form(self, rng):
        mean, log_var = rng.normal(0, 2, (50, 8)), rng.uniform(-8, 3, (50, 8))
        closed = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1)
        normal = tfp.distributions.Normal(mean, np.exp(log_var / 2))
        by_tfp = tfp.distributions.kl_divergence(normal, tfp.distributions.Normal(0.0 * mean, 1.0))
        np.testing.assert_allclose(tf.reduce_sum(by_tfp, 1), closed, rtol=1e-10)

        flat = keras.Input((1, 1, 16))
        parts = keras.layers.Flatten()(flat)
        encoder = keras.Model(flat, {"mean": parts[:, :8], "log_var": parts[:, 8:]})
        given = np.concatenate([mean, log_var], 1).astype(np.float32)[:, None, None]
        model = kmg.models.VAE.__new__(kmg.models.VAE)
        keras.Model.__init__(model)
        model.encoder, model.latent_dim = encoder, 8
        ours = tfp.distributions.kl_divergence(model.posterior(given), model.prior)
        np.testing.assert_allclose(ours, closed, rtol=1e-5, atol=1e-5)

    def test_extreme_log_variances_stay_finite(self, rng):
        model, _ = linear_vae(rng)
        model.compile()
        images = rng.random((4, 16, 16, 1), np.float32)
        for bias in (-1e4, 1e4):
            model.encoder.get_layer("log_var").bias.assign([bias] * 3)
            with tf.GradientTape() as tape:
                losses, _ = model.compute_losses({"images": tf.constant(images)}, True)
            assert np.isfinite(losses["optimizer"]).all()
            for gradient in tape.gradient(losses["optimizer"], model.trainable_variables):
                assert np.isfinite(gradient).all()

    def test_regularisers_of_a_network_count_in_its_gradient(self, rng):
        images, latents = keras.Input(SHAPE), keras.Input((2,))
        flat = keras.layers.Flatten()(images)
        heads = {name: keras.layers.Dense(2)(flat) for name in ("mean", "log_var")}
        penalised = keras.layers.Dense(
            256, kernel_regularizer=keras.regularizers.L2(1e6), activation="sigmoid"
        )
        decoder = keras.Model(latents, keras.layers.Reshape(SHAPE)(penalised(latents)))
        model = kmg.models.VAE(SHAPE, 2, encoder=keras.Model(images, heads), decoder=decoder)
        model.compile(keras.optimizers.SGD(1e-7))
        before = np.abs(penalised.kernel).mean()
        model.fit(rng.random((8, *SHAPE), np.float32), verbose=0)
        assert np.abs(penalised.kernel).mean() == pytest.approx(0.8 * before, rel=0.02)


class TestInference:
    @pytest.fixture(scope="class")
    def model(self):
        model = kmg.models.VAE(SHAPE, latent_dim=4, seed=0)
        model.compile(keras.optimizers.Adam(2e-3, beta_2=0.95))
        model.fit(blobs(np.random.default_rng(0), 256), batch_size=32, epochs=12, verbose=0)
        return model

    @pytest.fixture
    def images(self, rng):
        return blobs(rng, 20).astype(np.float32) / 255

    def test_reconstructions_are_nearer_than_the_mean_image(self, model, images):
        error = np.mean((model.reconstruct(images) - images) ** 2)
        assert error < 0.35 * images.var(axis=0).mean()

    def test_reconstruct_is_decode_of_the_posterior_mean_and_call(self, model, images):
        reconstructions = model.reconstruct(images)
        means = model.encode(images)["mean"]
        np.testing.assert_allclose(model.decode(means), reconstructions, atol=1e-6)
        np.testing.assert_allclose(model(images), reconstructions, atol=1e-6)

    def test_generate_decodes_standard_normal_latents(self, model):
        latents = kmg.ops.normal_rows(7, tf.range(5), (4,))
        np.testing.assert_allclose(model.generate(5, seed=7), model.decode(latents), atol=1e-6)

    def test_the_latents_say_where_the_spot_is(self, model, images):
        encoded = model.encode(images)
        assert encoded["mean"].shape == encoded["log_var"].shape == (20, 4)
        assert encoded["mean"].std(0).max() > 0.5
        assert (np.exp(encoded["log_var"]) < 0.5).any(axis=1).all()

    def test_more_images_than_a_batch_and_none(self, model, images):
        many = np.tile(images, (15, 1, 1, 1))
        np.testing.assert_allclose(
            model.reconstruct(many)[280:], model.reconstruct(images), atol=1e-6
        )
        assert model.reconstruct(images[:0]).shape == (0, *SHAPE)
        assert model.encode(images[:0])["mean"].shape == (0, 4)
        assert model.decode(np.zeros((0, 4))).shape == (0, *SHAPE)

    def test_eight_bit_images_and_images_without_channels(self, model, images):
        eight_bit = (images * 255).round().astype(np.uint8)
        expected = model.reconstruct(eight_bit.astype(np.float32) / 255)
        np.testing.assert_allclose(model.reconstruct(eight_bit), expected, atol=1e-6)
        np.testing.assert_array_equal(model.reconstruct(images[..., 0]), model.reconstruct(images))

    @pytest.mark.parametrize("spoilt", ["shape", "range", "nan", "dtype"])
    def test_bad_images_are_refused(self, model, images, spoilt):
        bad = {
            "shape": (images[:, :15], r"\(batch, 16, 16, 1\)"),
            "range": (images * 2, r"\[0, 1\].*Received"),
            "nan": (np.where(images > 0.5, np.nan, images), r"\[0, 1\]"),
            "dtype": ((images * 255).astype(int), "int64"),
        }
        array, message = bad[spoilt]
        for method in (model.encode, model.reconstruct):
            with pytest.raises(ValueError, match=message):
                method(array)

    def test_bad_latents_are_refused(self, model):
        with pytest.raises(ValueError, match=r"\(n, 4\).*\(2, 5\)"):
            model.decode(np.zeros((2, 5)))

    def test_more_kl_weight_less_information(self, rng):
        data = blobs(rng, 128)
        kl = {}
        for kl_weight in (0.5, 50.0):
            model = kmg.models.VAE(SHAPE, latent_dim=4, kl_weight=kl_weight, seed=0)
            model.compile()
            kl[kl_weight] = model.fit(data, batch_size=32, epochs=6, verbose=0).history["kl_loss"][
                -1
            ]
        assert kl[50.0] < 0.5 * kl[0.5]


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"latent_dim": 0}, "latent_dim=0"),
            ({"num_classes": 2}, "num_classes=2"),
            ({"encoder": kmg.networks.convolutional_encoder((16, 17, 1), 4, 8)}, "encoder.*17"),
            ({"decoder": kmg.networks.convolutional_decoder(SHAPE, 5, 8)}, "decoder.*5"),
            ({"kl_weight": -1}, "kl_weight=-1"),
            ({"encoder": kmg.networks.convolutional_encoder(SHAPE, 5, 8)}, "encoder must.*5"),
            ({"decoder": kmg.networks.convolutional_decoder((16, 17, 1), 4, 8)}, "decoder.*17"),
            (
                {"encoder": keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])},
                "encoder",
            ),
        ],
    )
    def test_are_checked(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            kmg.models.VAE(SHAPE, **{"latent_dim": 4, **arguments})

    def test_image_shape(self):
        with pytest.raises(ValueError, match="16 to 256"):
            kmg.models.VAE((8, 8, 1))

    def test_an_encoder_in_half_precision_gives_a_posterior_in_single(self, rng):
        images = keras.Input(SHAPE)
        flat = keras.layers.Flatten()(images)
        half = {"dtype": "mixed_bfloat16"}
        heads = {name: keras.layers.Dense(2, **half)(flat) for name in ("mean", "log_var")}
        model = kmg.models.VAE(SHAPE, 2, encoder=keras.Model(images, heads))
        posterior = model.posterior(rng.random((3, *SHAPE), np.float32))
        assert posterior.mean().dtype == tf.float32
        assert posterior.batch_shape == (3,)
        assert posterior.event_shape == (2,)
