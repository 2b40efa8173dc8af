"""AnoGAN: the image that a GAN can make that is nearest to a given one."""

import numpy as np
import tensorflow as tf

from keras_medgen.anomaly.batches import in_batches
from keras_medgen.models.adversarial import judge
from keras_medgen.ops.random import normal_rows
from keras_medgen.ops.ranges import signed

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's


def latent_search(
    model, images, labels, *, steps, restarts, learning_rate, feature_weight, feature_layer, seed
):
    """Searches, for each image by itself, the latent whose image comes nearest to it.

    Adam descends (1 - w) |x - G(z)| + w |f(x) - f(G(z))|, sums over images in [-1, 1], as the
    networks know them, and over the discriminator's features f, from standard normal latents.

    Args:
        model: a `GAN`.
        images: np.ndarray float32 (n, height, width, channels) in [0, 1].
        labels: np.ndarray float32 (n, num_classes), or None.
        steps: of the search.
        restarts: searches from other latents, of which the best counts.
        learning_rate: of Adam.
        feature_weight: w.
        feature_layer: name of the discriminator's layer that is f.
        seed: of the first latents; those of image i follow from `(seed, i)`.

    Returns:
        Restored images (n, height, width, channels) in [0, 1], and what is left of the sum (n,),
        float32.

    Reference:
        Schlegl et al., Unsupervised Anomaly Detection with Generative Adversarial Networks to
        Guide Marker Discovery, 2017, https://arxiv.org/abs/1703.05921
    """
    run = judge(model.discriminator, feature_layer)

    def features(images, labels):
        values = run(signed(images), labels)[1]
        return tf.reshape(values, (tf.shape(values)[0], -1))

    def distance(latents, images, wanted, labels):
        made = model.decoded(latents, labels)
        residual = tf.reduce_sum(tf.abs(signed(images) - signed(made)), axis=(1, 2, 3))
        mismatch = tf.reduce_sum(tf.abs(wanted - features(made, labels)), axis=1)
        return (1 - feature_weight) * residual + feature_weight * mismatch

    def search(latents, images, labels):
        wanted = features(images, labels)

        def step(number, latents, first, second):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                loss = distance(latents, images, wanted, labels)
            gradient = tape.gradient(loss, latents)
            first = BETA_1 * first + (1 - BETA_1) * gradient
            second = BETA_2 * second + (1 - BETA_2) * tf.square(gradient)
            count = tf.cast(number + 1, tf.float32)
            direction = (first / (1 - BETA_1**count)) / (
                tf.sqrt(second / (1 - BETA_2**count)) + EPSILON
            )
            return number + 1, latents - learning_rate * direction, first, second

        zeros = tf.zeros_like(latents)
        _, latents, _, _ = tf.while_loop(
            lambda number, *_: number < steps, step, (tf.constant(0), latents, zeros, zeros)
        )
        return model.decoded(latents, labels), distance(latents, images, wanted, labels)

    count = len(images)
    first = normal_rows(seed, np.arange(count), (restarts, model.latent_dim)).numpy()
    rows = np.repeat(np.arange(count), restarts)
    made, left = in_batches(
        search,
        first.reshape(-1, model.latent_dim),
        images[rows],
        None if labels is None else labels[rows],
    )
    best = restarts * np.arange(count) + left.reshape(count, restarts).argmin(axis=1)
    return made[best], left[best]
