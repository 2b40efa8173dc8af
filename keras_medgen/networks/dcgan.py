"""The generator and discriminator of Radford et al. 2016, for any side from 16 to 256."""

import keras

from keras_medgen.networks.discriminator_layers import DiscriminatorLayers
from keras_medgen.networks.seeded_layers import SeededLayers, concatenate_labels, network_inputs
from keras_medgen.networks.stages import (
    check_staged_image_shape,
    cropped,
    stage_sides,
    stage_widths,
)

LIMIT = 8  # times the first width: 64 to 512 channels


def dcgan_generator(image_shape, latent_dim=128, width=64, num_classes=None, seed=0):
    """From latents to images by transposed convolutions.

    Fully connected to the coarsest stage, then 4x4 transposed convolutions of stride 2, each but
    the last with batch normalisation and ReLU; the channels halve down to `width`, the last has
    those of the image. The statistics of a batch are those over all replicas.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        latent_dim: number of latent dimensions. Default 128.
        width: channels of the finest hidden stage. Default 64.
        num_classes: None, or the number of classes of a conditional generator.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from latents (batch, latent_dim) to images in [-1, 1], float32
        (batch, height, width, channels). With `num_classes` it takes a dict of `latents` and
        `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape or number of classes.

    Reference:
        Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks, 2016, https://arxiv.org/abs/1511.06434
    """
    check_staged_image_shape(image_shape)
    layers = SeededLayers(seed)
    *finer_sides, (rows, columns) = stage_sides(image_shape)
    *finer_widths, coarsest = stage_widths(image_shape, width, LIMIT)
    latents, labels, inputs = network_inputs("latents", (latent_dim,), num_classes)
    x = concatenate_labels(latents, labels)
    # No biases where batch normalisation, which has offsets of its own, takes them out again.
    x = layers.dense(rows * columns * coarsest, use_bias=False)(x)
    x = keras.layers.Reshape((rows, columns, coarsest))(x)
    x = keras.layers.ReLU()(layers.batch_normalised(x))
    for (rows, columns), channels in zip(finer_sides[:0:-1], finer_widths[::-1], strict=True):
        x = layers.transposed_convolution(channels, 4, strides=2, use_bias=False)(x)
        x = keras.layers.ReLU()(layers.batch_normalised(cropped(x, rows, columns)))
    height, width, channels = image_shape
    images = layers.transposed_convolution(
        channels, 4, strides=2, activation="tanh", dtype="float32"
    )(x)
    return keras.Model(inputs, cropped(images, height, width, dtype="float32"), name="generator")


def dcgan_discriminator(
    image_shape, width=64, num_classes=None, dropout=0.0, spectral_normalization=False, seed=0
):
    """From images to logits by strided convolutions, the mirror of `dcgan_generator`.

    4x4 convolutions of stride 2 with leaky ReLU of slope 0.2, each but the first with batch
    normalisation; the channels double, up to eight times `width`. Then one logit, of all places.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        width: channels of the first stage. Default 64.
        num_classes: None, or the number of classes of a projection discriminator.
        dropout: rate, before the logit, from 0 to below 1. Default 0.
        spectral_normalization: whether kernels have their largest singular value divided out, in
            the place of batch normalisation. Default False.
        seed: of the initial weights and of dropout.

    Returns:
        A `keras.Model` from images in [-1, 1], (batch, height, width, channels), to logits,
        float32 (batch, 1): high where they look real. Its last convolution is named "features";
        what comes out of it has yet to pass batch normalisation and leaky ReLU. With `num_classes`
        it takes a dict of `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, number of classes or dropout.

    Reference:
        Radford, Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks, 2016, https://arxiv.org/abs/1511.06434
    """
    check_staged_image_shape(image_shape)
    layers = DiscriminatorLayers(seed, spectral_normalization, dropout)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    widths = stage_widths(image_shape, width, LIMIT)
    x = images
    for stage, channels in enumerate(widths):
        normalise = stage > 0 and not spectral_normalization
        x = layers.convolution(
            channels,
            4,
            strides=2,
            use_bias=not normalise,
            name="features" if stage == len(widths) - 1 else None,
        )(x)
        x = layers.activation(layers.batch_normalised(x) if normalise else x)
    x = layers.dropped_out(keras.layers.Flatten()(x))
    return layers.discriminator(inputs, x, labels)
