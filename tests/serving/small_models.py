"""Small models of every kind, whose images depend on what they are made of."""

import numpy as np

import keras_medgen as kmg
from tests.models.contract import MODELS, SHAPE, small_denoiser

CLASSES = 3


def _networks(seed):
    sizes, labels = (SHAPE, 4), {"width": 8, "num_classes": CLASSES}
    return {
        "encoder": kmg.networks.convolutional_encoder(*sizes, **labels, seed=seed),
        "decoder": kmg.networks.convolutional_decoder(*sizes, **labels, seed=seed + 1),
    }


def _vae():
    return kmg.models.VAE(SHAPE, 4, CLASSES, **_networks(0))


def _discriminator():
    return kmg.networks.convolutional_discriminator(SHAPE, width=8, num_classes=CLASSES, seed=2)


def _decoder():
    return kmg.networks.convolutional_decoder(
        SHAPE, 4, width=8, num_classes=CLASSES, seed=1, output_activation="tanh"
    )


def _vaegan():
    networks = _networks(0) | {"decoder": _decoder()}
    return kmg.models.VAEGAN(SHAPE, 4, CLASSES, discriminator=_discriminator(), **networks)


def _gan():
    return kmg.models.GAN(SHAPE, 4, CLASSES, generator=_decoder(), discriminator=_discriminator())


def _diffusion():
    return kmg.models.Diffusion(SHAPE, CLASSES, denoiser=small_denoiser(0, num_classes=CLASSES))


CONDITIONAL = {"VAE": _vae, "VAEGAN": _vaegan, "GAN": _gan, "Diffusion": _diffusion}
NAMES = [f"{name}{kind}" for name in MODELS for kind in ("", ", conditional")]


def small_model(name):
    """The model of one of `NAMES`."""
    name, _, kind = name.partition(", ")
    return shaken(CONDITIONAL[name]() if kind else MODELS[name].make(0))


def shaken(model):
    """The model with larger weights: fresh ones make the same grey of everything."""
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.2 * random.standard_normal(variable.shape))
    for average, network in (
        ("average_generator", "generator"),
        ("average_denoiser", "denoiser"),
    ):
        if hasattr(model, average):
            getattr(model, average).set_weights(getattr(model, network).get_weights())
    return model
