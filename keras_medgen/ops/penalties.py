"""Penalties on the slope of a discriminator."""

import tensorflow as tf

SMALLEST_SQUARE = 1e-12  # added under the root, whose own slope is infinite at 0


def gradient_penalty(discriminate, real, fake, uniform):
    """Gulrajani et al.'s penalty: (norm of the gradient - 1)² between real and fake images.

    Only the discriminator learns from it: the images are held constant.

    Args:
        discriminate: a function from images to logits, float32 (batch,). No image's logit may
            depend on the other images, as it would under batch normalisation.
        real: images, float32 (batch, height, width, channels).
        fake: as `real`.
        uniform: float32 (batch,) in [0, 1]: how far each image is taken from the fake to the real
            one.

    Returns:
        float32 (batch,), unweighted.

    Reference:
        Gulrajani et al., Improved Training of Wasserstein GANs, 2017,
        https://arxiv.org/abs/1704.00028
    """
    share = uniform[:, None, None, None]
    between = share * real + (1.0 - share) * fake
    norm = tf.sqrt(_squared_slope(discriminate, between) + SMALLEST_SQUARE)
    return tf.square(norm - 1.0)


def r1_penalty(discriminate, real):
    """Mescheder et al.'s R1: the squared norm of the gradient at real images.

    Without the 1/2 of the paper, which weighs it by gamma / 2. Only the discriminator learns from
    it: the images are held constant.

    Args:
        discriminate: as for `gradient_penalty`.
        real: images, float32 (batch, height, width, channels).

    Returns:
        float32 (batch,), unweighted.

    Reference:
        Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, 2018,
        https://arxiv.org/abs/1801.04406
    """
    return _squared_slope(discriminate, real)


def _squared_slope(discriminate, images):
    """The squared norm of each logit's gradient to its image, (batch,)."""
    images = tf.stop_gradient(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = discriminate(images)
    slope = tf.cast(tape.gradient(logits, images), tf.float32)
    return tf.reduce_sum(tf.square(slope), axis=(1, 2, 3))
