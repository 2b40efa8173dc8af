"""From whatever `fit` was given to a batch dict of float32 images in [0, 1]."""

import keras
import numpy as np
import tensorflow as tf

TOLERANCE = 1e-6  # of the range: rounding in float32
OUTSIDE_MESSAGE = "images must lie in [0, 1]"
LABELS_MESSAGE = "labels must be"


def unpack(data, image_shape, num_classes=None):
    """Makes a batch dict of one element of a data set, inside a compiled step.

    Args:
        data: a batch dict, images, (images,), (images, labels), or (batch dict,).
        image_shape: (height, width, channels) that the model was made for.
        num_classes: of a conditional model; None where labels are not used.

    Returns:
        A dict of `images`, float32 in [0, 1], checked, and what else the batch holds; of a
        conditional model with `labels` as float32 (batch, num_classes) of 0 and 1, checked.

    Raises:
        ValueError: for images, labels or masks of another shape, for labels that a conditional
            model lacks, or for sample weights.
        tf.errors.InvalidArgumentError: when the step runs, for images outside [0, 1] or labels
            outside of the classes.
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
    if num_classes is not None:
        if "labels" not in batch:
            raise ValueError("a conditional model needs labels: the data set has none.")
        batch["labels"] = _class_indicators(batch["labels"], num_classes)
    if "masks" in batch:
        batch["masks"] = _plane(batch["masks"], image_shape)
    return batch


def _plane(masks, image_shape):
    masks = tf.convert_to_tensor(masks)
    if masks.shape.rank == 4 and masks.shape[3] == 1:
        masks = masks[..., 0]
    if not masks.shape.is_compatible_with((None, *image_shape[:2])):
        expected = ", ".join(map(str, image_shape[:2]))
        raise ValueError(
            f"masks must be of shape (batch, {expected}). Received: shape {tuple(masks.shape)}."
        )
    return masks


def _class_indicators(labels, num_classes):
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 2 and labels.shape[1] == 1 and num_classes > 1:
        labels = labels[:, 0]
    if labels.shape.rank == 1:
        classes = tf.cast(labels, tf.int32)
        inside = (classes >= 0) & (classes < num_classes)
        if labels.dtype.is_floating:
            inside &= tf.cast(classes, labels.dtype) == labels
        indicators = tf.one_hot(classes, num_classes)
    else:
        if not labels.shape.is_compatible_with((None, num_classes)):
            raise ValueError(f"{_labels_message(num_classes)} Received: shape {labels.shape}.")
        indicators = tf.cast(labels, tf.float32)
        inside = (indicators == 0) | (indicators == 1)
    tf.debugging.Assert(tf.reduce_all(inside), [_labels_message(num_classes)])
    return indicators


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


def checked_labels(labels, count, num_classes):
    """The labels of a conditional model, outside of any graph.

    Args:
        labels: int (n,) from 0 to num_classes - 1, or (n, num_classes) of 0 and 1.
        count: n, as it must be.
        num_classes: of the model; None where it is not conditional.

    Returns:
        np.ndarray float32 (n, num_classes) of 0 and 1; None where the model is not conditional.

    Raises:
        ValueError: for labels of another shape or number, or outside of the classes; for labels
            that are missing, or that the model cannot use.
    """
    if num_classes is None:
        if labels is not None:
            raise ValueError("labels need a conditional model: this one has no num_classes.")
        return None
    if labels is None:
        raise ValueError(f"a conditional model needs labels: {count}, of {num_classes} classes.")
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1 and num_classes > 1:
        labels = labels[:, 0]
    if len(labels.shape) not in (1, 2) or labels.shape[1:] not in ((), (num_classes,)):
        raise ValueError(f"{_labels_message(num_classes)} Received: shape {labels.shape}.")
    if len(labels) != count:
        raise ValueError(f"there must be {count} labels, one an image. Received: {len(labels)}.")
    classes = range(num_classes) if labels.ndim == 1 else (0, 1)
    outside = labels[~np.isin(labels, classes)]
    if outside.size:
        raise ValueError(f"{_labels_message(num_classes)} Received: {outside.flat[0]}.")
    if labels.ndim == 1:
        labels = np.eye(num_classes)[labels.astype(int)]
    return labels.astype(np.float32)


def _labels_message(num_classes):
    return (
        f"{LABELS_MESSAGE} classes from 0 to {num_classes - 1}, shape (n,), or 0 and 1 for each "
        f"class, shape (n, {num_classes})."
    )


def _shape_message(image_shape, received):
    expected = ", ".join(map(str, image_shape))
    return f"images must be of shape (batch, {expected}). Received: shape {tuple(received)}."


def _dtype_message(received):
    return f"images must be uint8, or floating point in [0, 1]. Received: {received}."


def with_plain_errors(function, *args, **kwargs):
    """Calls a function, and says a failed check of a batch as the ValueError that it is."""
    try:
        return function(*args, **kwargs)
    except tf.errors.InvalidArgumentError as error:
        if OUTSIDE_MESSAGE in error.message:
            raise ValueError(
                f"{OUTSIDE_MESSAGE}, without NaN, or be uint8: a batch does not. "
                "Divide by their largest possible value first."
            ) from None
        if LABELS_MESSAGE in error.message:
            line = next(line for line in error.message.split("\n") if LABELS_MESSAGE in line)
            raise ValueError(line[line.index(LABELS_MESSAGE) :].rstrip("'\"]")) from None
        if "is not compatible with expected shape" in error.message:
            line = next(line for line in error.message.split("\n") if "not compatible" in line)
            raise ValueError(
                f"images must be of the model's image_shape. Received: {line}"
            ) from None
        raise
