"""Sampling from the prior of a model, guided toward a class that a classifier knows."""

import numpy as np
import tensorflow as tf
from keras import ops

STEPS = 50
STEP_SIZE = 0.1
STEEP = 4.0  # mean square over dimensions of the prior's gradient, above which steps shorten
SUM_TOLERANCE = 1e-2  # of probabilities in bfloat16


def guided_latents(
    latents, noise, log_prior, decode, classifier, target, scale=3.0, step_size=STEP_SIZE
):
    """Moves samples of the prior to samples of p(z) p(target | decode(z)) ^ scale.

    Langevin dynamics on the latents, with a classifier of images as the condition (Nguyen et al.),
    in the discretisation of Leimkuhler and Matthews: it averages the noise of successive steps,
    which keeps a Gaussian density exact, where the usual one widens it. Where the prior is
    steep, steps shorten, or they would grow without bound (Fang and Giles); directions in which
    the prior has a variance below half of `step_size` are widened none the less.

    Args:
        latents: float32 (n, latent_dim), samples of the prior.
        noise: float32 (steps, n, latent_dim), standard normal; there is a step for each.
        log_prior: from latents (n, latent_dim) to log p(z), (n,), up to a constant.
        decode: from latents to images (n, height, width, channels) in [0, 1].
        classifier: `keras.Model` from images to probabilities; see `check_classifier`. It runs
            as in inference, and stays as it is.
        target: int, or int (n,): the class to move to.
        scale: of the guidance. 0 leaves the prior, 1 is the posterior given the class, more
            prefers images that the classifier is sure of. Default 3.
        step_size: of the dynamics. Default 0.1.

    Returns:
        float32 (n, latent_dim). Row i depends on the i-th rows of the arguments alone.

    Reference:
        Nguyen et al., Plug & Play Generative Networks, CVPR 2017, https://arxiv.org/abs/1612.00005
        Leimkuhler and Matthews, Rational Construction of Stochastic Numerical Methods for
        Molecular Sampling, 2013, https://arxiv.org/abs/1203.5428
        Fang and Giles, Adaptive Euler-Maruyama Method for SDEs with Non-globally Lipschitz Drift,
        2020, https://arxiv.org/abs/1609.08101
    """
    target = tf.broadcast_to(tf.cast(target, tf.int32), tf.shape(latents)[:1])

    def gradients(z):
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(z)
            # Sums, whose gradient in each row is that row's own.
            prior = tf.reduce_sum(log_prior(z))
            probabilities = classifier(decode(z), training=False)
            guidance = scale * tf.reduce_sum(_log_probability(probabilities, target))
        return tape.gradient(prior, z), tape.gradient(guidance, z)

    def step(i, z, previous):
        prior, guidance = gradients(z)
        steepness = tf.reduce_mean(prior**2, axis=1, keepdims=True)  # 1 for a normal density
        size = step_size * tf.minimum(1.0, STEEP / steepness)
        z += size * (prior + guidance) + (size / 2) ** 0.5 * (previous + noise[i])
        return i + 1, z, noise[i]

    start = (tf.constant(0), latents, tf.zeros_like(latents))
    return tf.while_loop(lambda i, *_: i < tf.shape(noise)[0], step, start)[1]


def _log_probability(probabilities, target):
    """Log-probability, (n,), of the target, of the outputs (n, classes) or (n, 1) of a classifier.

    Keras goes back to the logits of a softmax or sigmoid: where probabilities round to 0 or 1,
    only those have a gradient.
    """
    if probabilities.shape[-1] == 1:
        targets = tf.cast(target, probabilities.dtype)[:, None]
        loss = ops.binary_crossentropy(targets, probabilities)[:, 0]
    else:
        loss = ops.sparse_categorical_crossentropy(target, probabilities)
    return -tf.cast(loss, tf.float32)


def check_classifier(classifier, image_shape, target, num):
    """Checks that a classifier can guide images of that shape to that class, by trying it.

    Args:
        classifier: `keras.Model` from images (n, height, width, channels) in [0, 1] to
            probabilities of classes: (n, classes), each row of sum 1, or (n, 1), the probability
            of class 1 against class 0.
        image_shape: (height, width, channels).
        target: int, or int (num,).
        num: how many images there will be.

    Returns:
        np.ndarray int32 (num,): the class of each image.

    Raises:
        ValueError: for a classifier of other images, or one whose outputs are not probabilities,
            such as logits; for a target that is no class of its.
    """
    expected = getattr(classifier, "input_shape", None)
    images = (None, *image_shape)
    if isinstance(expected, tuple) and not tf.TensorShape(expected).is_compatible_with(images):
        raise ValueError(
            f"the classifier must take images of {images}. Received: inputs of {expected}."
        )
    # Noise of several contrasts, for logits may chance to look like probabilities on one image.
    noise = np.random.default_rng(0).random((32, *image_shape))
    images = noise * np.linspace(0, 1, 32).reshape(-1, 1, 1, 1)
    outputs = classifier(tf.constant(images, tf.float32), training=False)
    shape = tuple(getattr(outputs, "shape", ()))
    if len(shape) != 2:
        raise ValueError(f"the classifier must return (n, classes). Received: outputs of {shape}.")
    outputs = tf.cast(outputs, tf.float32).numpy()
    total = outputs.sum(axis=1) if shape[1] > 1 else 1
    inside = np.all((outputs >= 0) & (outputs <= 1 + SUM_TOLERANCE))
    if not inside or np.any(np.abs(total - 1) > SUM_TOLERANCE):
        raise ValueError(
            "the classifier must return probabilities: add a softmax, or for one output a sigmoid. "
            f"Received: outputs from {outputs.min():g} to {outputs.max():g}, "
            f"of sums up to {outputs.sum(axis=1).max():g}."
        )
    target, classes = np.asarray(target), max(shape[1], 2)
    if target.shape not in ((), (num,)) or not np.isin(target, range(classes)).all():
        raise ValueError(
            f"target must be a class from 0 to {classes - 1}, or one for each of {num} images. "
            f"Received: target={target.tolist()}."
        )
    return np.broadcast_to(target, (num,)).astype(np.int32)
