import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen.models import denoising_model
from keras_medgen.ops.noise_schedules import alpha_bars
from tests.conftest import blobs
from tests.models.contract import SHAPE, small_denoiser


@pytest.fixture
def images(rng):
    return blobs(rng, 12).astype(np.float32) / 255


def model_of(seed=0, num_classes=None, **arguments):
    arguments.setdefault("denoiser", small_denoiser(seed, num_classes=num_classes))
    model = kmg.models.Diffusion(SHAPE, num_classes, seed=seed, **arguments)
    model.compile()
    return model


def says_the_image_of_its_label(values):
    """A denoiser that sees a constant image, of a value for each class and for no class."""
    inputs = {
        "images": keras.Input(SHAPE, name="images"),
        "timesteps": keras.Input((), dtype="int32", name="timesteps"),
        "labels": keras.Input((len(values),), name="labels"),
    }
    value = keras.layers.Dense(1, use_bias=False, name="value")(inputs["labels"])
    zeros = keras.layers.Rescaling(0.0)(inputs["images"])
    # Enlarged first: Keras takes (n, 1, 1, 1) for a bias of the rows where there are n of them.
    values_of_all = keras.layers.UpSampling2D(SHAPE[:2])(keras.layers.Reshape((1, 1, 1))(value))
    constant = keras.layers.Add()([zeros, values_of_all])
    model = keras.Model(inputs, constant)
    model.get_layer("value").set_weights([np.array(values, np.float32)[:, None]])
    return model


class TestLoss:
    @pytest.mark.parametrize("prediction", ["noise", "velocity", "image"])
    @pytest.mark.parametrize("min_snr", [5.0, None])
    def test_against_the_formulas(self, rng, images, monkeypatch, prediction, min_snr):
        model = model_of(prediction=prediction, min_snr=min_snr, schedule="linear")
        normals = {0: rng.standard_normal((12, 256)), 1: rng.standard_normal(12)}
        monkeypatch.setattr(
            model,
            "noise",
            lambda shape, training, stream=0: tf.constant(normals[stream], "float32"),
        )
        loss = model.compute_losses({"images": images}, training=True)[1]["loss"].numpy()

        timesteps = (scipy.stats.norm.cdf(normals[1]) * 1000).astype(int)
        share = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[timesteps].reshape(-1, 1, 1, 1)
        clean, noise = 2.0 * images - 1, normals[0].reshape(images.shape)
        noised = np.sqrt(share) * clean + np.sqrt(1 - share) * noise
        output = model.denoiser({"images": noised.astype("float32"), "timesteps": timesteps})
        ratio = share / (1 - share)
        target, weight = {
            "noise": (noise, np.minimum(ratio, 5) / ratio),
            "velocity": (
                np.sqrt(share) * noise - np.sqrt(1 - share) * clean,
                np.minimum(ratio, 5) / (ratio + 1),
            ),
            "image": (clean, np.minimum(ratio, 5)),
        }[prediction]
        error = (np.asarray(output, np.float64) - target) ** 2
        expected = ((1 if min_snr is None else weight) * error).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(loss, expected, rtol=2e-4)

    def test_all_timesteps_are_drawn(self):
        model = model_of(num_timesteps=10)
        seen = []

        def record(inputs, training):
            seen.append(np.asarray(inputs["timesteps"]))
            return tf.zeros_like(inputs["images"])

        model.denoiser.call = lambda inputs, training=None, mask=None: record(inputs, training)
        model.compute_losses({"images": np.zeros((2000, *SHAPE), np.float32)}, training=True)
        counts = np.bincount(seen[0], minlength=10)
        assert len(counts) == 10
        assert scipy.stats.chisquare(counts).pvalue > 1e-3

    def test_evaluation_is_of_the_average(self, images):
        model = model_of()
        before = model.evaluate(images, verbose=0)
        model.denoiser.set_weights([w + 0.1 for w in model.denoiser.get_weights()])
        assert model.evaluate(images, verbose=0) == before

    def test_the_average_follows(self, images):
        model = model_of(ema_decay=0.999)
        first = model.denoiser.get_weights()
        model.train_step({"images": images})
        rate = 1 - 2 / 11  # of the first step: the decay warms up
        for old, new, average in zip(
            first, model.denoiser.get_weights(), model.average_denoiser.get_weights(), strict=True
        ):
            np.testing.assert_allclose(average, old + rate * (new - old), atol=1e-6)


