"""Anomaly maps and scores in a graph, as `keras_medgen.anomaly.detect` makes them by default."""

import math

import tensorflow as tf

from keras_medgen.anomaly.detection import PERCENT


def difference_maps(images, restored):
    """How far each pixel is from its restoration, the mean over channels.

    Args:
        images: float32 (n, height, width, channels).
        restored: as `images`.

    Returns:
        float32 (n, height, width).
    """
    return tf.reduce_mean(tf.abs(images - restored), axis=-1)


def map_scores(maps):
    """The 99.5th percentile of each map, interpolated as NumPy does it.

    Args:
        maps: float32 (n, height, width); height and width are known.

    Returns:
        float32 (n,).
    """
    pixels = maps.shape[1] * maps.shape[2]
    place = PERCENT / 100 * (pixels - 1)
    below = math.floor(place)
    largest = tf.math.top_k(tf.reshape(maps, (-1, pixels)), pixels - below).values
    lower, upper = largest[:, -1], largest[:, max(pixels - below - 2, 0)]
    return lower + (place - below) * (upper - lower)
