"""The trainable models."""

from keras_medgen.models.autoencoder import PRIORS, Autoencoder
from keras_medgen.models.base import GenerativeModel
from keras_medgen.models.diffusion import NOISES, Diffusion
from keras_medgen.models.gan import GAN
from keras_medgen.models.latent_model import LatentModel
from keras_medgen.models.pretrained import PRETRAINED, Pretrained, load_pretrained
from keras_medgen.models.vae import VAE
from keras_medgen.models.vaegan import VAEGAN

__all__ = [
    "GAN",
    "NOISES",
    "PRETRAINED",
    "PRIORS",
    "VAE",
    "VAEGAN",
    "Autoencoder",
    "Diffusion",
    "GenerativeModel",
    "LatentModel",
    "Pretrained",
    "load_pretrained",
]
