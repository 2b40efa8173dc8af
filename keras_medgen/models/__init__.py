"""The trainable models."""

from keras_medgen.models.base import GenerativeModel
from keras_medgen.models.vae import VAE

__all__ = ["VAE", "GenerativeModel"]
