import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_medgen.data.resizing import lanczos, resize_image, resize_mask

SHAPES = [(30, 20), (20, 33), (64, 64), (7, 5), (1, 1), (16, 24)]


@pytest.mark.parametrize(("length", "target"), [(256, 64), (30, 28), (20, 50), (7, 7), (1, 4)])
def test_the_matrix_is_tensorflows_lanczos(rng, length, target):
    line = rng.random((1, length, 1, 1), np.float32)
    expected = tf.image.resize(line, (target, 1), method="lanczos3", antialias=True)
    np.testing.assert_allclose(
        lanczos(length, target) @ line[0, :, 0, 0], expected[0, :, 0, 0], atol=1e-5
    )


@pytest.mark.parametrize("method", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(16, 24), (28, 28)])
def test_known_and_unknown_sizes_give_the_same(rng, shape, size, method):
    images = rng.random((2, *shape, 3), np.float32)
    known = resize_image(tf.constant(images), size, method)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def unknown(images):
        return resize_image(images, size, method)

    assert known.shape == (2, *size, 3)
    np.testing.assert_allclose(known, unknown(images), atol=1e-5)
    one = resize_image(tf.constant(images[1]), size, method)
    np.testing.assert_allclose(one, known[1], atol=1e-6)


@pytest.mark.parametrize("shape", [(256, 256), (100, 60)])
def test_eight_bits_are_as_pillow_resizes_them(rng, shape):
    noise = rng.integers(0, 256, (*shape, 3), np.uint8)
    ours = resize_image(tf.constant(noise), (48, 48), "stretch").numpy()
    pillow = np.asarray(Image.fromarray(noise).resize((48, 48), Image.Resampling.LANCZOS))
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(float) - pillow).mean() < 0.3  # it rounds between the two axes


@pytest.mark.parametrize("method", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)])
def test_masks_stay_on_their_images(shape, method):
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = ((y - 22) ** 2 + (x - 25) ** 2 < 15**2).astype(np.int32) * 3
    image = resize_image(tf.constant(mask[..., None] / np.float32(3)), (80, 80), method).numpy()
    resized = resize_mask(mask, (80, 80), method)
    lit = image[..., 0] > 0.5
    assert set(np.unique(resized)) == {0, 3}
    assert 2 * (lit & (resized == 3)).sum() / (lit.sum() + (resized == 3).sum()) > 0.97
