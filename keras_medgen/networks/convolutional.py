"""Convolutional encoders and decoders for images of any side from 16 to 256."""

import keras

from keras_medgen.layers import GroupNormalization
from keras_medgen.networks.seeded_layers import (
    SeededLayers,
    check_image_shape,
    concatenate_labels,
    network_inputs,
)

SMALLEST_SIDE, LARGEST_SIDE = 16, 256
COARSEST_SIDE = 8  # the images are halved until they are no larger than this


def convolutional_encoder(image_shape, latent_dim, width=32, num_classes=None, seed=0):
    """From images to the mean and log-variance of a Gaussian over latents.

    Each stage halves the image (28 -> 14 -> 7; odd sides round up) by a convolution of stride 2
    and refines it by residual blocks; the channels double, up to four times `width`.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        latent_dim: number of latent dimensions.
        width: channels of the first stage, divisible by 8. Default 32.
        num_classes: None, or the number of classes of a conditional encoder.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from images (batch, height, width, channels) to a dict of `mean` and
        `log_var`, each float32 (batch, latent_dim). With `num_classes` it takes a dict of
        `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape or number of classes.
    """
    _check_image_shape(image_shape)
    layers = _ResidualLayers(seed)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = images
    for channels, blocks in zip(
        _stage_widths(image_shape, width), _stage_blocks(image_shape), strict=True
    ):
        x = layers.convolution(channels, 4, strides=2)(x)
        for _ in range(blocks):
            x = layers.residual_block(x, labels)
            labels = None  # known from the first block on
    x = keras.layers.Flatten()(layers.normalised(x))
    return keras.Model(inputs, layers.posterior_heads(x, latent_dim), name="encoder")


def convolutional_decoder(image_shape, latent_dim, width=32, num_classes=None, seed=0):
    """From latents to images, the mirror of `convolutional_encoder`.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        latent_dim: number of latent dimensions.
        width: channels of the finest stage, divisible by 8. Default 32.
        num_classes: None, or the number of classes of a conditional decoder.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from latents (batch, latent_dim) to images in [0, 1], float32
        (batch, height, width, channels). With `num_classes` it takes a dict of `latents` and
        `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape or number of classes.
    """
    _check_image_shape(image_shape)
    layers = _ResidualLayers(seed)
    *finer_sides, (rows, columns) = _stage_sides(image_shape)
    *finer_widths, coarsest = _stage_widths(image_shape, width)
    latents, labels, inputs = network_inputs("latents", (latent_dim,), num_classes)
    x = layers.dense(rows * columns * coarsest)(concatenate_labels(latents, labels))
    x = keras.layers.Reshape((rows, columns, coarsest))(x)
    *finer_blocks, coarsest_blocks = _stage_blocks(image_shape)
    for _ in range(coarsest_blocks):
        x = layers.residual_block(x)
    # The finest stage, that of the image itself, has no counterpart in the encoder.
    widths, blocks = [width, *finer_widths], [0, *finer_blocks]
    for (rows, columns), channels, number in zip(
        finer_sides[::-1], widths[::-1], blocks[::-1], strict=True
    ):
        x = layers.transposed_convolution(channels, 4, strides=2)(layers.activation(x))
        if tuple(x.shape[1:3]) != (rows, columns):  # one too many where the side is odd
            x = keras.layers.Cropping2D(((0, x.shape[1] - rows), (0, x.shape[2] - columns)))(x)
        for _ in range(number):
            x = layers.residual_block(x)
    images = layers.convolution(image_shape[2], 3, activation="sigmoid", dtype="float32")(
        layers.activation(x)
    )
    return keras.Model(inputs, images, name="decoder")


def _check_image_shape(image_shape):
    check_image_shape(
        image_shape,
        f"with sides of {SMALLEST_SIDE} to {LARGEST_SIDE} and 1 to 4 channels",
        lambda height, width, channels: (
            SMALLEST_SIDE <= min(height, width) <= max(height, width) <= LARGEST_SIDE
            and channels <= 4
        ),
    )


def _stage_sides(image_shape):
    """(height, width) of the image and after each stage: [(28, 28), (14, 14), (7, 7)]."""
    sides = [tuple(image_shape[:2])]
    while max(sides[-1]) > COARSEST_SIDE:
        sides.append(tuple(-(-side // 2) for side in sides[-1]))
    return sides


def _stage_widths(image_shape, width):
    """Channels after each stage."""
    return [width * min(2**stage, 4) for stage in range(len(_stage_sides(image_shape)) - 1)]


def _stage_blocks(image_shape):
    """Residual blocks after each stage: none at the coarsest, which dense layers mix anyway."""
    stages = len(_stage_sides(image_shape)) - 1
    return [2] * (stages - 1) + [0] if stages > 1 else [1]


class _ResidualLayers(SeededLayers):
    """Normalisation and residual blocks beside the layers with seeds."""

    def activation(self, x):
        return keras.layers.LeakyReLU(0.2)(x)

    def normalised(self, x, labels=None):
        return self.activation(self.add_labels(GroupNormalization()(x), labels))

    def residual_block(self, x, labels=None):
        change = self.convolution(x.shape[-1], 3)(self.normalised(x, labels))
        return keras.layers.Add()([x, change])
