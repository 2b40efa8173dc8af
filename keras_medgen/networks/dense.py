"""Encoders and decoders of one hidden layer, for images of any shape."""

import math

import keras

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


def dense_decoder(image_shape, latent_dim=100, hidden_units=256, num_classes=None, seed=0):
    """From latents to images, the mirror of `dense_encoder`.

    Args:
        image_shape: (height, width, channels), each at least 1.
        latent_dim: number of latent dimensions. Default 100.
        hidden_units: of the one hidden layer, with ReLU. Default 256.
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
    layers = SeededLayers(seed)
    latents, labels, inputs = network_inputs("latents", (latent_dim,), num_classes)
    x = layers.dense(hidden_units, activation="relu")(concatenate_labels(latents, labels))
    x = layers.dense(math.prod(image_shape), activation="sigmoid", dtype="float32")(x)
    images = keras.layers.Reshape(image_shape, dtype="float32")(x)
    return keras.Model(inputs, images, name="decoder")


def _check_image_shape(image_shape):
    check_image_shape(image_shape, "of at least 1 each", lambda *shape: True)
