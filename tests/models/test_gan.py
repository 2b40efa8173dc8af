import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.conftest import blobs
from tests.models.contract import SHAPE

LOSSES = tuple(kmg.losses.ADVERSARIAL_LOSSES)
AUGMENTATION = ("brightness", "translation", "cutout")


def small_gan(seed=0, **arguments):
    """Of dense networks, but for what is given."""
    networks = {
        "generator": kmg.networks.dense_generator(SHAPE, 4, 16, seed=2 * seed),
        "discriminator": kmg.networks.dense_discriminator(SHAPE, 16, seed=2 * seed + 1),
    }
    return kmg.models.GAN(SHAPE, seed=seed, **{"latent_dim": 4, **networks, **arguments})


def weights(network):
    return [np.asarray(v) for v in network.variables]


@pytest.fixture
def images(rng):
    return blobs(rng, 12).astype(np.float32) / 255


class TestSteps:
    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_each_network_moves_as_if_it_moved_alone(self, images, loss, policy):
        keras.config.set_dtype_policy(policy)

        def moved(rates):
            model = small_gan()
            optimizers = (keras.optimizers.SGD(rate) for rate in rates)
            model.compile(*optimizers, loss=loss, critic_steps=1, r1=0.5, gradient_penalty=1.0)
            if policy == "mixed_float16":  # a scale at which the first step does not overflow
                for network in ("generator", "discriminator"):
                    getattr(model, f"{network}_optimizer").dynamic_scale.assign(16.0)
            before = weights(model.generator), weights(model.discriminator)
            model.train_step({"images": images})
            after = weights(model.generator), weights(model.discriminator)
            return [
                [b - a for a, b in zip(*pair, strict=True)]
                for pair in zip(before, after, strict=True)
            ]

        both, generator, discriminator = moved((0.1, 0.1)), moved((0.1, 0.0)), moved((0.0, 0.1))
        for ours, theirs in zip(both[0], generator[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for ours, theirs in zip(both[1], discriminator[1], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert max(np.abs(x).max() for x in generator[0]) > 0
        assert not any(x.any() for x in generator[1])
        assert not any(x.any() for x in discriminator[0])

    def test_the_generators_gradient_is_that_of_its_loss(self, images):
        model = small_gan()
        model.compile(keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0), loss="non_saturating")
        generator = keras.models.clone_model(model.generator)
        generator.set_weights(model.generator.get_weights())
        discriminator = keras.models.clone_model(model.discriminator)
        discriminator.set_weights(model.discriminator.get_weights())
        latents = model.noise((12, 4), training=True)
        with tf.GradientTape() as tape:
            logits = discriminator(generator(latents))
            loss = tf.reduce_mean(tf.nn.softplus(-logits))
        expected = tape.gradient(loss, generator.trainable_variables)
        before = [np.asarray(v) for v in model.generator.trainable_variables]
        model.fit(images, batch_size=12, verbose=0)
        for old, new, gradient in zip(
            before, model.generator.trainable_variables, expected, strict=True
        ):
            np.testing.assert_allclose(old - new, gradient, rtol=1e-3, atol=1e-6)

    def test_critic_steps(self, images):
        for steps in (1, 3):
            model = small_gan(generator=kmg.networks.dcgan_generator(SHAPE, 4, width=8))
            model.compile(loss="wasserstein", critic_steps=steps)
            model.fit(images, batch_size=6, verbose=0)
            assert model.generator_optimizer.iterations == 2
            assert model.discriminator_optimizer.iterations == 2 * steps
        # Batch statistics of the generator are those of its own steps.
        model = small_gan(generator=kmg.networks.dcgan_generator(SHAPE, 4, width=8))
        model.compile(
            keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0), "wasserstein", critic_steps=4
        )
        assert model.generator.non_trainable_variables
        copy = kmg.networks.dcgan_generator(SHAPE, 4, width=8)
        copy(model.noise((12, 4), True, stream=4 * 3), training=True)
        model.fit(images, batch_size=12, verbose=0)
        for ours, theirs in zip(
            model.generator.non_trainable_variables, copy.non_trainable_variables, strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_a_schedule_goes_by_the_generators_steps(self, images):
        model = small_gan()
        schedule = keras.optimizers.schedules.PolynomialDecay(1e-3, 4, 0.0)
        model.compile(loss="wasserstein", learning_rate=schedule, discriminator_rate=2)
        model.fit(images, batch_size=4, verbose=0)
        optimizers = model.generator_optimizer, model.discriminator_optimizer
        rates = [float(optimizer.learning_rate) for optimizer in optimizers]
        np.testing.assert_allclose(rates, [2.5e-4, 5e-4], rtol=1e-5)
        assert model.discriminator_optimizer.iterations == 15

    def test_a_learning_rate_of_zero(self):
        model = small_gan()
        model.compile(learning_rate=0.0)
        assert float(model.generator_optimizer.learning_rate) == 0
        assert float(model.discriminator_optimizer.learning_rate) == 0

    def test_an_epoch_without_a_finite_step_has_the_same_logs(self, images):
        keras.config.set_dtype_policy("mixed_float16")
        model = small_gan()
        model.compile()
        finite = model.fit(images, batch_size=6, verbose=0).history
        model.generator_optimizer.dynamic_scale.assign(1e38)
        history = model.fit(images, batch_size=12, verbose=0).history
        assert history.keys() == finite.keys()
        assert all(isinstance(values[0], float) for values in history.values())

    def test_a_penalty_beside_batch_normalisation_is_warned_of(self):
        model = small_gan(discriminator=kmg.networks.larsen_discriminator(SHAPE))
        model.compile()
        with pytest.warns(UserWarning, match="has batch normalization"):
            model.compile(r1=1.0)

    def test_a_compile_that_fails_changes_nothing(self):
        model = small_gan()
        model.compile(loss="wasserstein")
        with pytest.raises(ValueError, match="discriminator_rate=0"):
            model.compile(loss="hinge", r1=3.0, discriminator_rate=0)
        assert (model.r1, model.critic_steps) == (0, 5)

    def test_defaults_of_the_losses(self):
        model = small_gan()
        model.compile()
        assert (model.gradient_penalty, model.critic_steps, model.r1) == (0, 1, 0)
        model.compile(loss="wasserstein")
        assert (model.gradient_penalty, model.critic_steps) == (10, 5)

    def test_penalties_are_weighed_and_logged(self, images):
        penalties = {}
        for r1 in (0.0, 2.0):
            model = small_gan()
            model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0), r1=r1)
            penalties[r1] = model.fit(images, batch_size=12, verbose=0).history["penalty"][0]
        assert penalties[0.0] == 0
        x = tf.constant(2 * images - 1)
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = model.discriminator(x)
        squared = np.sum(np.square(tape.gradient(logits, x)), axis=(1, 2, 3))
        assert penalties[2.0] == pytest.approx(squared.mean(), rel=1e-4)

    @pytest.mark.parametrize(("loss", "boundary"), [("hinge", 0.0), ("least_squares", 0.5)])
    def test_accuracies(self, images, loss, boundary):
        model = small_gan()
        model.compile(loss=loss)
        measured = model.evaluate(images, batch_size=12, verbose=0, return_dict=True)
        fakes = model.generator(model.noise((12, 4), training=False))
        real = np.ravel(model.discriminator(2 * images - 1)) > boundary
        fake = np.ravel(model.discriminator(fakes)) < boundary
        assert measured["real_accuracy"] == pytest.approx(real.mean())
        assert measured["fake_accuracy"] == pytest.approx(fake.mean())

    @pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
    def test_accuracies_where_logits_have_no_zero(self, images, loss):
        measured = []
        for offset in (0.0, 5.0):
            model = small_gan()
            model.discriminator.layers[-1].bias.assign([offset])
            model.compile(loss=loss)
            logs = model.evaluate(images, batch_size=12, verbose=0, return_dict=True)
            measured.append([logs["real_accuracy"], logs["fake_accuracy"]])
        assert measured[0] == measured[1]
        fakes = model.generator(model.noise((12, 4), training=False))
        real, fake = (np.ravel(model.discriminator(x)) for x in (2 * images - 1, fakes))
        middle = (real.mean() + fake.mean()) / 2
        expected = [np.mean(real > middle), np.mean(fake < middle)]
        np.testing.assert_allclose(measured[0], expected, atol=1e-6)


