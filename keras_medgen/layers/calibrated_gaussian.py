"""A Gaussian likelihood whose variance is calibrated, not chosen."""

import math

import keras
import tensorflow as tf

from keras_medgen.ops import distribution

SMALLEST_VARIANCE = 1e-6  # about that of rounding to 8 bits, 1 / (12 * 255**2)


@keras.saving.register_keras_serializable(package="keras_medgen")
class CalibratedGaussian(keras.layers.Layer):
    """Negative log-likelihood under a Gaussian with one variance for all pixels.

    While training, the variance is the one that makes the batch most likely: its mean squared
    error, over all replicas. A moving average of it is kept as the weight `variance`, which is
    what everything else uses: validation, likelihoods, export.

    Args:
        momentum: of the moving average, once it has seen enough batches for that. Default 0.99.

    Shapes:
        images and reconstructions, both (batch, height, width, channels), to (batch,), in nats.

    Reference:
        Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated Decoders,
        ICML 2021, https://arxiv.org/abs/2006.13202
    """

    def __init__(self, momentum=0.99, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.momentum = momentum
        variable = {"trainable": False, "aggregation": "only_first_replica"}
        self.variance = self.add_weight(shape=(), initializer="ones", name="variance", **variable)
        self.updates = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", name="updates", **variable
        )
        self.built = True

    def call(self, images, reconstructions, training=False):
        """The negative log-likelihood of each image, (batch,), in nats."""
        squared = tf.reduce_sum(tf.square(images - reconstructions), axis=[1, 2, 3])
        dimensions = math.prod(images.shape[1:])
        if training:
            variance = self._optimum(tf.stop_gradient(squared), dimensions)
        else:
            variance = tf.convert_to_tensor(self.variance)
        constant = 0.5 * dimensions * tf.math.log(2 * math.pi * variance)
        return constant + squared / (2 * variance)

    def _optimum(self, squared, dimensions):
        # Held constant in the loss: at the optimum its own derivative is zero, so the gradient
        # is that of the optimised likelihood.
        optimum = distribution.global_mean(squared) / dimensions
        optimum = tf.maximum(optimum, SMALLEST_VARIANCE)
        updates = tf.convert_to_tensor(self.updates) + 1
        rate = tf.maximum(1 - self.momentum, 1 / tf.cast(updates, tf.float32))
        # A batch that overflows in half precision is skipped by the optimizer, and here.
        finite = tf.math.is_finite(optimum)
        average = self.variance + rate * (optimum - self.variance)
        self.updates.assign(tf.where(finite, updates, updates - 1))
        self.variance.assign(tf.where(finite, average, self.variance))
        return optimum

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "momentum": self.momentum}
