"""What can be chosen for a training, and which models each option is for."""

import enum

from keras_medgen import losses, models
from keras_medgen.ops import denoising, noise_schedules

# The options that only some models have; the others are for all.
OF_MODELS = {
    "network": ("vae", "vaegan", "gan"),
    "latent_dim": ("vae", "vaegan", "gan"),
    "reconstruction": ("vae",),
    "prior": ("vae",),
    "prior_components": ("vae",),
    "kl_schedule": ("vae",),
    "free_bits": ("vae",),
    "capacity": ("vae",),
    "mask_weight": ("vae",),
    "input_noise": ("vae",),
    "kl_weight": ("vae", "vaegan"),
    "fit_prior": ("vae", "vaegan"),
    "latent_grid": ("vae", "vaegan"),
    "gamma": ("vaegan",),
    "adversarial": ("vaegan",),
    "fakes": ("vaegan",),
    "discriminator_rate": ("vaegan", "gan"),
    "dropout": ("vaegan", "gan"),
    "spectral_normalization": ("vaegan", "gan"),
    "loss": ("gan",),
    "gradient_penalty": ("gan",),
    "r1": ("gan",),
    "critic_steps": ("gan",),
    "discriminator_augmentation": ("gan",),
    "autoencoder": ("diffusion",),
    "noise_schedule": ("diffusion",),
    "blocks": ("diffusion",),
    "prediction": ("diffusion",),
    "noise": ("diffusion",),
    "min_snr": ("diffusion",),
}


class Model(enum.StrEnum):
    """The models that can be trained."""

    vae = "vae"
    vaegan = "vaegan"
    gan = "gan"
    diffusion = "diffusion"


class Schedule(enum.StrEnum):
    """What becomes of the learning rate."""

    cosine = "cosine"
    constant = "constant"
    exponential = "exponential"


class MixedPrecision(enum.StrEnum):
    """What is computed in half precision: nothing, or what can be."""

    auto = "auto"
    off = "off"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Network(enum.StrEnum):
    """The networks of one family in `keras_medgen.networks`."""

    convolutional = "convolutional"
    dense = "dense"
    larsen = "larsen"
    dcgan = "dcgan"


class KLScheduleOption(enum.StrEnum):
    """What becomes of the weight of the KL term."""

    constant = "constant"
    warm_up = "warm-up"
    cyclical = "cyclical"


class Adversarial(enum.StrEnum):
    """What a VAE-GAN's decoder descends."""

    saturating = "saturating"
    non_saturating = "non_saturating"


class Fakes(enum.StrEnum):
    """What a VAE-GAN's discriminator learns to tell from images."""

    both = "both"
    reconstructions = "reconstructions"
    samples = "samples"


Reconstruction = enum.StrEnum("Reconstruction", list(losses.RECONSTRUCTIONS))
Prior = enum.StrEnum("Prior", list(models.PRIORS))
Loss = enum.StrEnum("Loss", list(losses.ADVERSARIAL_LOSSES))
NoiseSchedule = enum.StrEnum("NoiseSchedule", list(noise_schedules.SCHEDULES))
Prediction = enum.StrEnum("Prediction", list(denoising.PREDICTIONS))
Noise = enum.StrEnum("Noise", list(models.NOISES))
