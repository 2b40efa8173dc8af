"""Group normalisation with its statistics taken by matrix products."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_medgen")
class GroupNormalization(keras.layers.Layer):
    """Group normalisation of images, faster on a CPU than `keras.layers.GroupNormalization`.

    The statistics of a group are the mean over its channels of each channel's own; that mean is
    a product with a small constant matrix, which spares the transposes of the usual
    implementation. They are taken in float32 whatever the layer's precision.

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
        pixels = ops.cast(ops.reshape(inputs, (-1, height * width, channels)), "float32")
        group_mean = ops.convert_to_tensor(self._group_mean)  # (channels, channels)
        mean = ops.matmul(ops.mean(pixels, axis=1), group_mean)
        centred = pixels - ops.expand_dims(mean, 1)
        variance = ops.matmul(ops.mean(ops.square(centred), axis=1), group_mean)
        scale = ops.rsqrt(variance + self.epsilon) * ops.cast(self.gamma, "float32")
        outputs = centred * ops.expand_dims(scale, 1) + ops.cast(self.beta, "float32")
        outputs = ops.reshape(outputs, (-1, height, width, channels))
        return ops.cast(outputs, self.compute_dtype)

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "groups": self.groups, "epsilon": self.epsilon}
