"""What nearest neighbours tell: fidelity, diversity, and copies of training images."""

import numpy as np

from keras_medgen.metrics.feature_set import comparable

BLOCK = 2**22  # values at a time: 32 MiB
SPARE = 8  # neighbours that are looked at beside the k nearest, where rounding could mix them up
ROUNDING = 1e-12  # of squared distances by matrix products, relative to the largest


def nearest(queries, references, exclude_self=False, k=1):
    """The nearest references of each query, by Euclidean distance.

    They are found by matrix products, and the distances to them then taken from the differences:
    that of a copy is exactly 0, that of a near copy has all its digits. Memory is bounded,
    whatever the numbers of rows.

    Args:
        queries: (n, d), an array or `Features`.
        references: (m, d), likewise.
        exclude_self: leave reference i out for query i, where both are one set.
        k: how many.

    Returns:
        Distances, float64, and indices of the references, int64: (n,) for k=1, else (n, k) from
        the nearest on.

    Raises:
        ValueError: for features of different extractors or widths, NaN or infinity, or fewer
            references than k.
    """
    queries, references = comparable(1, queries=queries, references=references)
    if exclude_self and len(queries) != len(references):
        raise ValueError(
            "queries and references must be one set for exclude_self. "
            f"Received: {len(queries)} and {len(references)} rows."
        )
    available = len(references) - bool(exclude_self)
    if not 1 <= k <= available:
        raise ValueError(
            f"k must be from 1 to {available}, the number of other rows. Received: k={k}."
        )
    count = min(k + SPARE, available)
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for rows, squared in _squared_blocks(queries, references, count * queries.shape[1]):
        if exclude_self:
            squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
        chosen = np.argpartition(squared, count - 1, axis=1)[:, :count]
        starts = np.repeat(queries[rows], count, axis=0)
        exact = _distances(starts, references[chosen.ravel()]).reshape(chosen.shape)
        order = np.lexsort((chosen, exact))[:, :k]
        distances[rows] = np.take_along_axis(exact, order, axis=1)
        indices[rows] = np.take_along_axis(chosen, order, axis=1)
    return (distances[:, 0], indices[:, 0]) if k == 1 else (distances, indices)


