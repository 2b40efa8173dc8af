"""What generators, and decoders that serve as such, promise beside what every network does."""

import keras
import numpy as np
import pytest
import scipy.special

from keras_medgen.networks import (
    convolutional_decoder,
    dcgan_generator,
    dense_decoder,
    dense_generator,
    larsen_decoder,
)


@pytest.mark.parametrize(
    "shape", [(16, 16, 1), (28, 28, 1), (33, 33, 3), (31, 57, 4), (16, 256, 1), (256, 256, 1)]
)
def test_shapes(shape):
    images = dcgan_generator(shape, 5, width=4)(np.zeros((2, 5), np.float32))
    assert images.shape == (2, *shape)


def test_default_shapes():
    images = dense_generator()(np.zeros((2, 100), np.float32))
    assert images.shape == (2, 64, 64, 3)
    assert dcgan_generator((28, 28, 1)).input.shape == (None, 128)


@pytest.mark.parametrize("shape", [(15, 28, 1), (28, 257, 1), (28, 28, 5), (28, 28)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="16 to 256"):
        dcgan_generator(shape)
    with pytest.raises(ValueError, match="at least 1 each"):
        dense_generator((0, *shape[1:]))


@pytest.mark.parametrize("classes", [None, 4])
def test_parameters_of_the_capstone(classes):
    expected = (100 + (classes or 0)) * 128 + 128 + 128 * 64 * 64 * 3 + 64 * 64 * 3
    assert dense_generator(num_classes=classes).count_params() == expected


@pytest.mark.parametrize("classes", [None, 4])
def test_parameters_of_dcgan(classes):
    # 8 -> 16 -> 32 -> 64; four of batch normalisation for each channel
    expected = (128 + (classes or 0)) * 8 * 8 * 256 + 4 * 256
    expected += 16 * 256 * 128 + 4 * 128
    expected += 16 * 128 * 64 + 4 * 64
    expected += 16 * 64 * 3 + 3
    assert dcgan_generator((64, 64, 3), num_classes=classes).count_params() == expected


def test_channels_of_dcgan_halve_from_eight_times_the_width_at_most():
    network = dcgan_generator((256, 256, 1), 4, width=4)
    assert [layer.filters for layer in network.layers if hasattr(layer, "filters")] == [
        *(32, 16, 8, 4, 1)
    ]


@pytest.mark.parametrize("shape", [(28, 28, 1), (33, 31, 2)])
def test_images_of_dcgan_fill_the_range_of_tanh(rng, shape):
    latents = rng.normal(0, 30, (8, 4)).astype(np.float32)
    network = dcgan_generator(shape, 4, width=8)
    for images in (network(latents), network(latents, training=True)):
        assert -1 <= np.min(images) < -0.3
        assert 0.3 < np.max(images) <= 1


def test_a_batch_of_one(rng):
    network = dcgan_generator((28, 28, 1), 4, width=8)
    images = network(rng.standard_normal((1, 4), np.float32), training=True)
    assert images.shape == (1, 28, 28, 1)
    assert np.isfinite(images).all()


def test_dense_generator_is_the_decoder_with_tanh(rng, tmp_path):
    latents = rng.standard_normal((3, 5), np.float32)
    generator = dense_generator((4, 6, 2), 5, 7, seed=3)
    decoder = dense_decoder((4, 6, 2), 5, 7, seed=3, output_activation="tanh")
    np.testing.assert_array_equal(generator(latents), decoder(latents))
    generator.save(tmp_path / "generator.keras")
    assert keras.saving.load_model(tmp_path / "generator.keras").name == "generator"


@pytest.mark.parametrize(
    "decoder",
    [
        lambda **given: convolutional_decoder((17, 16, 1), 4, 8, **given),
        lambda **given: dense_decoder((3, 4, 2), 4, **given),
        lambda **given: larsen_decoder((8, 8, 1), 4, **given),
    ],
)
def test_activations_of_a_decoder_act_on_the_same_numbers(decoder, rng):
    latents = rng.normal(0, 30, (6, 4)).astype(np.float32)
    numbers = np.asarray(decoder(output_activation="linear")(latents), np.float64)
    assert numbers.min() < -0.1
    images = np.asarray(decoder(output_activation="tanh")(latents))
    np.testing.assert_allclose(images, np.tanh(numbers), atol=1e-6)
    np.testing.assert_allclose(decoder()(latents), scipy.special.expit(numbers), atol=1e-6)
    assert -1 <= images.min() < images.max() <= 1
