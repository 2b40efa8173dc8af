"""The adversarial losses of TF-GAN."""

import keras
import tensorflow as tf

from keras_medgen.losses._tfgan_import import import_tfgan
from keras_medgen.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss

# From our names to TF-GAN's, to which it adds _generator_loss and _discriminator_loss.
TFGAN_LOSSES = {
    "minimax": "minimax",
    "modified": "modified",
    "hinge": "wasserstein_hinge",
    "least_squares": "least_squares",
    "wasserstein": "wasserstein",
    "relativistic": "relativistic",
}

# No mean over the batch, and no entry in TensorFlow 1's collection of losses.
OF_EACH_IMAGE = {"reduction": "none", "loss_collection": None}


@keras.saving.register_keras_serializable(package="keras_medgen")
class TFGANLoss(AdversarialLoss):
    """TF-GAN's loss functions of one name; see `from_tfgan`.

    A model that was saved with it loads without TF-GAN, and needs it to go on training.

    Args:
        name: one of `TFGAN_LOSSES`.
    """

    def __init__(self, name):
        if name not in TFGAN_LOSSES:
            raise ValueError(
                f"name must be one of {', '.join(TFGAN_LOSSES)}. Received: name={name!r}."
            )
        self.name = name
        # What goes with a loss goes with it by whichever functions.
        ours = ADVERSARIAL_LOSSES.get(name, AdversarialLoss)
        self.gradient_penalty = ours.gradient_penalty
        self.critic_steps = ours.critic_steps
        self.boundary = ours.boundary

    def discriminator_loss(self, real_logits, fake_logits):
        """TF-GAN's discriminator loss, without its label smoothing."""
        if self.name == "relativistic":
            return self._relativistic("discriminator", real_logits, fake_logits)
        smoothing = {"label_smoothing": 0.0} if self.name in ("minimax", "modified") else {}
        return self._call("discriminator", real_logits, fake_logits, **OF_EACH_IMAGE, **smoothing)

    def generator_loss(self, real_logits, fake_logits):
        """TF-GAN's generator loss; in "minimax" there is a constant more than in ours."""
        if self.name == "relativistic":
            return self._relativistic("generator", real_logits, fake_logits)
        return self._call("generator", fake_logits, **OF_EACH_IMAGE)

    def _relativistic(self, player, real_logits, fake_logits):
        # TF-GAN returns the mean over the batch alone: each image gets it, which leaves the mean.
        mean = self._call(player, real_logits, fake_logits)
        return tf.fill(tf.shape(fake_logits), mean)

    def _call(self, player, *logits, **arguments):
        functions = import_tfgan().losses.wargs
        function = getattr(functions, f"{TFGAN_LOSSES[self.name]}_{player}_loss")
        return function(*logits, **arguments)

    def get_config(self):
        """The name."""
        return {"name": self.name}


def from_tfgan(name):
    """An adversarial loss of TF-GAN's, to be given to `compile`.

    Without the label smoothing of 0.25 that TF-GAN's discriminator losses have by default.

    Args:
        name: "minimax", "modified" (non-saturating), "hinge" (TF-GAN's wasserstein_hinge),
            "least_squares", "wasserstein" or "relativistic" (relativistic average, whose averages
            are those of each replica).

    Returns:
        An `AdversarialLoss`.

    Raises:
        ImportError: where TF-GAN is not installed.
        ValueError: for another name.

    Example:
    ```python
    model.compile(loss=kmg.losses.from_tfgan("modified"))
    ```

    Reference:
        Shor et al., TF-GAN, https://github.com/tensorflow/gan
    """
    loss = TFGANLoss(name)
    import_tfgan()
    return loss
