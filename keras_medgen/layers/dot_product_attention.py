"""Attention between the places of an image."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_medgen")
class DotProductAttention(keras.layers.Layer):
    """Scaled dot-product attention over all places, without weights of its own.

    Args:
        heads: number of parts of the channels that attend each by itself. Default 1.

    Shapes:
        Queries, keys and values, each (batch, height, width, channels), to the same; height and
        width are known, and the channels divide by `heads`.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, heads=1, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, queries_shape, keys_shape=None, values_shape=None):
        """Checks the number of channels."""
        if queries_shape[-1] % self.heads:
            raise ValueError(
                "the number of channels must be divisible by heads. "
                f"Received: channels={queries_shape[-1]}, heads={self.heads}."
            )

    def call(self, queries, keys, values):
        """The values of all places, weighted by how well their keys fit each place's query."""
        height, width, channels = queries.shape[1:]
        size = channels // self.heads
        queries, keys, values = (
            tf.transpose(tf.reshape(x, (-1, height * width, self.heads, size)), (0, 2, 1, 3))
            for x in (queries, keys, values)
        )
        scores = tf.matmul(queries, keys, transpose_b=True)
        weights = tf.nn.softmax(tf.cast(scores, tf.float32) * size**-0.5)
        attended = tf.matmul(tf.cast(weights, values.dtype), values)
        return tf.reshape(tf.transpose(attended, (0, 2, 1, 3)), (-1, height, width, channels))

    def compute_output_shape(self, queries_shape, keys_shape=None, values_shape=None):
        """The shape of the queries."""
        return queries_shape

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "heads": self.heads}
