"""A density fitted to the latents of a trained model."""

import numpy as np
import tensorflow as tf

from keras_medgen.layers.priors import FittedMixture

SAMPLES_PER_PARAMETER = 10  # drawn from the posteriors, for a component's mean and covariance


def fit(model, dataset, components, seed):
    """A mixture of Gaussians fitted to samples of the posteriors of a data set.

    See `Autoencoder.fit_prior`.

    Returns:
        A `FittedMixture`.
    """
    from sklearn.mixture import GaussianMixture

    if components < 1:
        raise ValueError(f"components must be positive. Received: components={components}.")
    means, stddevs, labels = _posteriors(model, dataset)
    groups = _groups(labels, len(means))
    prior = FittedMixture(model.latent_dim, components, classes=len(groups))
    random = np.random.default_rng(seed)
    for number, rows in enumerate(groups):
        if not len(rows):
            raise ValueError(f"there is no image of class {number} to fit its prior to.")
        # An image's posterior is part of the density: few images are drawn from several times.
        wanted = SAMPLES_PER_PARAMETER * model.latent_dim * min(components, len(rows))
        drawn = np.tile(rows, -(-wanted // len(rows)))
        latents = means[drawn] + stddevs[drawn] * random.standard_normal(
            (len(drawn), model.latent_dim)
        )
        mixture = GaussianMixture(
            min(components, len(rows)), covariance_type="full", random_state=seed, reg_covar=1e-6
        ).fit(latents)
        prior.set_mixture(number, mixture.weights_, mixture.means_, mixture.covariances_)
    return prior


def _posteriors(model, dataset):
    """Means and standard deviations, float64 (n, latent_dim), and labels (n, classes) or None."""
    if not isinstance(dataset, tf.data.Dataset):
        if not isinstance(dataset, dict):
            parts = dataset if isinstance(dataset, (tuple, list)) else (dataset,)
            dataset = tuple(map(np.asarray, parts))
        dataset = tf.data.Dataset.from_tensors(dataset)
    means, stddevs, labels = [], [], []
    for element in dataset:
        batch = model.unpack_batch(element)
        given = batch["labels"].numpy() if "labels" in batch else None
        encoded = model.encode(batch["images"], given)
        means.append(encoded["mean"])
        stddevs.append(np.exp(0.5 * encoded["log_var"]))
        labels.append(given)
    if not sum(map(len, means)):
        raise ValueError("the data set has no images to fit a prior to.")
    means, stddevs = (np.concatenate(parts).astype(np.float64) for parts in (means, stddevs))
    return means, stddevs, None if labels[0] is None else np.concatenate(labels)


def _groups(labels, count):
    """The rows that share a mixture: of each class where every image has just one, else all."""
    if labels is None or not (labels.sum(axis=1) == 1).all():
        return [np.arange(count)]
    return [np.flatnonzero(labels[:, number]) for number in range(labels.shape[1])]
