"""A small classifier, the same wherever images are compared by what can be learned from them."""

import dataclasses
import itertools

import keras
import numpy as np
import scipy.special

from keras_medgen.metrics.repeated_training import RepeatedTraining, outputs_of

TASKS = ("multi-class", "ordinal", "multi-label")
STEPS = 300
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
SMALLEST_SIDE = 8  # of images that it takes
FINEST_SIDE = 16  # the first convolution brings images down to it
WIDTHS = (32, 48, 64)
FEATURES = "features"  # the layer before the last


def small_classifier(image_shape: tuple[int, int, int], outputs: int, seed: int = 0) -> keras.Model:
    """A convolutional network of about 50,000 parameters, always in float32.

    Three convolutions of 32, 48 and 64 channels with batch normalisation, each of which halves the
    sides or, the first one, brings them down to 16 at most; the mean over all places; dense.

    Args:
        image_shape: (height, width, channels), sides of 8 or more.
        outputs: number of classes, or of labels.
        seed: of the initial weights.

    Returns:
        A `keras.Model` from images (batch, height, width, channels) in [0, 1] to logits
        (batch, outputs). Its layer "features" gives 64 numbers an image.

    Raises:
        ValueError: for smaller images, or no outputs.
    """
    if len(image_shape) != 3 or min(image_shape[:2]) < SMALLEST_SIDE or outputs < 1:
        raise ValueError(
            f"image_shape must be (height, width, channels) with sides of {SMALLEST_SIDE} or more, "
            f"and outputs positive. Received: image_shape={tuple(image_shape)}, outputs={outputs}."
        )
    seeds = itertools.count(seed * 1000)
    images = keras.Input(image_shape, dtype="float32", name="images")
    stride = max(2, -(-max(image_shape[:2]) // FINEST_SIDE))
    x = convolution_block(images, WIDTHS[0], next(seeds), strides=stride, size=2 * stride + 1)
    for width in WIDTHS[1:]:
        x = convolution_block(x, width, next(seeds), strides=2)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(x)
    initializer = keras.initializers.GlorotUniform(next(seeds))
    logits = keras.layers.Dense(outputs, kernel_initializer=initializer, dtype="float32")(x)
    return keras.Model(images, logits, name="small_classifier")


def convolution_block(x, filters: int, seed: int, *, strides: int = 1, size: int = 3):
    """A padded convolution, batch normalisation and ReLU, in float32 whatever the policy.

    Args:
        x: (batch, height, width, channels).
        filters: channels of the result.
        seed: of the initial weights.
        strides: of the convolution.
        size: of its kernel.
    """
    x = keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(seed),
        dtype="float32",
    )(x)
    # A momentum of 0.9: the moving averages must follow in hundreds of steps.
    x = keras.layers.BatchNormalization(momentum=0.9, dtype="float32")(x)
    return keras.layers.ReLU(dtype="float32")(x)


@dataclasses.dataclass
class TrainedClassifier:
    """What `train_classifier` returns.

    Attributes:
        network: of `small_classifier`.
        task: "multi-class", "ordinal" or "multi-label".
    """

    network: keras.Model
    task: str

    @property
    def features(self) -> keras.Model:
        """The part of the network from images to 64 features, float32 (batch, 64)."""
        features = self.network.get_layer(FEATURES).output
        return keras.Model(self.network.inputs[0], features, name=FEATURES)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """The probability of each class, summing to 1 over them, or of each label.

        Args:
            images: (n, height, width, channels), float in [0, 1].

        Returns:
            float64 (n, num_classes).
        """
        logits = outputs_of(self.network, images).astype(np.float64)
        if self.task == "multi-label":
            return scipy.special.expit(logits)
        return scipy.special.softmax(logits, axis=1)


def classifier_training(
    image_shape: tuple[int, int, int], num_classes: int, task: str, steps: int = STEPS
) -> RepeatedTraining:
    """How a small classifier is trained, for as many trainings as wanted.

    Args:
        image_shape: (height, width, channels).
        num_classes: number of classes, or of labels.
        task: "multi-class" or "ordinal", by the cross-entropy of a softmax, or "multi-label", by
            that of a sigmoid for each label.
        steps: of 64 images.

    Returns:
        A `RepeatedTraining`, whose `fit` takes labels as `checked_labels` gives them.

    Raises:
        ValueError: for another task.
    """
    _check_task(task)
    if task == "multi-label":
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return RepeatedTraining(
        lambda seed: small_classifier(image_shape, num_classes, seed),
        loss,
        steps=steps,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
    )


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    val_images: np.ndarray,
    val_labels: np.ndarray,
    *,
    num_classes: int,
    task: str = "multi-class",
    steps: int = STEPS,
    seed: int = 0,
) -> TrainedClassifier:
    """Trains one small classifier, with equal steps whatever the number of images.

    Args:
        images: (n, height, width, channels), float in [0, 1].
        labels: int (n,), from 0; of the task "multi-label" (n, num_classes) of 0 and 1.
        val_images: the checkpoint with the lowest loss on them, of ten, is kept.
        val_labels: of `val_images`.
        num_classes: number of classes, or of labels.
        task: "multi-class", "ordinal" or "multi-label".
        steps: of 64 images.
        seed: of the initial weights and of the order of the images.

    Returns:
        A `TrainedClassifier`: its `network`, `features` and `probabilities`.

    Raises:
        ValueError: for another task, or labels that do not fit the images or the classes.
    """
    training = classifier_training(images.shape[1:], num_classes, task, steps)
    training.fit(
        images,
        checked_labels(labels, len(images), num_classes, task),
        val_images,
        checked_labels(val_labels, len(val_images), num_classes, task),
        seed=seed,
    )
    return TrainedClassifier(training.network, task)


def checked_labels(labels: np.ndarray, count: int, num_classes: int, task: str) -> np.ndarray:
    """Labels as `fit` takes them.

    Args:
        labels: int (n,) or (n, 1), or of the task "multi-label" (n, num_classes) of 0 and 1.
        count: of the images.
        num_classes: number of classes, or of labels.
        task: "multi-class", "ordinal" or "multi-label".

    Returns:
        int32 (n,), or float32 (n, num_classes).

    Raises:
        ValueError: for labels that do not fit the images or the classes.
    """
    _check_task(task)
    labels = np.asarray(labels)
    if task == "multi-label":
        if labels.shape != (count, num_classes) or not np.isin(labels, (0, 1)).all():
            raise ValueError(
                f"labels must be of shape ({count}, {num_classes}) and hold 0 and 1 alone. "
                f"Received: shape {labels.shape}, values {np.unique(labels)[:5].tolist()}."
            )
        return labels.astype(np.float32)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or not np.isin(labels, np.arange(num_classes)).all():
        raise ValueError(
            f"labels must be {count} numbers from 0 to {num_classes - 1}. "
            f"Received: shape {labels.shape}, values {np.unique(labels)[:5].tolist()}."
        )
    return labels.astype(np.int32)


def _check_task(task):
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}. Received: task={task!r}.")
