import keras
import numpy as np
import pytest

from keras_medgen.metrics import small_classifier as small
from keras_medgen.metrics.repeated_training import RepeatedTraining, outputs_of


def halves(rng, count, side=16):
    """Dark images whose left, or top, half may be bright; (n, 2) of 0 and 1."""
    labels = rng.integers(0, 2, (count, 2))
    images = rng.normal(0.3, 0.05, (count, side, side, 1))
    images[:, :, : side // 2] += 0.3 * labels[:, 0, None, None, None]
    images[:, : side // 2] += 0.3 * labels[:, 1, None, None, None]
    return images.clip(0, 1).astype(np.float32), labels


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (128, 128, 3), (90, 61, 2)])
def test_about_fifty_thousand_parameters_in_float32(shape, rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = small.small_classifier(shape, 5)
    assert 40_000 < network.count_params() < 75_000
    logits = network(rng.random((2, *shape), np.float32))
    assert logits.shape == (2, 5)
    assert logits.dtype == "float32"
    assert {layer.compute_dtype for layer in network.layers[1:]} == {"float32"}


@pytest.mark.parametrize("task", ["multi-class", "ordinal", "multi-label"])
def test_learns_what_can_be_learned(rng, task):
    images, labels = halves(rng, 260)
    if task != "multi-label":
        labels = 2 * labels[:, :1] + labels[:, 1:]  # (n, 1), as MedMNIST has them
    trained = small.train_classifier(
        images[:100],
        labels[:100],
        images[100:160],
        labels[100:160],
        num_classes=2 if task == "multi-label" else 4,
        task=task,
        steps=60,
    )
    found = trained.probabilities(images[160:])
    if task == "multi-label":
        right = (found > 0.5) == labels[160:]
    else:
        np.testing.assert_allclose(found.sum(axis=1), 1)
        right = found.argmax(axis=1) == labels[160:, 0]
    assert right.mean() > 0.95
    features = trained.features(images[:3])
    assert features.shape == (3, 64)
    kernel, bias = trained.network.layers[-1].get_weights()
    np.testing.assert_allclose(
        features.numpy() @ kernel + bias, outputs_of(trained.network, images[:3]), atol=1e-4
    )


def training(steps=4, **kwargs):
    return RepeatedTraining(
        lambda seed: small.small_classifier((16, 16, 1), 4, seed),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps=steps,
        batch_size=8,
        learning_rate=1e-2,
        **kwargs,
    )


@pytest.fixture
def sets(rng):
    images, labels = halves(rng, 40)
    labels = 2 * labels[:, 0] + labels[:, 1]
    return images[:20], labels[:20], images[20:], labels[20:]


@pytest.mark.parametrize("count", [3, 20])
def test_as_many_steps_for_few_images_as_for_many(sets, count):
    images, labels, *val = sets
    one = training(steps=7)
    one.fit(images[:count], labels[:count], *val)
    assert one.network.optimizer.iterations == 7


def test_each_training_begins_anew(sets):
    again, alone = training(), training()
    again.fit(*sets, seed=5)
    lost = again.fit(*sets, seed=1)
    assert alone.fit(*sets, seed=1) == pytest.approx(lost, rel=1e-5)
    expected = alone.network.predict_on_batch(sets[0])
    np.testing.assert_allclose(again.network.predict_on_batch(sets[0]), expected, atol=1e-4)
    alone.fit(*sets, seed=2)
    assert np.abs(alone.network.predict_on_batch(sets[0]) - expected).max() > 1e-2


def test_keeps_the_checkpoint_that_validates_best(sets, monkeypatch):
    seen, losses = [], iter([3.0, 1.0, 1.5, 2.0])
    one = training(checks=4)

    def loss(images, targets):
        assert images is sets[2]
        assert targets is sets[3]
        seen.append(one.network.get_weights())
        return next(losses)

    monkeypatch.setattr(one, "_loss", loss)
    assert one.fit(*sets) == 1.0
    for kept, best, last in zip(one.network.get_weights(), seen[1], seen[3], strict=True):
        np.testing.assert_array_equal(kept, best)
        assert not np.array_equal(kept, last)


@pytest.mark.parametrize(
    ("losses", "best"), [([np.nan, 3.0, 1.0, 2.0], 2), ([2.0, np.nan, 3.0, np.nan], 0)]
)
def test_a_check_of_nan_is_never_the_best(sets, monkeypatch, losses, best):
    seen, given = [], iter(losses)
    one = training(checks=4)

    def loss(images, targets):
        seen.append(one.network.get_weights())
        return next(given)

    monkeypatch.setattr(one, "_loss", loss)
    assert one.fit(*sets) == losses[best]
    for kept, expected in zip(one.network.get_weights(), seen[best], strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_the_validation_loss_is_the_mean_over_images(sets, monkeypatch):
    monkeypatch.setattr("keras_medgen.metrics.repeated_training.BATCH", 8)  # 20 are 8, 8 and 4
    one = training(steps=2)
    lost = one.fit(*sets)
    probabilities = small.TrainedClassifier(one.network, "multi-class").probabilities(sets[2])
    expected = -np.log(probabilities[np.arange(20), sets[3]]).mean()
    assert lost == pytest.approx(expected, rel=1e-4)


def test_trains_on_its_rows_alone(sets):
    images, labels, *val = sets
    spoilt = np.concatenate([images, np.full_like(images, np.nan)])
    rows = np.array([0, 1, 2, 2, 2])
    one, other = training(), training()
    lost = one.fit(spoilt, np.tile(labels, 2), *val, rows=rows)
    assert np.isfinite(lost)
    assert lost == pytest.approx(other.fit(images[rows], labels[rows], *val), rel=1e-5)


def test_arguments_are_checked(sets):
    images, labels, *val = sets
    with pytest.raises(ValueError, match="sides of 8 or more"):
        small.small_classifier((4, 16, 1), 2)
    with pytest.raises(ValueError, match="steps must be positive"):
        training(steps=0)
    with pytest.raises(ValueError, match="Received: 20 and 0"):
        training().fit(images, labels, images[:0], labels[:0])
    with pytest.raises(ValueError, match="task must be one of"):
        small.train_classifier(images, labels, *val, num_classes=4, task="none")
    with pytest.raises(ValueError, match="20 numbers from 0 to 1"):
        small.train_classifier(images, labels, *val, num_classes=2)
    with pytest.raises(ValueError, match=r"shape \(20, 4\) and hold 0 and 1 alone"):
        small.train_classifier(images, labels, *val, num_classes=4, task="multi-label")
