"""Encoders, decoders, generators and discriminators of one hidden layer, for any image shape."""

import math

import keras

from keras_medgen.networks.discriminator_layers import DiscriminatorLayers
from keras_medgen.networks.seeded_layers import (
    SeededLayers,
    check_image_shape,
    concatenate_labels,
    network_inputs,
)


def dense_encoder(image_shape, latent_dim=100, hidden_units=256, num_classes=None, seed=0):
    """From images, flattened, to the mean and log-variance of a Gaussian over latents.

    Args:
        image_shape: (height, width, channels), each at least 1.
        latent_dim: number of latent dimensions. Default 100.
        hidden_units: of the one hidden layer, with ReLU. Default 256.
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
    layers = SeededLayers(seed)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = concatenate_labels(keras.layers.Flatten()(images), labels)
    x = layers.dense(hidden_units, activation="relu")(x)
    return keras.Model(inputs, layers.posterior_heads(x, latent_dim), name="encoder")


def dense_decoder(
    image_shape,
    latent_dim=100,
    hidden_units=256,
    num_classes=None,
    seed=0,
    output_activation="sigmoid",
):
    """From latents to images, the mirror of `dense_encoder`.

    Args:
        image_shape: (height, width, channels), each at least 1.
        latent_dim: number of latent dimensions. Default 100.
        hidden_units: of the one hidden layer, with ReLU. Default 256.
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
    _check_image_shape(image_shape)
    layers = SeededLayers(seed)
    latents, labels, inputs = network_inputs("latents", (latent_dim,), num_classes)
    x = layers.dense(hidden_units, activation="relu")(concatenate_labels(latents, labels))
    x = layers.dense(math.prod(image_shape), activation=output_activation, dtype="float32")(x)
    images = keras.layers.Reshape(image_shape, dtype="float32")(x)
    return keras.Model(inputs, images, name="decoder")


def dense_generator(
    image_shape=(64, 64, 3), latent_dim=100, hidden_units=128, num_classes=None, seed=0
):
    """From latents to images: `dense_decoder` with tanh, and half its hidden units.

    Args:
        image_shape: (height, width, channels), each at least 1. Default (64, 64, 3).
        latent_dim: number of latent dimensions. Default 100.
        hidden_units: of the one hidden layer, with ReLU. Default 128.
        num_classes: None, or the number of classes of a conditional generator.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from latents (batch, latent_dim) to images in [-1, 1], float32
        (batch, height, width, channels). With `num_classes` it takes a dict of `latents` and
        `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape or number of classes.
    """
    network = dense_decoder(
        image_shape, latent_dim, hidden_units, num_classes, seed, output_activation="tanh"
    )
    network.name = "generator"
    return network


def dense_discriminator(image_shape, hidden_units=128, num_classes=None, dropout=0.0, seed=0):
    """From images, flattened, to logits.

    Args:
        image_shape: (height, width, channels), each at least 1.
        hidden_units: of the one hidden layer, with leaky ReLU of slope 0.2. Default 128.
        num_classes: None, or the number of classes of a projection discriminator.
        dropout: rate, after the hidden layer, from 0 to below 1. Default 0.
        seed: of the initial weights and of dropout.

    Returns:
        A `keras.Model` from images in [-1, 1], (batch, height, width, channels), to logits,
        float32 (batch, 1): high where they look real. Its hidden layer is named "features"; what
        comes out of it has yet to pass the leaky ReLU. With `num_classes` it takes a dict of
        `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, number of classes or dropout.
    """
    _check_image_shape(image_shape)
    layers = DiscriminatorLayers(seed, dropout=dropout)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = layers.dense(hidden_units, name="features")(keras.layers.Flatten()(images))
    return layers.discriminator(inputs, layers.dropped_out(layers.activation(x)), labels)


def _check_image_shape(image_shape):
    check_image_shape(image_shape, "of at least 1 each", lambda *shape: True)
