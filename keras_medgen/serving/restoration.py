"""The noise by which an exported model of diffusion restores images."""

import numpy as np
import tensorflow as tf

from keras_medgen.anomaly.detection import NUM_DRAWS
from keras_medgen.ops.random import normal_rows


def restoration_noise(model):
    """The noise of the first image that `model.reconstruct` is given, by some seeds.

    There the noise of an image depends on the seed and on its place among the images. Where models
    are served every row is the first, so that it does not depend on what else is asked at the same
    time.

    Args:
        model: a `kmg.models.Diffusion`.

    Returns:
        np.ndarray float32 (draws, *grid), by the seeds 0, 1, ... of the draws that `detect` takes
        the mean of.
    """
    rows = [normal_rows(seed, tf.range(1), model.noise_shape) for seed in range(NUM_DRAWS)]
    return np.asarray(model.shaped(tf.concat(rows, axis=0)))
