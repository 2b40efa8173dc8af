import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen.models.base import GenerativeModel
from tests.conftest import blobs
from tests.models.contract import SHAPE

NETWORKS = ("encoder", "decoder", "discriminator")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
FORMS = list(
    itertools.product(("saturating", "non_saturating"), ("both", "reconstructions", "samples"))
)


def normalised(x):
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))


def small_networks(seed=0):
    """Convolutions and batch normalisation in each, as few as can be."""

    def start(number):
        return keras.initializers.GlorotUniform(seed=10 * seed + number)

    images = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", kernel_initializer=start(0))(images)
    x = keras.layers.Flatten()(normalised(x))
    heads = {
        name: keras.layers.Dense(3, dtype="float32", kernel_initializer=start(number))(x)
        for number, name in enumerate(("mean", "log_var"), 1)
    }
    latents = keras.Input((3,))
    x = keras.layers.Dense(64, use_bias=False, kernel_initializer=start(3))(latents)
    x = keras.layers.Reshape((4, 4, 4))(normalised(x))
    x = keras.layers.Conv2DTranspose(
        1, 6, strides=4, padding="same", kernel_initializer=start(4), dtype="float32"
    )(x)
    made = keras.layers.Activation("tanh", dtype="float32")(x)
    judged = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", kernel_initializer=start(5))(judged)
    x = normalised(x)
    x = keras.layers.Conv2D(
        6, 3, strides=2, padding="same", kernel_initializer=start(6), name="features"
    )(x)
    x = keras.layers.Flatten()(normalised(x))
    logits = keras.layers.Dense(1, dtype="float32", kernel_initializer=start(7))(x)
    return {
        "encoder": keras.Model(images, heads),
        "decoder": keras.Model(latents, made),
        "discriminator": keras.Model(judged, logits),
    }


def small_vaegan(moving=NETWORKS, rate=1e-3, **arguments):
    """A VAEGAN under plain gradient descent, of which only some networks move."""
    model = kmg.models.VAEGAN(SHAPE, 3, **small_networks(), **arguments)
    model.compile(
        *(keras.optimizers.SGD(rate if network in moving else 0.0) for network in NETWORKS)
    )
    if model.compute_dtype == "float16":  # a scale at which the first step does not overflow
        for network in NETWORKS:
            getattr(model, f"{network}_optimizer").dynamic_scale.assign(16.0)
    return model


def displacements(model, images):
    """How far a step moves each network's weights: a vector for each."""
    before = {n: [np.asarray(v) for v in getattr(model, n).trainable_variables] for n in NETWORKS}
    model.train_step({"images": images})
    return {
        network: np.concatenate(
            [
                np.ravel(np.asarray(variable, np.float64) - value)
                for variable, value in zip(
                    getattr(model, network).trainable_variables, values, strict=True
                )
            ]
        )
        for network, values in before.items()
    }


@pytest.fixture
def images(rng):
    return blobs(rng, 6).astype(np.float32) / 255


