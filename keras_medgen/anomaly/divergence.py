"""Scores in nats of a model with an encoder, and their gradients as maps."""

import numpy as np
import tensorflow as tf

from keras_medgen.anomaly.batches import in_batches
from keras_medgen.anomaly.differences import of_channel
from keras_medgen.models.adversarial import judge
from keras_medgen.ops.random import normal_rows
from keras_medgen.ops.ranges import signed


def divergence(model, images, labels, *, with_reconstruction, channel, num_draws, seed):
    """The KL divergence of each image's posterior from the prior, and its gradient.

    With the reconstruction, the negative evidence lower bound: the model's own reconstruction
    loss, at the mean of the posterior, plus the divergence, weight 1, both in nats.

    Args:
        model: a `VAE` or a `VAEGAN`.
        images: np.ndarray float32 (n, height, width, channels) in [0, 1].
        labels: np.ndarray float32 (n, num_classes), or None.
        with_reconstruction: bool.
        channel: of the gradient, or None for the mean over all.
        num_draws: of latents, for a divergence without a closed form.
        seed: of these.

    Returns:
        Maps (n, height, width), |d score / d pixel| in nats per unit of intensity, and scores
        (n,) in nats, float32.
    """
    reconstruction_loss = _reconstruction_loss(model) if with_reconstruction else None

    def score(images, labels, numbers):
        posterior = model.posterior(images, labels)
        total = _divergence(model, posterior, labels, numbers, num_draws, seed)
        if reconstruction_loss is not None:
            decoded = model.decoded(posterior.mean(), labels)
            total += reconstruction_loss(images, decoded, labels)
        return total

    def with_gradient(images, labels, numbers):
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = score(images, labels, numbers)
        return tf.abs(tape.gradient(scores, images)), scores

    gradients, scores = in_batches(with_gradient, images, labels, np.arange(len(images)))
    return of_channel(gradients, channel), scores


def _divergence(model, posterior, labels, numbers, num_draws, seed):
    """(batch,), in nats: exact where there is a closed form, else the mean over draws."""
    mean, stddev = posterior.mean(), posterior.stddev()
    if model.prior.factorised:
        return tf.reduce_sum(model.kl_divergence(posterior, mean, labels), axis=1)
    noise = normal_rows(seed, numbers, (num_draws, model.latent_dim))
    draws = [
        tf.reduce_sum(
            model.kl_divergence(posterior, mean + stddev * noise[:, draw], labels), axis=1
        )
        for draw in range(num_draws)
    ]
    return tf.add_n(draws) / num_draws


def _reconstruction_loss(model):
    """A function of images, reconstructions and labels to the loss that the model trains with."""
    if hasattr(model, "reconstruction"):
        return lambda images, decoded, labels: model.reconstruction(images, decoded)
    run = judge(model.discriminator, model.feature_layer)

    def of_features(images, decoded, labels):
        pair = (run(signed(batch), labels)[1] for batch in (images, decoded))
        squared = tf.math.squared_difference(*pair)
        return 0.5 * tf.reduce_sum(squared, axis=list(range(1, squared.shape.rank)))

    return of_features
