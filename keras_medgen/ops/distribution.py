"""Sums and means over all replicas, from inside one of them."""

import tensorflow as tf


def replica_sum(value):
    """The sum of `value` over all replicas; `value` itself where there is one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def global_count(values):
    """The number of examples in the whole batch, over all replicas, float32.

    Args:
        values: (batch, ...), this replica's part.
    """
    return replica_sum(tf.cast(tf.shape(values)[0], tf.float32))


def global_mean(values):
    """The mean over all examples of the whole batch, over all replicas.

    Args:
        values: (batch,), this replica's part, which may be of another length than the others'.
    """
    return replica_sum(tf.reduce_sum(values)) / global_count(values)


def replica_id():
    """The number of this replica, int32: 0 where there is one."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group
