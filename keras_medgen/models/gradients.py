"""Gradients, from what each replica computes to what an optimizer applies."""

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.ops import distribution


def apply_gradients(optimizer, gradients, variables):
    """Lets an optimizer take a step, the same on every replica.

    Args:
        optimizer: a built Keras optimizer, which sums over replicas.
        gradients: this replica's share, of a loss scaled by `optimizer.scale_loss`.
        variables: as many.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # It looks for overflow on each replica alone: where one overflows, all must skip.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        overflows = distribution.replica_sum(tf.cast(~finite, tf.float32))
        gradients = [tf.where(overflows > 0, tf.constant(np.inf, g.dtype), g) for g in gradients]
    optimizer.apply(_clipped_together(optimizer, gradients), variables)


def gradient_norm(optimizer, gradients):
    """The norm of all gradients together, before any clipping: float32, a scalar.

    Args:
        optimizer: whose loss scale is taken out.
        gradients: this replica's share.
    """
    norm = tf.linalg.global_norm(distribution.replica_sum(gradients))
    return norm / optimizer.scale_loss(tf.ones(()))


def _clipped_together(optimizer, gradients):
    """Gradients clipped by their norm over all replicas: Keras clips each one's share alone."""
    limit = getattr(getattr(optimizer, "inner_optimizer", optimizer), "global_clipnorm", None)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if limit is None or replicas == 1:
        return gradients
    # The sum of what each replica gives here, once clipped, is clipped to the limit; and each is
    # small enough for Keras to leave it as it is.
    shares = [total / replicas for total in distribution.replica_sum(gradients)]
    return tf.clip_by_global_norm(shares, optimizer.scale_loss(limit) / replicas)[0]
