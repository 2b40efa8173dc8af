"""What every reconstruction loss shares, and the Keras losses as one of them."""

import keras
import tensorflow as tf


class ReconstructionLoss(keras.layers.Layer):
    """How far reconstructions are from their images: one number per image, in nats.

    A layer, and not a `keras.losses.Loss`, for some have a state; computed in float32 under any
    dtype policy.

    Attributes:
        likelihood: what it is the negative log-likelihood of: "continuous" images, "discrete"
            ones (of the 256 values k / 255), "binary" ones (of 0 and 1), or None for a loss that
            is no likelihood.
        weighs_pixels: whether a weight for each pixel can be given.
        kl_weight: weight of the KL divergence that goes with it by default.
    """

    likelihood = None
    weighs_pixels = True
    kl_weight = 1.0

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.built = True

    def call(self, images, reconstructions, weights=None, training=False):
        """The loss of each image.

        Args:
            images: float32 (batch, height, width, channels) in [0, 1].
            reconstructions: as `images`.
            weights: (batch, height, width, 1), of each pixel, or None.
            training: bool.

        Returns:
            float32 (batch,).
        """
        return image_sum(self.pixel_losses(images, reconstructions), weights)

    def pixel_losses(self, images, reconstructions):
        """The loss of each value, as `images`; for losses that are sums over them."""
        raise NotImplementedError

    def compute_output_shape(self, images_shape, *args, **kwargs):
        """(batch,)."""
        return images_shape[:1]


@keras.saving.register_keras_serializable(package="keras_medgen")
class KerasReconstruction(ReconstructionLoss):
    """A `keras.losses.Loss`, summed over whatever it returns for one image.

    Args:
        loss: the loss; its own reduction is not used.
    """

    def __init__(self, loss, **kwargs):
        super().__init__(**kwargs)
        self.loss = loss

    def call(self, images, reconstructions, weights=None, training=False):
        """The loss of each image, float32 (batch,)."""
        values = tf.cast(self.loss.call(images, reconstructions), tf.float32)
        if weights is not None:
            if values.shape.rank == 3:
                weights = weights[..., 0]  # Keras has taken the mean over the channels
            elif values.shape.rank != 4:
                raise ValueError(
                    "mask_weight needs a loss with a value for each pixel. "
                    f"Received: {self.loss.name}, whose values have shape {values.shape}."
                )
        return image_sum(values, weights)

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss)}

    @classmethod
    def from_config(cls, config):
        """The layer of `get_config`."""
        return cls(**{**config, "loss": keras.losses.deserialize(config["loss"])})


def image_sum(values, weights=None):
    """The (weighted) sum of each image's values, (batch,).

    Args:
        values: (batch, ...).
        weights: None, or what can be multiplied with `values`.
    """
    values = values if weights is None else values * weights
    return tf.reduce_sum(values, axis=list(range(1, values.shape.rank)))
