"""Residual encoders and decoders whose latents are a grid of vectors, each of its own place."""

import math

import keras

from keras_medgen.networks.residual_layers import ResidualLayers
from keras_medgen.networks.seeded_layers import network_inputs
from keras_medgen.networks.stages import (
    check_staged_image_shape,
    cropped,
    stage_sides,
    stage_widths,
)

LIMIT = 4  # times the first width: 32 to 128 channels
BLOCKS = 2  # residual blocks after each stage


def spatial_encoder(image_shape, latent_grid, width=32, num_classes=None, seed=0):
    """From images to the mean and log-variance of a Gaussian over a grid of latents.

    The stages of `convolutional_encoder`, until the sides are those of the grid; then 1x1
    convolutions. No layer is fully connected: a latent is of its place in the image.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        latent_grid: (rows, columns, channels); rows and columns are the image's sides halved until
            the longer is 8 or less, or halved less often: 14 or 7 for 28 pixels, 32, 16 or 8 for
            64.
        width: channels of the first stage, divisible by 8. Default 32.
        num_classes: None, or the number of classes of a conditional encoder.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from images (batch, height, width, channels) to a dict of `mean` and
        `log_var`, each float32 (batch, rows * columns * channels): row by row, channels last. With
        `num_classes` it takes a dict of `images` and `labels`, (batch, num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, grid or number of classes.

    Reference:
        Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022,
        https://arxiv.org/abs/2112.10752
    """
    layers = ResidualLayers(seed)
    _, widths = _stages(image_shape, latent_grid, width)
    images, labels, inputs = network_inputs("images", image_shape, num_classes)
    x = images
    for channels in widths:
        x = layers.convolution(channels, 4, strides=2)(x)
        for _ in range(BLOCKS):
            x = layers.residual_block(x, labels)
            labels = None  # known from the first block on
    x = layers.normalised(x)

    def head(name, gain=1.0):
        grid = layers.convolution(latent_grid[2], 1, gain=gain, dtype="float32", name=name)(x)
        return keras.layers.Flatten(dtype="float32")(grid)

    # Small initial log-variances: the first posteriors are all near the prior's width.
    heads = {"mean": head("mean"), "log_var": head("log_var", gain=0.1)}
    return keras.Model(inputs, heads, name="encoder")


def spatial_decoder(
    image_shape, latent_grid, width=32, num_classes=None, seed=0, output_activation="sigmoid"
):
    """From a grid of latents to images, the mirror of `spatial_encoder`.

    Args:
        image_shape: (height, width, channels); sides of 16 to 256, 1 to 4 channels.
        latent_grid: (rows, columns, channels); see `spatial_encoder`.
        width: channels of the finest stage, divisible by 8. Default 32.
        num_classes: None, or the number of classes of a conditional decoder.
        seed: of the initial weights.
        output_activation: of the last layer. Default "sigmoid", for images in [0, 1].

    Returns:
        A `keras.Model` from latents (batch, rows * columns * channels), row by row and channels
        last, to images in the range of `output_activation`, float32 (batch, height, width,
        channels). With `num_classes` it takes a dict of `latents` and `labels`, (batch,
        num_classes) of 0 and 1.

    Raises:
        ValueError: for another image shape, grid or number of classes.
    """
    layers = ResidualLayers(seed)
    sides, widths = _stages(image_shape, latent_grid, width)
    latents, labels, inputs = network_inputs("latents", (math.prod(latent_grid),), num_classes)
    x = layers.convolution(widths[-1], 3)(keras.layers.Reshape(latent_grid)(latents))
    # The finest stage, that of the image itself, has no counterpart in the encoder, nor blocks.
    for (rows, columns), channels in zip(sides[-2::-1], [width, *widths][-2::-1], strict=True):
        for _ in range(BLOCKS):
            x = layers.residual_block(x, labels)
            labels = None
        x = layers.transposed_convolution(channels, 4, strides=2)(layers.activation(x))
        x = cropped(x, rows, columns)
    images = layers.convolution(image_shape[2], 3, activation=output_activation, dtype="float32")(
        layers.activation(x)
    )
    return keras.Model(inputs, images, name="decoder")


def _stages(image_shape, latent_grid, width):
    """The sides of the image and after each stage down to the grid, and each stage's channels."""
    check_staged_image_shape(image_shape)
    sides = stage_sides(image_shape)
    grid = tuple(latent_grid)
    if len(grid) != 3 or grid[:2] not in sides[1:] or grid[2] < 1:
        height, breadth = image_shape[:2]
        possible = " or ".join(f"{rows}x{columns}" for rows, columns in sides[1:])
        raise ValueError(
            f"latent_grid must be (rows, columns, channels) of {possible} places for images of "
            f"{height}x{breadth} pixels. Received: latent_grid={grid}."
        )
    number = sides.index(grid[:2])
    return sides[: number + 1], stage_widths(image_shape, width, LIMIT)[:number]