class TestLabels:
    def test_no_label_is_not_the_label_of_no_class(self, images):
        model = model_of(num_classes=3)
        rows = np.zeros((2, 3), np.float32)  # multi-label: none of the three
        unlabelled = model.reconstruct(images[:2], timestep=500)
        assert np.abs(model.reconstruct(images[:2], 500, rows) - unlabelled).max() > 1e-4

    @pytest.mark.parametrize("dropout", [0.0, 1.0])
    def test_dropout(self, images, dropout):
        model = model_of(num_classes=2, label_dropout=dropout)
        losses = [
            model.compute_losses({"images": images, "labels": labels}, training=True)[1]["loss"]
            for labels in (tf.one_hot([0] * 12, 2), tf.one_hot([1] * 12, 2))
        ]
        assert np.allclose(*losses) == (dropout == 1)

    @pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver++"])
    @pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
    def test_guidance(self, sampler, scale):
        values = [-0.3, 0.2, 0.05]  # of the classes 0 and 1, and of none
        denoiser = says_the_image_of_its_label(values)
        model = model_of(num_classes=2, denoiser=denoiser, prediction="image")
        images = model.generate(
            4, [0, 1, 1, 0], sampler=sampler, num_steps=5, guidance_scale=scale, verbose=0
        )
        guided = [0.05 + scale * (value - 0.05) for value in values]
        expected = [(guided[label] + 1) / 2 for label in (0, 1, 1, 0)]
        np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), expected, atol=1e-5)
        np.testing.assert_allclose(images.std(axis=(1, 2, 3)), 0, atol=1e-5)

    def test_guidance_needs_labels(self):
        with pytest.raises(ValueError, match=r"guidance_scale=2\.0"):
            model_of().generate(1, guidance_scale=2.0)


