"""Models with an encoder, a decoder and a prior: what they do once trained."""

import keras
import tensorflow as tf

from keras_medgen import networks
from keras_medgen.layers import priors
from keras_medgen.models import fitted_prior
from keras_medgen.models.arguments import latent_sizes
from keras_medgen.models.base import GENERATE_BATCH
from keras_medgen.models.batches import checked_images, checked_labels, with_plain_errors
from keras_medgen.models.guidance import STEPS, check_classifier, guided_latents
from keras_medgen.models.latent_model import LatentModel
from keras_medgen.ops.random import normal_rows

LOG_VAR_RANGE = (-20.0, 10.0)  # beyond it float32 gains nothing, and exp(log_var) may overflow
PRIORS = ("standard_normal", "mixture", "vamp")


def default_networks(latent_dim):
    """The builders of encoder and decoder for an int, or for a grid (rows, columns, channels)."""
    _, grid = latent_sizes(latent_dim)
    if grid is None:
        return networks.convolutional_encoder, networks.convolutional_decoder
    return networks.spatial_encoder, networks.spatial_decoder


class Autoencoder(LatentModel):
    """Base of the models that encode images as Gaussians over latents, and decode latents.

    Args:
        image_shape: (height, width, channels).
        latent_dim: number of latent dimensions, or their grid (rows, columns, channels). The
            attribute of that name is the number, `latent_grid` the grid or None; latents are
            vectors in either case, a grid's row by row and channels last.
        num_classes: of a conditional model; None for one that does not use labels.
        prior: "standard_normal", "mixture" or "vamp".
        prior_components: of the latter two.
        seed: of the initial weights and of the training noise.
        encoder: `keras.Model` from images to a dict of `mean` and `log_var`, each float32
            (batch, latent_dim); of a conditional model from a dict of `images` and `labels`,
            float32 (batch, num_classes) of 0 and 1.
        decoder: `keras.Model` from latents (batch, latent_dim) to images in [0, 1]; of a
            conditional model from a dict of `latents` and `labels`.
    """

    def __init__(
        self,
        image_shape,
        latent_dim,
        num_classes,
        *,
        prior,
        prior_components,
        seed,
        encoder,
        decoder,
        **kwargs,
    ):
        latent_dim, latent_grid = latent_sizes(latent_dim)
        super().__init__(image_shape, latent_dim, num_classes, seed, **kwargs)
        self.latent_grid = latent_grid
        self.encoder = encoder
        self.decoder = decoder
        latents, images = (None, latent_dim), (None, *self.image_shape)
        self._check_network("encoder", {"images": images}, {"mean": latents, "log_var": latents})
        self._check_network("decoder", {"latents": latents}, images)
        self.prior_name = prior
        self.prior_components = prior_components
        self.prior = self._make_prior()
        self.fitted_prior = None

    def _make_prior(self):
        if self.prior_name not in PRIORS:
            raise ValueError(
                f"prior must be one of {', '.join(PRIORS)}. Received: prior={self.prior_name!r}."
            )
        if self.prior_components < 1:
            raise ValueError(
                "prior_components must be positive. "
                f"Received: prior_components={self.prior_components}."
            )
        if self.prior_name == "standard_normal":
            return priors.StandardNormal(self.latent_dim)
        arguments = {
            "latent_dim": self.latent_dim,
            "components": self.prior_components,
            "seed": self.seed,
        }
        if self.prior_name == "mixture":
            return priors.GaussianMixture(**arguments)
        return priors.VampPrior(
            **arguments, image_shape=self.image_shape, num_classes=self.num_classes
        )

    # Functions of tensors; labels are float32 (batch, num_classes) of 0 and 1, or None.

    def posterior_parameters(self, images, labels=None, training=False):
        """The `mean` and `log_var` of `posterior`, tensors of float32 (batch, latent_dim)."""
        inputs = images if self.num_classes is None else {"images": images, "labels": labels}
        outputs = self.encoder(inputs, training=training)
        # Cast, for an encoder of the user's may return half precision.
        log_var = tf.clip_by_value(tf.cast(outputs["log_var"], tf.float32), *LOG_VAR_RANGE)
        return {"mean": tf.cast(outputs["mean"], tf.float32), "log_var": log_var}

    def posterior(self, images, labels=None, training=False):
        """The distribution of latents given images.

        Returns:
            A tfp distribution of batch shape (batch,) and event shape (latent_dim,), float32.
        """
        parameters = self.posterior_parameters(images, labels, training)
        return priors.diagonal_normal(parameters["mean"], tf.exp(0.5 * parameters["log_var"]))

    def prior_distribution(self, labels=None):
        """The distribution of latents before an image is seen: a tfp distribution.

        The fitted one, if `fit_prior` was called since the last training; see `Prior`.
        """
        prior = self.fitted_prior or self.prior
        return prior.distribution(labels, self.posterior_parameters)

    def kl_divergence(self, posterior, latents, labels=None):
        """The KL divergence of posteriors from the trained prior, in nats.

        Args:
            posterior: as returned by `posterior`.
            latents: (batch, latent_dim), a sample of it.
            labels: of a conditional model.

        Returns:
            float32 (batch, latent_dim), of each dimension, where the prior is factorised; else
            (batch, 1), estimated from the sample.
        """
        if self.prior.factorised:
            mean, variance = posterior.mean(), posterior.variance()
            return 0.5 * (tf.square(mean) + variance - 1 - tf.math.log(variance))
        # A VampPrior's pseudo-images are encoded as in inference, also while training: they are
        # no part of the statistics that batch normalisation keeps of images.
        prior = self.prior.distribution(labels, self.posterior_parameters)
        return (posterior.log_prob(latents) - prior.log_prob(latents))[:, None]

    def decoded(self, latents, labels=None, training=False):
        """Images, float32 (batch, height, width, channels), of latents (batch, latent_dim)."""
        inputs = latents if self.num_classes is None else {"latents": latents, "labels": labels}
        return tf.cast(self.decoder(inputs, training=training), tf.float32)

    def call(self, images, labels=None, training=False):
        """Reconstructs images, float32 in [0, 1] (not checked), from their posteriors' means."""
        mean = self.posterior_parameters(images, labels, training)["mean"]
        return self.decoded(mean, labels, training)

    @property
    def noise_shape(self):
        """The shape of the noise that one latent is made of."""
        return ((self.fitted_prior or self.prior).noise_dim,)

    def latents_from_noise(self, noise, labels=None):
        """Latents (n, latent_dim) that follow the prior, of noise (n, *noise_shape)."""
        prior = self.fitted_prior or self.prior
        return prior.latents(noise, labels, self.posterior_parameters)

    def images_from_noise(self, noise, labels=None):
        """Decodes latents from the prior."""
        return self.decoded(self.latents_from_noise(noise, labels), labels)

    # What users call.

    def encode(self, images, labels=None):
        """The posterior of each image.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1.

        Returns:
            A dict of `mean` and `log_var`, np.ndarray float32 (n, latent_dim).
        """
        images = checked_images(images, self.image_shape)
        labels = checked_labels(labels, len(images), self.num_classes)
        return self._in_batches("encode", self.posterior_parameters, images, labels)

    def reconstruct(self, images, labels=None):
        """Each image as the model sees it: decoded from the mean of its posterior.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1.

        Returns:
            np.ndarray float32 (n, height, width, channels) in [0, 1].
        """
        images = checked_images(images, self.image_shape)
        labels = checked_labels(labels, len(images), self.num_classes)
        return self._in_batches("reconstruct", self.call, images, labels)

    def fit(self, *args, **kwargs):
        """Trains the model; see `GenerativeModel.fit`. A fitted prior is dropped, as outdated."""
        self._set_fitted_prior(None)
        return super().fit(*args, **kwargs)

    def fit_prior(self, dataset, components=10, seed=0):
        """Fits a mixture of Gaussians to the latents of a data set; `generate` uses it then.

        Samples from the standard normal prior fall between the posteriors that the decoder knows,
        where they leave it gaps; a density fitted to the latents does not. A mixture for each
        class where the model is conditional and the labels are classes. Saved with the model.

        Args:
            dataset: what `fit` takes: a data set, or arrays: images, (images, labels), or a batch
                dict such as `data.arrays("train")`. A data set's own order goes on by one pass.
            components: the largest number of Gaussians, with full covariances.
            seed: of the latents that are drawn, and of the fit.

        Raises:
            ValueError: for a data set without images, or with labels that do not fit.

        Reference:
            Ghosh et al., From Variational to Deterministic Autoencoders, 2020,
            https://arxiv.org/abs/1903.12436
        """
        prior = with_plain_errors(fitted_prior.fit, self, dataset, components, seed)
        self._set_fitted_prior(prior)

    def _set_fitted_prior(self, prior):
        if self.fitted_prior is not None:  # Keras would keep its weights among the model's
            self._layers.remove(self.fitted_prior)
        self.fitted_prior = prior
        self._functions = {}  # those compiled so far know the other one

    def generate(
        self,
        num,
        labels=None,
        seed=0,
        *,
        guidance=None,
        target=None,
        guidance_scale=3.0,
    ):
        """Draws images from the model, as `GenerativeModel.generate`; on request guided to a class.

        Args:
            num: how many.
            labels: of a conditional model; see `GenerativeModel.generate`.
            seed: int; image i depends on `(seed, i)` alone.
            guidance: a Keras classifier from images (n, height, width, channels) in [0, 1] to the
                probabilities of its classes, (n, classes), or (n, 1) of class 1. The latents then
                follow the product of prior and classifier; see `keras_medgen.models.guidance`.
            target: with `guidance`: the class to reach, an int, or one for each image.
            guidance_scale: exponent of the classifier's probability: more is nearer the class
                and less diverse.

        Returns:
            np.ndarray float32 (num, height, width, channels) in [0, 1].
        """
        if (guidance is None) != (target is None):
            raise ValueError("guidance, a classifier, and target, a class, come together.")
        if guidance is None:
            return super().generate(num, labels, seed)
        target = check_classifier(guidance, self.image_shape, target, num)

        def rows(seed, start, labels):
            numbers = start + tf.range(GENERATE_BATCH)
            noise = normal_rows(seed, numbers, (STEPS + 1, self.noise_shape[0]))
            latents = guided_latents(
                self.latents_from_noise(noise[:, 0], labels),
                tf.transpose(noise[:, 1:, : self.latent_dim], (1, 0, 2)),
                self.prior_distribution(labels).log_prob,
                lambda latents: self.decoded(latents, labels),
                guidance,
                tf.gather(target, tf.minimum(numbers, num - 1)),
                guidance_scale,
            )
            return self.decoded(latents, labels)

        return self._generate(tf.function(rows), num, labels, seed)

    # Config.

    def get_config(self):
        """The arguments of the model, its networks included."""
        return {
            **super().get_config(),
            "latent_dim": self.latent_grid or self.latent_dim,
            "prior": self.prior_name,
            "prior_components": self.prior_components,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "fitted_prior": self.fitted_prior and self.fitted_prior.sizes,
        }

    @classmethod
    def from_config(cls, config):
        """The model of `get_config`."""
        config = dict(config)
        fitted = config.pop("fitted_prior")
        model = super().from_config(config)
        if fitted:  # its values come with the weights
            model.fitted_prior = priors.FittedMixture(model.latent_dim, **fitted)
        return model
