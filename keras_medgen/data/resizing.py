"""Bringing images of any size and colour to those that were asked for."""

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
    several = image.shape[:-3]
    height, width = tf.shape(image)[-3], tf.shape(image)[-2]
    unchanged = (height == size[0]) & (width == size[1])

    def resized():
        part, target = image, size
        if method == "crop":
            # The largest part of the wanted proportions.
            rows = tf.minimum(height, width * size[0] // size[1])
            columns = tf.minimum(width, height * size[1] // size[0])
            rows, columns = tf.maximum(rows, 1), tf.maximum(columns, 1)
            top, left = (height - rows) // 2, (width - columns) // 2
            part = image[..., top : top + rows, left : left + columns, :]
        elif method == "pad":
            scale = tf.minimum(size[0] / height, size[1] / width)
            rows = tf.cast(tf.round(tf.cast(height, tf.float64) * scale), tf.int32)
            columns = tf.cast(tf.round(tf.cast(width, tf.float64) * scale), tf.int32)
            target = (tf.maximum(rows, 1), tf.maximum(columns, 1))
        result = tf.image.resize(part, target, method="lanczos3", antialias=True)
        if image.dtype == tf.uint8:
            result = tf.cast(tf.clip_by_value(tf.round(result), 0, 255), tf.uint8)
        else:
            result = tf.clip_by_value(result, 0.0, 1.0)
        if method != "pad":
            return result
        rows, columns = size[0] - target[0], size[1] - target[1]
        around = [
            [rows // 2, rows - rows // 2],
            [columns // 2, columns - columns // 2],
            [0, 0],
        ]
        return tf.pad(result, [[0, 0]] * len(several) + around)

    result = tf.cond(unchanged, lambda: image, resized)
    return tf.ensure_shape(result, [*image.shape[:-3], *size, image.shape[-1]])


def resize_images(images: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """As `resize_image`, for an array (n, height, width, channels) of any length."""
    resized = np.empty((len(images), *size, images.shape[-1]), images.dtype)
    for start in range(0, len(images), CHUNK):
        chunk = tf.constant(images[start : start + CHUNK])
        resized[start : start + CHUNK] = resize_image(chunk, size, method).numpy()
    return resized


def resize_mask(mask: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """Resizes (height, width) as `resize_image` does, by the nearest pixel, 0 in the bars."""
    height, width = mask.shape
    target, top, left, rows, columns = size, 0, 0, height, width
    if method == "crop":
        rows = max(1, min(height, width * size[0] // size[1]))
        columns = max(1, min(width, height * size[1] // size[0]))
        top, left = (height - rows) // 2, (width - columns) // 2
    elif method == "pad":
        scale = min(size[0] / height, size[1] / width)
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
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
