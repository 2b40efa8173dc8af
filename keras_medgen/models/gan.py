"""The generative adversarial network."""

import numbers
import warnings

import keras
import tensorflow as tf

from keras_medgen import losses
from keras_medgen.layers import DifferentiableAugmentation
from keras_medgen.models.adversarial import (
    check_is_signed,
    discriminator_learning_rate,
    judge,
    statistics_kept,
)
from keras_medgen.models.arguments import check_at_least, check_latent_dim
from keras_medgen.models.averages import averaged_copy, check_ema_decay, update_average
from keras_medgen.models.latent_model import LatentModel
from keras_medgen.networks import convolutional_decoder, convolutional_discriminator
from keras_medgen.ops.penalties import gradient_penalty, r1_penalty
from keras_medgen.ops.random import uniform_of_normal
from keras_medgen.ops.ranges import signed, unsigned

NETWORKS = ("generator", "discriminator")
STREAMS = 4  # of noise that one update draws from: latents, two augmentations, interpolation


@keras.saving.register_keras_serializable(package="keras_medgen")
class GAN(LatentModel):
    """A generator of images, trained against a discriminator.

    Each step updates the discriminator `critic_steps` times on its batch, each time against new
    samples, and with the last of these updates the generator, both from the gradients at the
    weights before it. Samples are drawn from an exponential moving average of the generator.

    The sub-networks work on images in [-1, 1]; everything that users call, on images in [0, 1].

    Args:
        image_shape: (height, width, channels).
        latent_dim: number of latent dimensions. Default 128.
        num_classes: None, or the number of classes on which both networks are conditioned.
        augmentation: what is done to all images that the discriminator sees, a tuple of
            `keras_medgen.layers.DifferentiableAugmentation`'s names, or (). Small sets, of fewer
            than some thousand images, need it.
        ema_decay: of the generator's moving average, once it has taken enough steps for that.
            Default 0.999.
        seed: of the initial weights and of the training noise.
        generator: `keras.Model` from latents (batch, latent_dim) to images in [-1, 1]. Default:
            `networks.convolutional_decoder` with tanh.
        discriminator: `keras.Model` from images in [-1, 1] to logits (batch, 1). Default:
            `networks.convolutional_discriminator`. Of a conditional model, both networks take
            dicts with `labels`, float32 (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for arguments outside of their range, or networks of other shapes or ranges.

    Example:
    ```python
    model = kmg.models.GAN(data.image_shape, latent_dim=128)
    model.compile(loss="hinge")
    model.fit(data.train, epochs=50)
    samples = model.generate(16, seed=0)
    ```

    Reference:
        Goodfellow et al., Generative Adversarial Networks, 2014, https://arxiv.org/abs/1406.2661;
        the moving average: Yazıcı et al., The Unusual Effectiveness of Averaging in GAN Training,
        2019, https://arxiv.org/abs/1806.04498
    """

    default_learning_rate = 2e-4
    loss_terms = ("generator_loss", "discriminator_loss", "real_accuracy", "fake_accuracy")
    training_terms = ("penalty", "generator_gradient_norm", "discriminator_gradient_norm")

    def __init__(
        self,
        image_shape,
        latent_dim=128,
        num_classes=None,
        *,
        augmentation=(),
        ema_decay=0.999,
        seed=0,
        generator=None,
        discriminator=None,
        **kwargs,
    ):
        check_ema_decay(ema_decay)
        check_latent_dim(latent_dim)
        augment = DifferentiableAugmentation(augmentation)
        augment.build((None, *image_shape), (None, augment.num_uniform))  # checks the channels
        super().__init__(image_shape, latent_dim, num_classes, seed, **kwargs)
        labels = {"num_classes": num_classes}
        self.generator = generator or convolutional_decoder(
            image_shape, latent_dim, **labels, output_activation="tanh", seed=2 * seed
        )
        self.discriminator = discriminator or convolutional_discriminator(
            image_shape, **labels, seed=2 * seed + 1
        )
        images = (None, *self.image_shape)
        self._check_network("generator", {"latents": (None, latent_dim)}, images)
        self._check_network("discriminator", {"images": images}, (None, 1))
        check_is_signed("generator", self.generator)
        self.augmentation = augment.augmentation
        self.ema_decay = ema_decay
        self.average_generator = averaged_copy(self.generator)
        self._judge = judge(self.discriminator)
        self._augment = augment

    def compile(
        self,
        generator_optimizer="auto",
        discriminator_optimizer="auto",
        loss="hinge",
        *,
        gradient_penalty="auto",
        r1=0.0,
        critic_steps="auto",
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
            generator_optimizer: a Keras optimizer, or the name of one. Default:
                `default_optimizer`, Adam at 2e-4.
            discriminator_optimizer: the same.
            loss: "minimax", "non_saturating", "hinge", "least_squares", "wasserstein",
                "relativistic", or a `keras_medgen.losses.AdversarialLoss`.
            gradient_penalty: weight of the penalty of Gulrajani et al. Default: 10 for
                "wasserstein", else 0.
            r1: weight of Mescheder et al.'s penalty, half the squared norm of the gradient at real
                images. Default 0.
            critic_steps: updates of the discriminator for each of the generator, all on one batch
                of images, each against new samples. Default: 5 for "wasserstein", else 1.
            learning_rate: of the default optimizers: a float or a Keras schedule.
            discriminator_rate: learning rate of the discriminator's default optimizer, as a
                multiple of `learning_rate`. Default 1. Two rates: Heusel et al. 2017,
                https://arxiv.org/abs/1706.08500.
            weight_decay: of the default optimizers, decoupled from the gradient.
            clip_norm: of the default optimizers: the largest norm of a network's gradients.
            run_eagerly: as in `keras.Model.compile`.
            steps_per_execution: as in `keras.Model.compile`.
            jit_compile: as in `keras.Model.compile`.

        Raises:
            ValueError: for arguments outside of their range.
        """
        adversarial_loss = losses.get_adversarial(loss)
        if gradient_penalty == "auto":
            gradient_penalty = adversarial_loss.gradient_penalty
        if critic_steps == "auto":
            critic_steps = adversarial_loss.critic_steps
        check_at_least(0, gradient_penalty=gradient_penalty)
        check_at_least(0, r1=r1)
        check_at_least(1, numbers.Integral, critic_steps=critic_steps)
        discriminators = discriminator_learning_rate(
            discriminator_optimizer,
            self.default_learning_rate if learning_rate is None else learning_rate,
            discriminator_rate,
            default=1,
            updates=critic_steps,
        )
        if gradient_penalty or r1:
            self._warn_of_batch_statistics()
        self._compile(
            {
                "generator_optimizer": generator_optimizer,
                "discriminator_optimizer": discriminator_optimizer,
            },
            own={
                "loss": keras.saving.serialize_keras_object(adversarial_loss),
                "gradient_penalty": gradient_penalty,
                "r1": r1,
                "critic_steps": critic_steps,
            },
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            learning_rates={"discriminator_optimizer": discriminators},
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self.adversarial_loss = adversarial_loss
        self.gradient_penalty = gradient_penalty
        self.r1 = r1
        self.critic_steps = critic_steps

    def _warn_of_batch_statistics(self):
        kinds = keras.layers.BatchNormalization
        if any(isinstance(layer, kinds) for layer in self.discriminator.layers):
            warnings.warn(
                "a gradient penalty is for a discriminator that judges each image by itself, and "
                "this one has batch normalization: take spectral normalization, or the residual "
                "networks.",
                stacklevel=3,
            )

    def default_optimizer(self, name, learning_rate, weight_decay=None, clip_norm=None):
        """Adam with little momentum, which adversarial training needs (Radford et al. 2016)."""
        return keras.optimizers.Adam(
            learning_rate,
            beta_1=0.5,
            beta_2=0.99,
            weight_decay=weight_decay,
            global_clipnorm=clip_norm,
        )

    def networks(self):
        """An optimizer for each."""
        return {
            "generator_optimizer": [self.generator],
            "discriminator_optimizer": [self.discriminator],
        }

    def decoded(self, latents, labels=None, training=False):
        """Images in [0, 1] of latents, by the averaged generator; see `LatentModel.decoded`."""
        return unsigned(self._generate_with(self.average_generator, latents, labels, training))

    def call(self, images, labels=None, training=False):
        """The discriminator's logits (batch,) of images in [0, 1]: the higher, the more real."""
        return self._judge(signed(images), labels, training)

    # Training.

    def compute_losses(self, batch, training):
        """The losses of both networks, without penalties; `train_step` does not need them."""
        fakes = self._fakes(batch, training)
        verdicts = self._verdicts(batch, *self._shown(batch, fakes, training), training)
        terms = self._terms(*verdicts)
        by_optimizer = {f"{name}_optimizer": terms[f"{name}_loss"] for name in NETWORKS}
        return by_optimizer, terms

    def train_step(self, data):
        """`critic_steps` updates of the discriminator, the last of them with the generator's.

        Algorithm 1 of Goodfellow et al. (of Gulrajani et al. with their penalty), but for two
        things. All updates are on the same batch of images. And the generator learns from the
        samples and verdicts of the discriminator's last update, from its weights before that
        update, so that each network is run once on each of its inputs.
        """
        batch = self.unpack_batch(data)
        for number in range(self.critic_steps - 1):
            # The generator only makes samples here: its batch statistics stay as they are.
            with statistics_kept(self.generator):
                fakes = self._fakes(batch, True, number)
            with tf.GradientTape() as judging:
                objective, *_ = self._judged(batch, fakes, number)
            own = self._variables_of("discriminator_optimizer")
            self._apply(discriminator=judging.gradient(objective, own))

        with tf.GradientTape() as generating:
            fakes = self._fakes(batch, True, self.critic_steps - 1)
            penalty = self._scaled("generator", tf.zeros(tf.shape(fakes)[:1]), [self.generator])
        with tf.GradientTape(persistent=True) as judging:
            judging.watch(fakes)
            objective, terms = self._judged(batch, fakes, self.critic_steps - 1)
            opposite = self._scaled("generator", terms["generator_loss"], [])
        by_fakes = judging.gradient(opposite, fakes)
        norms = self._apply(
            generator=generating.gradient(
                [fakes, penalty],
                self._variables_of("generator_optimizer"),
                output_gradients=[by_fakes, tf.ones(())],
            ),
            discriminator=judging.gradient(
                objective, self._variables_of("discriminator_optimizer")
            ),
        )
        steps = self.generator_optimizer.iterations
        update_average(self.average_generator, self.generator, steps, self.ema_decay)
        return self._log(terms | norms)

    def _generate_with(self, generator, latents, labels, training):
        inputs = latents if self.num_classes is None else {"latents": latents, "labels": labels}
        return tf.cast(generator(inputs, training=training), tf.float32)

    def _fakes(self, batch, training, number=0):
        """As many samples as images, in [-1, 1], of the labels of these."""
        shape = (tf.shape(batch["images"])[0], self.latent_dim)
        latents = self.noise(shape, training, stream=STREAMS * number)
        return self._generate_with(self.generator, latents, batch.get("labels"), training)

    def _shown(self, batch, fakes, training, number=0):
        """Images and samples as the discriminator sees them: augmented while training."""
        pair = signed(batch["images"]), fakes
        if not training or not self.augmentation:
            return pair
        return tuple(
            self._augment(images, self._uniform((self._augment.num_uniform,), images, stream))
            for stream, images in enumerate(pair, STREAMS * number + 1)
        )

    def _uniform(self, shape, images, stream):
        return uniform_of_normal(self.noise((tf.shape(images)[0], *shape), True, stream))

    def _verdicts(self, batch, real, fake, training):
        """The logits (batch,) of images and of samples."""
        labels = batch.get("labels")
        return self._judge(real, labels, training), self._judge(fake, labels, training)

    def _judged(self, batch, fakes, number):
        """The discriminator's scaled objective, and the terms to log, of one update."""
        shown = self._shown(batch, fakes, True, number)
        terms = self._terms(*self._verdicts(batch, *shown, True))
        terms["penalty"] = self._penalty(batch, *shown, number)
        loss = terms["discriminator_loss"] + terms["penalty"]
        return self._scaled("discriminator", loss, [self.discriminator]), terms

    def _penalty(self, batch, real, fake, number):
        """Gulrajani et al.'s and Mescheder et al.'s penalties (batch,), weighted."""

        def discriminate(images):
            return self._judge(images, batch.get("labels"), True)

        penalty = tf.zeros(tf.shape(real)[:1])
        if self.gradient_penalty:
            uniform = self._uniform((), real, STREAMS * number + 3)
            penalty += self.gradient_penalty * gradient_penalty(discriminate, real, fake, uniform)
        if self.r1:
            penalty += 0.5 * self.r1 * r1_penalty(discriminate, real)
        return penalty

    def _terms(self, real, fake):
        real_accuracy, fake_accuracy = self.adversarial_loss.correct(real, fake)
        return {
            "generator_loss": self.adversarial_loss.generator_loss(real, fake),
            "discriminator_loss": self.adversarial_loss.discriminator_loss(real, fake),
            "real_accuracy": real_accuracy,
            "fake_accuracy": fake_accuracy,
        }

    def _scaled(self, name, loss, networks):
        return getattr(self, f"{name}_optimizer").scale_loss(self._objective(loss, networks))

    def get_config(self):
        """The arguments of the model, its networks included."""
        return {
            **super().get_config(),
            "augmentation": list(self.augmentation),
            "ema_decay": self.ema_decay,
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }
