"""Models that decode latents."""

import copy

import keras
import numpy as np

from keras_medgen.models.base import GenerativeModel
from keras_medgen.models.batches import checked_labels


class LatentModel(GenerativeModel):
    """Base of the models whose images are decoded from one vector each; states `decoded`.

    Args:
        image_shape: (height, width, channels).
        latent_dim: number of latent dimensions.
        num_classes: of a conditional model; None for one that does not use labels.
        seed: of the training noise.
    """

    def __init__(self, image_shape, latent_dim, num_classes=None, seed=0, **kwargs):
        super().__init__(image_shape, num_classes, seed, **kwargs)
        self.latent_dim = latent_dim

    def decoded(self, latents, labels=None, training=False):
        """Images of latents, tensors.

        Args:
            latents: float32 (batch, latent_dim).
            labels: of a conditional model: float32 (batch, num_classes) of 0 and 1.
            training: bool.

        Returns:
            float32 (batch, height, width, channels) in [0, 1].
        """
        raise NotImplementedError

    @property
    def latent_shape(self):
        """The shape of a latent."""
        return (self.latent_dim,)

    @property
    def noise_shape(self):
        """The shape of the noise that one latent is made of."""
        return (self.latent_dim,)

    def images_from_noise(self, noise, labels=None):
        """Decodes the noise."""
        return self.decoded(noise, labels)

    def decode(self, latents, labels=None):
        """The image of each latent.

        Args:
            latents: (n, latent_dim), floating point.
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1.

        Returns:
            np.ndarray float32 (n, height, width, channels) in [0, 1].
        """
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ValueError(
                f"latents must be of shape (n, {self.latent_dim}). Received: shape {latents.shape}."
            )
        labels = checked_labels(labels, len(latents), self.num_classes)
        return self._in_batches("decode", self.decoded, latents, labels)

    def _check_network(self, name, inputs, outputs):
        """Raises ValueError for a network of other shapes.

        Args:
            name: the attribute that it is.
            inputs: the shapes of what it must take, by name; `labels` are added to them in a
                conditional model, and a single input stands without its name.
            outputs: the shape of what it must return, or a dict of them.
        """
        if self.num_classes is not None:
            inputs = {**inputs, "labels": (None, self.num_classes)}
        self._check_shapes(name, inputs, outputs)

    def _check_shapes(self, name, inputs, outputs):
        """As `_check_network`, of inputs that are all there."""
        expected = inputs if len(inputs) > 1 else next(iter(inputs.values()))
        network = getattr(self, name)
        received = shapes(getattr(network, "input", None))
        if received != expected:
            raise ValueError(f"{name} must take inputs of {expected}. Received: {received}.")
        received = shapes(getattr(network, "output", None))
        if received != outputs:
            raise ValueError(f"{name} must return {outputs}. Received: {received}.")

    def get_config(self):
        """The arguments of the model."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "latent_dim": self.latent_dim,
            "num_classes": self.num_classes,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        """The model of `get_config`."""
        config = copy.deepcopy(config)  # for Keras empties the dicts that it is given
        for name, value in config.items():
            if isinstance(value, dict) and "class_name" in value:
                config[name] = keras.saving.deserialize_keras_object(value)
        return cls(**config)


def shapes(tensors):
    """The shapes of a tensor, or of a dict of them, as tuples."""
    if isinstance(tensors, dict):
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return getattr(tensors, "shape", None) and tuple(tensors.shape)
