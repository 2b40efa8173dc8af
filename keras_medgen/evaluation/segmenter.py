"""A small segmenter, the same wherever images are compared by what can be learned from them."""

import itertools

import keras
from keras import ops

from keras_medgen.metrics.repeated_training import RepeatedTraining
from keras_medgen.metrics.small_classifier import convolution_block
from keras_medgen.networks.stages import cropped

BATCH_SIZE = 16
LEARNING_RATE = 3e-3
SMALLEST_SIDE = 16  # of images that it takes
FINEST_SIDE = 64  # larger images are brought down to it by the first convolution
WIDTHS = (8, 16, 32, 48)  # of the stages, each of half the side


def segmenter(image_shape: tuple[int, int, int], seed: int = 0) -> keras.Model:
    """A U-Net of about 70,000 parameters, always in float32.

    Args:
        image_shape: (height, width, channels), sides of 16 or more.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from images (batch, height, width, channels) in [0, 1] to logits
        (batch, height, width): positive where a lesion is likelier than not.

    Raises:
        ValueError: for smaller images.

    Reference:
        Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image
        Segmentation, 2015, https://arxiv.org/abs/1505.04597
    """
    if len(image_shape) != 3 or min(image_shape[:2]) < SMALLEST_SIDE:
        raise ValueError(
            f"image_shape must be (height, width, channels) with sides of {SMALLEST_SIDE} or more. "
            f"Received: image_shape={tuple(image_shape)}."
        )
    height, width = image_shape[:2]
    seeds = itertools.count(seed * 1000)
    stride = -(-max(height, width) // FINEST_SIDE)
    images = keras.Input(image_shape, dtype="float32", name="images")
    x = convolution_block(
        images, WIDTHS[0], next(seeds), strides=stride, size=max(3, 2 * stride - 1)
    )
    skips = []
    for channels in WIDTHS[1:]:
        skips.append(x)
        x = convolution_block(x, channels, next(seeds), strides=2)
        x = convolution_block(x, channels, next(seeds))
    for skip in reversed(skips):
        x = keras.layers.UpSampling2D(2, dtype="float32")(x)
        x = cropped(x, *skip.shape[1:3], dtype="float32")
        x = keras.layers.Concatenate(dtype="float32")([x, skip])
        x = convolution_block(x, skip.shape[-1], next(seeds))
    initializer = keras.initializers.GlorotUniform(next(seeds))
    x = keras.layers.Conv2D(1, 1, kernel_initializer=initializer, dtype="float32")(x)
    if stride > 1:
        x = keras.layers.UpSampling2D(stride, interpolation="bilinear", dtype="float32")(x)
        x = cropped(x, height, width, dtype="float32")
    logits = keras.layers.Reshape((height, width), dtype="float32")(x)
    return keras.Model(images, logits, name="segmenter")


def segmenter_training(image_shape: tuple[int, int, int], steps: int) -> RepeatedTraining:
    """How a segmenter is trained, for as many trainings as wanted.

    Args:
        image_shape: (height, width, channels).
        steps: of 16 images.

    Returns:
        A `RepeatedTraining`, whose `fit` takes masks, float32 (n, height, width) of 0 and 1.

    Raises:
        ValueError: for sides under 16 pixels, or no step.
    """
    return RepeatedTraining(
        lambda seed: segmenter(image_shape, seed),
        lesion_loss,
        steps=steps,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
    )


def lesion_loss(masks, logits):
    """Cross-entropy, and 1 less the soft Dice coefficient over all pixels of the batch.

    Args:
        masks: (batch, height, width) of 0 and 1.
        logits: likewise.

    Returns:
        A scalar.

    Reference:
        Milletari, Navab and Ahmadi, V-Net: Fully Convolutional Neural Networks for Volumetric
        Medical Image Segmentation, 2016, https://arxiv.org/abs/1606.04797: the Dice loss
    """
    entropy = keras.losses.binary_crossentropy(masks, logits, from_logits=True)
    found = ops.sigmoid(logits)
    # 1 in both terms: a batch without any lesion costs nothing where none is found.
    overlap = (2 * ops.sum(found * masks) + 1) / (ops.sum(found) + ops.sum(masks) + 1)
    return ops.mean(entropy) + 1 - overlap
