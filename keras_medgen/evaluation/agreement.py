"""How far readers agree beyond chance, and how sure a proportion is."""

import numpy as np

Z = 1.959963984540054  # of a 95% interval


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """The 95% score interval of a proportion.

    Args:
        successes: from 0 to `count`.
        count: of trials, at least 1.

    Returns:
        Its ends, in [0, 1].

    Reference:
        Wilson, Probable Inference, the Law of Succession, and Statistical Inference, Journal of the
        American Statistical Association 22, 1927; without continuity correction
    """
    share, squared = successes / count, Z**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = Z * np.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    half /= 1 + squared / count
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def cohen_kappa(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Agreement of two readers between two verdicts, of many resamples at once.

    Args:
        first: bool (n,), a verdict on each image.
        second: likewise.
        weights: (resamples, n), how often each image counts.

    Returns:
        (resamples,): 1 for full agreement, 0 for that of chance; NaN where both gave all images
        one and the same verdict.

    Reference:
        Cohen, A Coefficient of Agreement for Nominal Scales, Educational and Psychological
        Measurement 20, 1960
    """
    total = weights.sum(axis=1)
    observed = weights @ (first == second) / total
    shares = [weights @ verdicts / total for verdicts in (first, second)]
    expected = shares[0] * shares[1] + (1 - shares[0]) * (1 - shares[1])
    return _beyond_chance(observed, expected)


def fleiss_kappa(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Agreement of three readers or more, of many resamples at once.

    Args:
        counts: int (n, categories), how many readers put each image into each category: as many
            readers for every image, at least two.
        weights: (resamples, n), how often each image counts.

    Returns:
        (resamples,): 1 for full agreement, 0 for that of chance; NaN where all verdicts are one.

    Reference:
        Fleiss, Measuring Nominal Scale Agreement Among Many Raters, Psychological Bulletin 76, 1971
    """
    readers = counts[0].sum()
    pairs = (counts * (counts - 1)).sum(axis=1) / (readers * (readers - 1))
    total = weights.sum(axis=1)
    shares = weights @ counts / (total[:, None] * readers)
    return _beyond_chance(weights @ pairs / total, (shares**2).sum(axis=1))


def _beyond_chance(observed, expected):
    room = 1 - expected
    undefined = np.full_like(expected, np.nan)
    return np.divide(observed - expected, room, out=undefined, where=room > 1e-12)
