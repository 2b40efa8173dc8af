import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import keras_medgen as kmg
from keras_medgen.layers.priors import diagonal_normal
from tests.conftest import blobs
from tests.models.contract import SHAPE

NAMES = tuple(kmg.losses.RECONSTRUCTIONS)


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
        model.reconstruction.scale.assign(0.3)
        images = rng.random((6, 16, 16, 1), np.float32)
        noise = rng.standard_normal((6, 3), np.float32)
        monkeypatch.setattr(model, "noise", lambda shape, training, stream=0: tf.constant(noise))
        variance = None if training else 0.3
        expected = numpy_losses(weights, images, noise, variance, kl_weight=2.5)
        objectives, terms = model.compute_losses({"images": tf.constant(images)}, training)
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=2e-5, err_msg=name)
        np.testing.assert_array_equal(objectives["optimizer"], terms["loss"])

    def test_history_is_the_mean_over_images(self, rng, monkeypatch):
        model, weights = linear_vae(rng)
        model.compile()
        model.reconstruction.scale.assign(0.2)
        monkeypatch.setattr(model, "noise", lambda shape, training, stream=0: tf.zeros(shape))
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

        model = kmg.models.VAE(SHAPE, 8)
        given = [a.astype(np.float32) for a in (mean, np.exp(log_var / 2))]
        ours = model.kl_divergence(diagonal_normal(*given), None)
        np.testing.assert_allclose(tf.reduce_sum(ours, 1), closed, rtol=1e-5, atol=1e-5)

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


class TestRegularisation:
    """The penalty of a hand-made KL divergence of 3 images and 4 dimensions."""

    kl = np.array([[0.0, 0.3, 1.0, 3.0], [0.2, 0.3, 2.0, 5.0], [0.1, 0.3, 3.0, 1.0]], np.float32)

    def penalty(self, **arguments):
        model = kmg.models.VAE(SHAPE, 4, **arguments)
        kl = tf.Variable(self.kl if model.prior.factorised else self.kl.sum(1, keepdims=True))
        with tf.GradientTape() as tape:
            penalty = model._kl_penalty(kl)
            total = tf.reduce_sum(penalty)
        return penalty.numpy(), np.asarray(tape.gradient(total, kl))

    def test_plain(self):
        penalty, gradient = self.penalty()
        np.testing.assert_allclose(penalty, self.kl.sum(1))
        assert (gradient == 1).all()

    def test_free_bits_cost_nothing_and_move_nothing(self):
        penalty, gradient = self.penalty(free_bits=0.5)  # the first two dimensions hold less
        np.testing.assert_allclose(penalty, 1 + self.kl[:, 2:].sum(1))
        np.testing.assert_array_equal(gradient, [[0, 0, 1, 1]] * 3)

    def test_free_bits_of_a_prior_that_is_not_factorised(self):
        penalty, gradient = self.penalty(free_bits=1.0, prior="mixture")  # 4 free, 5.4 held
        np.testing.assert_allclose(penalty, self.kl.sum(1), rtol=1e-6)
        penalty, gradient = self.penalty(free_bits=2.0, prior="mixture")
        np.testing.assert_allclose(penalty, [8, 8, 8])
        assert (gradient == 0).all()

    @pytest.mark.parametrize(("capacity", "sign"), [(3.0, 1), (8.0, -1)])
    def test_capacity_is_a_target(self, capacity, sign):
        penalty, gradient = self.penalty(capacity=capacity)
        assert penalty.mean() == pytest.approx(abs(self.kl.sum(1).mean() - capacity), rel=1e-5)
        assert (gradient == sign).all()

    def test_kl_scale_multiplies_the_weight(self, rng):
        model, _ = linear_vae(rng, kl_weight=2.0)
        model.compile()
        batch = {"images": tf.constant(rng.random((4, 16, 16, 1), np.float32))}
        for scale in (1.0, 0.25, 0.0):
            model.kl_scale.assign(scale)
            _, terms = model.compute_losses(batch, training=False)
            expected = terms["reconstruction_loss"] + 2 * scale * terms["kl_loss"]
            np.testing.assert_allclose(terms["loss"], expected, rtol=1e-5)

    def test_default_weights(self):
        weights = {n: kmg.models.VAE((28, 28, 1), 4, reconstruction=n).kl_weight for n in NAMES}
        fixed = {"mse": 1, "mae": 1, "bernoulli": 1}
        assert weights == {name: fixed.get(name, 5) for name in NAMES}


