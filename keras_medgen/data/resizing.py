"""Bringing images of any size and colour to those that were asked for."""

import numpy as np
import tensorflow as tf

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


def resize_images(images: np.ndarray, side: int, method: str) -> np.ndarray:
    """Resizes images to a square, Lanczos with antialiasing.

    Args:
        images: (n, height, width, channels), uint8 or float32 in [0, 1].
        side: of the result, in pixels.
        method: "pad" (black bars), "crop" (the central square) or "stretch".

    Returns:
        (n, side, side, channels), of the dtype that came.
    """
    height, width = images.shape[1:3]
    if method == "crop":
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        images = images[:, top : top + short, left : left + short]
        target = (side, side)
    elif method == "pad":
        scale = side / max(height, width)
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
    else:
        target = (side, side)
    top_limit = 255 if images.dtype == np.uint8 else 1
    chunks = []
    for start in range(0, len(images), 256):  # float32 copies of a whole set would not fit
        chunk = tf.image.resize(
            images[start : start + 256], target, method="lanczos3", antialias=True
        )
        chunk = np.clip(chunk.numpy(), 0, top_limit)
        chunks.append((chunk.round() if top_limit == 255 else chunk).astype(images.dtype))
    resized = np.concatenate(chunks) if chunks else images.reshape(0, *target, images.shape[-1])
    rows, columns = side - target[0], side - target[1]
    return np.pad(
        resized,
        (
            (0, 0),
            (rows // 2, rows - rows // 2),
            (columns // 2, columns - columns // 2),
            (0, 0),
        ),
    )


def convert_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Converts grey images to RGB or RGB images to grey (luma).

    Args:
        images: (n, height, width, 1 or 3), uint8 or float32 in [0, 1].
        channels: 3 or 1.

    Raises:
        ValueError: for images of another number of channels.
    """
    if {images.shape[-1], channels} != {1, 3}:
        raise ValueError(
            "channels can turn 1 channel into 3 or 3 into 1. "
            f"Received: channels={channels} for images of {images.shape[-1]} channels."
        )
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    grey = (images.astype(np.float32) @ LUMA)[..., None]
    return (grey.round() if images.dtype == np.uint8 else grey).astype(images.dtype)
