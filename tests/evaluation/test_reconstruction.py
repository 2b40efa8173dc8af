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


def test_identical_images():
    images = np.random.default_rng(0).random((2, 16, 16, 1))
    quality = reconstruction_quality(images, images)
    assert quality["psnr"] == pytest.approx(100)
    assert quality["ssim"] == pytest.approx(1)


@pytest.mark.parametrize("shapes", [((2, 16, 16, 1), (3, 16, 16, 1)), ((0, 16, 16, 1),) * 2])
def test_shapes_are_checked(shapes):
    with pytest.raises(ValueError, match="of one shape"):
        reconstruction_quality(*map(np.zeros, shapes))
