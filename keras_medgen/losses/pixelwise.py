"""Reconstruction losses that are sums over pixels and have nothing to calibrate."""

import math

import keras
import tensorflow as tf

from keras_medgen.losses.reconstruction import ReconstructionLoss


@keras.saving.register_keras_serializable(package="keras_medgen")
class SquaredError(ReconstructionLoss):
    """Half the sum of squares: the likelihood of a Gaussian with unit variance.

    With images in [0, 1] its weight against the KL divergence is low; the usual VAE.
    """

    likelihood = "continuous"

    def pixel_losses(self, images, reconstructions):
        """-log N(image; reconstruction, 1) of each value."""
        return 0.5 * (tf.square(images - reconstructions) + math.log(2 * math.pi))


@keras.saving.register_keras_serializable(package="keras_medgen")
class AbsoluteError(ReconstructionLoss):
    """The sum of absolute errors: the likelihood of a Laplace distribution with unit scale."""

    likelihood = "continuous"

    def pixel_losses(self, images, reconstructions):
        """-log Laplace(image; reconstruction, 1) of each value."""
        return tf.abs(images - reconstructions) + math.log(2)


@keras.saving.register_keras_serializable(package="keras_medgen")
class Bernoulli(ReconstructionLoss):
    """Binary cross-entropy: the likelihood of images of 0 and 1, such as masks.

    Of grey images it is a loss, but no likelihood: a density over [0, 1] would need another
    normalisation (Loaiza-Ganem and Cunningham 2019, https://arxiv.org/abs/1907.06845).
    """

    likelihood = "binary"

    def pixel_losses(self, images, reconstructions):
        """The cross-entropy of each value; reconstructions are probabilities."""
        # Sigmoids saturate to exactly 0 and 1 in float32.
        p = tf.clip_by_value(reconstructions, keras.config.epsilon(), 1 - keras.config.epsilon())
        return -(images * tf.math.log(p) + (1 - images) * tf.math.log1p(-p))
