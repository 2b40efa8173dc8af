"""The U-Net of diffusion models."""

import collections
import re

import keras

from keras_medgen.layers import DotProductAttention, GroupNormalization, TimestepEmbedding
from keras_medgen.networks.seeded_layers import SeededLayers, check_image_shape
from keras_medgen.networks.stages import cropped, stage_sides

SMALLEST_SIDE, LARGEST_SIDE = 4, 256
LIMIT = 2  # times the first width: 32 and 64 channels
SMALL_SIDE = 32  # up to which images have two blocks a stage by default, larger ones one
HEAD_CHANNELS = 32  # of attention, at least
RESIDUAL_GAIN = 0.1  # of what a block first adds to its input


def unet(image_shape, width=32, blocks=None, attention_side=8, num_classes=None, seed=0):
    """From noised images and their timesteps to what is predicted of them.

    Stages as in Ho et al.: residual blocks, and where the image is small enough attention, then a
    halving (28 -> 14 -> 7; odd sides round up) until both sides are no more than 8; two blocks
    with attention between; and the same stages back, each block with the output of its
    counterpart beside it. The channels double once. Every block is told the
    timestep, and the label where there is one.

    Args:
        image_shape: (height, width, channels) of images or of latents; sides of 4 to 256.
        width: channels of the first stage, divisible by 8. Default 32.
        blocks: residual blocks of a stage on the way down; one more on the way up. Default 2 for
            sides up to 32, else 1: what two CPU cores can train.
        attention_side: stages with no longer side have attention. Default 8; 0 is for none.
        num_classes: None, or the number of classes of a conditional network.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from a dict of `images` (batch, height, width, channels) and `timesteps`,
        int32 (batch,), to a prediction like the images, float32. With `num_classes` it also takes
        `labels`, (batch, num_classes + 1) of 0 and 1: the last column stands for no label.

    Raises:
        ValueError: for another image shape, width, number of blocks or of classes.

    Reference:
        Ho et al., Denoising Diffusion Probabilistic Models, 2020,
        https://arxiv.org/abs/2006.11239
    """
    check_image_shape(
        image_shape,
        f"with sides of {SMALLEST_SIDE} to {LARGEST_SIDE}",
        lambda rows, columns, _: (
            SMALLEST_SIDE <= min(rows, columns) <= max(rows, columns) <= LARGEST_SIDE
        ),
    )
    if width < 8 or width % 8:
        raise ValueError(f"width must be divisible by 8. Received: width={width}.")
    if blocks is None:
        blocks = 2 if max(image_shape[:2]) <= SMALL_SIDE else 1
    if blocks < 1:
        raise ValueError(f"blocks must be positive. Received: blocks={blocks}.")
    images = keras.Input(image_shape, name="images")
    inputs = {"images": images, "timesteps": keras.Input((), dtype="int32", name="timesteps")}
    if num_classes is not None:
        if num_classes < 1:
            raise ValueError(
                f"num_classes must be None or at least 1. Received: num_classes={num_classes}."
            )
        inputs["labels"] = keras.Input((num_classes + 1,), name="labels")
    layers = _UNetLayers(seed)
    condition = layers.condition(inputs["timesteps"], inputs.get("labels"), width)
    sides = stage_sides(image_shape)
    widths = [width * min(2**stage, LIMIT) for stage in range(len(sides))]

    def refined(x, stage):
        x = layers.residual_block(x, condition, widths[stage])
        return layers.attention(x) if max(sides[stage]) <= attention_side else x

    x = layers.convolution(width, 3)(images)
    skips = [x]
    for stage in range(len(sides)):
        if stage:
            x = layers.convolution(widths[stage - 1], 3, strides=2)(x)
            skips.append(x)
        for _ in range(blocks):
            x = refined(x, stage)
            skips.append(x)
    x = layers.residual_block(refined(x, -1), condition, widths[-1])
    for stage in reversed(range(len(sides))):
        for _ in range(blocks + 1):
            x = refined(keras.layers.Concatenate()([x, skips.pop()]), stage)
        if stage:
            x = cropped(keras.layers.UpSampling2D(2)(x), *sides[stage - 1])
            x = layers.convolution(widths[stage], 3)(x)
    x = layers.normalised(x)
    outputs = layers.convolution(image_shape[-1], 3, gain=RESIDUAL_GAIN, dtype="float32")(x)
    return _named_by_order(keras.Model(inputs, outputs, name="unet"))


def _named_by_order(network):
    """The same network, its layers named as if no other had been built before.

    TensorFlow's graph optimiser orders sums by names: two models of one seed would round
    differently in one process.
    """
    kinds = collections.defaultdict(list)
    for layer in network.layers:
        kind, number = re.fullmatch(r"(.*?)_?(\d*)", layer.name).groups()
        kinds[kind].append((int(number or 0), layer.name))
    names = {
        name: f"{kind}_{number}"
        for kind, numbered in kinds.items()
        for number, (_, name) in enumerate(sorted(numbered))
    }

    def renamed(layer):
        return type(layer).from_config(layer.get_config() | {"name": names[layer.name]})

    return keras.models.clone_model(network, clone_function=renamed)


class _UNetLayers(SeededLayers):
    """Residual blocks that know the timestep, and attention."""

    def activation(self, x):
        return keras.layers.Activation("silu")(x)

    def normalised(self, x):
        return self.activation(GroupNormalization()(x))

    def condition(self, timesteps, labels, width):
        """One vector, (batch, 4 * width), of timestep and label."""
        x = self.dense(4 * width)(TimestepEmbedding(width)(timesteps))
        x = self.dense(4 * width)(self.activation(x))
        if labels is not None:
            x = keras.layers.Add()([x, self.label_embedding(4 * width)(labels)])
        return self.activation(x)

    def residual_block(self, x, condition, channels):
        change = self.convolution(channels, 3)(self.normalised(x))
        offsets = keras.layers.Reshape((1, 1, channels))(self.dense(channels)(condition))
        change = self.normalised(keras.layers.Add()([change, offsets]))
        change = self.convolution(channels, 3, gain=RESIDUAL_GAIN)(change)
        if x.shape[-1] != channels:
            x = self.convolution(channels, 1)(x)
        return keras.layers.Add()([x, change])

    def attention(self, x):
        channels = x.shape[-1]
        normal = GroupNormalization()(x)
        queries, keys, values = (self.dense(channels)(normal) for _ in range(3))
        most = max(channels // HEAD_CHANNELS, 1)
        heads = max(count for count in range(1, most + 1) if channels % count == 0)
        attended = DotProductAttention(heads)(queries, keys, values)
        return keras.layers.Add()([x, self.dense(channels, gain=RESIDUAL_GAIN)(attended)])