class TestPriors:
    @pytest.mark.parametrize("prior", ["mixture", "vamp"])
    def test_the_kl_divergence_is_estimated_without_bias(self, rng, prior):
        model = kmg.models.VAE(SHAPE, 2, prior=prior, prior_components=3)
        mean, stddev = np.array([[1.0, -1.0]], np.float32), np.array([[0.5, 0.3]], np.float32)
        grid = np.linspace(-4, 4, 401)  # by quadrature
        points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2).astype(np.float32)
        q = diagonal_normal(mean, stddev).log_prob(points).numpy()
        p = model.prior_distribution().log_prob(points).numpy()
        expected = np.sum(np.exp(q) * (q - p)) * 0.02**2
        posterior = diagonal_normal(np.repeat(mean, 20000, 0), np.repeat(stddev, 20000, 0))
        samples = (mean + stddev * rng.standard_normal((20000, 2))).astype(np.float32)
        estimates = model.kl_divergence(posterior, samples).numpy()
        assert estimates.shape == (20000, 1)
        assert estimates.mean() == pytest.approx(expected, abs=0.03)

    @pytest.mark.parametrize("prior", ["mixture", "vamp"])
    def test_learned_priors_learn(self, rng, prior):
        model = kmg.models.VAE(SHAPE, 4, prior=prior, prior_components=4)
        model.compile()
        before = [np.asarray(v) for v in model.prior.trainable_variables]
        model.fit(blobs(rng, 16), verbose=0)
        for value, variable in zip(before, model.prior.trainable_variables, strict=True):
            assert np.abs(np.asarray(variable) - value).max() > 0

    def test_pseudo_images_are_no_part_of_an_encoders_statistics(self, rng):
        states = []
        for prior in ("standard_normal", "vamp"):
            encoder = kmg.networks.larsen_encoder(SHAPE, 2)
            model = kmg.models.VAE(SHAPE, 2, prior=prior, prior_components=3, encoder=encoder)
            model.compile(keras.optimizers.SGD(0.0))
            model.fit(blobs(np.random.default_rng(0), 8), batch_size=8, verbose=0)
            states.append([np.asarray(v) for v in encoder.non_trainable_variables])
        for plain, vamp in zip(*states, strict=True):
            np.testing.assert_allclose(vamp, plain, rtol=1e-5, atol=1e-6)

    def test_samples_follow_the_prior_that_is_stated(self, rng):
        model = kmg.models.VAE(SHAPE, 2, prior="vamp", prior_components=3)
        noise = rng.standard_normal((4000, *model.noise_shape)).astype(np.float32)
        ours = model.latents_from_noise(noise).numpy()
        theirs = model.prior_distribution().sample(4000, seed=1).numpy()
        np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.1)
        np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.15)


