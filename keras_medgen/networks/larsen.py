"""The encoder, decoder and discriminator of Larsen et al. 2015, with batch normalisation."""

import math

import keras

from keras_medgen.networks.discriminator_layers import DiscriminatorLayers
from keras_medgen.networks.seeded_layers import (
    SeededLayers,
    check_image_shape,
    concatenate_labels,
    network_inputs,
)

REDUCTION = 8  # of the sides, by three strides of 2


def larsen_encoder(image_shape, latent_dim=128, num_classes=None, seed=0, width=64):
    """From images to the mean and log-variance of a Gaussian over latents.

    5x5 convolutions of 64, 128 and 256 channels with stride 2, then 2,048 units fully connected,
    each with batch normalisation and ReLU. The statistics of a batch are those over all replicas;
    their moving averages, for inference, have a momentum of 0.9: they settle in a hundred steps.

    Args:
        image_shape: (height, width, channels); sides divisible by 8.
        latent_dim: number of latent dimensions. Default 128.
        num_classes: None, or the number of classes of a conditional encoder.
        seed: of the initial weights.
        width: channels of the encoder's first convolution, an even number; all others are in
            proportion. Default 64, as in the paper.

    Returns:
        A `keras.Model` from images (batch, height, width, channels) to a dict of `mean` and
        `log_var`, each float32 (batch, latent_dim). With `num_classes` it takes a dict of
        `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, number of classes or width.

    Reference:
        Larsen, Sønderby, Larochelle and Winther, Autoencoding beyond pixels using a learned
        similarity metric, 2015, https://arxiv.org/abs/1512.09300
    """
    _check(image_shape, width)
    layers = _NormalisedLayers(seed)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    # No biases where batch normalisation, which has offsets of its own, takes them out again.
    x = layers.normalised(layers.convolution(width, 5, strides=2, use_bias=False)(images), labels)
    for channels in (2 * width, 4 * width):
        x = layers.normalised(layers.convolution(channels, 5, strides=2, use_bias=False)(x))
    x = layers.normalised(layers.dense(32 * width, use_bias=False)(keras.layers.Flatten()(x)))
    return keras.Model(inputs, layers.posterior_heads(x, latent_dim), name="encoder")


def larsen_decoder(
    image_shape, latent_dim=128, num_classes=None, seed=0, output_activation="sigmoid", width=64
):
    """From latents to images, the counterpart of `larsen_encoder`.

    Fully connected to an eighth of the sides with 256 channels, then 6x6 transposed convolutions
    of 256, 128 and 32 channels with stride 2, each with batch normalisation and ReLU (of the
    fully connected units each by itself); then a 5x5 convolution to the image's channels.

    Args:
        image_shape: (height, width, channels); sides divisible by 8.
        latent_dim: number of latent dimensions. Default 128.
        num_classes: None, or the number of classes of a conditional decoder.
        seed: of the initial weights.
        output_activation: of the last layer. Default "sigmoid", for images in [0, 1].
        width: channels of the encoder's first convolution, an even number; all others are in
            proportion. Default 64, as in the paper.

    Returns:
        A `keras.Model` from latents (batch, latent_dim) to images in the range of
        `output_activation`, float32 (batch, height, width, channels). With `num_classes` it takes
        a dict of `latents` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, number of classes or width.

    Reference:
        Larsen, Sønderby, Larochelle and Winther, Autoencoding beyond pixels using a learned
        similarity metric, 2015, https://arxiv.org/abs/1512.09300
    """
    _check(image_shape, width)
    layers = _NormalisedLayers(seed)
    rows, columns, channels = image_shape
    coarsest = (rows // REDUCTION, columns // REDUCTION, 4 * width)
    latents, labels, inputs = network_inputs("latents", (latent_dim,), num_classes)
    x = concatenate_labels(latents, labels)
    x = layers.normalised(layers.dense(math.prod(coarsest), use_bias=False)(x))
    x = keras.layers.Reshape(coarsest)(x)
    for filters in (4 * width, 2 * width, width // 2):
        convolution = layers.transposed_convolution(filters, 6, strides=2, use_bias=False)
        x = layers.normalised(convolution(x))
    images = layers.convolution(channels, 5, activation=output_activation, dtype="float32")(x)
    return keras.Model(inputs, images, name="decoder")


def larsen_discriminator(image_shape, num_classes=None, dropout=0.0, seed=0, width=64):
    """From images to logits, after `larsen_encoder`.

    5x5 convolutions of 32 channels with stride 1 and of 128, 256 and 256 with stride 2, then 512
    units fully connected, each with ReLU and all but the first with batch normalisation; then one
    logit. The statistics of a batch are those over all replicas.

    Args:
        image_shape: (height, width, channels); sides divisible by 8.
        num_classes: None, or the number of classes of a projection discriminator.
        dropout: rate, after the fully connected units, from 0 to below 1. Default 0.
        seed: of the initial weights and of dropout.
        width: channels of the encoder's first convolution, an even number; all others are in
            proportion. Default 64, as in the paper.

    Returns:
        A `keras.Model` from images in [-1, 1], (batch, height, width, channels), to logits,
        float32 (batch, 1): high where they look real. Its last convolution is named "features";
        what comes out of it has yet to pass batch normalisation and ReLU. With `num_classes` it
        takes a dict of `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, number of classes, dropout or width.

    Reference:
        Larsen, Sønderby, Larochelle and Winther, Autoencoding beyond pixels using a learned
        similarity metric, 2015, https://arxiv.org/abs/1512.09300
    """
    _check(image_shape, width)
    layers = DiscriminatorLayers(seed, dropout=dropout)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = keras.layers.ReLU()(layers.convolution(width // 2, 5)(images))
    for channels, name in ((2 * width, None), (4 * width, None), (4 * width, "features")):
        x = layers.convolution(channels, 5, strides=2, use_bias=False, name=name)(x)
        x = keras.layers.ReLU()(layers.batch_normalised(x))
    x = layers.dense(8 * width, use_bias=False)(keras.layers.Flatten()(x))
    x = keras.layers.ReLU()(layers.batch_normalised(x))
    return layers.discriminator(inputs, layers.dropped_out(x), labels)


def _check(image_shape, width):
    if width < 2 or width % 2:
        raise ValueError(
            f"width must be an even number for networks of Larsen et al. Received: width={width}."
        )
    check_image_shape(
        image_shape,
        f"with sides divisible by {REDUCTION}, such as 32 or 64, for networks of Larsen et al.",
        lambda height, width, channels: height % REDUCTION == width % REDUCTION == 0,
    )


class _NormalisedLayers(SeededLayers):
    """Batch normalisation beside the layers with seeds."""

    def normalised(self, x, labels=None):
        return keras.layers.ReLU()(self.add_labels(self.batch_normalised(x), labels))
