import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.models.contract import SHAPE


@pytest.fixture
def model():
    return kmg.models.VAE(SHAPE, 4, num_classes=3, seed=0)


@pytest.fixture
def images(rng):
    return rng.random((6, *SHAPE), np.float32)


LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_classes_are_told_apart(rng):
    # Images whose brightness is their class, and nothing else.
    labels = rng.integers(0, 3, 192)
    images = np.tile((0.2 + 0.3 * labels)[:, None, None, None], (1, *SHAPE)).astype(np.float32)
    images += rng.normal(0, 0.02, images.shape).astype(np.float32)
    model = kmg.models.VAE(SHAPE, 4, num_classes=3, seed=0)
    model.compile(learning_rate=3e-3)
    model.fit(images, labels, batch_size=16, epochs=10, verbose=0)
    brightness = model.generate(60, labels=[0, 1, 2] * 20).mean((1, 2, 3)).reshape(20, 3)
    np.testing.assert_allclose(brightness.mean(0), [0.2, 0.5, 0.8], atol=0.08)
    # The label says it all: the latents of a shifted label decode to the other class.
    means = model.encode(images[:6], labels[:6])["mean"]
    moved = model.decode(means, (labels[:6] + 1) % 3)
    np.testing.assert_allclose(moved.mean((1, 2, 3)), 0.2 + 0.3 * ((labels[:6] + 1) % 3), atol=0.15)


def test_labels_in_every_form(model, images):
    one_hot = np.eye(3)[LABELS]
    expected = model.reconstruct(images, LABELS)
    for form in (LABELS.tolist(), LABELS[:, None], one_hot, one_hot.astype(bool), LABELS * 1.0):
        np.testing.assert_array_equal(model.reconstruct(images, form), expected)
    other = model.reconstruct(images, (LABELS + 1) % 3)
    assert np.abs(other - expected).max() > 1e-4
    several = model.reconstruct(images, np.ones((6, 3)))
    assert np.abs(several - expected).max() > 1e-4


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "needs labels"),
        ([0, 1], "6 labels.*2"),
        ([0, 1, 2, 0, 1, 3], "0 to 2.*3"),
        ([0, 1, 2, 0, 1, -1], "0 to 2.*-1"),
        ([0, 1, 2, 0, 1, 0.5], "0 to 2.*0.5"),
        (np.full((6, 3), 2), "0 and 1.*2"),
        (np.zeros((6, 2)), r"shape \(6, 2\)"),
        (np.zeros((6, 3, 1)), r"shape \(6, 3, 1\)"),
    ],
)
def test_bad_labels_are_refused(model, images, labels, message):
    latents = np.zeros((6, 4))
    for call in (
        lambda: model.encode(images, labels),
        lambda: model.decode(latents, labels),
        lambda: model.reconstruct(images, labels),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    if labels is not None:
        with pytest.raises(ValueError, match=message):
            model.generate(6, labels=labels)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 0, 1, 3]), "labels must be classes from 0 to 2"),
        (np.full(6, 0.7), "labels must be classes from 0 to 2"),
        (np.full((6, 3), 2), "labels must be classes from 0 to 2"),
        (np.zeros((6, 2)), r"labels must be.*\(6, 2\)"),
        (None, "has none"),
    ],
)
def test_bad_labels_are_refused_in_training(model, images, labels, message, jit_compile):
    model.compile(jit_compile=jit_compile)
    batch = {"images": images} if labels is None else {"images": images, "labels": labels}
    with pytest.raises(ValueError, match=message):
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)


def test_labels_in_every_form_in_training(model, images):
    expected = np.eye(3)[LABELS % 2]
    for form in (LABELS % 2, LABELS % 2 == 1, (LABELS % 2)[:, None], LABELS % 2 * 1.0, expected):
        labels = model.unpack_batch({"images": images, "labels": form})["labels"]
        np.testing.assert_array_equal(labels, expected)


def test_without_labels_the_classes_come_in_turn(model):
    np.testing.assert_array_equal(model.generate(5), model.generate(5, labels=[0, 1, 2, 0, 1]))
    np.testing.assert_array_equal(model.generate(40, seed=2)[:3], model.generate(3, seed=2))


def test_labels_of_a_model_without_classes_are_refused(images):
    model = kmg.models.VAE(SHAPE, 4)
    with pytest.raises(ValueError, match="no num_classes"):
        model.reconstruct(images, LABELS)
    model.compile()
    model.fit(images, LABELS, verbose=0)  # but data sets have labels, whoever reads them


def test_trains_evaluates_saves_and_exports(model, images, tmp_path):
    model.compile()
    data = tf.data.Dataset.from_tensors({"images": images, "labels": LABELS})
    history = model.fit(data, validation_data=(images, LABELS), epochs=2, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    assert model.predict(data, verbose=0).shape == images.shape
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.generate(3, seed=1), model.generate(3, seed=1))
    path = kmg.serving.export(again, tmp_path / "export")
    signatures = tf.saved_model.load(str(path)).signatures
    labels = tf.one_hot(LABELS, 3)
    served = signatures["reconstruct"](images=tf.constant(images), labels=labels)["images"]
    np.testing.assert_allclose(served, model.reconstruct(images, LABELS), atol=1e-5)
    latents = np.zeros((6, 4), np.float32)
    served = signatures["serving_default"](latents=latents, labels=labels)["images"]
    np.testing.assert_allclose(served, model.decode(latents, LABELS), atol=1e-5)


def test_a_prior_is_fitted_to_each_class(model, images, rng):
    model.compile()
    many = np.repeat(images, 5, axis=0)
    model.fit_prior((many, np.repeat(LABELS, 5)), components=2)
    assert model.fitted_prior.sizes == {"components": 2, "classes": 3}
    assert np.isfinite(model.generate(5)).all()
    with pytest.raises(ValueError, match="no image of class 2"):
        model.fit_prior((images[:4], [0, 1, 0, 1]))
    several = rng.integers(0, 2, (30, 3))
    several[0] = 1
    model.fit_prior((many, several), components=2)
    assert model.fitted_prior.sizes["classes"] == 1


def test_grids_of_a_conditional_model(model, images, tmp_path):
    model.compile()
    grids = kmg.callbacks.SampleGrid(tmp_path, num=4)
    model.fit(images, LABELS, validation_data=(images, LABELS), verbose=0, callbacks=[grids])
    assert {p.name for p in tmp_path.iterdir()} == {
        "samples_epoch_0001.png",
        "reconstructions_epoch_0001.png",
    }
