"""The variational autoencoder."""

import copy

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.layers import CalibratedGaussian
from keras_medgen.models.base import GenerativeModel
from keras_medgen.models.batches import checked_images
from keras_medgen.networks import convolutional_decoder, convolutional_encoder

LOG_VAR_RANGE = (-20.0, 10.0)  # beyond it float32 gains nothing, and exp(log_var) may overflow


@keras.saving.register_keras_serializable(package="keras_medgen")
class VAE(GenerativeModel):
    """Variational autoencoder with a calibrated Gaussian likelihood.

    Each step minimises, per image and in nats, the negative log-likelihood of the image given a
    latent drawn from its posterior, plus `kl_weight` times the KL divergence of that posterior
    from the standard normal prior. The likelihood's variance is calibrated to the data
    (`keras_medgen.layers.CalibratedGaussian`), so `kl_weight` means the same for every data set.

    Args:
        image_shape: (height, width, channels): sides of 16 to 256, 1 to 4 channels.
        latent_dim: number of latent dimensions. Default 64.
        num_classes: None: labels are not used.
        kl_weight: weight of the KL divergence. 1 is the evidence lower bound; more gives better
            samples from the prior, less gives sharper reconstructions. Default 5.
        seed: of the initial weights and of the training noise.
        encoder: `keras.Model` from images to a dict of `mean` and `log_var`, each float32
            (batch, latent_dim). Default `keras_medgen.networks.convolutional_encoder`.
        decoder: `keras.Model` from latents (batch, latent_dim) to images in [0, 1]. Default
            `keras_medgen.networks.convolutional_decoder`.

    Raises:
        ValueError: for arguments out of their range, or networks of other shapes.

    Example:
    ```python
    import keras_medgen as kmg

    data = kmg.data.load("retina_patches", image_size=64)
    model = kmg.models.VAE(data.image_shape, latent_dim=64, seed=0)
    model.compile()
    model.fit(data.train, validation_data=data.val, epochs=3)
    images = model.generate(16, seed=0)  # (16, 64, 64, 3), float32 in [0, 1]
    ```

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2013,
        https://arxiv.org/abs/1312.6114
    """

    loss_terms = ("loss", "reconstruction_loss", "kl_loss")

    def __init__(
        self,
        image_shape,
        latent_dim=64,
        num_classes=None,
        *,
        kl_weight=5.0,
        seed=0,
        encoder=None,
        decoder=None,
        **kwargs,
    ):
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be positive. Received: latent_dim={latent_dim}.")
        if num_classes is not None:
            raise ValueError(
                "VAE is not conditioned on labels in this version: num_classes must be None. "
                f"Received: num_classes={num_classes}."
            )
        if kl_weight < 0:
            raise ValueError(f"kl_weight must not be negative. Received: kl_weight={kl_weight}.")
        super().__init__(image_shape, noise_shape=(latent_dim,), seed=seed, **kwargs)
        self.latent_dim = latent_dim
        self.kl_weight = kl_weight
        self.encoder = encoder or convolutional_encoder(image_shape, latent_dim, seed=2 * seed)
        self.decoder = decoder or convolutional_decoder(image_shape, latent_dim, seed=2 * seed + 1)
        self._check_networks()
        self.likelihood = CalibratedGaussian(name="likelihood")

    def _check_networks(self):
        latents = (None, self.latent_dim)
        for name, expected in (("encoder", (None, *self.image_shape)), ("decoder", latents)):
            received = getattr(self, name).input_shape
            if received != expected:
                raise ValueError(f"{name} must take inputs of {expected}. Received: {received}.")
        expected = {"mean": latents, "log_var": latents}
        outputs = getattr(self.encoder, "output", None)
        if isinstance(outputs, dict):
            outputs = {name: tuple(output.shape) for name, output in outputs.items()}
        if outputs != expected:
            raise ValueError(
                f"encoder must return a dict of shapes {expected}. Received: {outputs}."
            )
        images = tuple(self.decoder.output_shape)
        if images != (None, *self.image_shape):
            raise ValueError(
                f"decoder must return images of shape {(None, *self.image_shape)}. "
                f"Received: {images}."
            )

    def compile(
        self, optimizer="auto", *, run_eagerly=False, steps_per_execution=1, jit_compile="auto"
    ):
        """Configures training.

        Args:
            optimizer: a Keras optimizer, or the name of one. Default: `default_optimizer`,
                Adam at 1e-3.
            run_eagerly: as in `keras.Model.compile`.
            steps_per_execution: as in `keras.Model.compile`.
            jit_compile: as in `keras.Model.compile`.
        """
        self._compile(
            {"optimizer": optimizer},
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )

    def default_optimizer(self, name, learning_rate=1e-3):
        """Adam that forgets early gradients within tens of steps.

        While the decoder learns the mean image, gradients are far larger than later. With Adam's
        usual `beta_2` of 0.999 they hold its steps back for a thousand more, long enough for the
        KL term to silence the latents of images that differ little, such as fundus patches.
        """
        return keras.optimizers.Adam(learning_rate, beta_2=0.95)

    def networks(self):
        """One optimizer moves encoder and decoder."""
        return {"optimizer": [self.encoder, self.decoder]}

    @property
    def prior(self):
        """The distribution of latents before an image is seen: a tfp distribution."""
        return _diagonal_normal(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))

    def posterior(self, images, training=False):
        """The distribution of latents given images.

        Args:
            images: float32 (batch, height, width, channels) in [0, 1].
            training: bool.

        Returns:
            A tfp distribution of batch shape (batch,) and event shape (latent_dim,), float32.
        """
        parameters = self.posterior_parameters(images, training)
        return _diagonal_normal(parameters["mean"], tf.exp(0.5 * parameters["log_var"]))

    def posterior_parameters(self, images, training=False):
        """The `mean` and `log_var` of `posterior`, tensors of float32 (batch, latent_dim)."""
        outputs = self.encoder(images, training=training)
        # Cast, for an encoder of the user's may return half precision.
        log_var = tf.clip_by_value(tf.cast(outputs["log_var"], tf.float32), *LOG_VAR_RANGE)
        return {"mean": tf.cast(outputs["mean"], tf.float32), "log_var": log_var}

    def compute_losses(self, batch, training):
        """The negative evidence lower bound, its KL term weighted; see the class."""
        import tensorflow_probability as tfp  # a second of import that only training needs

        images = batch["images"]
        posterior = self.posterior(images, training)
        latents = posterior.mean() + posterior.stddev() * self.noise(
            tf.shape(posterior.mean()), training
        )
        reconstructions = tf.cast(self.decoder(latents, training=training), tf.float32)
        reconstruction_loss = self.likelihood(images, reconstructions, training=training)
        kl_loss = tfp.distributions.kl_divergence(posterior, self.prior)
        loss = reconstruction_loss + self.kl_weight * kl_loss
        terms = {
            "loss": loss,
            "reconstruction_loss": reconstruction_loss,
            "kl_loss": kl_loss,
        }
        return {"optimizer": loss}, terms

    def call(self, images, training=False):
        """Reconstructs images, float32 in [0, 1] (not checked), from their posteriors' means."""
        return self.images_from_noise(self.posterior_parameters(images, training)["mean"], training)

    def images_from_noise(self, noise, training=False):
        """Decodes latents: under the standard normal prior, noise is a latent."""
        return tf.cast(self.decoder(noise, training=training), tf.float32)

    def encode(self, images):
        """The posterior of each image.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.

        Returns:
            A dict of `mean` and `log_var`, np.ndarray float32 (n, latent_dim).
        """
        images = checked_images(images, self.image_shape)
        return self._in_batches("encode", self.posterior_parameters, images)

    def decode(self, latents):
        """The image of each latent.

        Args:
            latents: (n, latent_dim), floating point.

        Returns:
            np.ndarray float32 (n, height, width, channels) in [0, 1].
        """
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ValueError(
                f"latents must be of shape (n, {self.latent_dim}). Received: shape {latents.shape}."
            )
        return self._in_batches("decode", self.images_from_noise, latents)

    def reconstruct(self, images):
        """Each image as the model sees it: decoded from the mean of its posterior.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.

        Returns:
            np.ndarray float32 (n, height, width, channels) in [0, 1].
        """
        images = checked_images(images, self.image_shape)
        return self._in_batches("reconstruct", self.call, images)

    def get_config(self):
        """The arguments of the model, its networks included."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "latent_dim": self.latent_dim,
            "kl_weight": self.kl_weight,
            "seed": self.seed,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
        }

    @classmethod
    def from_config(cls, config):
        """The model of `get_config`."""
        networks = {  # copies, for Keras empties the dict that it is given
            name: keras.saving.deserialize_keras_object(copy.deepcopy(config[name]))
            for name in ("encoder", "decoder")
        }
        return cls(**{**config, **networks})


def _diagonal_normal(mean, stddev):
    import tensorflow_probability as tfp

    return tfp.distributions.Independent(tfp.distributions.Normal(mean, stddev), 1)