class TestAverage:
    def test_follows_the_generator(self, images):
        model = small_gan(ema_decay=0.5)
        model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
        expected = weights(model.generator)
        for steps in (1, 2, 3):
            model.fit(images, batch_size=12, verbose=0)
            decay = min(0.5, (1 + steps) / (10 + steps))
            now = weights(model.generator)
            expected = [decay * a + (1 - decay) * b for a, b in zip(expected, now, strict=True)]
            for ours, theirs in zip(weights(model.average_generator), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)

    def test_is_what_generate_save_and_export_take(self, images, tmp_path):
        model = small_gan()
        model.compile()
        model.fit(images, epochs=3, verbose=0)
        latents = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
        average, raw = (
            (np.asarray(network(latents)) + 1) / 2
            for network in (model.average_generator, model.generator)
        )
        assert np.abs(average - raw).max() > 1e-4
        np.testing.assert_allclose(model.decode(latents), average, atol=1e-6)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.generate(4), model.generate(4))
        path = kmg.serving.export(again, tmp_path / "export")
        signatures = tf.saved_model.load(str(path)).signatures
        assert not {"encode", "reconstruct", "detect"} & {*signatures}
        exported = signatures["serving_default"](latents=tf.constant(latents))["images"]
        np.testing.assert_allclose(exported, average, atol=1e-5)


