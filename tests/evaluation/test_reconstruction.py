import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio

from keras_medgen.evaluation import reconstruction_quality


@pytest.fixture(params=[1, 3])
def pair(request, rng):
    images = rng.random((6, 24, 20, request.param)).astype(np.float32)
    noise = rng.normal(0, 0.1, images.shape)
    return images, np.clip(images + noise, 0, 1).astype(np.float32)


def test_equals_scikit_image_and_tensorflow(pair):
    quality = reconstruction_quality(*pair)
    by_skimage = [
        peak_signal_noise_ratio(*images, data_range=1) for images in zip(*pair, strict=True)
    ]
    assert quality["psnr"] == pytest.approx(np.mean(by_skimage), rel=1e-6)
    # TensorFlow leaves out the borders that its window does not fit in; scikit-image takes the
    # mean over the same pixels.
    by_tf = tf.image.ssim(*pair, max_val=1.0).numpy().mean()
    assert quality["ssim"] == pytest.approx(by_tf, abs=2e-4)
    # One scale fits into 20 pixels.
    by_tf = tf.image.ssim_multiscale(*pair, max_val=1.0, power_factors=[1.0]).numpy().mean()
    assert quality["ms_ssim"] == pytest.approx(by_tf, abs=2e-6)


def test_ms_ssim_over_several_batches(rng):
    images = rng.random((130, 21, 24, 1)).astype(np.float32)
    reconstructions = np.clip(images + rng.normal(0, 0.1, images.shape), 0, 1).astype(np.float32)
    powers = [0.0448 / 0.3304, 0.2856 / 0.3304]  # of the two scales that fit
    expected = tf.image.ssim_multiscale(
        images, reconstructions, max_val=1.0, power_factors=powers
    ).numpy()
    quality = reconstruction_quality(images, reconstructions)
    assert quality["ms_ssim"] == pytest.approx(expected.mean(), abs=2e-6)


def test_identical_images():
    images = np.random.default_rng(0).random((2, 16, 16, 1))
    quality = reconstruction_quality(images, images)
    assert quality["psnr"] == pytest.approx(100)
    assert quality["ssim"] == pytest.approx(1)
    assert quality["ms_ssim"] == pytest.approx(1)


@pytest.mark.parametrize("shapes", [((2, 16, 16, 1), (3, 16, 16, 1)), ((0, 16, 16, 1),) * 2])
def test_shapes_are_checked(shapes):
    with pytest.raises(ValueError, match="of one shape"):
        reconstruction_quality(*map(np.zeros, shapes))


def test_of_eight_bits_are_as_of_floats(rng):
    pair = rng.integers(0, 256, (2, 3, 16, 16, 1), dtype=np.uint8)
    assert reconstruction_quality(*pair) == reconstruction_quality(*(pair / 255))


@pytest.mark.parametrize("wrong", [2.0, -1.0, np.nan])
def test_values_are_checked(wrong):
    images = np.zeros((2, 16, 16, 1))
    with pytest.raises(ValueError, match=r"reconstructions must lie in \[0, 1\], or be uint8"):
        reconstruction_quality(images, images + wrong)
