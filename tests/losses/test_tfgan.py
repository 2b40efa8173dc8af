"""TF-GAN as an oracle, and as a guest."""

import importlib.util
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen.losses import TFGAN_LOSSES, from_tfgan, get_adversarial
from tests.losses.conftest import values_and_gradients
from tests.test_package import run_python

needs_tfgan = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_gan") is None, reason="TF-GAN is not installed"
)
OURS = {"modified": "non_saturating"}
PLAYERS = ("discriminator", "generator")


@needs_tfgan
@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("name", TFGAN_LOSSES)
def test_agrees_with_our_loss(name, player, in_graph, logits):
    ours, theirs = (
        getattr(loss, f"{player}_loss")
        for loss in (get_adversarial(OURS.get(name, name)), from_tfgan(name))
    )
    compute = tf.function(values_and_gradients) if in_graph else values_and_gradients
    ours, theirs = compute(ours, *logits), compute(theirs, *logits)
    if (name, player) == ("minimax", "generator"):
        # TF-GAN's has the discriminator's other term in it, of a real logit of 1.
        theirs[0] = theirs[0] + np.log1p(np.exp(-1))
    if name == "relativistic":
        ours[0] = tf.fill(9, tf.reduce_mean(ours[0]))  # TF-GAN's is a mean
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape == (9,)
        np.testing.assert_allclose(our, their, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", TFGAN_LOSSES)
def test_comes_back_from_its_config(name):
    loss = kmg.losses.TFGANLoss(name)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (type(again), again.name) == (kmg.losses.TFGANLoss, name)
    ours = get_adversarial(OURS.get(name, name))
    assert again.gradient_penalty == ours.gradient_penalty
    assert again.critic_steps == ours.critic_steps
    assert again.boundary == ours.boundary


def test_a_name_that_it_has_not():
    with pytest.raises(ValueError, match=r"name must be one of minimax, .*name='acgan'"):
        from_tfgan("acgan")


def test_says_which_extra_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow_gan", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"keras_medgen\[tfgan\]"):
        from_tfgan("modified")


TRACES = """
import sys
import tensorflow as tf, tensorflow_probability, keras_medgen
from keras_medgen.losses._tfgan_import import import_tfgan

STANDINS = ("distutils", "distutils.version", "pkg_resources")
def state():
    # Submodules of TensorFlow that are read for the first time are no trace of ours.
    has = [hasattr(holder, "estimator") for holder in (tf, tf.compat.v1)]
    named = ["estimator" in names for holder in (tf, tf.compat.v1)
             for names in (dir(holder), vars(holder))]
    return has, named, set(vars(tf)), set(vars(tf.compat.v1)), [
        id(sys.modules.get(name)) for name in STANDINS]

if sys.argv[1:] == ["loaded"]:
    for name in STANDINS:
        sys.modules[name] = type(sys)(name)
before = state()
module = import_tfgan()
assert state() == before, (state(), before)
assert import_tfgan() is module is sys.modules["tensorflow_gan"]
added = {name.split(".")[0] for name in sys.modules}
print("estimator" in added, module.losses.wargs.modified_generator_loss(tf.zeros(3)).numpy())
"""


@needs_tfgan
@pytest.mark.parametrize("loaded", [False, True])
def test_its_import_leaves_no_trace(loaded):
    code = TRACES.replace("sys.argv[1:]", repr(["loaded"] if loaded else []))
    finished = run_python(code)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split()[0] == "False"
    assert float(finished.stdout.split()[1]) == pytest.approx(np.log(2), abs=1e-6)
