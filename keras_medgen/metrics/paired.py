"""How near each image is to its counterpart: functions, and their means as Keras metrics."""

import keras
import tensorflow as tf

from keras_medgen.ops import ms_ssim, ssim

MeanSquaredError = keras.metrics.MeanSquaredError
MeanAbsoluteError = keras.metrics.MeanAbsoluteError

MOST_PSNR = 100.0  # dB, of identical images in a mean: an MSE of 1e-10


def mse(a, b):
    """Mean squared error.

    Args:
        a: (batch, height, width, channels), floating point in [0, 1].
        b: as `a`.

    Returns:
        float32 (batch,).

    Raises:
        ValueError: for images of other shapes or types.
    """
    a, b = _checked(a, b)
    return tf.reduce_mean(tf.math.squared_difference(a, b), axis=(1, 2, 3))


def mae(a, b):
    """Mean absolute error.

    Args:
        a: (batch, height, width, channels), floating point in [0, 1].
        b: as `a`.

    Returns:
        float32 (batch,).

    Raises:
        ValueError: for images of other shapes or types.
    """
    a, b = _checked(a, b)
    return tf.reduce_mean(tf.abs(a - b), axis=(1, 2, 3))


def psnr(a, b):
    """Peak signal-to-noise ratio, -10 log10(MSE), for a data range of 1.

    Args:
        a: (batch, height, width, channels), floating point in [0, 1].
        b: as `a`.

    Returns:
        float32 (batch,), in dB; infinite for identical images.

    Raises:
        ValueError: for images of other shapes or types.
    """
    return -10 * tf.math.log(mse(a, b)) / tf.math.log(10.0)


def dice(a, b, threshold=0.5):
    """Dice coefficient of masks, 2 |A and B| / (|A| + |B|), over all values of an image.

    Args:
        a: (batch, ...), bool, integers of 0 and 1, or probabilities.
        b: as `a`.
        threshold: what is above it is in the mask.

    Returns:
        float32 (batch,) in [0, 1]; 1 where both masks are empty, for they agree.

    Raises:
        ValueError: for masks of different shapes.
    """
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    if a.shape.rank is None or a.shape.rank < 2 or not a.shape.is_compatible_with(b.shape):
        raise ValueError(
            f"a and b must be of one shape (batch, ...). Received: {a.shape} and {b.shape}."
        )
    a, b = (tf.cast(tf.cast(mask, tf.float32) > threshold, tf.float32) for mask in (a, b))
    axes = list(range(1, a.shape.rank))
    both, total = tf.reduce_sum(a * b, axes), tf.reduce_sum(a + b, axes)
    return tf.where(total > 0, tf.math.divide_no_nan(2 * both, total), 1.0)


class PairedMetric(keras.metrics.MeanMetricWrapper):
    """Base of the metrics below: the mean of a function of pairs over all images.

    Args:
        function: of `y_true` and `y_pred`, with a value for each image.
        name: of the metric.
        dtype: of the metric's state.
    """

    def get_config(self):
        """The arguments of this metric."""
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="keras_medgen")
class PSNR(PairedMetric):
    """Mean PSNR in dB; see `psnr`. A pair of more than 100 dB, as identical images, counts as 100.

    Args:
        name: of the metric.
        dtype: of the metric's state.

    Example:
    ```python
    autoencoder.compile(loss="mse", metrics=[kmg.metrics.PSNR(), kmg.metrics.SSIM()])
    ```
    """

    def __init__(self, name="psnr", dtype=None):
        super().__init__(lambda a, b: tf.minimum(psnr(a, b), MOST_PSNR), name, dtype)


@keras.saving.register_keras_serializable(package="keras_medgen")
class SSIM(PairedMetric):
    """Mean structural similarity; see `keras_medgen.ops.ssim`.

    Args:
        name: of the metric.
        dtype: of the metric's state.
    """

    def __init__(self, name="ssim", dtype=None):
        super().__init__(ssim, name, dtype)


# The loss MSSSIM has the plain name.
@keras.saving.register_keras_serializable(package="keras_medgen", name="MSSSIMMetric")
class MSSSIM(PairedMetric):
    """Mean multi-scale structural similarity; see `keras_medgen.ops.ms_ssim`.

    Args:
        levels: number of scales. Default: as many as the images have room for, 5 at most.
        name: of the metric.
        dtype: of the metric's state.
    """

    def __init__(self, levels=None, name="ms_ssim", dtype=None):
        super().__init__(ms_ssim, name, dtype, levels=levels)
        self.levels = levels

    def get_config(self):
        """The arguments of this metric."""
        return {**super().get_config(), "levels": self.levels}


@keras.saving.register_keras_serializable(package="keras_medgen")
class Dice(PairedMetric):
    """Mean Dice coefficient; see `dice`.

    Args:
        threshold: what is above it is in the mask.
        name: of the metric.
        dtype: of the metric's state.
    """

    def __init__(self, threshold=0.5, name="dice", dtype=None):
        super().__init__(dice, name, dtype, threshold=threshold)
        self.threshold = threshold

    def get_config(self):
        """The arguments of this metric."""
        return {**super().get_config(), "threshold": self.threshold}


def _checked(a, b):
    """Both batches of images as float32."""
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    floating = a.dtype.is_floating and b.dtype.is_floating
    if not floating or a.shape.rank != 4 or not a.shape.is_compatible_with(b.shape):
        raise ValueError(
            "a and b must be floating point in [0, 1], of one shape (batch, height, width, "
            f"channels). Received: {a.dtype.name} {a.shape} and {b.dtype.name} {b.shape}."
        )
    return tf.cast(a, tf.float32), tf.cast(b, tf.float32)
