"""Residual encoders, decoders and discriminators for images of any side from 16 to 256."""

import keras

from keras_medgen.networks.discriminator_layers import DiscriminatorLayers
from keras_medgen.networks.residual_layers import ResidualLayers
from keras_medgen.networks.seeded_layers import concatenate_labels, network_inputs
from keras_medgen.networks.stages import (
    check_staged_image_shape,
    cropped,
    stage_sides,
    stage_widths,
)

LIMIT = 4  # times the first width: 32 to 128 channels


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
    check_staged_image_shape(image_shape)
    layers = ResidualLayers(seed)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = images
    for channels, blocks in zip(
        stage_widths(image_shape, width, LIMIT), _stage_blocks(image_shape), strict=True
    ):
        x = layers.convolution(channels, 4, strides=2)(x)
        for _ in range(blocks):
            x = layers.residual_block(x, labels)
            labels = None  # known from the first block on
    x = keras.layers.Flatten()(layers.normalised(x))
    return keras.Model(inputs, layers.posterior_heads(x, latent_dim), name="encoder")


def convolutional_decoder(
    image_shape, latent_dim, width=32, num_classes=None, seed=0, output_activation="sigmoid"
):
    """From latents to images, the mirror of `convolutional_encoder`.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        latent_dim: number of latent dimensions.
        width: channels of the finest stage, divisible by 8. Default 32.
        num_classes: None, or the number of classes of a conditional decoder.
        seed: of the initial weights.
        output_activation: of the last layer. Default "sigmoid", for images in [0, 1].

    Returns:
        A `keras.Model` from latents (batch, latent_dim) to images in the range of
        `output_activation`, float32 (batch, height, width, channels). With `num_classes` it takes
        a dict of `latents` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape or number of classes.
    """
    check_staged_image_shape(image_shape)
    layers = ResidualLayers(seed)
    *finer_sides, (rows, columns) = stage_sides(image_shape)
    *finer_widths, coarsest = stage_widths(image_shape, width, LIMIT)
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
        x = cropped(x, rows, columns)
        for _ in range(number):
            x = layers.residual_block(x)
    images = layers.convolution(image_shape[2], 3, activation=output_activation, dtype="float32")(
        layers.activation(x)
    )
    return keras.Model(inputs, images, name="decoder")


def convolutional_discriminator(
    image_shape, width=32, num_classes=None, dropout=0.0, spectral_normalization=False, seed=0
):
    """From images to logits, of the stages of `convolutional_encoder`.

    A 3x3 convolution of the last stage and leaky ReLU follow, then one logit, of all places.
    Group normalisation, in the residual branches alone, has no statistics of a batch: the logit
    of an image depends on that image only.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        width: channels of the first stage, divisible by 8. Default 32.
        num_classes: None, or the number of classes of a projection discriminator.
        dropout: rate, before the logit, from 0 to below 1. Default 0.
        spectral_normalization: whether kernels have their largest singular value divided out, in
            the place of group normalisation. Default False.
        seed: of the initial weights and of dropout.

    Returns:
        A `keras.Model` from images in [-1, 1], (batch, height, width, channels), to logits,
        float32 (batch, 1): high where they look real. Its last convolution is named "features";
        what comes out of it has yet to pass the leaky ReLU. With `num_classes` it takes a dict of
        `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, number of classes or dropout.
    """
    check_staged_image_shape(image_shape)
    layers = _ResidualDiscriminatorLayers(seed, spectral_normalization, dropout)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = images
    for channels, blocks in zip(
        stage_widths(image_shape, width, LIMIT), _stage_blocks(image_shape), strict=True
    ):
        x = layers.convolution(channels, 4, strides=2)(x)
        for _ in range(blocks):
            x = layers.residual_block(x)
    x = layers.convolution(x.shape[-1], 3, name="features")(layers.activation(x))
    x = layers.dropped_out(keras.layers.Flatten()(layers.activation(x)))
    return layers.discriminator(inputs, x, labels)


def _stage_blocks(image_shape):
    """Residual blocks after each stage: none at the coarsest, which dense layers mix anyway."""
    stages = len(stage_sides(image_shape)) - 1
    return [2] * (stages - 1) + [0] if stages > 1 else [1]


class _ResidualDiscriminatorLayers(ResidualLayers, DiscriminatorLayers):
    """Residual blocks for discriminators, without normalisation where their kernels have one."""

    def normalised(self, x, labels=None):
        return self.activation(x) if self.spectral_normalization else super().normalised(x, labels)
