"""The models under contract, each small enough to train in a moment."""

import dataclasses
from collections.abc import Callable

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
    """

    make: Callable[[int], kmg.models.GenerativeModel]
    optimizers: dict[str, tuple[str, ...]]
    loss: str


def _small_vae(seed):
    return kmg.models.VAE(
        SHAPE,
        latent_dim=4,
        seed=seed,
        encoder=kmg.networks.convolutional_encoder(SHAPE, 4, width=8, seed=2 * seed),
        decoder=kmg.networks.convolutional_decoder(SHAPE, 4, width=8, seed=2 * seed + 1),
    )


MODELS = {
    "VAE": Case(_small_vae, {"optimizer": ("encoder", "decoder")}, loss="loss"),
}
