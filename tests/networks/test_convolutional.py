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


def test_channels_double_up_to_four_times_the_width():
    encoder = convolutional_encoder((256, 256, 1), 4, width=8)
    halvings = [layer.filters for layer in encoder.layers if getattr(layer, "strides", 0) == (2, 2)]
    assert halvings == [8, 16, 32, 32, 32]


def test_initial_weights_follow_from_the_seed():
    def kernels(seed):
        return [np.asarray(w) for w in convolutional_encoder((16, 16, 1), 4, 8, seed=seed).weights]

    first, second = (np.concatenate([k.ravel() for k in kernels(seed)]) for seed in (0, 1))
    np.testing.assert_array_equal(first, np.concatenate([k.ravel() for k in kernels(0)]))
    assert (first != second).mean() > 0.5


def test_images_that_differ_in_brightness_alone_can_be_told_apart():
    """No normalisation stands between a latent and the mean of its image."""
    decoder = convolutional_decoder((16, 16, 1), 1, width=8, seed=0)
    latents = np.array([[-1.0], [0.0], [1.0]], np.float32)
    images = np.array([0.3, 0.5, 0.7], np.float32)[:, None, None, None] * np.ones((3, 16, 16, 1))
    decoder.compile(keras.optimizers.Adam(3e-3), loss="mse")
    history = decoder.fit(latents, images, batch_size=3, epochs=150, verbose=0).history["loss"]
    assert history[-1] < 2e-4  # their mean image is 0.027 off
