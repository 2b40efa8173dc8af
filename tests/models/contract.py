"""The models under contract, each small enough to train in a moment."""

import dataclasses
from collections.abc import Callable

import keras

import keras_medgen as kmg
from keras_medgen.networks.seeded_layers import SeededLayers

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


def small_denoiser(seed, shape=SHAPE, num_classes=None):
    """Not a U-Net, whose graphs take a hundred times as long to trace; that has its own tests."""
    inputs = {
        "images": keras.Input(shape, name="images"),
        "timesteps": keras.Input((), dtype="int32", name="timesteps"),
    }
    layers = SeededLayers(seed)
    offsets = layers.dense(8)(kmg.layers.TimestepEmbedding(8)(inputs["timesteps"]))
    if num_classes is not None:
        inputs["labels"] = keras.Input((num_classes + 1,), name="labels")
        offsets = keras.layers.Add()([offsets, layers.label_embedding(8)(inputs["labels"])])
    offsets = keras.layers.Reshape((1, 1, 8))(offsets)
    x = keras.layers.Add()([layers.convolution(8, 3)(inputs["images"]), offsets])
    x = keras.layers.Activation("silu")(kmg.layers.GroupNormalization(4)(x))
    return keras.Model(inputs, layers.convolution(shape[-1], 3, dtype="float32")(x))


def _small_diffusion(seed):
    return kmg.models.Diffusion(SHAPE, seed=seed, denoiser=small_denoiser(seed))


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
    "Diffusion": Case(_small_diffusion, {"optimizer": ("denoiser",)}, loss="loss"),
}
