"""Adversarial losses: what a discriminator and a generator make of its logits."""

import keras
import tensorflow as tf

from keras_medgen.ops import distribution


class AdversarialLoss:
    """The game of a discriminator and a generator, one number per image.

    Both methods take the discriminator's logits of real and of generated (fake) images, float32
    (batch,) each, before any sigmoid, and return float32 (batch,), to be minimised. The model
    takes their means.

    Attributes:
        gradient_penalty: weight of `keras_medgen.ops.penalties.gradient_penalty` by default.
        critic_steps: updates of the discriminator for each of the generator by default.
        boundary: the logit above which the discriminator takes an image for real. None where
            logits have no zero of their own: the middle between the means of both kinds.
    """

    gradient_penalty = 0.0
    critic_steps = 1
    boundary = 0.0

    def discriminator_loss(self, real_logits, fake_logits):
        """The discriminator's loss: the terms of the real and of the fake image, added."""
        raise NotImplementedError

    def generator_loss(self, real_logits, fake_logits):
        """The generator's loss."""
        raise NotImplementedError

    def correct(self, real_logits, fake_logits):
        """Whether the discriminator is right about each image, by `boundary`.

        Returns:
            Two tensors float32 (batch,) of 0 and 1: of the real images, and of the fake ones.
        """
        boundary = self.boundary
        if boundary is None:
            means = map(distribution.global_mean, (real_logits, fake_logits))
            boundary = 0.5 * tf.add_n(list(means))
        right = real_logits > boundary, fake_logits < boundary
        return tuple(tf.cast(each, tf.float32) for each in right)

    def get_config(self):
        """The arguments, of which there are none."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The loss of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_medgen")
class Minimax(AdversarialLoss):
    """The game as it was first written: the generator descends log(1 - D), D the probability.

    Its gradient vanishes (saturates) where the discriminator is sure; see `NonSaturating`.

    Reference:
        Goodfellow et al., Generative Adversarial Networks, 2014, https://arxiv.org/abs/1406.2661
    """

    def discriminator_loss(self, real_logits, fake_logits):
        """-log D(real) - log(1 - D(fake))."""
        return tf.math.softplus(-real_logits) + tf.math.softplus(fake_logits)

    def generator_loss(self, real_logits, fake_logits):
        """The fake image's log(1 - D), which is never positive."""
        return -tf.math.softplus(fake_logits)


@keras.saving.register_keras_serializable(package="keras_medgen")
class NonSaturating(Minimax):
    """The variant of the same paper that is used in practice: the generator descends -log D.

    Reference:
        Goodfellow et al., Generative Adversarial Networks, 2014, https://arxiv.org/abs/1406.2661
    """

    def generator_loss(self, real_logits, fake_logits):
        """The fake image's -log D."""
        return tf.math.softplus(-fake_logits)


@keras.saving.register_keras_serializable(package="keras_medgen")
class Hinge(AdversarialLoss):
    """Logits count until they are on their side of 1 and -1.

    Reference:
        Lim and Ye, Geometric GAN, 2017, https://arxiv.org/abs/1705.02894; Miyato et al., Spectral
        Normalization for Generative Adversarial Networks, 2018, https://arxiv.org/abs/1802.05957
    """

    def discriminator_loss(self, real_logits, fake_logits):
        """max(0, 1 - real) + max(0, 1 + fake), of the logits."""
        return tf.nn.relu(1.0 - real_logits) + tf.nn.relu(1.0 + fake_logits)

    def generator_loss(self, real_logits, fake_logits):
        """Minus the fake image's logit."""
        return -fake_logits


@keras.saving.register_keras_serializable(package="keras_medgen")
class LeastSquares(AdversarialLoss):
    """Half the squared distance of the logits from 1 (real) and 0 (fake).

    Reference:
        Mao et al., Least Squares Generative Adversarial Networks, 2017,
        https://arxiv.org/abs/1611.04076, equation 9
    """

    boundary = 0.5

    def discriminator_loss(self, real_logits, fake_logits):
        """((real - 1)² + fake²) / 2, of the logits."""
        return 0.5 * (tf.square(real_logits - 1.0) + tf.square(fake_logits))

    def generator_loss(self, real_logits, fake_logits):
        """(fake - 1)² / 2, of the logits."""
        return 0.5 * tf.square(fake_logits - 1.0)


@keras.saving.register_keras_serializable(package="keras_medgen")
class Wasserstein(AdversarialLoss):
    """The difference of the logits, for a critic that is kept smooth by a gradient penalty.

    The defaults that go with it are Gulrajani et al.'s: a penalty of weight 10, five updates of
    the critic for each of the generator.

    Reference:
        Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, https://arxiv.org/abs/1701.07875;
        Gulrajani et al., Improved Training of Wasserstein GANs, 2017,
        https://arxiv.org/abs/1704.00028
    """

    gradient_penalty = 10.0
    critic_steps = 5
    boundary = None

    def discriminator_loss(self, real_logits, fake_logits):
        """Fake minus real, of the logits."""
        return fake_logits - real_logits

    def generator_loss(self, real_logits, fake_logits):
        """Minus the fake image's logit."""
        return -fake_logits


@keras.saving.register_keras_serializable(package="keras_medgen")
class Relativistic(AdversarialLoss):
    """The relativistic average game: is an image more real than the others' average?

    The averages are over the whole batch, over all replicas, and the gradient flows through
    them. The loss of an image thus depends on the other images of its batch.

    Reference:
        Jolicoeur-Martineau, The relativistic discriminator: a key element missing from standard
        GAN, 2019, https://arxiv.org/abs/1807.00734
    """

    boundary = None

    def discriminator_loss(self, real_logits, fake_logits):
        """-log D(real above the mean fake) - log(1 - D(fake above the mean real))."""
        real, fake = self._relative(real_logits, fake_logits)
        return tf.math.softplus(-real) + tf.math.softplus(fake)

    def generator_loss(self, real_logits, fake_logits):
        """The discriminator's loss with real and fake exchanged."""
        real, fake = self._relative(real_logits, fake_logits)
        return tf.math.softplus(-fake) + tf.math.softplus(real)

    def _relative(self, real_logits, fake_logits):
        """Each logit less the mean of those of the other kind."""
        mean_real, mean_fake = map(distribution.global_mean, (real_logits, fake_logits))
        return real_logits - mean_fake, fake_logits - mean_real


ADVERSARIAL_LOSSES = {
    "minimax": Minimax,
    "non_saturating": NonSaturating,
    "hinge": Hinge,
    "least_squares": LeastSquares,
    "wasserstein": Wasserstein,
    "relativistic": Relativistic,
}


def get_adversarial(loss):
    """The adversarial loss that is meant.

    Args:
        loss: a name of `ADVERSARIAL_LOSSES`, or an `AdversarialLoss`.

    Returns:
        An `AdversarialLoss`.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(loss, AdversarialLoss):
        return loss
    if isinstance(loss, str) and loss in ADVERSARIAL_LOSSES:
        return ADVERSARIAL_LOSSES[loss]()
    raise ValueError(
        f"loss must be one of {', '.join(ADVERSARIAL_LOSSES)}, or an AdversarialLoss. "
        f"Received: loss={loss!r}."
    )