class TestIsolation:
    @pytest.mark.parametrize("policy", POLICIES)
    @pytest.mark.parametrize(("adversarial", "fakes"), FORMS)
    def test_each_network_moves_as_if_it_moved_alone(self, images, adversarial, fakes, policy):
        keras.config.set_dtype_policy(policy)
        arguments = {"adversarial": adversarial, "fakes": fakes, "gamma": 0.5}
        together = displacements(small_vaegan(**arguments), images)
        for network in NETWORKS:
            alone = displacements(small_vaegan((network,), **arguments), images)
            for other, moved in alone.items():
                expected = together[other] if other == network else 0.0
                np.testing.assert_array_equal(moved, expected, err_msg=f"{other} by {network}")
            assert np.abs(alone[network]).max() > 0

    def test_gamma_is_for_the_decoder_alone_which_is_affine_in_it(self, images):
        by_gamma = [displacements(small_vaegan(gamma=g), images) for g in (0.0, 0.5, 1.0)]
        for network in ("encoder", "discriminator"):
            np.testing.assert_array_equal(by_gamma[0][network], by_gamma[2][network])
        none, half, one = (moved["decoder"] for moved in by_gamma)
        assert np.abs(one - none).max() > 1e-4
        np.testing.assert_allclose(half - none, one - half, atol=2e-6)

    @pytest.mark.parametrize(("adversarial", "fakes"), FORMS)
    def test_the_step_is_the_one_that_the_losses_state(self, images, adversarial, fakes):
        arguments = {"adversarial": adversarial, "fakes": fakes, "gamma": 0.5, "kl_weight": 0.7}
        ours = displacements(small_vaegan(rate=0.1, **arguments), images)
        reference = small_vaegan(rate=0.1, **arguments)
        reference.train_step = lambda data: GenerativeModel.train_step(reference, data)
        for network, moved in displacements(reference, images).items():
            np.testing.assert_allclose(ours[network], moved, rtol=1e-3, atol=1e-6, err_msg=network)

    def test_statistics_are_updated_once_by_each_pass_and_by_nothing_else(self, images):
        model = small_vaegan(rate=0.0)
        copies = small_networks()
        signed = 2 * images - 1
        latents = model.noise((6, 3), training=True, stream=1)
        outputs = copies["encoder"](signed, training=True)
        noise = model.noise((6, 3), training=True)
        drawn = outputs["mean"] + tf.exp(0.5 * outputs["log_var"]) * noise
        made = [copies["decoder"](z, training=True) for z in (drawn, latents)]
        for judged in (signed, *made):
            copies["discriminator"](judged, training=True)
        displacements(model, images)
        for network in NETWORKS:
            for ours, theirs in zip(
                getattr(model, network).non_trainable_variables,
                copies[network].non_trainable_variables,
                strict=True,
            ):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=ours.path)


class TestDecoderGradient:
    """Against finite differences, in float64, of networks written out in NumPy."""

    PIXELS, LATENTS, FEATURES = 4, 2, 3

    @pytest.fixture
    def weights(self, rng):
        shapes = {
            "mean": (self.PIXELS, self.LATENTS),
            "log_var": (self.PIXELS, self.LATENTS),
            "decode": (self.LATENTS, self.PIXELS),
            "features": (self.PIXELS, self.FEATURES),
            "logit": (self.FEATURES, 1),
        }
        return {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}

    def model(self, weights, **arguments):
        shape = (2, 2, 1)
        images, latents, judged = keras.Input(shape), keras.Input((2,)), keras.Input(shape)
        dense = {
            name: keras.layers.Dense(value.shape[1], use_bias=False, name=name)
            for name, value in weights.items()
        }
        flat = keras.layers.Flatten()(images)
        heads = {name: dense[name](flat) for name in ("mean", "log_var")}
        made = keras.layers.Activation("tanh")(dense["decode"](latents))
        features = dense["features"](keras.layers.Flatten()(judged))
        logit = dense["logit"](keras.layers.Activation("tanh")(features))
        model = kmg.models.VAEGAN(
            shape,
            2,
            encoder=keras.Model(images, heads),
            decoder=keras.Model(latents, keras.layers.Reshape(shape)(made)),
            discriminator=keras.Model(judged, logit),
            **arguments,
        )
        for name, value in weights.items():
            dense[name].set_weights([value])
        model.compile(*(keras.optimizers.SGD(1.0) for _ in NETWORKS))
        return model

    @pytest.mark.parametrize(("adversarial", "fakes"), FORMS)
    def test_equals_finite_differences(self, rng, weights, monkeypatch, adversarial, fakes):
        gamma = 0.3
        model = self.model(weights, gamma=gamma, adversarial=adversarial, fakes=fakes)
        images = rng.random((5, 2, 2, 1)).astype(np.float32)
        noise = rng.standard_normal((2, 5, 2)).astype(np.float32)
        monkeypatch.setattr(
            model, "noise", lambda shape, training, stream=0: tf.constant(noise[stream])
        )

        x = 2 * images.reshape(5, 4).astype(np.float64) - 1
        drawn = x @ weights["mean"] + np.exp(x @ weights["log_var"] / 2) * noise[0]

        def decoder_loss(kernel):
            made = {"reconstructions": drawn, "samples": noise[1].astype(np.float64)}
            made = {name: np.tanh(z @ kernel) for name, z in made.items()}
            seen = made if fakes == "both" else {fakes: made[fakes]}
            distance = (x - made["reconstructions"]) @ weights["features"]
            likelihood = 0.5 * np.sum(distance**2) / 5
            logits = {
                name: np.tanh(y @ weights["features"]) @ weights["logit"]
                for name, y in seen.items()
            }
            sign = 1 if adversarial == "saturating" else -1
            # log(1 - Dis) = -log(1 + exp(logit)), log Dis = -log(1 + exp(-logit))
            fooled = sum(-sign * np.log1p(np.exp(sign * one)).sum() for one in logits.values())
            return gamma * likelihood + fooled / 5

        expected = np.zeros_like(weights["decode"])
        for index in np.ndindex(expected.shape):
            step = np.zeros_like(expected)
            step[index] = 1e-6
            expected[index] = (
                decoder_loss(weights["decode"] + step) - decoder_loss(weights["decode"] - step)
            ) / 2e-6
        model.train_step({"images": images})
        moved = np.asarray(model.decoder.trainable_variables[0]) - weights["decode"]
        np.testing.assert_allclose(-moved, expected, rtol=1e-4, atol=1e-5)


