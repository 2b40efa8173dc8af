"""Bringing images of any size and colour to those that were asked for."""

import functools

import numpy as np
import tensorflow as tf

from keras_medgen.data.found import UnreadableError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"
CHUNK = 256  # float32 copies of a whole set would not fit


def resize_image(image: tf.Tensor, size: tuple[int, int], method: str) -> tf.Tensor:
    """Resizes one image, or several of one size, Lanczos with antialiasing.

    Args:
        image: (height, width, channels) or (n, height, width, channels), uint8, or float32 in
            [0, 1]; the height and width may be unknown.
        size: (height, width) of the result.
        method: "pad" (black bars), "crop" (the central part of the result's proportions) or
            "stretch".

    Returns:
        The image in its new size, of the dtype that came.
    """
    if None not in image.shape[-3:-1]:
        return _resize_known(image, size, method)
    height, width = tf.shape(image)[-3], tf.shape(image)[-2]
    unchanged = (height == size[0]) & (width == size[1])
    return tf.ensure_shape(
        tf.cond(unchanged, lambda: image, lambda: _resize_unknown(image, size, method)),
        [*image.shape[:-3], *size, image.shape[-1]],
    )


def _resize_known(image: tf.Tensor, size: tuple[int, int], method: str) -> tf.Tensor:
    if tuple(image.shape[-3:-1]) == tuple(size):
        return image
    (top, left, rows, columns), target = _geometry(*image.shape[-3:-1], size, method)
    image = image[..., top : top + rows, left : left + columns, :]
    channels = image.shape[-1]
    # Two products with matrices, faster by far than tf.image.resize; the axis that is resized
    # comes before all others.
    several = tf.shape(image)[:-3]
    flat = tf.reshape(tf.cast(image, tf.float32), (-1, rows, columns * channels))
    flat = tf.matmul(lanczos(rows, target[0]), flat)
    flat = tf.transpose(tf.reshape(flat, (-1, target[0], columns, channels)), (0, 2, 1, 3))
    flat = tf.reshape(flat, (-1, columns, target[0] * channels))
    flat = tf.matmul(lanczos(columns, target[1]), flat)
    flat = tf.transpose(tf.reshape(flat, (-1, target[1], target[0], channels)), (0, 2, 1, 3))
    result = tf.reshape(flat, tf.concat([several, [*target, channels]], axis=0))
    result = tf.ensure_shape(result, [*image.shape[:-3], *target, channels])
    return _pad(_as_stored(result, image.dtype), target, size)


def _resize_unknown(image: tf.Tensor, size: tuple[int, int], method: str) -> tf.Tensor:
    height, width = tf.shape(image)[-3], tf.shape(image)[-2]
    target = size
    if method == "crop":  # the largest part of the wanted proportions
        rows = tf.maximum(1, tf.minimum(height, width * size[0] // size[1]))
        columns = tf.maximum(1, tf.minimum(width, height * size[1] // size[0]))
        top, left = (height - rows) // 2, (width - columns) // 2
        image = image[..., top : top + rows, left : left + columns, :]
    elif method == "pad":
        scale = tf.minimum(size[0] / height, size[1] / width)
        rows = tf.cast(tf.round(tf.cast(height, tf.float64) * scale), tf.int32)
        columns = tf.cast(tf.round(tf.cast(width, tf.float64) * scale), tf.int32)
        target = (tf.maximum(rows, 1), tf.maximum(columns, 1))
    result = tf.image.resize(image, target, method="lanczos3", antialias=True)
    return _pad(_as_stored(result, image.dtype), target, size)


def _as_stored(image: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    if dtype == tf.uint8:
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
    return tf.clip_by_value(image, 0.0, 1.0)


def _pad(image: tf.Tensor, target, size: tuple[int, int]) -> tf.Tensor:
    rows, columns = size[0] - target[0], size[1] - target[1]
    around = [[rows // 2, rows - rows // 2], [columns // 2, columns - columns // 2], [0, 0]]
    return tf.pad(image, [[0, 0]] * (image.shape.rank - 3) + around)


@functools.lru_cache(maxsize=256)
def lanczos(length: int, target: int) -> np.ndarray:
    """The matrix that resizes one axis as `tf.image.resize` does it.

    Args:
        length: of the axis, in pixels.
        target: its new length; where it is smaller, the kernel is widened against aliasing.

    Returns:
        float32 (target, length), each row of sum 1.
    """
    scale = length / target
    centres = (np.arange(target) + 0.5) * scale
    x = (np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = np.sinc(x) * np.sinc(x / 3) * (np.abs(x) < 3)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _geometry(height: int, width: int, size: tuple[int, int], method: str) -> tuple:
    """The part of an image that is used (top, left, rows, columns), and the size it is given."""
    top, left, rows, columns, target = 0, 0, height, width, size
    if method == "crop":
        rows = max(1, min(height, width * size[0] // size[1]))
        columns = max(1, min(width, height * size[1] // size[0]))
        top, left = (height - rows) // 2, (width - columns) // 2
    elif method == "pad":
        scale = min(size[0] / height, size[1] / width)
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
    return (top, left, rows, columns), target


def resize_images(images: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """As `resize_image`, for an array (n, height, width, channels) of any length."""
    resized = np.empty((len(images), *size, images.shape[-1]), images.dtype)
    for start in range(0, len(images), CHUNK):
        chunk = tf.constant(images[start : start + CHUNK])
        resized[start : start + CHUNK] = resize_image(chunk, size, method).numpy()
    return resized


def resize_mask(mask: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """Resizes (height, width) as `resize_image` does, by the nearest pixel, 0 in the bars."""
    (top, left, rows, columns), target = _geometry(*mask.shape, size, method)
    y = top + ((np.arange(target[0]) + 0.5) * rows / target[0]).astype(int)
    x = left + ((np.arange(target[1]) + 0.5) * columns / target[1]).astype(int)
    resized = np.zeros(size, mask.dtype)
    up, over = (size[0] - target[0]) // 2, (size[1] - target[1]) // 2
    resized[up : up + target[0], over : over + target[1]] = mask[y[:, None], x]
    return resized


def convert_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Converts grey images to RGB or RGB images to grey (luma).

    Args:
        images: (..., 1 or 3), uint8 or float32 in [0, 1].
        channels: 3 or 1.

    Raises:
        UnreadableError: for images of another number of channels.
    """
    if images.shape[-1] == channels:
        return images
    if {images.shape[-1], channels} != {1, 3}:
        raise UnreadableError(
            "channels can turn 1 channel into 3 or 3 into 1. "
            f"Received: channels={channels} for images of {images.shape[-1]}"
        )
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    grey = (images.astype(np.float32) @ LUMA)[..., None]
    return (grey.round() if images.dtype == np.uint8 else grey).astype(images.dtype)
