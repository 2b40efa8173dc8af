import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen.losses import ADVERSARIAL_LOSSES, get_adversarial
from tests.losses.conftest import values_and_gradients

PLAYERS = ("discriminator", "generator")


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def relative(real, fake):
    return real - fake.mean(), fake - real.mean()


def relativistic(real, fake):
    real, fake = relative(real, fake)
    return -log_sigmoid(real) - log_sigmoid(-fake)


# The papers' formulas, in float64.
EXPECTED = {
    ("minimax", "discriminator"): lambda r, f: -log_sigmoid(r) - log_sigmoid(-f),
    ("minimax", "generator"): lambda r, f: np.log(1 - 1 / (1 + np.exp(-f))),
    ("non_saturating", "discriminator"): lambda r, f: -log_sigmoid(r) - log_sigmoid(-f),
    ("non_saturating", "generator"): lambda r, f: -np.log(1 / (1 + np.exp(-f))),
    ("hinge", "discriminator"): lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f),
    ("hinge", "generator"): lambda r, f: -f,
    ("least_squares", "discriminator"): lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2,
    ("least_squares", "generator"): lambda r, f: (f - 1) ** 2 / 2,
    ("wasserstein", "discriminator"): lambda r, f: f - r,
    ("wasserstein", "generator"): lambda r, f: -f,
    ("relativistic", "discriminator"): relativistic,
    ("relativistic", "generator"): lambda r, f: relativistic(f, r),
}
CASES = sorted(EXPECTED)


def numeric_gradients(function, real, fake, step=1e-5):
    """The same by central differences, in float64."""
    both = np.stack([real, fake]).astype(np.float64)
    gradient = np.zeros_like(both)
    for place in np.ndindex(both.shape):
        change = np.zeros_like(both)
        change[place] = step
        difference = function(*(both + change)).sum() - function(*(both - change)).sum()
        gradient[place] = difference / (2 * step)
    return gradient


def method(name, player):
    return getattr(get_adversarial(name), f"{player}_loss")


def test_every_loss_has_its_formula_here():
    assert {name for name, _ in CASES} == set(ADVERSARIAL_LOSSES)
    assert len(CASES) == 2 * len(ADVERSARIAL_LOSSES)


@pytest.mark.parametrize(("name", "player"), CASES)
def test_values_and_gradients_are_those_of_the_paper(name, player, logits):
    expected = EXPECTED[name, player]
    values, *gradients = values_and_gradients(method(name, player), *logits)
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, expected(*map(np.float64, logits)), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(gradients, numeric_gradients(expected, *logits), atol=1e-6)


@pytest.mark.parametrize(("name", "player"), CASES)
def test_extreme_logits_stay_finite(name, player):
    real, fake = (np.float32([-300, 300, -300, 300]), np.float32([-300, -300, 300, 300]))
    for tensor in values_and_gradients(method(name, player), real, fake):
        assert np.isfinite(tensor).all()


@pytest.mark.parametrize("player", PLAYERS)
def test_relativistic_means_are_those_of_all_replicas(strategy, player, rng):
    loss = getattr(get_adversarial("relativistic"), f"{player}_loss")
    real, fake = rng.normal(0, 2, (2, 6)).astype(np.float32)
    whole = values_and_gradients(loss, real, fake)

    def on_replica(context):
        part = slice(0, 4) if context.replica_id_in_sync_group == 0 else slice(4, 6)
        return real[part], fake[part]

    parts = strategy.experimental_distribute_values_from_function(on_replica)

    @tf.function
    def run():
        return strategy.run(lambda part: tuple(values_and_gradients(loss, *part)), args=(parts,))

    for expected, got in zip(whole, run(), strict=True):
        together = np.concatenate([np.asarray(x) for x in strategy.experimental_local_results(got)])
        np.testing.assert_allclose(together, expected, atol=1e-6)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_knows_its_defaults_and_comes_back_from_its_config(name):
    loss = get_adversarial(name)
    assert get_adversarial(loss) is loss
    critic = name == "wasserstein"
    assert (loss.gradient_penalty, loss.critic_steps) == ((10, 5) if critic else (0, 1))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss) is ADVERSARIAL_LOSSES[name]


@pytest.mark.parametrize("loss", ["gan", None, keras.losses.MeanSquaredError()])
def test_a_stranger_is_refused(loss):
    with pytest.raises(ValueError, match=r"loss must be one of minimax, .*Received: loss="):
        kmg.losses.get_adversarial(loss)
