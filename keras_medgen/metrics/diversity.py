"""How many different images there are in a set, with nothing to compare it with."""

import itertools

import numpy as np
import tensorflow as tf

from keras_medgen import ops
from keras_medgen.metrics.feature_set import comparable

PAIRS = 512  # at a time
VALUES = 2**18  # at a time on each side of the pairs, of larger ones: twice as fast as 2**21


def vendi_score(features) -> float:
    """The effective number of different rows: the exponential of the entropy of their similarity.

    Of the eigenvalues of the matrix of cosine similarities, divided by its size (order q = 1).

    Args:
        features: (n, d), an array or `Features`, no row of which is zero.

    Returns:
        From 1, all rows of one direction, to n, all at right angles.

    Raises:
        ValueError: for other shapes, NaN or infinity, or a row of zeros.

    Reference:
        Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning,
        2023, https://arxiv.org/abs/2210.02410
    """
    from scipy import linalg, special  # slow to import

    (values,) = comparable(1, features=features)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(
            "features must have a direction in each row for a cosine. "
            f"Received: {np.count_nonzero(lengths == 0)} of {len(values)} rows are zero."
        )
    values = values / (lengths * np.sqrt(len(values)))
    if len(values) > values.shape[1]:
        values = values.T  # the other product has the same eigenvalues but for zeros
    shares = np.maximum(linalg.eigvalsh(values @ values.T), 0)
    return float(np.exp(special.entr(shares).sum()))


def classifier_score(predictions, splits=1, from_logits=False) -> tuple[float, float]:
    """How sure a classifier is of each image, and how different its classes are over all.

    exp of the mean KL divergence of each row from the mean of all rows; with the classes of the
    original Inception network it is the Inception score (IS).

    Args:
        predictions: (n, classes), probabilities, or logits.
        splits: parts that the rows are cut into, one after the other, each with a score of its
            own.
        from_logits: whether `predictions` are logits.

    Returns:
        The mean of the parts' scores, from 1 to the number of classes, and their standard
        deviation (that of a population; 0 for one part).

    Raises:
        ValueError: for other shapes, NaN or infinity, rows that are no probabilities, or more
            parts than rows.

    Reference:
        Salimans et al., Improved Techniques for Training GANs, 2016,
        https://arxiv.org/abs/1606.03498
    """
    from scipy.special import entr, softmax  # slow to import

    (values,) = comparable(1, predictions=predictions)
    if from_logits:
        values = softmax(values, axis=1)
    sums = values.sum(axis=1)
    if values.min() < 0 or abs(sums - 1).max() > 1e-3:
        raise ValueError(
            "predictions must be probabilities whose rows sum to 1, or come with "
            f"from_logits=True. Received: values from {values.min():.4g} and sums from "
            f"{sums.min():.4g} to {sums.max():.4g}."
        )
    if not 1 <= splits <= len(values):
        raise ValueError(
            f"splits must be from 1 to {len(values)}, the number of rows. "
            f"Received: splits={splits}."
        )
    edges = [len(values) * number // splits for number in range(splits + 1)]
    parts = [values[start:stop] for start, stop in itertools.pairwise(edges)]
    scores = [
        np.exp(entr(part.mean(axis=0)).sum() - entr(part).sum(axis=1).mean()) for part in parts
    ]
    return float(np.mean(scores)), float(np.std(scores))


def mean_pairwise_ms_ssim(images, pairs=500, seed=0) -> float:
    """The mean MS-SSIM of pairs of images of one set: the higher, the more alike they are.

    Args:
        images: (n, height, width, channels) in [0, 1], floating point, at least 2, with sides of
            at least 11 pixels.
        pairs: how many different random pairs; all where there are no more, or for None.
        seed: of the choice.

    Returns:
        The mean, in [0, 1].

    Raises:
        ValueError: for other images, or no pairs.

    Reference:
        Odena, Olah and Shlens, Conditional Image Synthesis with Auxiliary Classifier GANs, 2017,
        https://arxiv.org/abs/1610.09585, section 4.3
    """
    images = np.asarray(images)
    if images.ndim != 4 or len(images) < 2 or images.dtype.kind != "f":
        raise ValueError(
            "images must be at least 2, floating point of shape (n, height, width, channels). "
            f"Received: {images.dtype} of shape {images.shape}."
        )
    first, second = _pairs(len(images), pairs, seed)
    count = len(first)
    size = max(1, min(PAIRS, count, VALUES // images[0].size))
    # All chunks of one size, the last one filled up: one trace serves all.
    places = (np.arange(-(-count // size) * size) % count).reshape(-1, size)
    images = images.astype(np.float32)
    similarities = [
        _ms_ssim(tf.constant(images[first[chunk]]), tf.constant(images[second[chunk]])).numpy()
        for chunk in places
    ]
    return float(np.concatenate(similarities)[:count].mean(dtype=np.float64))


def _pairs(count, pairs, seed):
    """Two np.ndarrays of the numbers of the images of each pair, no pair twice."""
    total = count * (count - 1) // 2
    if pairs is not None and pairs < 1:
        raise ValueError(f"pairs must be at least 1, or None. Received: pairs={pairs}.")
    if pairs is None or pairs >= total:
        return np.triu_indices(count, k=1)
    chosen = np.random.default_rng(seed).choice(total, pairs, replace=False)
    # Pairs (0, 1), (0, 2), ..., (1, 2), ... in order; `starts` are the places of (i, i + 1).
    numbers = np.arange(count)
    starts = numbers * (2 * count - numbers - 1) // 2
    first = np.searchsorted(starts, chosen, side="right") - 1
    # The last image stands first in no pair: its start is the total, which is never chosen.
    return first, chosen - starts[first] + first + 1


_ms_ssim = tf.function(ops.ms_ssim)
