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


def normal_rows(seed, rows, shape):
    """Standard normal noise in which each row depends on the seed and on its own number alone.

    Args:
        seed: int.
        rows: int (n,), the rows' numbers.
        shape: of one row, a tuple of int.

    Returns:
        float32 (n, *shape).
    """
    rows = tf.cast(rows, tf.int64)
    seeds = tf.stack([tf.fill(tf.shape(rows), tf.cast(seed, tf.int64)), rows], axis=1)
    return tf.map_fn(
        lambda row_seed: normal(shape, row_seed),
        seeds,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )
