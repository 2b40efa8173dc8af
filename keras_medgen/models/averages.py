"""Moving averages of networks, from which samples are drawn."""

import keras
import tensorflow as tf


def averaged_copy(network):
    """A network like `network`, of the same weights, for `update_average`; not trained."""
    average = keras.models.clone_model(network)
    average.set_weights(network.get_weights())
    average.trainable = False
    return average


def update_average(average, network, steps, decay):
    """Moves the averaged weights toward the network's.

    Args:
        average: of `averaged_copy`.
        network: after its step.
        steps: taken so far, an integer tensor.
        decay: of the average, once there were steps enough for that: at first it would remember
            the initial weights for a thousand of them.
    """
    steps = tf.cast(steps, tf.float32)
    rate = 1 - tf.minimum(decay, (1 + steps) / (10 + steps))
    for averaged, variable in zip(average.variables, network.variables, strict=True):
        if averaged.dtype == "float32":  # not the state of random numbers
            averaged.assign(averaged + rate * (variable - averaged))


def check_ema_decay(ema_decay):
    """Raises ValueError for a decay outside of [0, 1)."""
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must lie in [0, 1). Received: ema_decay={ema_decay}.")
