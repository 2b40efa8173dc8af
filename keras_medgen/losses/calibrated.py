"""Reconstruction losses whose scale is calibrated to the data, not chosen."""

import math

import keras
import tensorflow as tf

from keras_medgen import ops
from keras_medgen.losses.reconstruction import ReconstructionLoss, image_sum
from keras_medgen.ops import distribution

SMALLEST_ENERGY = 1e-6  # about the variance of rounding to 8 bits, 1 / (12 * 255**2)


class CalibratedLoss(ReconstructionLoss):
    """A loss whose scale is its mean error, so that the KL weight means the same everywhere.

    A subclass states an error, called energy. While training, its scale is its mean over the
    batch, over all replicas; a moving average of that is kept as the weight `scale`, which is
    what everything else uses: validation, likelihoods, export.

    The loss of an image of n values is n/2 (log(2 pi scale) + energy / scale): with the mean
    squared error as energy this is the Gaussian likelihood with the variance that makes the batch
    most likely. Any other energy stands in the squared error's place, and its gradient is that of
    n/2 log(mean energy): a tenth off the error gains as much however small it is by then.

    Args:
        momentum: of the moving average, once it has seen enough batches for that. Default 0.99.

    Reference:
        Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated Decoders,
        ICML 2021, https://arxiv.org/abs/2006.13202
    """

    kl_weight = 5.0

    def __init__(self, momentum=0.99, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        variable = {"trainable": False, "aggregation": "only_first_replica"}
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale", **variable)
        self.updates = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", name="updates", **variable
        )
        self.built = True

    def energy(self, images, reconstructions, weights):
        """The mean error of each image (weighted, if weights are given), float32 (batch,)."""
        raise NotImplementedError

    def negative_log_density(self, images, reconstructions, weights, energy, scale):
        """The loss (batch,) of each image, given its energy and the scale."""
        count = _count(images, weights)
        return 0.5 * count * (tf.math.log(2 * math.pi * scale) + energy / scale)

    def call(self, images, reconstructions, weights=None, training=False):
        """The loss of each image, float32 (batch,), in nats where it is a likelihood."""
        energy = self.energy(images, reconstructions, weights)
        if training:
            count = _count(images, weights)
            scale = self._batch_scale(tf.stop_gradient(energy * count), count)
        else:
            scale = tf.convert_to_tensor(self.scale)
        return self.negative_log_density(images, reconstructions, weights, energy, scale)

    def _batch_scale(self, total, count):
        # Held constant in the loss: at the optimum its own derivative is zero, so the gradient
        # is that of the optimised likelihood.
        count = distribution.global_mean(count)
        scale = tf.math.divide_no_nan(distribution.global_mean(total), count)
        scale = tf.maximum(scale, SMALLEST_ENERGY)
        updates = tf.convert_to_tensor(self.updates) + 1
        rate = tf.maximum(1 - self.momentum, 1 / tf.cast(updates, tf.float32))
        # A batch that overflows in half precision is skipped by the optimizer, and here; so is
        # one whose pixels all weigh nothing.
        told = tf.math.is_finite(scale) & (count > 0)
        average = self.scale + rate * (scale - self.scale)
        self.updates.assign(tf.where(told, updates, updates - 1))
        self.scale.assign(tf.where(told, average, self.scale))
        return scale

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable(package="keras_medgen")
class CalibratedGaussian(CalibratedLoss):
    """Negative log-likelihood under a Gaussian with one variance, `scale`, for all pixels."""

    likelihood = "continuous"

    def energy(self, images, reconstructions, weights):
        """The mean squared error of each image."""
        squared = tf.square(images - reconstructions)
        return tf.math.divide_no_nan(image_sum(squared, weights), _count(images, weights))


