import keras
import numpy as np
import pytest

from keras_medgen.networks import convolutional_decoder, convolutional_encoder


@pytest.mark.parametrize(
    "shape",
    [(16, 16, 1), (28, 28, 1), (33, 33, 3), (64, 64, 3), (100, 100, 2), (31, 57, 4), (256, 256, 1)],
)
def test_shapes(shape):
    encoder, decoder = convolutional_encoder(shape, 5, width=8), convolutional_decoder(shape, 5, 8)
    outputs = encoder(np.zeros((2, *shape), np.float32))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "mean": (2, 5),
        "log_var": (2, 5),
    }
    images = decoder(np.zeros((2, 5), np.float32)).numpy()
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize(
    "shape", [(15, 28, 1), (28, 257, 1), (28, 28, 0), (28, 28, 5), (28, 28), (28,)]
)
@pytest.mark.parametrize("build", [convolutional_encoder, convolutional_decoder])
def test_other_shapes_are_refused(build, shape):
    with pytest.raises(ValueError, match="16 to 256"):
        build(shape, 4)


@pytest.mark.parametrize("classes", [None, 4])
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (64, 3)])
def test_parameters_at_the_default_width(side, channels, classes):
    given = classes or 0

    def block(n):  # scale and offset, then a 3x3 convolution
        return 2 * n + (9 * n * n + n)

    if side == 28:  # 28 -> 14 -> 7
        encoder = 16 * channels * 32 + 32 + 2 * block(32)
        encoder += 16 * 32 * 64 + 64
        features, width = 7 * 7 * 64, 64
        decoder = 16 * 64 * 32 + 32 + 2 * block(32)
    else:  # 64 -> 32 -> 16 -> 8
        encoder = 16 * channels * 32 + 32 + 2 * block(32)
        encoder += 16 * 32 * 64 + 64 + 2 * block(64)
        encoder += 16 * 64 * 128 + 128
        features, width = 8 * 8 * 128, 128
        decoder = 16 * 128 * 64 + 64 + 2 * block(64)
        decoder += 16 * 64 * 32 + 32 + 2 * block(32)
    encoder += 2 * width + 2 * (features * 64 + 64) + given * 32
    decoder += (64 + given) * features + features
    decoder += 16 * 32 * 32 + 32 + (9 * 32 * channels + channels)
    arguments = ((side, side, channels), 64)
    assert convolutional_encoder(*arguments, num_classes=classes).count_params() == encoder
    assert convolutional_decoder(*arguments, num_classes=classes).count_params() == decoder


def test_channels_double_up_to_four_times_the_width():
    encoder = convolutional_encoder((256, 256, 1), 4, width=8)
    halvings = [layer.filters for layer in encoder.layers if getattr(layer, "strides", 0) == (2, 2)]
    assert halvings == [8, 16, 32, 32, 32]


def test_images_that_differ_in_brightness_alone_can_be_told_apart():
    """No normalisation stands between a latent and the mean of its image."""
    decoder = convolutional_decoder((16, 16, 1), 1, width=8, seed=0)
    latents = np.array([[-1.0], [0.0], [1.0]], np.float32)
    images = np.array([0.3, 0.5, 0.7], np.float32)[:, None, None, None] * np.ones((3, 16, 16, 1))
    decoder.compile(keras.optimizers.Adam(3e-3), loss="mse")
    steps = [np.concatenate([array] * 150) for array in (latents, images)]
    decoder.fit(*steps, batch_size=3, shuffle=False, verbose=0)
    loss = decoder.evaluate(latents, images, verbose=0)
    assert loss < 2e-4  # their mean image is 0.027 off
