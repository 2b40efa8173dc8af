"""The variational autoencoder."""

import keras
import numpy as np
import tensorflow as tf

from keras_medgen import losses
from keras_medgen.models import likelihood
from keras_medgen.models.arguments import check_at_least
from keras_medgen.models.autoencoder import Autoencoder, default_networks
from keras_medgen.models.batches import checked_images, checked_labels
from keras_medgen.ops import distribution


@keras.saving.register_keras_serializable(package="keras_medgen")
class VAE(Autoencoder):
    """Variational autoencoder.

    Each step minimises, per image and in nats, the reconstruction loss of a latent drawn from the
    image's posterior, plus `kl_weight` times the KL divergence of that posterior from the prior.
    With a reconstruction that is a likelihood, and a weight of 1, this is the negative evidence
    lower bound.

    Args:
        image_shape: (height, width, channels): sides of 16 to 256, 1 to 4 channels.
        latent_dim: number of latent dimensions. Default 64. Or a grid of them, such as (7, 7, 4)
            for images of 28 pixels: (rows, columns, channels), of a network without fully
            connected layers, as latent diffusion wants it. `encode` and `decode` have vectors in
            either case, a grid's row by row and channels last.
        num_classes: conditions encoder and decoder on labels of so many classes. Default None:
            labels are not used.
        reconstruction: one of

            - "gaussian": Gaussian likelihood, its variance calibrated to the data; the default;
            - "mse": half the sum of squares, the Gaussian likelihood with unit variance;
            - "mae": the sum of absolute errors, the Laplace likelihood with unit scale;
            - "bernoulli": cross-entropy, a likelihood of images of 0 and 1;
            - "quantized_logistic": likelihood of 8-bit images, its scale calibrated;
            - "ms_ssim": 1 - MS-SSIM, its scale calibrated: the MS-SSIM VAE;
            - "ms_ssim_l1": the mixture of that and the absolute error of Zhao et al. 2017;
            - `keras_medgen.losses.Perceptual(network)`: distance between a network's features;
            - a `keras.losses.Loss`.
        prior: "standard_normal"; "mixture", a learned mixture of Gaussians; or "vamp", the
            VampPrior of Tomczak and Welling 2018. The last follows the posteriors, also where
            these say nothing yet, and needs `keras_medgen.callbacks.KLWarmUp`: on PneumoniaMNIST
            its KL divergence fell to 0.01 nats without. `model.prior.start_from(images)` gives it
            training images to start from.
        prior_components: of the latter two. Default 32.
        kl_weight: weight of the KL divergence. 1 is the evidence lower bound; more gives better
            samples from the prior, less gives sharper reconstructions. Default "auto": 5 for
            reconstructions whose scale is calibrated, so that it means the same for every data
            set, and 1 for the others. The weight `kl_scale`, usually 1, multiplies it; see
            `keras_medgen.callbacks.KLSchedule`.
        free_bits: nats of each latent dimension, in the mean over a batch, that cost nothing
            (Kingma et al. 2016); of a prior that is not factorised, of all dimensions together.
        capacity: where given, the distance of the KL divergence, in the mean over a batch, from
            this many nats is penalised in its place (Burgess et al. 2018).
        mask_weight: how much more a pixel counts in the reconstruction where the batch has masks
            and its mask is not 0; for reconstructions that are sums over pixels.
        input_noise: standard deviation of the noise that is added to the images that are encoded
            in training, not to those that are to be reconstructed: a denoising VAE (Im et al.
            2017); see `denoise`.
        seed: of the initial weights and of the training noise.
        encoder: `keras.Model` from images to a dict of `mean` and `log_var`, each float32
            (batch, latent_dim); of a conditional model from a dict of `images` and `labels`,
            float32 (batch, num_classes) of 0 and 1. Default
            `keras_medgen.networks.convolutional_encoder`; of a grid `spatial_encoder`.
        decoder: `keras.Model` from latents (batch, latent_dim) to images in [0, 1]; of a
            conditional model from a dict of `latents` and `labels`. Default
            `keras_medgen.networks.convolutional_decoder`; of a grid `spatial_decoder`.

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

    default_learning_rate = 1e-3
    loss_terms = ("loss", "reconstruction_loss", "kl_loss")

    def __init__(
        self,
        image_shape,
        latent_dim=64,
        num_classes=None,
        *,
        reconstruction="gaussian",
        prior="standard_normal",
        prior_components=32,
        kl_weight="auto",
        free_bits=0.0,
        capacity=None,
        mask_weight=1.0,
        input_noise=0.0,
        seed=0,
        encoder=None,
        decoder=None,
        **kwargs,
    ):
        reconstruction = losses.get(reconstruction)
        if kl_weight == "auto":
            kl_weight = reconstruction.kl_weight
        make_encoder, make_decoder = default_networks(latent_dim)
        check_at_least(0, kl_weight=kl_weight)
        check_at_least(0, free_bits=free_bits)
        check_at_least(0, capacity=0 if capacity is None else capacity)
        check_at_least(0, mask_weight=mask_weight)
        check_at_least(0, input_noise=input_noise)
        if mask_weight != 1 and not reconstruction.weighs_pixels:
            raise ValueError(
                "mask_weight needs a reconstruction that is a sum over pixels, such as gaussian. "
                f"Received: mask_weight={mask_weight}, reconstruction={reconstruction.name}."
            )
        sizes = (image_shape, latent_dim)
        labels = {"num_classes": num_classes}
        super().__init__(
            *sizes,
            num_classes,
            prior=prior,
            prior_components=prior_components,
            seed=seed,
            encoder=encoder or make_encoder(*sizes, **labels, seed=2 * seed),
            decoder=decoder or make_decoder(*sizes, **labels, seed=2 * seed + 1),
            **kwargs,
        )
        self.reconstruction = reconstruction
        self.kl_weight = kl_weight
        self.free_bits = free_bits
        self.capacity = capacity
        self.mask_weight = mask_weight
        self.input_noise = input_noise
        self.kl_scale = self.add_weight(
            shape=(), initializer="ones", trainable=False, dtype="float32", name="kl_scale"
        )

    def default_optimizer(self, name, learning_rate, weight_decay=None, clip_norm=None):
        """Adam that forgets early gradients within tens of steps.

        While the decoder learns the mean image, gradients are far larger than later. With Adam's
        usual `beta_2` of 0.999 they hold its steps back for a thousand more, long enough for the
        KL term to silence the latents of images that differ little, such as fundus patches.
        """
        return keras.optimizers.Adam(
            learning_rate,
            beta_2=0.95,
            weight_decay=weight_decay,
            global_clipnorm=clip_norm,
        )

    def networks(self):
        """One optimizer moves encoder, decoder and prior."""
        return {"optimizer": [self.encoder, self.decoder, self.prior, self.reconstruction]}

    def compute_losses(self, batch, training):
        """The weighted negative evidence lower bound; see the class."""
        images, labels = batch["images"], batch.get("labels")
        posterior = self.posterior(self._noised(images, training), labels, training)
        mean, stddev = posterior.mean(), posterior.stddev()
        latents = mean + stddev * self.noise(tf.shape(mean), training)
        reconstructions = self.decoded(latents, labels, training)
        reconstruction_loss = self.reconstruction(
            images, reconstructions, self._pixel_weights(batch), training=training
        )
        kl = self.kl_divergence(posterior, latents, labels)
        loss = reconstruction_loss + self.kl_weight * self.kl_scale * self._kl_penalty(kl)
        terms = {
            "loss": loss,
            "reconstruction_loss": reconstruction_loss,
            "kl_loss": tf.reduce_sum(kl, axis=1),
        }
        return {"optimizer": loss}, terms

    def _noised(self, images, training):
        if not training or not self.input_noise:
            return images
        noise = self.noise(tf.shape(images), training, stream=1)
        return tf.clip_by_value(images + self.input_noise * noise, 0.0, 1.0)

    def _pixel_weights(self, batch):
        if self.mask_weight == 1 or "masks" not in batch:
            return None
        marked = tf.cast(batch["masks"] != 0, tf.float32)[..., None]
        return 1 + (self.mask_weight - 1) * marked

    def _kl_penalty(self, kl):
        """(batch,), of the KL divergence (batch, dimensions or 1)."""
        if self.free_bits:
            free = self.free_bits * self.latent_dim / kl.shape[1]
            mean = distribution.replica_sum(tf.reduce_sum(kl, 0)) / distribution.global_count(kl)
            kl = tf.where(mean > free, kl, free)
        kl = tf.reduce_sum(kl, axis=1)
        if self.capacity is None:
            return kl
        # |mean - capacity|, as a mean over images.
        return tf.sign(distribution.global_mean(kl) - self.capacity) * (kl - self.capacity)

    def denoise(self, images, labels=None):
        """Images without their noise: reconstructed by a model trained with `input_noise`.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1.

        Returns:
            np.ndarray float32 (n, height, width, channels) in [0, 1].

        Raises:
            ValueError: for a model trained without noise.

        Reference:
            Im, Ahn, Memisevic and Bengio, Denoising Criterion for Variational Auto-Encoding
            Framework, 2017, https://arxiv.org/abs/1511.06406
        """
        if not self.input_noise:
            raise ValueError(
                "denoise needs a model trained with input_noise > 0. "
                f"Received: input_noise={self.input_noise}."
            )
        return self.reconstruct(images, labels)

    def log_likelihood(self, images, labels=None, num_samples=200, seed=0):
        """The importance-weighted lower bound of each image's log-likelihood, in nats.

        The mean over images of log (1/k) sum p(x|z) p(z) / q(z|x) over k samples z of q(z|x): with
        one sample the evidence lower bound, nearer the truth the more there are.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1.
            num_samples: k.
            seed: of the samples.

        Returns:
            np.ndarray float32 (n,): the log of a density over images in [0, 1], or of a probability
            where the reconstruction is of discrete images ("quantized_logistic", "bernoulli").

        Raises:
            ValueError: for a reconstruction that is no likelihood, or no likelihood of such images.

        Reference:
            Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016,
            https://arxiv.org/abs/1509.00519
        """
        images = checked_images(images, self.image_shape)
        labels = checked_labels(labels, len(images), self.num_classes)
        return likelihood.log_likelihood(self, images, labels, num_samples, seed)

    def bits_per_dimension(self, images, labels=None, num_samples=200, seed=0):
        """Bits per value that 8-bit images cost: an upper bound, from `log_likelihood`.

        A density is compared with the 256 values by uniform dequantisation: k stands for
        (k + u) / 256 with u uniform in [0, 1), which only raises the bound (Theis et al. 2016).

        Args:
            images: (n, height, width, channels), uint8, or float in [0, 1], rounded to 8 bits.
            labels: see `log_likelihood`.
            num_samples: see `log_likelihood`.
            seed: see `log_likelihood`.

        Returns:
            np.ndarray float32 (n,). 8 is what images of uniform noise cost.

        Raises:
            ValueError: as `log_likelihood`, and for "bernoulli", which knows no 8-bit images.

        Reference:
            Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2016,
            https://arxiv.org/abs/1511.01844
        """
        images = np.round(checked_images(images, self.image_shape) * 255) / np.float32(255)
        labels = checked_labels(labels, len(images), self.num_classes)
        return likelihood.bits_per_dimension(self, images, labels, num_samples, seed)

    def get_config(self):
        """The arguments of the model, its networks included."""
        return {
            **super().get_config(),
            "reconstruction": keras.saving.serialize_keras_object(self.reconstruction),
            "kl_weight": self.kl_weight,
            "free_bits": self.free_bits,
            "capacity": self.capacity,
            "mask_weight": self.mask_weight,
            "input_noise": self.input_noise,
        }