@keras.saving.register_keras_serializable(package="keras_medgen")
class QuantizedLogistic(CalibratedLoss):
    """Negative log-likelihood of 8-bit images under a logistic distribution, in bins of 1 / 255.

    The distribution's scale follows from the mean absolute error, which is 2 log(2) times it.
    Images are rounded to the nearest of the 256 values.

    Reference:
        Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow, 2016,
        https://arxiv.org/abs/1606.04934
    """

    likelihood = "discrete"

    def energy(self, images, reconstructions, weights):
        """The mean absolute error of each image."""
        absolute = tf.abs(images - reconstructions)
        return tf.math.divide_no_nan(image_sum(absolute, weights), _count(images, weights))

    def negative_log_density(self, images, reconstructions, weights, energy, scale):
        """-log of the probability of each image's 8-bit values."""
        import tensorflow_probability as tfp

        logistic = tfp.distributions.Logistic(
            255 * reconstructions, 255 * tf.maximum(scale, 1e-3) / (2 * math.log(2))
        )
        shifted = tfp.distributions.TransformedDistribution(logistic, tfp.bijectors.Shift(-0.5))
        quantized = tfp.distributions.QuantizedDistribution(shifted, low=0.0, high=255.0)
        return image_sum(-quantized.log_prob(tf.round(255 * images)), weights)


@keras.saving.register_keras_serializable(package="keras_medgen")
class MSSSIM(CalibratedLoss):
    """Multi-scale structural similarity: the energy is 1 - MS-SSIM.

    With the floor of `keras_medgen.ops.MS_SSIM_LOSS_FLOOR`, below which MS-SSIM itself would be
    clipped and without a gradient.

    Reference:
        Wang, Simoncelli and Bovik, Multiscale Structural Similarity for Image Quality Assessment,
        2003; Snell et al., Learning to Generate Images with Perceptual Similarity Metrics, 2017,
        https://arxiv.org/abs/1511.06409
    """

    weighs_pixels = False

    def energy(self, images, reconstructions, weights):
        """1 - MS-SSIM of each image."""
        return 1 - ops.ms_ssim(images, reconstructions, floor=ops.MS_SSIM_LOSS_FLOOR)


@keras.saving.register_keras_serializable(package="keras_medgen")
class MSSSIML1(CalibratedLoss):
    """MS-SSIM and the absolute error in the mixture of Zhao et al.; see `ops.ms_ssim_l1`.

    Reference:
        Zhao, Gallo, Frosio and Kautz, Loss Functions for Image Restoration with Neural Networks,
        2017, https://arxiv.org/abs/1511.08861
    """

    weighs_pixels = False

    def energy(self, images, reconstructions, weights):
        """0.84 (1 - MS-SSIM) + 0.16 times the absolute error of each image."""
        return ops.ms_ssim_l1(images, reconstructions)


@keras.saving.register_keras_serializable(package="keras_medgen")
class Perceptual(CalibratedLoss):
    """Distance between the features of a frozen network.

    The network should know the images' domain: a classifier trained on the same images, or the
    discriminator of a VAE-GAN, cut at layers of your choice. Deep features alone leave intensity
    free; include a shallow layer.

    Args:
        network: functional `keras.Model` from images (batch, height, width, channels) in [0, 1]
            to features, one tensor or a list of them. It is copied: what becomes of it later
            changes nothing here, nor does this change it.
        momentum: see `CalibratedLoss`.

    Reference:
        Hou, Shen, Sun and Qiu, Deep Feature Consistent Variational Autoencoder, 2017,
        https://arxiv.org/abs/1610.00291
    """

    weighs_pixels = False

    def __init__(self, network, momentum=0.99, **kwargs):
        super().__init__(momentum, **kwargs)
        self.network = keras.models.clone_model(network)
        self.network.set_weights(network.get_weights())
        self.network.trainable = False

    def energy(self, images, reconstructions, weights):
        """The mean squared distance of each image's features, averaged over the tensors."""
        real, reconstructed = (
            tf.nest.flatten(self.network(x, training=False)) for x in (images, reconstructions)
        )
        distances = [
            tf.reduce_mean(
                tf.square(tf.cast(a, tf.float32) - tf.cast(b, tf.float32)),
                axis=list(range(1, a.shape.rank)),
            )
            for a, b in zip(real, reconstructed, strict=True)
        ]
        return sum(distances) / len(distances)

    def get_config(self):
        """The arguments of this layer, the network included."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config):
        """The layer of `get_config`."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})


def _count(images, weights):
    """The (weighted) number of each image's values, (batch,)."""
    if weights is None:
        return tf.fill(tf.shape(images)[:1], float(math.prod(images.shape[1:])))
    return image_sum(weights) * images.shape[-1]
