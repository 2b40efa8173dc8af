"""The trainable models."""

from keras_medgen.models.autoencoder import PRIORS, Autoencoder
from keras_medgen.models.base import GenerativeModel
from keras_medgen.models.vae import VAE

__all__ = ["PRIORS", "VAE", "Autoencoder", "GenerativeModel"]
