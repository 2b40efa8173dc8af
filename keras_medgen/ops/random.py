"""Randomness from explicit seeds."""

import math

import tensorflow as tf


def normal(shape, seed):
    """Standard normal noise, the same for the same seed in eager and in graph execution.

    XLA draws other numbers, the same each time, from a seed that is not a constant.

    Args:
        shape: of the result.
        seed: two integers.

    Returns:
        float32 of that shape.
    """
    return tf.random.stateless_normal(shape, seed, alg="philox")


def uniform_of_normal(noise):
    """Numbers that are uniform in [0, 1] if `noise` is standard normal; of the same shape."""
    return 0.5 * tf.math.erfc(-noise / math.sqrt(2))


def normal_rows(seed, rows, shape, stream=None):
    """Standard normal noise in which each row depends on the seed and on its own number alone.

    Args:
        seed: int.
        rows: int (n,), the rows' numbers.
        shape: of one row, a tuple of int.
        stream: int; a row that needs noise for several ends draws each from its own.

    Returns:
        float32 (n, *shape).
    """
    rows = tf.cast(rows, tf.int64)
    seeds = tf.stack([tf.fill(tf.shape(rows), tf.cast(seed, tf.int64)), rows], axis=1)

    def row(seed):
        if stream is not None:
            seed = tf.random.experimental.stateless_fold_in(seed, stream, alg="philox")
        return normal(shape, seed)

    return tf.map_fn(
        row,
        seeds,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )
