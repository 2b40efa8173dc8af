import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score

from keras_medgen import metrics, ops
from tests.metrics.conftest import ORACLE
from tests.ops.test_similarity import oracle_images


@pytest.mark.parametrize("name", ORACLE["psnr"])
def test_psnr_equals_the_reference_packages(name):
    side, channels = map(int, name[1:].split("_C"))
    found = metrics.psnr(*oracle_images(side, channels))
    case = ORACLE["psnr"][name]
    for package in ("tf", "skimage", "monai", "piq"):
        np.testing.assert_allclose(found, case[f"{package}_per_image"], rtol=0, atol=1e-4)
    assert found.numpy().mean() == pytest.approx(case["torchmetrics_dim123"], abs=1e-4)


def test_psnr_of_identical_images():
    images, _ = oracle_images(28, 1)
    expected = {float(value) for value in ORACLE["psnr_identical"].values()}
    assert set(metrics.psnr(images, images).numpy().tolist()) == expected == {np.inf}


def test_ssim_of_a_large_image():
    found = metrics.ssim(*oracle_images(512, 1, count=1))
    np.testing.assert_allclose(found, ORACLE["ssim_H512_C1_n1"], rtol=0, atol=2e-6)
    assert metrics.ssim is ops.ssim
    assert metrics.ms_ssim is ops.ms_ssim


def test_errors_by_numpy(rng):
    a, b = rng.random((2, 5, 12, 13, 3)).astype(np.float32)
    for found, expected in (
        (metrics.mse(a, b), np.mean((a - b) ** 2, axis=(1, 2, 3))),
        (metrics.mae(a, b), np.mean(np.abs(a - b), axis=(1, 2, 3))),
    ):
        assert found.shape == (5,)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("function", [metrics.mse, metrics.mae, metrics.psnr])
def test_images_are_checked(function):
    images = np.zeros((2, 8, 8, 1), np.float32)
    for a, b in ((images, images[:1]), (images[..., 0], images[..., 0]), (images, images > 0)):
        with pytest.raises(ValueError, match="a and b must be floating point"):
            function(a, b)


@pytest.mark.parametrize("dtype", [bool, np.int32, np.uint8, np.float32])
def test_dice_equals_the_f1_score(rng, dtype):
    a, b = rng.random((2, 6, 9, 8)) < 0.3
    found = metrics.dice(a.astype(dtype), b.astype(dtype))
    expected = [f1_score(x.ravel(), y.ravel()) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_dice_of_probabilities_and_of_empty_masks(rng):
    a, b = rng.random((2, 4, 9, 8, 1))
    for threshold in (0.5, 0.8):
        expected = metrics.dice(a > threshold, b > threshold)
        np.testing.assert_array_equal(metrics.dice(a, b, threshold), expected)
    empty, full = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
    pairs = [(empty, empty), (empty, full), (full, empty), (full, full)]
    assert [float(metrics.dice(*pair)[0]) for pair in pairs] == [1, 0, 0, 1]
    with pytest.raises(ValueError, match="of one shape"):
        metrics.dice(empty, full[:, :2])


ALL = {
    "psnr": (metrics.PSNR(), metrics.psnr),
    "ssim": (metrics.SSIM(), metrics.ssim),
    "ms_ssim": (metrics.MSSSIM(), metrics.ms_ssim),
    "ms_ssim of one level": (
        metrics.MSSSIM(levels=1, name="one"),
        lambda a, b: metrics.ms_ssim(a, b, levels=1),
    ),
    "dice": (metrics.Dice(threshold=0.4), lambda a, b: metrics.dice(a, b, 0.4)),
}


@pytest.mark.parametrize("name", ALL)
def test_metrics_are_means_over_images(name):
    metric, function = ALL[name]
    a, b = oracle_images(28, 1, count=7)
    expected = function(a, b).numpy()
    assert expected.std() > 0
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is type(metric)
    assert copy.get_config() == metric.get_config()
    for one in (metric, copy):
        one.reset_state()
        step = tf.function(one.update_state, reduce_retracing=True)
        for part in (slice(0, 3), slice(3, 4), slice(4, 7)):  # batches of different sizes
            step(tf.constant(a[part]), tf.constant(b[part]))
        assert float(one.result()) == pytest.approx(expected.mean(), rel=1e-6)
    metric.reset_state()
    weights = np.arange(7.0)
    metric.update_state(a, b, sample_weight=weights)
    weighted = np.average(expected, weights=weights)
    assert float(metric.result()) == pytest.approx(weighted, rel=1e-6)


def test_identical_images_count_as_100_decibels():
    a, b = oracle_images(28, 1)
    metric = metrics.PSNR()
    metric.update_state(np.concatenate([a, a]), np.concatenate([a, b]))
    expected = (100 + metrics.psnr(a, b).numpy().mean()) / 2
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def test_metrics_while_fitting(tmp_path):
    images, noisy = oracle_images(28, 1, count=6)
    inputs = keras.Input((28, 28, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    chosen = [metrics.PSNR(), metrics.SSIM(), metrics.MSSSIM(), metrics.MeanSquaredError("mse")]
    model.compile(optimizer="adam", loss="mae", metrics=chosen)
    history = model.fit(noisy, images, batch_size=4, verbose=0, validation_data=(noisy, images))
    model.save(tmp_path / "model.keras")
    logs = keras.saving.load_model(tmp_path / "model.keras").evaluate(
        noisy, images, batch_size=4, verbose=0, return_dict=True
    )
    cleaned = model.predict(noisy, verbose=0)
    for function in (metrics.psnr, metrics.ssim, metrics.ms_ssim, metrics.mse):
        name = function.__name__
        assert logs[name] == pytest.approx(function(images, cleaned).numpy().mean(), rel=1e-4)
        assert history.history[f"val_{name}"][0] == pytest.approx(logs[name], rel=1e-5)


def test_the_loss_of_the_same_name_is_still_there():
    loss = keras.saving.get_registered_object("keras_medgen>MSSSIM")
    assert issubclass(loss, keras.layers.Layer)
