"""From whatever `fit` was given to a batch dict of float32 images in [0, 1]."""

import keras
import numpy as np
import tensorflow as tf

TOLERANCE = 1e-6  # of the range: rounding in float32
OUTSIDE_MESSAGE = "images must lie in [0, 1]"


def unpack(data, image_shape):
    """Makes a batch dict of one element of a data set, inside a compiled step.

    Args:
        data: a batch dict, images, (images,), (images, labels), or (batch dict,).
        image_shape: (height, width, channels) that the model was made for.

    Returns:
        A dict of `images`, float32 in [0, 1], checked, and what else the batch holds.

    Raises:
        ValueError: for images of another shape, or for sample weights.
        tf.errors.InvalidArgumentError: when the step runs, for images outside [0, 1].
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ValueError("generative models take no sample_weight.")
    batch = dict(x) if isinstance(x, dict) else {"images": x}
    if "images" not in batch:
        raise ValueError(f"a batch dict must hold 'images'. Received: {sorted(batch)}.")
    if y is not None:
        batch["labels"] = y
    batch["images"] = _unit_images(batch["images"], image_shape)
    return batch


def _unit_images(images, image_shape):
    images = tf.convert_to_tensor(images)
    if images.shape.rank == 3 and image_shape[-1] == 1:
        images = images[..., None]
    if not images.shape.is_compatible_with((None, *image_shape)):
        raise ValueError(_shape_message(image_shape, images.shape))
    images = tf.ensure_shape(images, (None, *image_shape))
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255.0
    if not images.dtype.is_floating:
        raise ValueError(_dtype_message(images.dtype.name))
    images = tf.cast(images, tf.float32)
    inside = tf.reduce_all((images >= -TOLERANCE) & (images <= 1 + TOLERANCE))  # False for NaN
    tf.debugging.Assert(inside, [OUTSIDE_MESSAGE])
    return images


def checked_images(images, image_shape):
    """The same for an array, outside of any graph.

    Args:
        images: np.ndarray or tensor (n, height, width, channels), uint8 or floating point.
        image_shape: (height, width, channels) that the model was made for.

    Returns:
        np.ndarray float32 in [0, 1].

    Raises:
        ValueError: for images of another shape or type, or outside [0, 1].
    """
    images = np.asarray(images)
    if images.ndim == 3 and image_shape[-1] == 1 and images.shape[1:] == image_shape[:2]:
        images = images[..., None]
    if images.shape[1:] != tuple(image_shape):
        raise ValueError(_shape_message(image_shape, images.shape))
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255.0)
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(_dtype_message(images.dtype))
    if images.size and not (images.min() >= -TOLERANCE and images.max() <= 1 + TOLERANCE):
        raise ValueError(
            f"{OUTSIDE_MESSAGE}, without NaN, or be uint8. "
            f"Received: [{images.min():g}, {images.max():g}]."
        )
    return images.astype(np.float32, copy=False)


def _shape_message(image_shape, received):
    expected = ", ".join(map(str, image_shape))
    return f"images must be of shape (batch, {expected}). Received: shape {tuple(received)}."


def _dtype_message(received):
    return f"images must be uint8, or floating point in [0, 1]. Received: {received}."
