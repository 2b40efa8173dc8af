"""Timesteps as vectors that a network can tell apart."""

import math

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_medgen")
class TimestepEmbedding(keras.layers.Layer):
    """Cosines and sines of timesteps, of periods from 2π up to nearly 10,000 times that.

    Args:
        units: length of the embedding, even.

    Shapes:
        int (batch,) to (batch, units).

    Reference:
        Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762, as in
        Ho et al., Denoising Diffusion Probabilistic Models, 2020, https://arxiv.org/abs/2006.11239
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        if units < 2 or units % 2:
            raise ValueError(f"units must be even and positive. Received: units={units}.")
        self.units = units

    def call(self, timesteps):
        """The embedding, (batch, units), of `timesteps`, int (batch,)."""
        half = self.units // 2
        frequencies = tf.exp(-math.log(10_000) / half * tf.range(half, dtype=tf.float32))
        # In single precision: half precision does not know 999 from 1,000.
        angles = tf.cast(timesteps, tf.float32)[:, None] * frequencies
        return tf.cast(tf.concat([tf.cos(angles), tf.sin(angles)], axis=1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """(batch, units)."""
        return (*input_shape, self.units)

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "units": self.units}
