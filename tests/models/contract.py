"""The models under contract, each small enough to train in a moment."""

import dataclasses
from collections.abc import Callable

import keras

import keras_medgen as kmg

SHAPE = (16, 16, 1)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, and what the contract has to know of it.

    Attributes:
        make: from a seed to a small model of `SHAPE`.
        optimizers: the arguments of `compile` that are optimizers, each with the networks that
            it moves.
        loss: the term that training brings down.
        predicts: the shape of what `predict` makes of one image.
        compile: other arguments of `compile`.
        learning: those with which `loss` comes down: an opponent stands still.
    """

    make: Callable[[int], kmg.models.GenerativeModel]
    optimizers: dict[str, tuple[str, ...]]
    loss: str
    predicts: tuple[int, ...] = SHAPE
    compile: dict = dataclasses.field(default_factory=dict)
    learning: Callable[[], dict] = dict


def _small_vae(seed):
    return kmg.models.VAE(
        SHAPE,
        latent_dim=4,
        seed=seed,
        encoder=kmg.networks.convolutional_encoder(SHAPE, 4, width=8, seed=2 * seed),
        decoder=kmg.networks.convolutional_decoder(SHAPE, 4, width=8, seed=2 * seed + 1),
    )


def _small_vaegan(seed):
    return kmg.models.VAEGAN(
        SHAPE,
        latent_dim=4,
        gamma=0.5,
        seed=seed,
        encoder=kmg.networks.convolutional_encoder(SHAPE, 4, width=8, seed=3 * seed),
        decoder=kmg.networks.convolutional_decoder(
            SHAPE, 4, width=8, seed=3 * seed + 1, output_activation="tanh"
        ),
        discriminator=kmg.networks.convolutional_discriminator(SHAPE, width=8, seed=3 * seed + 2),
    )


def _small_gan(seed):
    return kmg.models.GAN(  # with batch normalisation in both
        SHAPE,
        latent_dim=4,
        seed=seed,
        generator=kmg.networks.dcgan_generator(SHAPE, 4, width=8, seed=2 * seed),
        discriminator=kmg.networks.dcgan_discriminator(SHAPE, width=8, seed=2 * seed + 1),
    )


MODELS = {
    "VAE": Case(_small_vae, {"optimizer": ("encoder", "decoder")}, loss="loss"),
    "VAEGAN": Case(
        _small_vaegan,
        {
            "encoder_optimizer": ("encoder",),
            "decoder_optimizer": ("decoder",),
            "discriminator_optimizer": ("discriminator",),
        },
        loss="reconstruction_loss",
        learning=lambda: {
            "encoder_optimizer": keras.optimizers.Adam(2e-3),
            "decoder_optimizer": keras.optimizers.Adam(2e-3),
            "discriminator_optimizer": keras.optimizers.SGD(0.0),
        },
    ),
    "GAN": Case(
        _small_gan,
        {"generator_optimizer": ("generator",), "discriminator_optimizer": ("discriminator",)},
        loss="discriminator_loss",
        predicts=(),
        # Of a hinge loss the gradient to the last bias is at first exactly 0.
        compile={"loss": "non_saturating"},
        learning=lambda: {
            "generator_optimizer": keras.optimizers.SGD(0.0),
            "discriminator_optimizer": keras.optimizers.Adam(1e-3),
        },
    ),
}
