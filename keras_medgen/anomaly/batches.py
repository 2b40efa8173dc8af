"""Functions of tensors, applied to arrays of any length."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def in_batches(function: Callable, *arrays: np.ndarray | None, batch_size: int = 64):
    """What a function makes of arrays of one length, a batch at a time.

    Args:
        function: of tensors (batch, ...), returning a tensor (batch, ...) or a tuple of them.
        *arrays: np.ndarrays (n, ...), n at least 1, or None for an argument that stays None.
        batch_size: rows at a time.

    Returns:
        np.ndarray (n, ...), or a tuple of them.
    """
    compiled = tf.function(function, reduce_retracing=True)
    parts = [
        compiled(
            *(None if a is None else tf.constant(a[start : start + batch_size]) for a in arrays)
        )
        for start in range(0, len(arrays[0]), batch_size)
    ]
    return tf.nest.map_structure(lambda *t: tf.concat(t, 0).numpy(), *parts)
