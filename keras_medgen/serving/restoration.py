"""How an exported model of diffusion restores images."""

import numpy as np
import tensorflow as tf

from keras_medgen.anomaly.detection import NUM_DRAWS
from keras_medgen.ops.random import normal_rows


def restorer(model):
    """What `model.reconstruct` does to one image by default, for a batch in a graph.

    There the noise of an image depends on the seed and on its place among the images. Here every
    row is the first, so that it does not depend on what else is asked at the same time.

    Args:
        model: a `kmg.models.Diffusion`.

    Returns:
        A function of images float32 (n, height, width, channels) in [0, 1], noise (*grid) and, of
        a model with a conditional autoencoder, labels, which restores them from the default
        timestep; and np.ndarray float32 (draws, *grid), the noise of the first image by the seeds
        0, 1, ... of the draws that `detect` takes the mean of.
    """
    timestep = model._checked_timestep(None)
    signal, sigma = model._shares(timestep)

    def restore(images, noise, labels=None):
        clean = model.clean(images, labels)
        return model._denoised(signal * clean + sigma * noise, timestep, labels)

    rows = [normal_rows(seed, tf.range(1), model.noise_shape) for seed in range(NUM_DRAWS)]
    return restore, np.asarray(model.shaped(tf.concat(rows, axis=0)))