class TestFitPrior:
    @pytest.fixture
    def model(self, rng):
        # An encoder that knows two clusters, far from the standard normal prior.
        model, _ = linear_vae(rng, latent_dim=2)
        encoder = model.encoder
        kernel = np.zeros((256, 2), np.float32)
        kernel[0, 0], kernel[1, 1] = 1, 1
        encoder.get_layer("mean").set_weights([10 * kernel, np.zeros(2, np.float32)])
        encoder.get_layer("log_var").set_weights([0 * kernel, np.full(2, np.log(0.01), np.float32)])
        model.compile(keras.optimizers.SGD(0.0))
        return model

    @pytest.fixture
    def images(self, rng):
        images = rng.random((60, *SHAPE), np.float32)
        images[:, 0, :2, 0] = np.where(np.arange(60)[:, None] % 2, [0.2, 0.8], [0.9, 0.4])
        return images

    def test_samples_come_from_where_the_latents_are(self, model, images, rng):
        model.fit_prior(images, components=2)
        noise = rng.standard_normal((4000, 3)).astype(np.float32)
        latents = model.latents_from_noise(noise).numpy()
        first = latents[:, 0] < 5.5
        assert first.mean() == pytest.approx(0.5, abs=0.05)
        np.testing.assert_allclose(latents[first].mean(0), [2, 8], atol=0.1)
        np.testing.assert_allclose(latents[~first].mean(0), [9, 4], atol=0.1)
        # That of the posteriors, whose variance is part of the density.
        np.testing.assert_allclose(latents[first].std(0), [0.1, 0.1], atol=0.02)

    def test_generate_uses_it_and_it_is_saved(self, model, images, tmp_path):
        before = model.generate(5, seed=3)
        model.fit_prior(tf.data.Dataset.from_tensor_slices(images).batch(8), components=2)
        after = model.generate(5, seed=3)
        assert np.abs(before - after).max() > 0.1
        np.testing.assert_array_equal(model.generate(2, seed=3), after[:2])
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.generate(5, seed=3), after)

    def test_training_on_drops_it(self, model, images):
        before = model.generate(5, seed=3)
        model.fit_prior(images, components=2)
        model.fit(images, verbose=0)
        np.testing.assert_array_equal(model.generate(5, seed=3), before)

    def test_fitted_again_it_is_the_new_one(self, model, images):
        model.fit_prior(images, components=2)
        model.fit_prior(images[::2], components=1)
        latents = model.latents_from_noise(np.zeros((1, 3), np.float32))
        np.testing.assert_allclose(latents, [[9, 4]], atol=0.1)

    def test_no_weight_of_an_old_one_stays(self, model, images, tmp_path):
        without = len(model.weights)
        for _ in range(2):
            model.fit_prior({"images": images}, components=2)
        assert len(model.weights) == without + 3
        model.save(tmp_path / "model.keras")
        keras.saving.load_model(tmp_path / "model.keras").set_weights(model.get_weights())
        model.fit(images, verbose=0)
        assert len(model.weights) == without

    def test_fewer_images_than_components(self, model, images):
        model.fit_prior(images[:2], components=10)
        assert np.isfinite(model.generate(4)).all()

    def test_bad_arguments(self, model, images):
        with pytest.raises(ValueError, match="components=0"):
            model.fit_prior(images, components=0)
        with pytest.raises(ValueError, match="no images"):
            model.fit_prior(images[:0])
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            model.fit_prior(images * 200)