class TestGenerate:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"sampler": "ddpm", "num_steps": 30},
            {"sampler": "ddim", "num_steps": 7, "eta": 0.5},
            {"sampler": "dpm_solver++", "num_steps": 15},
        ],
    )
    def test_an_image_depends_on_the_seed_and_its_number_alone(self, arguments):
        model = model_of()
        many = model.generate(40, seed=3, **arguments)
        np.testing.assert_array_equal(model.generate(5, seed=3, **arguments), many[:5])
        assert len(np.unique(many.reshape(40, -1), axis=0)) == 40

    def test_steps_in_chunks_are_those_of_one_loop(self, monkeypatch):
        # Second order: each step needs what was seen the step before, across chunks too.
        model = model_of()
        arguments = {"seed": 5, "num_steps": 11, "sampler": "dpm_solver++"}
        whole = model.generate(3, **arguments)
        monkeypatch.setattr(denoising_model, "CHUNK", 4)
        np.testing.assert_array_equal(model.generate(3, **arguments), whole)

    def test_decode_is_generate_of_the_same_noise(self):
        model = model_of()
        noise = kmg.ops.normal_rows(5, tf.range(3), (256,))
        np.testing.assert_allclose(model.decode(noise), model.generate(3, seed=5), atol=1e-5)

    def test_every_step_has_noise_of_its_own(self, monkeypatch):
        model = model_of(num_timesteps=4)
        seen = []
        shaped = model.shaped
        monkeypatch.setattr(model, "shaped", lambda noise: seen.append(noise) or shaped(noise))
        tf.config.run_functions_eagerly(True)
        try:
            model.generate(2, sampler="ddpm", num_steps=4)
        finally:
            tf.config.run_functions_eagerly(False)
        rows = np.array([noise.numpy()[:2].ravel() for noise in seen])
        assert len(rows) == 1 + 4 * 2  # the first, and of each step for both halves
        assert np.abs(np.corrcoef(rows) - np.eye(9)).max() < 0.2

    @pytest.mark.parametrize("num_timesteps", [2, 10, 50])
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_few_timesteps(self, images, schedule, num_timesteps):
        model = model_of(num_timesteps=num_timesteps, schedule=schedule)
        assert np.isfinite(model.generate(2)).all()
        assert np.isfinite(model.reconstruct(images[:2])).all()
        assert np.isfinite(model.evaluate(images, verbose=0))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"sampler": "euler"}, "euler"),
            ({"num_steps": 1001}, "num_steps must be an integer from 1 to 1000"),
            ({"sampler": "ddpm", "eta": 1.0}, "eta"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            model_of().generate(1, **arguments)

    def test_progress(self, capsys):
        model = model_of()
        model.generate(1, num_steps=50, verbose=0)
        assert capsys.readouterr().out == ""
        model.generate(33, num_steps=50, verbose=1)
        assert "100/100" in capsys.readouterr().out


class TestReconstruct:
    @pytest.mark.parametrize("noise", ["gaussian", "simplex"])
    @pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
    def test_it_is_deterministic_under_a_seed(self, images, noise, sampler):
        model = model_of(noise=noise)
        arguments = {"timestep": 60, "sampler": sampler, "num_steps": 8}
        all_of_them = model.reconstruct(images, seed=1, **arguments)
        assert all_of_them.shape == images.shape
        np.testing.assert_array_equal(
            model.reconstruct(images[:5], seed=1, **arguments), all_of_them[:5]
        )
        assert np.abs(model.reconstruct(images, seed=2, **arguments) - all_of_them).max() > 1e-4

    def test_noised(self, rng):
        model = model_of(schedule="linear")
        images = rng.random((64, *SHAPE), np.float32)
        noised = model.noised(images, timestep=250, seed=4)
        share = alpha_bars("linear", 1000)[250]
        noise = ((2 * noised - 1) - np.sqrt(share) * (2 * images - 1)) / np.sqrt(1 - share)
        assert noise.mean() == pytest.approx(0, abs=0.03)
        assert noise.std() == pytest.approx(1, abs=0.02)
        np.testing.assert_array_equal(noised[:3], model.noised(images[:3], 250, seed=4))
        np.testing.assert_allclose(
            noise[:3].reshape(3, -1), kmg.ops.normal_rows(4, tf.range(3), (256,)), atol=1e-4
        )

    def test_little_noise_leaves_the_image(self, images):
        restored = model_of().reconstruct(images, timestep=0)
        assert np.abs(restored - images).max() < 0.05

    @pytest.mark.parametrize("timestep", [-1, 1000, 10.5])
    def test_a_timestep_that_is_not_there(self, images, timestep):
        model = model_of()
        for method in (model.reconstruct, model.noised):
            with pytest.raises(
                ValueError, match=f"integer from 0 to 999. Received: timestep={timestep}"
            ):
                method(images, timestep=timestep)

    def test_no_images(self):
        assert model_of().reconstruct(np.zeros((0, *SHAPE))).shape == (0, *SHAPE)


class TestSimplexNoise:
    def test_it_is_what_the_images_are_noised_with(self, images):
        model = model_of(noise="simplex")
        noise = model.shaped(kmg.ops.normal_rows(0, tf.range(400), model.noise_shape)).numpy()
        assert noise.std(axis=0) == pytest.approx(1, abs=0.2)
        neighbours = (noise[:, 1:] * noise[:, :-1]).mean()
        assert neighbours > 0.15  # of white noise 0
        model.fit(images, verbose=0)
        assert model.generate(2, num_steps=3).shape == (2, *SHAPE)


class TestLatents:
    @pytest.fixture(scope="class")
    def trained(self):
        images = blobs(np.random.default_rng(0), 64)
        autoencoder = kmg.models.VAE(SHAPE, latent_dim=(8, 8, 2), kl_weight=0.1, seed=0)
        autoencoder.compile()
        autoencoder.fit(images, batch_size=16, epochs=3, verbose=0)
        before = autoencoder.get_weights()
        model = kmg.models.Diffusion(
            SHAPE, autoencoder=autoencoder, denoiser=small_denoiser(0, (8, 8, 2))
        )
        model.compile(steps_per_execution=2)
        model.fit(images, batch_size=64, shuffle=False, epochs=2, verbose=0)
        return images, autoencoder, before, model

    def test_latents_are_means_of_unit_variance(self, trained):
        images, autoencoder, _, model = trained
        latents = autoencoder.encode(images)["mean"].reshape(-1, 2)
        np.testing.assert_allclose(model.latent_mean, latents.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(model.latent_deviation, latents.std(axis=0), rtol=1e-3)
        clean = model.clean(tf.constant(images / 255, tf.float32)).numpy()
        assert clean.shape == (64, 8, 8, 2)
        np.testing.assert_allclose(clean.std(axis=(0, 1, 2)), 1, rtol=1e-3)

    def test_the_scale_stays_and_so_does_the_autoencoder(self, trained, rng):
        _, autoencoder, before, model = trained
        scale = np.array(model.latent_deviation)
        model.compile()  # whose optimizer has not taken a step
        model.fit(blobs(rng, 16), verbose=0)
        np.testing.assert_array_equal(model.latent_deviation, scale)
        for ours, theirs in zip(before, autoencoder.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_without_noise_it_is_the_autoencoder(self, trained):
        images, autoencoder, _, model = trained
        clean = model.clean(tf.constant(images[:4] / 255, tf.float32))
        np.testing.assert_allclose(
            model.images(clean), autoencoder.reconstruct(images[:4]), atol=1e-5
        )

    def test_the_users_autoencoder_can_still_be_trained(self, trained):
        _, autoencoder, _, model = trained
        assert autoencoder.trainable_variables
        assert all(v is not w for v in autoencoder.variables for w in model.variables)

    @pytest.mark.filterwarnings("error::UserWarning")
    def test_saved_as_one_model(self, trained, tmp_path):
        images, _, _, model = trained
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.generate(3, seed=1), model.generate(3, seed=1))
        np.testing.assert_array_equal(
            again.reconstruct(images[:2], 50), model.reconstruct(images[:2], 50)
        )
        path = kmg.serving.export(again, tmp_path / "export")
        noise = kmg.ops.normal_rows(1, tf.range(3), (128,))
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        exported = signature(latents=noise)["images"]
        np.testing.assert_allclose(exported, model.generate(3, seed=1), atol=1e-4)

    def test_autoencoders_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"latent_dim=\(7, 7, 4\)"):
            kmg.models.Diffusion(SHAPE, autoencoder=kmg.models.VAE(SHAPE, latent_dim=4))
        autoencoder = kmg.models.VAE((32, 32, 1), latent_dim=(8, 8, 2))
        with pytest.raises(ValueError, match=r"\(16, 16, 1\).*\(32, 32, 1\)"):
            kmg.models.Diffusion(SHAPE, autoencoder=autoencoder)
        autoencoder = kmg.models.VAE(SHAPE, latent_dim=(8, 8, 2), num_classes=3)
        with pytest.raises(ValueError, match=r"one of 3, num_classes=2"):
            kmg.models.Diffusion(SHAPE, 2, autoencoder=autoencoder)


def test_one_latent_alone_is_decoded():
    model = kmg.models.Diffusion(SHAPE, denoiser=small_denoiser(0))
    latents = np.random.default_rng(0).standard_normal((3, 256), np.float32)
    alone = model.decode(latents[:1])  # before any other batch
    np.testing.assert_allclose(model.decode(latents)[:1], alone, atol=1e-5)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"prediction": "score"}, "prediction must be one of noise, velocity, image"),
            ({"noise": "perlin"}, "noise must be one of gaussian, simplex"),
            ({"schedule": "sigmoid"}, "schedule must be one of"),
            ({"min_snr": 0}, "min_snr=0"),
            ({"num_timesteps": 10.5}, "num_timesteps"),
            ({"label_dropout": 1.5}, "label_dropout"),
            ({"ema_decay": 1.0}, "ema_decay"),
            ({"denoiser": keras.Sequential([keras.Input(SHAPE)])}, "denoiser must take inputs"),
        ],
    )
    def test_they_are_checked(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            kmg.models.Diffusion(SHAPE, **arguments)