def precision_recall_density_coverage(real, generated, k=5) -> dict[str, float]:
    """Fidelity and diversity from balls around each row that reach to its k-th neighbour.

    The k-th neighbour is that in the same set, without the row itself; a row at the very distance
    of it is outside the ball.

    Args:
        real: (n, d), an array or `Features`, more than k rows.
        generated: (m, d), likewise.
        k: which neighbour.

    Returns:
        A dict of `precision`, the share of generated rows in the ball of a real one; `recall`, the
        share of real rows in the ball of a generated one; `density`, the mean number of real balls
        that a generated row is in, divided by k, from 0 and not bounded by 1; `coverage`, the
        share of real balls with a generated row in them.

    Raises:
        ValueError: for features of different extractors or widths, too few rows, NaN or infinity.

    Reference:
        Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models,
        2019, https://arxiv.org/abs/1904.06991; Naeem et al., Reliable Fidelity and Diversity
        Metrics for Generative Models, 2020, https://arxiv.org/abs/2002.09797
    """
    real, generated = comparable(k + 1, real=real, generated=generated)
    real_radii, generated_radii = (
        nearest(x, x, exclude_self=True, k=k)[0].reshape(len(x), k)[:, -1]
        for x in (real, generated)
    )
    balls = np.zeros(len(generated), np.int64)  # real ones that each generated row is in
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, squared in _squared_blocks(generated, real):
        inside = _nearer(squared, generated[rows], real, real_radii[None, :])
        balls[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        inside = _nearer(squared, generated[rows], real, generated_radii[rows, None])
        recalled |= inside.any(axis=0)
    return {
        "precision": float(np.mean(balls > 0)),
        "recall": float(np.mean(recalled)),
        "density": float(1 / k * np.mean(balls)),
        "coverage": float(np.mean(covered)),
    }


def authenticity(train, generated) -> float:
    """AuthPct: the share of generated rows that are no copies of training rows, as far as it shows.

    A generated row counts as a copy if it is no farther from its nearest training row than that is
    from its own nearest training row.

    Args:
        train: (n, d), an array or `Features`, at least 2 rows.
        generated: (m, d), likewise, at least 1 row.

    Returns:
        The share, in [0, 1]. It depends on the features even where nothing is copied: put beside
        it that of real images that were held out.

    Raises:
        ValueError: for features of different extractors or widths, too few rows, NaN or infinity.

    Reference:
        Alaa et al., How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and
        Auditing Generative Models, 2022, https://arxiv.org/abs/2102.08921
    """
    distances, indices = nearest(generated, train)
    own, _ = nearest(train, train, exclude_self=True)
    return float(np.mean(own[indices] < distances))


def copying_statistic(train, held_out, generated) -> float:
    """Z_U of the C_T test of Meehan et al., over all of the feature space as one cell.

    Whether generated rows are nearer to training rows than held-out real rows are: the rank-sum
    statistic of both sets' distances to their nearest training rows, standardised, with a
    correction for continuity.

    Args:
        train: (n, d), an array or `Features`.
        held_out: (m, d), likewise, real rows that the model was not trained on.
        generated: (l, d), likewise.

    Returns:
        A standard normal number if the two sets are alike; far below 0 where training rows are
        copied, far above 0 where generated rows are not like real ones.

    Raises:
        ValueError: for features of different extractors or widths, too few rows, NaN or infinity.

    Reference:
        Meehan, Chaudhuri and Dasgupta, A Non-Parametric Test to Detect Data-Copying in Generative
        Models, AISTATS 2020, https://arxiv.org/abs/2004.05675
    """
    return copying_statistic_of_distances(*(nearest(of, train)[0] for of in (held_out, generated)))


def copying_statistic_of_distances(held_out, generated) -> float:
    """As `copying_statistic`, of the distances to the nearest training rows.

    Args:
        held_out: (m,), those of held-out real rows.
        generated: (l,), those of generated rows.

    Returns:
        Z_U.

    Raises:
        ValueError: for none of either, or NaN.
    """
    from scipy.stats import rankdata  # slow to import

    held_out, generated = np.asarray(held_out), np.asarray(generated)
    n, m = len(held_out), len(generated)
    distances = np.concatenate([generated, held_out])
    if not (n and m) or np.isnan(distances).any():
        raise ValueError(
            "held_out and generated must each be distances, and not NaN. "
            f"Received: {n} and {m}, {np.isnan(distances).sum()} of them NaN."
        )
    u = rankdata(distances)[:m].sum() - m * (m + 1) / 2  # how often a generated one is the larger
    return float((u - n * m / 2 + 0.5) / np.sqrt(n * m * (n + m + 1) / 12))


def _distances(first, second):
    """Of each row from the row opposite: float64 (n,), the same in either order."""
    return np.sqrt(np.square(first - second).sum(axis=1))


def _squared_blocks(queries, references, values=0):
    """Slices of the queries, and their squared distances from all references, but for rounding.

    Args:
        queries: (n, d).
        references: (m, d).
        values: how many values the caller needs for a query.
    """
    centre = references.mean(axis=0)  # nearer to the origin, fewer digits are lost
    references = references - centre
    lengths = np.einsum("ij,ij->i", references, references)
    step = max(1, BLOCK // max(len(references), values))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        block = queries[rows] - centre
        squared = block @ references.T
        squared *= -2
        squared += lengths
        squared += np.einsum("ij,ij->i", block, block)[:, None]
        yield rows, squared


def _nearer(squared, queries, references, radii):
    """Which pairs are nearer than their radii: bool, as `squared`.

    Pairs too close to their radius for the rounding of `squared` are compared by differences, as
    the radii were found: a row at the distance of the k-th neighbour may be that neighbour.
    """
    limits = np.square(radii)
    inside = squared < limits
    first, second = np.nonzero(np.abs(squared - limits) <= ROUNDING * squared.max())
    radii = np.broadcast_to(radii, squared.shape)[first, second]
    step = max(1, BLOCK // queries.shape[1])
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        pairs = first[part], second[part]
        inside[pairs] = _distances(queries[pairs[0]], references[pairs[1]]) < radii[part]
    return inside