class TestMasksAndNoise:
    def test_pathology_weighs_more(self, rng, monkeypatch):
        plain, weights = linear_vae(rng, reconstruction="mse")
        weighted = kmg.models.VAE.from_config({**plain.get_config(), "mask_weight": 4.0})
        weighted.set_weights(plain.get_weights())
        images = tf.constant(rng.random((6, 16, 16, 1), np.float32))
        masks = np.zeros((6, 16, 16), np.int32)
        masks[:3, 4:8, 4:8] = 2  # the others have nothing marked
        losses = []
        for model in (plain, weighted):
            model.compile()
            batch = {"images": images, "masks": tf.constant(masks)}
            losses.append(model.compute_losses(batch, False)[1]["reconstruction_loss"].numpy())
        np.testing.assert_allclose(losses[0][3:], losses[1][3:], rtol=1e-6)
        noise = np.asarray(plain.noise((6, 3), training=False), np.float64)
        x = np.asarray(images, np.float64).reshape(6, -1)
        mean, log_var = (x @ weights[n][0] + weights[n][1] for n in ("mean", "log_var"))
        decoded = (mean + np.exp(log_var / 2) * noise) @ weights["decode"][0] + weights["decode"][1]
        pixels = 0.5 * ((x - decoded) ** 2 + np.log(2 * np.pi)) * (masks.reshape(6, -1) != 0)
        np.testing.assert_allclose(losses[1] - losses[0], 3 * pixels.sum(1), rtol=1e-3, atol=1e-3)
        without = weighted.compute_losses({"images": images}, False)[1]["reconstruction_loss"]
        np.testing.assert_allclose(without, losses[0], rtol=1e-6)

    @pytest.mark.parametrize("reconstruction", ["gaussian", "quantized_logistic"])
    def test_images_of_no_weight_at_all(self, rng, reconstruction):
        model = kmg.models.VAE(SHAPE, 3, mask_weight=0, reconstruction=reconstruction)
        model.compile()
        masks = np.zeros((4, 16, 16), np.int32)
        masks[0] = 1
        for given in (masks, np.ones_like(masks)):
            batch = {"images": blobs(rng, 4), "masks": given}
            data = tf.data.Dataset.from_tensors(batch)
            history = model.fit(data, validation_data=data, verbose=0).history
            assert np.isfinite(list(history.values())).all()
            assert np.isfinite(float(model.reconstruction.scale))
        assert int(model.reconstruction.updates) == 1  # the second batch told nothing

    @pytest.mark.parametrize("shape", [(6, 16, 16), (6, 16, 16, 1)])
    def test_masks_with_and_without_a_channel(self, rng, shape):
        model, _ = linear_vae(rng, mask_weight=3.0)
        masks = np.zeros((6, 16, 16), np.int32)
        masks[:, 2:5] = 1
        batch = {"images": rng.random((6, *SHAPE), np.float32), "masks": masks.reshape(shape)}
        batch = model.unpack_batch(batch)
        np.testing.assert_array_equal(batch["masks"], masks)

    def test_masks_of_another_shape_are_refused(self, rng):
        model, _ = linear_vae(rng)
        batch = {"images": rng.random((6, *SHAPE), np.float32), "masks": np.zeros((6, 8, 8))}
        with pytest.raises(ValueError, match=r"\(batch, 16, 16\).*\(6, 8, 8\)"):
            model.unpack_batch(batch)

    def test_input_noise_is_on_what_is_encoded_in_training_alone(self, rng, monkeypatch):
        model, _ = linear_vae(rng, input_noise=0.2)
        model.compile()
        images = tf.constant(rng.uniform(0.3, 0.7, (500, 16, 16, 1)).astype(np.float32))
        seen = []
        original = model.posterior
        monkeypatch.setattr(model, "posterior", lambda x, *a: seen.append(x) or original(x, *a))
        for training in (True, False):
            model.compute_losses({"images": images}, training)
        added = np.asarray(seen[0] - images)
        assert added.std() == pytest.approx(0.2, rel=0.08)  # a little is lost by clipping
        assert np.min(seen[0]) >= 0
        assert np.max(seen[0]) <= 1
        latent_noise = np.asarray(model.noise((500, 3), training=True))
        correlation = np.corrcoef(added[:, 0, :3, 0].ravel(), latent_noise.ravel())[0, 1]
        assert abs(correlation) < 0.1  # not one noise for two ends
        np.testing.assert_array_equal(seen[1], images)

    def test_denoise_wants_a_model_that_was_trained_for_it(self, rng):
        images = rng.random((3, *SHAPE), np.float32)
        model = kmg.models.VAE(SHAPE, 4, input_noise=0.1)
        np.testing.assert_array_equal(model.denoise(images), model.reconstruct(images))
        with pytest.raises(ValueError, match="input_noise > 0"):
            kmg.models.VAE(SHAPE, 4).denoise(images)


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
            ({"num_classes": 0}, "num_classes=0"),
            ({"reconstruction": "ssim"}, "'ssim'"),
            ({"reconstruction": "ms_ssim", "mask_weight": 2}, "mask_weight=2.*ms_ssim"),
            ({"prior": "flow"}, "'flow'"),
            ({"prior": "vamp", "prior_components": 0}, "prior_components=0"),
            ({"free_bits": -0.1}, "free_bits=-0.1"),
            ({"capacity": -1}, "capacity=-1"),
            ({"mask_weight": -1}, "mask_weight=-1"),
            ({"input_noise": float("nan")}, "input_noise=nan"),
            ({"num_classes": 3, "encoder": kmg.networks.convolutional_encoder(SHAPE, 4, 8)}, "lab"),
            ({"encoder": kmg.networks.convolutional_encoder((16, 17, 1), 4, 8)}, "encoder.*17"),
            ({"decoder": kmg.networks.convolutional_decoder(SHAPE, 5, 8)}, "decoder.*5"),
            ({"kl_weight": -1}, "kl_weight=-1"),
            ({"kl_weight": "atuo"}, "kl_weight='atuo'"),
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
