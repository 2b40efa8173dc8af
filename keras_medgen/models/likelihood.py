"""Importance-weighted bounds on the likelihood of images under a VAE."""

import math

import numpy as np
import tensorflow as tf

from keras_medgen.ops.random import normal

IMAGES, SAMPLES = 16, 16  # at a time: as many decoded images as their product


def log_likelihood(model, images, labels, num_samples, seed):
    """See `VAE.log_likelihood`.

    Args:
        model: a `VAE`.
        images: np.ndarray float32 (n, height, width, channels) in [0, 1].
        labels: np.ndarray float32 (n, num_classes), or None.
        num_samples: int.
        seed: int.

    Returns:
        np.ndarray float32 (n,), in nats.
    """
    kind = model.reconstruction.likelihood
    if kind is None:
        raise ValueError(f"{model.reconstruction.name} is no likelihood: it has no log_likelihood.")
    if kind == "binary" and not np.isin(images, (0, 1)).all():
        raise ValueError(
            "the Bernoulli likelihood is one of images of 0 and 1: it has no log_likelihood of "
            "grey images."
        )
    return _bound(model, images, labels, num_samples, seed, dequantise=False)


def bits_per_dimension(model, images, labels, num_samples, seed):
    """See `VAE.bits_per_dimension`; arguments as for `log_likelihood`, images of 8 bits."""
    kind = model.reconstruction.likelihood
    if kind not in ("continuous", "discrete"):
        raise ValueError(
            f"{model.reconstruction.name} is no likelihood of 8-bit images: it has no "
            "bits_per_dimension."
        )
    nats = _bound(model, images, labels, num_samples, seed, dequantise=kind == "continuous")
    dimensions = math.prod(model.image_shape)
    bits = -nats / (dimensions * math.log(2))
    # A density over [0, 1] is one over 256 bins of width 1/256.
    return bits + (8 if kind == "continuous" else 0)


def _bound(model, images, labels, num_samples, seed, dequantise):
    if num_samples < 1:
        raise ValueError(f"num_samples must be positive. Received: num_samples={num_samples}.")

    def log_mean(images, labels, first, num_samples, seed):
        """(batch,), of images whose numbers start at `first`: the noise follows from these."""
        parameters = model.posterior_parameters(images, labels)
        mean, stddev = parameters["mean"], tf.exp(0.5 * parameters["log_var"])
        batch = tf.shape(images)[0]
        prior = model.prior_distribution(_repeated(labels, SAMPLES))

        def chunk(start, total):
            noise_seed = tf.stack([seed, first[0] + start])
            noise = normal((batch, SAMPLES, model.latent_dim), noise_seed)
            latents = tf.reshape(
                mean[:, None] + stddev[:, None] * noise, (batch * SAMPLES, model.latent_dim)
            )
            targets = _repeated(images, SAMPLES)
            if dequantise:
                # Of a seed of its own: of the latents' it would follow from their noise.
                own = tf.random.experimental.stateless_fold_in(noise_seed, 1, alg="philox")
                uniform = tf.random.stateless_uniform(tf.shape(targets), own, alg="philox")
                targets = (255 * targets + uniform) / 256
            decoded = model.decoded(latents, _repeated(labels, SAMPLES))
            log_prior = prior.log_prob(latents)
            log_posterior = -0.5 * tf.reduce_sum(
                tf.square(noise) + 2 * tf.math.log(stddev)[:, None] + math.log(2 * math.pi), axis=2
            )
            log_weights = (
                tf.reshape(log_prior - model.reconstruction(targets, decoded), (batch, SAMPLES))
                - log_posterior
            )
            used = start + tf.range(SAMPLES) < num_samples
            log_weights = tf.where(used[None], log_weights, -np.inf)
            chunk_total = tf.reduce_logsumexp(log_weights, axis=1)
            return start + SAMPLES, tf.math.reduce_logsumexp(tf.stack([total, chunk_total]), axis=0)

        start = (tf.constant(0), tf.fill((batch,), -np.inf))
        _, total = tf.while_loop(lambda start, _: start < num_samples, chunk, start)
        return total - tf.math.log(tf.cast(num_samples, tf.float32))

    function = model._function(f"log_likelihood, dequantise={dequantise}", log_mean)
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(images), IMAGES):
        rows = slice(start, start + IMAGES)
        given = None if labels is None else tf.constant(labels[rows])
        numbers = map(tf.constant, ([start * num_samples], num_samples, seed))
        parts.append(function(tf.constant(images[rows]), given, *numbers).numpy())
    return np.concatenate(parts)


def _repeated(tensor, times):
    return None if tensor is None else tf.repeat(tensor, times, axis=0)
