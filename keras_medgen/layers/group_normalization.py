"""Group normalisation with its statistics taken by matrix products."""

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_medgen")
class GroupNormalization(keras.layers.Layer):
    """Group normalisation of images, faster on a CPU than `keras.layers.GroupNormalization`.

    The statistics of a group are the mean over its channels of each channel's own; that mean is
    a product with a small constant matrix, which spares the transposes of the usual
    implementation. They are taken in float32 whatever the layer's precision, the variance as
    E[x²] - E[x]²: to 1e-4 where a group's mean is ten times its spread, useless beyond a thousand.

    Args:
        groups: number of groups; the channels must divide by it. Default 8.
        epsilon: added to the variance. Default 1e-5.

    Shapes:
        (batch, height, width, channels) to the same; height and width are known.

    Reference:
        Wu and He, Group Normalization, 2018, https://arxiv.org/abs/1803.08494
    """

    def __init__(self, groups=8, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon

    def build(self, input_shape):
        """Creates a scale and an offset for each channel."""
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"the number of channels must be divisible by groups. "
                f"Received: channels={channels}, groups={self.groups}."
            )
        self.gamma = self.add_weight(shape=(channels,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(channels,), initializer="zeros", name="beta")
        size = channels // self.groups
        block = np.full((size, size), 1 / size, np.float32)
        self._group_mean = np.kron(np.eye(self.groups, dtype=np.float32), block)

    def call(self, inputs):
        """Normalises `inputs`, (batch, height, width, channels)."""
        height, width, channels = inputs.shape[1:]
        pixels = tf.reshape(tf.cast(inputs, tf.float32), (-1, height * width, channels))
        outputs = _normalise(
            pixels,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            tf.constant(self._group_mean),
            self.epsilon,
        )
        outputs = tf.reshape(outputs, (-1, height, width, channels))
        return tf.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """The shape that comes in."""
        return input_shape

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}


def _normalise(pixels, gamma, beta, group_mean, epsilon):
    """Group normalisation of (batch, pixels, channels) with its gradient in closed form.

    The gradient that TensorFlow would derive takes twice as many passes over the pixels.

    Args:
        pixels: float32 (batch, pixels, channels).
        gamma: (channels,), the scale.
        beta: (channels,), the offset.
        group_mean: (channels, channels), symmetric: turns a row of channels into the means of
            their groups.
        epsilon: added to the variance.
    """

    @tf.custom_gradient
    def normalise(pixels, gamma, beta):
        mean = tf.reduce_mean(pixels, axis=1) @ group_mean  # (batch, channels), as all below
        square = tf.reduce_mean(tf.square(pixels), axis=1) @ group_mean
        variance = tf.maximum(square - tf.square(mean), 0.0)  # below 0 only by rounding
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = inverse * gamma
        outputs = pixels * scale[:, None] + (beta - mean * scale)[:, None]

        def gradient(upstream):
            count = tf.cast(tf.shape(pixels)[1], tf.float32)
            average = tf.reduce_mean(upstream, axis=1)
            # The mean over pixels of the upstream gradient times the normalised pixel.
            product = (tf.reduce_mean(upstream * pixels, axis=1) - mean * average) * inverse
            slope = -tf.square(inverse) * ((gamma * product) @ group_mean)
            shift = -inverse * ((gamma * average) @ group_mean) - mean * slope
            to_pixels = upstream * scale[:, None] + pixels * slope[:, None] + shift[:, None]
            to_gamma = count * tf.reduce_sum(product, axis=0)
            to_beta = count * tf.reduce_sum(average, axis=0)
            return to_pixels, to_gamma, to_beta

        return outputs, gradient

    return normalise(pixels, gamma, beta)
