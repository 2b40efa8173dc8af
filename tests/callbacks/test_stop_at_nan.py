import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.callbacks.conftest import fit


class Diverging(keras.Model):
    """Logs means of three terms, of which one leaves the numbers at a chosen step, from 1 on."""

    def __init__(self, step, value=np.nan, in_validation=False):
        super().__init__()
        self.step, self.value, self.in_validation = step, value, in_validation
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros")
        self.means = [keras.metrics.Mean(name=n) for n in ("loss", "first_loss", "second_loss")]
        self.built = True
        self.compile("sgd")

    @property
    def metrics(self):
        return self.means

    def _log(self, diverged):
        second = tf.where(diverged, self.value, 1.0)
        for mean, value in zip(self.means, (1.0 + second, 1.0, second), strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.means}

    def train_step(self, data):
        self.count.assign_add(1)
        return self._log((self.count.value == self.step) & (not self.in_validation))

    def test_step(self, data):
        return self._log((self.count.value >= self.step) & self.in_validation)


def stopped(model, steps_per_execution=1, **arguments):
    """What the callback says of three epochs of five steps."""
    model.compile("sgd", steps_per_execution=steps_per_execution)
    stop = kmg.callbacks.StopAtNaN()
    history = model.fit(
        np.zeros((10, 1)), batch_size=2, epochs=3, verbose=0, callbacks=[stop], **arguments
    )
    return stop, len(history.history["loss"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_names_the_cause_before_the_total(value, capsys):
    stop, epochs = stopped(Diverging(7, value))
    assert stop.term == "second_loss"
    assert stop.terms == ["second_loss", "loss"]
    assert (stop.epoch, stop.step, epochs) == (2, 2, 2)
    assert stop.message == (
        f"the training diverged in step 2 of epoch 2: second_loss is {value:g}, loss is {value:g}."
    )
    assert stop.message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("diverges", "step", "where"),
    [(6, 2, "in steps 1 to 2"), (8, 4, "in steps 3 to 4"), (10, 5, "in step 5")],
)
def test_knows_the_step_to_within_a_block(diverges, step, where):
    stop, _ = stopped(Diverging(diverges), steps_per_execution=2)
    assert (stop.epoch, stop.step) == (2, step)
    assert f"{where} of epoch 2" in stop.message


def test_looks_at_the_validation():
    stop, epochs = stopped(Diverging(10, in_validation=True), validation_data=(np.zeros((2, 1)),))
    assert stop.terms == ["val_second_loss", "val_loss"]
    assert (stop.epoch, stop.step, epochs) == (2, 5, 2)
    assert "after step 5 of epoch 2" in stop.message


def test_leaves_a_sound_training_alone_and_forgets():
    model, stop = Diverging(2), kmg.callbacks.StopAtNaN(verbose=False)
    for _ in range(2):
        model.fit(np.zeros((8, 1)), batch_size=2, verbose=0, callbacks=[stop])
    assert (stop.term, stop.terms, stop.epoch, stop.step, stop.message) == (None, [], *[None] * 3)


def test_a_model_of_ours(model, images, capsys):
    model.compile(learning_rate=1e30)
    stop = kmg.callbacks.StopAtNaN(verbose=False)
    fit(model, images, stop)
    assert stop.term in {"reconstruction_loss", "kl_loss"}
    assert (stop.epoch, stop.terms[-1]) == (1, "loss")
    assert capsys.readouterr().out == ""