OPTIONS = {
    **{loss: ({}, {"loss": loss}) for loss in LOSSES},
    "r1": ({}, {"r1": 1.0}),
    "augmented": ({"augmentation": AUGMENTATION}, {}),
    "augmented, with both penalties": (
        {"augmentation": AUGMENTATION},
        {"loss": "wasserstein", "r1": 1.0, "critic_steps": 2},
    ),
    "dcgan": (
        {
            "generator": kmg.networks.dcgan_generator(SHAPE, 4, width=8),
            "discriminator": kmg.networks.dcgan_discriminator(SHAPE, width=8),
        },
        {},
    ),
    "spectrally normalised": (
        {
            "discriminator": kmg.networks.convolutional_discriminator(
                SHAPE, width=8, spectral_normalization=True
            )
        },
        {},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_one_step_save_load_and_export(images, tmp_path, name):
    made_of, compiled_with = OPTIONS[name]
    model = small_gan(**made_of)
    model.compile(**compiled_with)
    history = model.fit(images, validation_data=(images,), batch_size=6, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.generate(3), model.generate(3))
    assert type(again.adversarial_loss) is type(model.adversarial_loss)
    assert (again.critic_steps, again.r1) == (model.critic_steps, model.r1)
    for one in (model, again):
        one.fit(images, batch_size=6, shuffle=False, verbose=0)
    np.testing.assert_allclose(again.generate(3), model.generate(3), atol=1e-5)
    path = kmg.serving.export(model, tmp_path / "export")
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    latents = np.ones((1, 4), np.float32)
    exported = signature(latents=tf.constant(latents))["images"]
    np.testing.assert_allclose(exported, model.decode(latents), atol=1e-5)


def test_conditioned_on_labels(rng):
    # Images whose brightness is their class, and nothing else.
    labels = np.arange(64) % 2
    images = np.tile((0.2 + 0.6 * labels)[:, None, None, None], (1, *SHAPE)).astype(np.float32)
    images += rng.normal(0, 0.02, images.shape).astype(np.float32)
    model = kmg.models.GAN(
        SHAPE,
        4,
        num_classes=2,
        ema_decay=0.8,
        generator=kmg.networks.dense_generator(SHAPE, 4, 16, num_classes=2),
        discriminator=kmg.networks.dense_discriminator(SHAPE, 16, num_classes=2),
    )
    model.compile(learning_rate=5e-3)
    model.fit(images, labels, batch_size=16, epochs=60, verbose=0)
    dark, bright = (model.generate(8, labels=[n] * 8).mean() for n in (0, 1))
    assert bright - dark > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
        ({"num_classes": 2}, "generator must take"),
        ({"augmentation": ("blur",)}, "augmentation=.*blur"),
        ({"augmentation": "cutout"}, "augmentation='cutout'"),
        ({"augmentation": ("saturation",)}, "saturation needs 3 channels"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"latent_dim": 4.0}, "latent_dim=4.0"),
        ({"generator": kmg.networks.dense_generator((8, 8, 1), 4, 16)}, "generator must return"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_gan(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "mse"}, "'mse'"),
        ({"r1": -1}, "r1=-1"),
        ({"critic_steps": 0}, "critic_steps=0"),
        ({"gradient_penalty": -1}, "gradient_penalty=-1"),
        ({"discriminator_rate": 0}, "discriminator_rate=0"),
        ({"discriminator_rate": "2"}, "discriminator_rate='2'"),
        ({"discriminator_rate": 2, "discriminator_optimizer": "adam"}, "optimizer=.adam"),
    ],
)
def test_arguments_of_compile_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_gan().compile(**arguments)


def test_each_network_needs_an_optimizer_of_its_own():
    adam = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="discriminator_optimizer must each be an optimizer of"):
        small_gan().compile(adam, adam)


def test_a_generator_that_ends_in_a_sigmoid_is_refused():
    sigmoid = kmg.networks.convolutional_decoder(SHAPE, 4, width=8)
    with pytest.raises(ValueError, match=r"generator must make images in \[-1, 1\]"):
        small_gan(generator=sigmoid)
