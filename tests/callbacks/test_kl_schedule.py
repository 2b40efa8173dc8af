import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.callbacks.conftest import fit


@pytest.fixture
def model():
    """The quickest VAE there is to trace."""
    images = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(images)
    outputs = {name: keras.layers.Dense(2, name=name)(flat) for name in ("mean", "log_var")}
    latents = keras.Input((2,))
    pixels = keras.layers.Dense(256, activation="sigmoid")(latents)
    model = kmg.models.VAE(
        (16, 16, 1),
        latent_dim=2,
        encoder=keras.Model(images, outputs),
        decoder=keras.Model(latents, keras.layers.Reshape((16, 16, 1))(pixels)),
    )
    model.compile()
    return model


class Watch(keras.callbacks.Callback):
    """Notes the scale, and the logs, of each block of steps; and the scale of each validation."""

    def on_train_begin(self, logs=None):
        self.scales, self.logs, self.validation = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.scales.append(float(self.model.kl_scale))
        self.logs.append(dict(logs))

    def on_test_batch_end(self, batch, logs=None):
        self.validation.append(float(self.model.kl_scale))


class Constant(kmg.callbacks.KLSchedule):
    def scale(self, step):
        return 0.25


class TestScale:
    def scales(self, schedule, steps, epochs):
        """Of each step of a training, without one."""
        schedule.set_params({"steps": steps, "epochs": epochs})
        schedule.set_model(types.SimpleNamespace(kl_scale=None))
        schedule.on_train_begin()
        return [schedule.scale(step) for step in range(steps * epochs + 5)]

    @pytest.mark.parametrize("given", [{"steps": 30}, {"epochs": 3}, {"epochs": 1.5}])
    def test_warm_up_is_a_straight_line(self, given):
        rise = given.get("steps") or 10 * given["epochs"]
        scales = self.scales(kmg.callbacks.KLWarmUp(**given), steps=10, epochs=5)
        np.testing.assert_allclose(scales, np.interp(range(55), [0, rise], [0, 1]))

    @pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
    def test_cycles_are_those_of_fu_et_al(self, ratio):
        scales = self.scales(kmg.callbacks.KLCycles(4, ratio), steps=20, epochs=5)
        cycle = np.interp(range(25), [0, 25 * ratio], [0, 1])
        np.testing.assert_allclose(scales, [*np.tile(cycle, 4), *np.ones(5)])

    def test_cycles_of_a_part_of_the_training(self):
        scales = self.scales(kmg.callbacks.KLCycles(2, 1.0, steps=8), steps=5, epochs=2)
        np.testing.assert_allclose(scales, [0, 0.25, 0.5, 0.75] * 2 + [1] * 7)


class TestTraining:
    @pytest.mark.parametrize("steps_per_execution", [1, 2])
    def test_steps_are_scaled_and_validation_is_not(self, model, images, steps_per_execution):
        model.compile(steps_per_execution=steps_per_execution)
        watch = Watch()
        warm_up = kmg.callbacks.KLWarmUp(steps=8)
        fit(model, images, warm_up, watch, validation_data=(images[:8],))
        expected = np.arange(6) / 8 if steps_per_execution == 1 else [0, 2 / 8, 3 / 8, 5 / 8]
        np.testing.assert_allclose(watch.scales, expected)
        assert watch.validation == [1.0, 1.0]
        assert float(model.kl_scale) == 1.0
        first = watch.logs[0]  # of a step, or block, that had no KL term
        assert first["kl_loss"] != 0
        np.testing.assert_allclose(first["loss"], first["reconstruction_loss"], rtol=1e-6)

    def test_the_scale_is_that_of_the_loss(self, model, images):
        watch = Watch()
        fit(model, images, Constant(), watch, epochs=1)
        logs = watch.logs[-1]
        expected = logs["reconstruction_loss"] + 0.25 * model.kl_weight * logs["kl_loss"]
        np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)

    def test_a_model_saved_after_an_epoch_has_the_full_scale(self, model, images):
        scales = []
        look = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: scales.append(float(model.kl_scale))
        )
        fit(model, images, kmg.callbacks.KLWarmUp(steps=100), look, epochs=2)
        assert scales == [1.0, 1.0]

    def test_goes_on_where_the_optimizer_is(self, model, images):
        model.optimizer.iterations.assign(3)
        watch = Watch()
        cycles = kmg.callbacks.KLCycles(cycles=1, ratio=1.0)
        fit(model, images, cycles, watch, epochs=2, initial_epoch=1)
        np.testing.assert_allclose(watch.scales, np.arange(3, 6) / 6)


class TestErrors:
    @pytest.mark.parametrize(
        "given", [{}, {"steps": 1, "epochs": 1}, {"steps": 0}, {"epochs": -1.0}]
    )
    def test_warm_up_takes_one_positive_number(self, given):
        with pytest.raises(ValueError, match=r"either steps or epochs.*Received: steps="):
            kmg.callbacks.KLWarmUp(**given)

    @pytest.mark.parametrize("given", [{"cycles": 0}, {"ratio": 0}, {"ratio": 1.5}, {"steps": 0}])
    def test_arguments_of_cycles_are_checked(self, given):
        (name,) = given
        with pytest.raises(ValueError, match=f"^{name} must.*Received: {name}="):
            kmg.callbacks.KLCycles(**given)

    def test_more_cycles_than_steps(self, model, images):
        with pytest.raises(ValueError, match=r"9 cycles need at least 18 steps.*6 steps"):
            fit(model, images, kmg.callbacks.KLCycles(9), epochs=2)

    def test_a_model_without_a_kl_term(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(loss="mse")
        with pytest.raises(ValueError, match=r"a kl_scale.*Received: model=Sequential"):
            model.fit(np.ones((2, 1)), np.ones((2, 1)), callbacks=[Constant()], verbose=0)

    def test_a_data_set_of_unknown_length(self, model, images):
        dataset = tf.data.Dataset.from_tensor_slices(images).batch(8).filter(lambda _: True)
        with pytest.raises(ValueError, match="of known length, or steps="):
            model.fit(dataset, verbose=0, callbacks=[kmg.callbacks.KLWarmUp(epochs=1)])
