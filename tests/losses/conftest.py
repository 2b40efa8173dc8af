import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture
def logits(rng):
    """Of real and of generated images."""
    return [rng.normal(0, 3, 9).astype(np.float32) for _ in range(2)]


def values_and_gradients(function, real, fake):
    """Losses (batch,), and the gradients of their sum to both logits."""
    real, fake = tf.convert_to_tensor(real), tf.convert_to_tensor(fake)
    with tf.GradientTape() as tape:
        tape.watch([real, fake])
        values = function(real, fake)
    zero = tf.UnconnectedGradients.ZERO
    return [values, *tape.gradient(values, [real, fake], unconnected_gradients=zero)]
