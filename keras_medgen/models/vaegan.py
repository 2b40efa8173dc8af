"""The VAE-GAN: an autoencoder whose similarity metric a discriminator learns."""

import keras
import tensorflow as tf

from keras_medgen.models.adversarial import check_is_signed, discriminator_learning_rate, judge
from keras_medgen.models.arguments import check_at_least
from keras_medgen.models.autoencoder import Autoencoder, default_networks
from keras_medgen.networks import convolutional_discriminator
from keras_medgen.ops.ranges import signed, unsigned

DISCRIMINATOR_RATE = 0.1  # times the learning rate of the other two
FAKES = {
    "both": ("reconstructions", "samples"),
    "reconstructions": ("reconstructions",),
    "samples": ("samples",),
}
ADVERSARIAL = ("saturating", "non_saturating")


@keras.saving.register_keras_serializable(package="keras_medgen")
class VAEGAN(Autoencoder):
    """Autoencoding beyond pixels using a learned similarity metric.

    With z drawn from q(z|x), reconstructions x~ = Dec(z), and samples x_p = Dec(z_p) of z_p from
    the standard normal prior p(z), the three terms of a batch are

    - L_prior, the KL divergence of q(z|x) from p(z);
    - L_llike, the negative log-likelihood of the discriminator's features of x under a Gaussian of
      unit variance around those of x~, but for its constant;
    - L_GAN = -[log Dis(x) + log(1 - Dis(x~)) + log(1 - Dis(x_p))].

    The encoder descends `kl_weight` L_prior + L_llike, the decoder `gamma` L_llike - L_GAN, the
    discriminator L_GAN, all from the gradients at the weights before the step. Likelihood and
    divergence are sums over dimensions, and means over images.

    The sub-networks work on images in [-1, 1]; everything that users call, on images in [0, 1].

    Args:
        image_shape: (height, width, channels).
        latent_dim: number of latent dimensions, or their grid (rows, columns, channels); see `VAE`.
        num_classes: None, or the number of classes on which all three networks are conditioned.
        gamma: weight of the likelihood in the decoder's loss. Default 0.1.
        kl_weight: weight of the divergence in the encoder's loss. Default 1.
        adversarial: "saturating", as in the paper, or "non_saturating": the decoder descends
            -log Dis(x~) - log Dis(x_p), whose gradient does not vanish while the discriminator
            is far ahead; a step then costs a second backward pass through the discriminator.
        fakes: which images the discriminator learns to tell from real ones: "both",
            "reconstructions" or "samples".
        feature_layer: name of the discriminator's layer whose outputs are compared. Default
            "features": in the discriminators of `keras_medgen.networks` the last convolution
            before the fully connected layers.
        seed: of the initial weights and of the training noise.
        encoder: `keras.Model` from images in [-1, 1] to a dict of `mean` and `log_var`, each
            float32 (batch, latent_dim). Default: `networks.convolutional_encoder`; of a grid
            `spatial_encoder`.
        decoder: `keras.Model` from latents (batch, latent_dim) to images in [-1, 1]. Default:
            `networks.convolutional_decoder`, of a grid `spatial_decoder`, with tanh.
        discriminator: `keras.Model` from images in [-1, 1] to logits (batch, 1). Default:
            `networks.convolutional_discriminator`. Of a conditional model, the three networks
            take dicts with `labels`, float32 (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for arguments outside of their range, or networks of other shapes or ranges.

    Example:
    ```python
    model = kmg.models.VAEGAN(data.image_shape, latent_dim=64)
    model.compile()
    model.fit(data.train, validation_data=data.val, epochs=20)
    samples = model.generate(16, seed=0)
    ```

    Reference:
        Larsen, Sønderby, Larochelle and Winther, Autoencoding beyond pixels using a learned
        similarity metric, 2015, Algorithm 1, https://arxiv.org/abs/1512.09300
    """

    default_learning_rate = 3e-4
    loss_terms = (
        "reconstruction_loss",
        "kl_loss",
        "discriminator_loss",
        "real_accuracy",
        "fake_accuracy",
    )
    training_terms = (
        "encoder_gradient_norm",
        "decoder_gradient_norm",
        "discriminator_gradient_norm",
    )

    def __init__(
        self,
        image_shape,
        latent_dim=64,
        num_classes=None,
        *,
        gamma=0.1,
        kl_weight=1.0,
        adversarial="saturating",
        fakes="both",
        feature_layer="features",
        seed=0,
        encoder=None,
        decoder=None,
        discriminator=None,
        **kwargs,
    ):
        make_encoder, make_decoder = default_networks(latent_dim)
        check_at_least(0, gamma=gamma)
        check_at_least(0, kl_weight=kl_weight)
        if adversarial not in ADVERSARIAL:
            raise ValueError(
                f"adversarial must be one of {', '.join(ADVERSARIAL)}. "
                f"Received: adversarial={adversarial!r}."
            )
        if fakes not in FAKES:
            raise ValueError(f"fakes must be one of {', '.join(FAKES)}. Received: fakes={fakes!r}.")
        sizes = (image_shape, latent_dim)
        labels = {"num_classes": num_classes}
        super().__init__(
            *sizes,
            num_classes,
            prior="standard_normal",
            prior_components=1,
            seed=seed,
            encoder=encoder or make_encoder(*sizes, **labels, seed=3 * seed),
            decoder=decoder
            or make_decoder(*sizes, **labels, output_activation="tanh", seed=3 * seed + 1),
            **kwargs,
        )
        self.discriminator = discriminator or convolutional_discriminator(
            image_shape, **labels, seed=3 * seed + 2
        )
        images = (None, *self.image_shape)
        self._check_network("discriminator", {"images": images}, (None, 1))
        check_is_signed("decoder", self.decoder)
        self.gamma = gamma
        self.kl_weight = kl_weight
        self.adversarial = adversarial
        self.fakes = fakes
        self.feature_layer = feature_layer
        self._judge = judge(self.discriminator, feature_layer)

    def compile(
        self,
        encoder_optimizer="auto",
        decoder_optimizer="auto",
        discriminator_optimizer="auto",
        *,
        learning_rate=None,
        discriminator_rate="auto",
        weight_decay=None,
        clip_norm=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
    ):
        """Configures training.

        Args:
            encoder_optimizer: a Keras optimizer, or the name of one. Default:
                `default_optimizer`, RMSprop at 3e-4.
            decoder_optimizer: the same.
            discriminator_optimizer: the same; its default is at 3e-5.
            learning_rate: of the default optimizers of encoder and decoder, a float or a Keras
                schedule.
            discriminator_rate: learning rate of the discriminator's default optimizer, as a
                multiple of `learning_rate`. Default 0.1; in trainings of minutes 1 gives better
                images (docs/results.md).
            weight_decay: of the default optimizers, decoupled from the gradient.
            clip_norm: of the default optimizers: the largest norm of a network's gradients.
            run_eagerly: as in `keras.Model.compile`.
            steps_per_execution: as in `keras.Model.compile`.
            jit_compile: as in `keras.Model.compile`.

        Raises:
            ValueError: for an argument of default optimizers where there is none, a
                `discriminator_rate` that is not positive, or one optimizer for two networks.
        """
        discriminators = discriminator_learning_rate(
            discriminator_optimizer,
            self.default_learning_rate if learning_rate is None else learning_rate,
            discriminator_rate,
            default=DISCRIMINATOR_RATE,
        )
        self._compile(
            {
                "encoder_optimizer": encoder_optimizer,
                "decoder_optimizer": decoder_optimizer,
                "discriminator_optimizer": discriminator_optimizer,
            },
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            learning_rates={"discriminator_optimizer": discriminators},
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )

    def default_optimizer(self, name, learning_rate, weight_decay=None, clip_norm=None):
        """RMSprop, as Larsen et al. used; see `compile`."""
        return keras.optimizers.RMSprop(
            learning_rate,
            weight_decay=weight_decay,
            global_clipnorm=clip_norm,
        )

    def networks(self):
        """An optimizer for each."""
        return {
            "encoder_optimizer": [self.encoder],
            "decoder_optimizer": [self.decoder],
            "discriminator_optimizer": [self.discriminator],
        }

    # Images in [0, 1] outside, in [-1, 1] inside.

    def posterior_parameters(self, images, labels=None, training=False):
        """See `Autoencoder.posterior_parameters`; images in [0, 1]."""
        return super().posterior_parameters(signed(images), labels, training)

    def decoded(self, latents, labels=None, training=False):
        """See `Autoencoder.decoded`; images in [0, 1]."""
        return unsigned(super().decoded(latents, labels, training))

    # Algorithm 1.

    def compute_losses(self, batch, training):
        """The losses of the three networks; see the class. `train_step` does not need them."""
        kl, latents = self._encoded(batch, training)
        made = self._made(latents, batch, training)
        likelihood, verdicts = self._compared(batch, made, training)
        adversarial = self._adversarial_loss(verdicts)
        losses = {
            "encoder_optimizer": self.kl_weight * kl + likelihood,
            "decoder_optimizer": self.gamma * likelihood + self._decoder_loss(verdicts),
            "discriminator_optimizer": adversarial,
        }
        return losses, self._terms(kl, likelihood, adversarial, verdicts)

    def train_step(self, data):
        """One step of Algorithm 1 of Larsen et al.

        The gradients are those of `compute_losses`. A tape for each network, and the chain rule
        from one to the next: each network is run once on each of its inputs, and of no network is
        a gradient taken that is not needed. As the decoder's adversarial loss is minus that of the
        discriminator, one backward pass through the discriminator serves both.
        """
        batch = self.unpack_batch(data)
        encoder_scale, decoder_scale, discriminator_scale = (
            getattr(self, name).scale_loss(tf.ones(())) for name in self.networks()
        )
        with tf.GradientTape() as encoding:
            kl, latents = self._encoded(batch, training=True)
            prior_objective = self._objective(self.kl_weight * kl, [self.encoder])
            prior_objective *= encoder_scale
        with tf.GradientTape(persistent=True) as decoding:
            decoding.watch(latents)
            made = self._made(latents, batch, training=True)
            penalty = decoder_scale * self._objective(tf.zeros_like(kl), [self.decoder])
        with tf.GradientTape(persistent=True) as discriminating:
            discriminating.watch(made)
            likelihood, verdicts = self._compared(batch, made, training=True)
            adversarial = self._adversarial_loss(verdicts)
            likelihood_objective = encoder_scale * self._objective(likelihood, [])
            adversarial_objective = discriminator_scale * self._objective(
                adversarial, [self.discriminator]
            )
            decoder_objective = decoder_scale * self._objective(self._decoder_loss(verdicts), [])

        # Through the discriminator: what it learns, and what it says of the images made.
        names = FAKES[self.fakes]
        images_made = [made[name] for name in names]
        variables = self._variables_of("discriminator_optimizer")
        discriminator_gradients = discriminating.gradient(
            adversarial_objective, [*variables, *images_made]
        )
        by_image = discriminator_gradients[len(variables) :]
        discriminator_gradients = discriminator_gradients[: len(variables)]
        if self.adversarial == "saturating":
            by_image = [-gradient * (decoder_scale / discriminator_scale) for gradient in by_image]
        else:
            by_image = discriminating.gradient(decoder_objective, images_made)
        by_similarity = discriminating.gradient(likelihood_objective, made["reconstructions"])

        # Through the decoder: gamma L_llike - L_GAN to its weights, L_llike to the latents.
        upstream = dict(zip(names, by_image, strict=True))
        weighted = by_similarity * (self.gamma * decoder_scale / encoder_scale)
        upstream["reconstructions"] = upstream.get("reconstructions", 0.0) + weighted
        decoder_gradients = decoding.gradient(
            [*(made[name] for name in upstream), penalty],
            self._variables_of("decoder_optimizer"),
            output_gradients=[*upstream.values(), tf.ones(())],
        )
        by_latents = decoding.gradient(
            made["reconstructions"], latents, output_gradients=by_similarity
        )

        encoder_gradients = encoding.gradient(
            [prior_objective, latents],
            self._variables_of("encoder_optimizer"),
            output_gradients=[tf.ones(()), by_latents],
        )
        norms = self._apply(
            encoder=encoder_gradients,
            decoder=decoder_gradients,
            discriminator=discriminator_gradients,
        )
        return self._log(self._terms(kl, likelihood, adversarial, verdicts) | norms)

    def _encoded(self, batch, training):
        """The posterior's divergence from the prior (batch,), and latents drawn from it."""
        posterior = self.posterior(batch["images"], batch.get("labels"), training)
        mean = posterior.mean()
        latents = mean + posterior.stddev() * self.noise(tf.shape(mean), training)
        kl = tf.reduce_sum(self.kl_divergence(posterior, latents), axis=1)
        return kl, latents

    def _made(self, latents, batch, training):
        """What the decoder makes, in [-1, 1]: `reconstructions`, and `samples` where needed."""
        labels = batch.get("labels")
        made = {"reconstructions": super().decoded(latents, labels, training)}
        if "samples" in FAKES[self.fakes]:
            noise = self.noise(tf.shape(latents), training, stream=1)
            made["samples"] = super().decoded(noise, labels, training)
        return made

    def _compared(self, batch, made, training):
        """L_llike (batch,), and the discriminator's logits (batch,) of each kind of image."""
        labels = batch.get("labels")
        everything = {"images": signed(batch["images"]), **made}
        judged = {
            name: self._judge(images, labels, training) for name, images in everything.items()
        }
        # The features of the images are what is observed: no network of L_llike moves them.
        observed = tf.stop_gradient(judged["images"][1])
        squared = tf.square(observed - judged["reconstructions"][1])
        likelihood = 0.5 * tf.reduce_sum(squared, axis=list(range(1, squared.shape.rank)))
        verdicts = {name: logits for name, (logits, _) in judged.items()}
        return likelihood, verdicts

    def _adversarial_loss(self, verdicts):
        """L_GAN (batch,)."""
        fakes = [tf.nn.softplus(verdicts[name]) for name in FAKES[self.fakes]]
        return tf.nn.softplus(-verdicts["images"]) + tf.add_n(fakes)

    def _decoder_loss(self, verdicts):
        """What the decoder descends beside the likelihood (batch,): -L_GAN, or its other form."""
        if self.adversarial == "saturating":
            return -self._adversarial_loss(verdicts)
        return tf.add_n([tf.nn.softplus(-verdicts[name]) for name in FAKES[self.fakes]])

    def _terms(self, kl, likelihood, adversarial, verdicts):
        fakes = [tf.cast(verdicts[name] < 0, tf.float32) for name in FAKES[self.fakes]]
        return {
            "reconstruction_loss": likelihood,
            "kl_loss": kl,
            "discriminator_loss": adversarial,
            "real_accuracy": tf.cast(verdicts["images"] > 0, tf.float32),
            "fake_accuracy": tf.add_n(fakes) / len(fakes),
        }

    def get_config(self):
        """The arguments of the model, its networks included."""
        config = super().get_config()
        for name in ("prior", "prior_components"):
            del config[name]
        return {
            **config,
            "gamma": self.gamma,
            "kl_weight": self.kl_weight,
            "adversarial": self.adversarial,
            "fakes": self.fakes,
            "feature_layer": self.feature_layer,
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }
