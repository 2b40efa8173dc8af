"""Checks of what a server is sent, in a graph."""

import tensorflow as tf


def checked(tensor, holds, message):
    """The same tensor, which there is only where a condition holds.

    Args:
        tensor: any.
        holds: bool, of any shape: all must be true. What is NaN lies in no range.
        message: of the InvalidArgumentError that else comes when it runs.
    """
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(holds), [message])]):
        return tf.identity(tensor)
