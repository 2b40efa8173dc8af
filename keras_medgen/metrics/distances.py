"""Distances between two sets of features: Fréchet and kernel."""

import numpy as np

from keras_medgen.metrics.feature_set import comparable

BLOCK = 2**22  # values at a time: 32 MiB


def frechet_distance(real, generated) -> float:
    """The Fréchet distance between Gaussians that are fitted to two sets of features.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), of means and covariances (n - 1 in the
    denominator), in float64. With the features of the original Inception network it is the FID;
    call it by no other features' figure. It is larger the smaller the sets are: put beside it that
    of two halves of the real images, of as many rows.

    Args:
        real: (n, d), an array or `Features`, at least 2 rows.
        generated: (m, d), likewise.

    Returns:
        The distance, from 0.

    Raises:
        ValueError: for features of different extractors or widths, too few rows, NaN or infinity.

    Reference:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium, 2017, https://arxiv.org/abs/1706.08500
    """
    real, generated = comparable(real=real, generated=generated)
    difference = real.mean(axis=0) - generated.mean(axis=0)
    if min(len(real), len(generated)) > real.shape[1]:
        return _distance(difference, _covariance(real), _covariance(generated))
    return _distance_of_factors(difference, _factor(real), _factor(generated))


def frechet_distance_of_moments(first, second) -> float:
    """As `frechet_distance`, of means and covariances.

    Args:
        first: (mean, covariance), arrays (d,) and (d, d).
        second: likewise.

    Returns:
        The distance, from 0.

    Raises:
        ValueError: for other shapes, NaN or infinity.
    """
    moments = [tuple(np.asarray(values, np.float64) for values in pair) for pair in (first, second)]
    (mean, covariance), (other, other_covariance) = moments
    shapes = [values.shape for pair in moments for values in pair]
    if mean.ndim != 1 or shapes != 2 * [mean.shape, 2 * mean.shape]:
        raise ValueError(
            "first and second must be means (d,) and covariances (d, d). "
            f"Received: shapes {shapes[:2]} and {shapes[2:]}."
        )
    if not all(np.isfinite(values).all() for pair in moments for values in pair):
        raise ValueError("first and second must be finite. Received: NaN or infinity.")
    return _distance(mean - other, covariance, other_covariance)


def kernel_distance(real, generated, subset_size=None, subsets=100, seed=0) -> float:
    """The squared maximum mean discrepancy of two sets of features, unbiased.

    With the kernel (x.y / d + 1)^3 of Bińkowski et al.; with the features of the original
    Inception network it is the KID. Unlike the Fréchet distance it does not depend on the number
    of rows, but for its noise, and so may be below 0.

    Args:
        real: (n, d), an array or `Features`, at least 2 rows.
        generated: (m, d), likewise.
        subset_size: rows of each set in a random subset; None for one estimate over all rows,
            which has the least noise.
        subsets: how many random subsets to take the mean of; see `subset_kernel_distances`.
        seed: of the subsets.

    Returns:
        The distance.

    Raises:
        ValueError: for features of different extractors or widths, too few rows, NaN or infinity.

    Reference:
        Bińkowski et al., Demystifying MMD GANs, ICLR 2018, https://arxiv.org/abs/1801.01401
    """
    if subset_size is not None:
        return float(subset_kernel_distances(real, generated, subset_size, subsets, seed).mean())
    return _mean_discrepancy(*comparable(real=real, generated=generated))


def subset_kernel_distances(real, generated, subset_size, subsets=100, seed=0) -> np.ndarray:
    """The kernel distances of random subsets, drawn without replacement within each.

    Their mean and standard deviation are how the KID is usually given. They are drawn as
    torch-fidelity does, whose seed is 2020.

    Args:
        real: (n, d), an array or `Features`.
        generated: (m, d), likewise.
        subset_size: rows of each set in a subset, at least 2.
        subsets: how many.
        seed: of the draws.

    Returns:
        np.ndarray float64 (subsets,).

    Raises:
        ValueError: as `kernel_distance`, and for subsets of more rows than there are.
    """
    real, generated = comparable(real=real, generated=generated)
    most = min(len(real), len(generated))
    if not 2 <= subset_size <= most:
        raise ValueError(
            f"subset_size must be from 2 to {most}, the rows of the smaller set. "
            f"Received: subset_size={subset_size}."
        )
    if subsets < 1:
        raise ValueError(f"subsets must be at least 1. Received: subsets={subsets}.")
    random = np.random.RandomState(seed)
    return np.array(
        [
            _mean_discrepancy(
                *(x[random.choice(len(x), subset_size, replace=False)] for x in (real, generated))
            )
            for _ in range(subsets)
        ]
    )


def _covariance(features):
    """The covariance (d, d) of (n, d), n - 1 in the denominator."""
    centred = features - features.mean(axis=0)
    return centred.T @ centred / (len(features) - 1)


def _distance(difference, first, second):
    """The distance, given two covariances."""
    from scipy import linalg  # slow to import

    try:
        # Eigenvalues of the product, by the Cholesky factor of the second; transposed they need no
        # copy for Fortran's order. This driver takes two thirds of the time of the default one.
        eigenvalues = linalg.eigvalsh(first.T, second.T, type=2, driver="gv", check_finite=False)
    except linalg.LinAlgError:  # the second is singular
        return _distance_of_factors(difference, _root(first), _root(second))
    return _sum(difference, np.trace(first) + np.trace(second), eigenvalues)


def _distance_of_factors(difference, first, second):
    """The distance, given F of each covariance F'F: by the singular values of F1 F2'."""
    from scipy import linalg

    overlap = first @ second.T
    if len(first) > len(second):
        overlap = overlap.T
    eigenvalues = linalg.eigvalsh(overlap @ overlap.T) if overlap.size else np.zeros(0)
    return _sum(difference, np.vdot(first, first) + np.vdot(second, second), eigenvalues)


def _sum(difference, variances, eigenvalues):
    shared = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    # Rounding may take it below 0.
    return max(float(difference @ difference + variances - 2 * shared), 0.0)


def _factor(features):
    """A matrix F of at most d rows whose F'F is the covariance: the rows, where they are few."""
    rows, width = features.shape
    if rows > width:
        return _root(_covariance(features))
    return (features - features.mean(axis=0)) / np.sqrt(rows - 1)


def _root(covariance):
    """A matrix F whose F'F is a covariance, without the directions of no variance."""
    from scipy import linalg

    values, vectors = linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * abs(values).max()
    return (vectors[:, kept] * np.sqrt(values[kept])).T


def _mean_discrepancy(real, generated):
    within = [
        (_kernel_sum(x, x) - _kernel(np.einsum("ij,ij->i", x, x), x.shape[1]).sum())
        / (len(x) * (len(x) - 1))
        for x in (real, generated)
    ]
    between = _kernel_sum(real, generated) / (len(real) * len(generated))
    return float(sum(within) - 2 * between)


def _kernel_sum(first, second):
    step = max(1, BLOCK // len(second))
    return sum(
        _kernel(first[start : start + step] @ second.T, first.shape[1]).sum()
        for start in range(0, len(first), step)
    )


def _kernel(products, width):
    base = products / width + 1
    return base * base * base