def test_the_decoders_step_does_not_hang_on_the_discriminators_scale(images):
    """Where the discriminator is sure, its scale grows beyond what the decoder's loss stands."""
    keras.config.set_dtype_policy("mixed_float16")
    moved = []
    for scale in (16.0, 2.0**40):
        model = small_vaegan(("decoder",), adversarial="non_saturating")
        model.discriminator_optimizer.dynamic_scale.assign(scale)
        moved.append(displacements(model, images)["decoder"])
    np.testing.assert_array_equal(*moved)
    assert np.abs(moved[0]).max() > 0


class TestLosses:
    def test_terms_equal_numpy(self, images):
        model = small_vaegan(gamma=0.2, kl_weight=0.5)
        losses, terms = model.compute_losses({"images": images}, training=False)
        signed = 2.0 * images - 1
        outputs = model.encoder(signed)
        mean, log_var = (np.asarray(outputs[n], np.float64) for n in ("mean", "log_var"))
        kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1)
        drawn = mean + np.exp(log_var / 2) * model.noise((6, 3), training=False)
        pair = drawn, model.noise((6, 3), training=False, stream=1)
        made = [model.decoder(np.float32(z)) for z in pair]
        look = keras.Model(
            model.discriminator.input,
            [model.discriminator.output, model.discriminator.get_layer("features").output],
        )
        judged = [[np.asarray(t, np.float64) for t in look(x)] for x in (signed, *made)]
        likelihood = 0.5 * ((judged[0][1] - judged[1][1]) ** 2).sum((1, 2, 3))
        real, *fakes = (np.ravel(logits) for logits, _ in judged)
        adversarial = np.log1p(np.exp(-real)) + sum(np.log1p(np.exp(fake)) for fake in fakes)
        expected = {
            "reconstruction_loss": likelihood,
            "kl_loss": kl,
            "discriminator_loss": adversarial,
            "real_accuracy": real > 0,
            "fake_accuracy": sum((fake < 0) * 0.5 for fake in fakes),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(losses["encoder_optimizer"], 0.5 * kl + likelihood, rtol=1e-4)
        np.testing.assert_allclose(
            losses["decoder_optimizer"], 0.2 * likelihood - adversarial, rtol=1e-4, atol=1e-5
        )

    def test_gradient_norms_are_those_of_the_steps(self, images):
        model = small_vaegan(rate=1.0)
        moved = displacements(model, images)
        logs = model.get_metrics_result()
        for network in NETWORKS:
            norm = np.linalg.norm(moved[network])
            assert float(logs[f"{network}_gradient_norm"]) == pytest.approx(norm, rel=1e-3)


class TestModel:
    def test_conditioned_on_labels(self, rng, tmp_path):
        model = kmg.models.VAEGAN(
            SHAPE,
            4,
            num_classes=3,
            encoder=kmg.networks.convolutional_encoder(SHAPE, 4, 8, num_classes=3),
            decoder=kmg.networks.convolutional_decoder(
                SHAPE, 4, 8, num_classes=3, output_activation="tanh"
            ),
            discriminator=kmg.networks.convolutional_discriminator(SHAPE, 8, num_classes=3),
        )
        model.compile()
        images, labels = blobs(rng, 12), np.arange(12) % 3
        model.fit(images, labels, validation_data=(images, labels), batch_size=6, verbose=0)
        made = model.generate(3, labels=[0, 1, 2], seed=0)
        assert np.abs(made - model.generate(3, labels=[1, 2, 0], seed=0)).max() > 1e-4
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.generate(3, labels=[0, 1, 2], seed=0), made)
        path = kmg.serving.export(model, tmp_path / "export")
        signatures = tf.saved_model.load(str(path)).signatures
        assert {"serving_default", "generate", "encode", "reconstruct"} <= {*signatures}

    def test_default_networks_and_optimizers(self):
        model = kmg.models.VAEGAN(SHAPE)
        model.compile()
        rates = [float(getattr(model, f"{n}_optimizer").learning_rate) for n in NETWORKS]
        np.testing.assert_allclose(rates, [3e-4, 3e-4, 3e-5])
        model.compile(learning_rate=keras.optimizers.schedules.CosineDecay(1e-2, 10))
        rates = [float(getattr(model, f"{n}_optimizer").learning_rate) for n in NETWORKS]
        np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-3])
        model.compile(discriminator_rate=2)
        rates = [float(getattr(model, f"{n}_optimizer").learning_rate) for n in NETWORKS]
        np.testing.assert_allclose(rates, [3e-4, 3e-4, 6e-4])

    def test_fit_prior(self, rng):
        model = small_vaegan()
        before = model.generate(4)
        model.fit_prior(blobs(rng, 20), components=2)
        assert np.abs(model.generate(4) - before).max() > 1e-4

    def test_a_feature_layer_can_be_named(self, images):
        networks = small_networks()
        name = networks["discriminator"].layers[1].name
        model = kmg.models.VAEGAN(SHAPE, 3, **networks, feature_layer=name)
        other = kmg.models.VAEGAN(SHAPE, 3, **small_networks())
        terms = [m.compute_losses({"images": images}, False)[1] for m in (model, other)]
        first, second = (t["reconstruction_loss"].numpy() for t in terms)
        assert (first != second).all()
        assert kmg.models.VAEGAN.from_config(model.get_config()).feature_layer == name

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"gamma": -1}, "gamma=-1"),
            ({"gamma": "1"}, "gamma='1'"),
            ({"latent_dim": 0}, "latent_dim=0"),
            ({"kl_weight": -1}, "kl_weight=-1"),
            ({"adversarial": "hinge"}, "'hinge'"),
            ({"fakes": "all"}, "'all'"),
            ({"feature_layer": "nowhere"}, "'nowhere'"),
            ({"num_classes": 2}, "encoder must take"),
            ({"discriminator": "decoder"}, "discriminator must take"),
            ({"discriminator": "encoder"}, "discriminator must return"),
        ],
    )
    def test_arguments_are_checked(self, arguments, message):
        networks = small_networks()
        given = arguments.get("discriminator")
        if given:
            arguments = {"discriminator": networks[given]}
        with pytest.raises(ValueError, match=message):
            kmg.models.VAEGAN(SHAPE, **{"latent_dim": 3, **networks, **arguments})

    def test_a_decoder_that_ends_in_a_sigmoid_is_refused(self):
        networks = small_networks() | {"decoder": kmg.networks.dense_decoder(SHAPE, 3, 16)}
        with pytest.raises(ValueError, match=r"decoder must make images in \[-1, 1\]"):
            kmg.models.VAEGAN(SHAPE, latent_dim=3, **networks)
