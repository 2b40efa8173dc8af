"""ROC, precision and recall, and Dice of scores, exact and of many resamples at once."""

import numpy as np

BINS = 2000  # of each class's quantiles: what a curve is read from in a resample


def ranking(targets: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """How well scores put lesions before healthy.

    Args:
        targets: bool (n,).
        scores: (n,).

    Returns:
        A dict of `auroc` and `ap`, the average precision; NaN where one class is missing.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score  # slow to import

    if targets.all() or not targets.any():
        return {"auroc": np.nan, "ap": np.nan}
    return {
        "auroc": float(roc_auc_score(targets, scores)),
        "ap": min(1.0, float(average_precision_score(targets, scores))),  # it can round to more
    }


def dice(true_positives, predicted, actual):
    """2 TP / (predicted + actual), counts or arrays of them; NaN where there is neither."""
    total = np.asarray(predicted + actual, np.float64)
    return np.divide(2 * true_positives, total, out=np.full_like(total, np.nan), where=total > 0)


def best_dice(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """The highest Dice of `scores > threshold`, and that threshold.

    Args:
        targets: bool (n,), some of them True.
        scores: (n,).

    Returns:
        The Dice coefficient; and the threshold, in the middle between two scores.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order].astype(np.float64), np.cumsum(targets[order])
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # of each score, the last place
    values = dice(hits[last], last + 1, hits[-1])
    best = int(np.argmax(values))
    chosen = scores[last[best]]
    below = scores[last[best] + 1] if last[best] + 1 < len(scores) else chosen - 1
    return float(values[best]), float((chosen + below) / 2)


def histograms(targets: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Counts of scores in bins, for each group.

    The bins are the scores themselves where these are few, else the quantiles of each class's
    scores: fine where either is dense.

    Args:
        targets: bool (n,).
        scores: (n,).
        groups: int (n,), from 0.

    Returns:
        int (groups, 2, bins), of healthy and of lesion, from the lowest scores to the highest.
    """
    edges = np.unique(scores)
    if len(edges) > 2 * BINS:
        places = np.linspace(0, 1, BINS)
        parts = [scores[targets == target] for target in (False, True)]
        edges = np.unique(np.concatenate([np.quantile(p, places) for p in parts if p.size]))
    bins = np.maximum(np.searchsorted(edges, scores, side="right") - 1, 0)
    count, size = int(groups.max()) + 1, len(edges)
    flat = (groups.astype(np.int64) * 2 + targets) * size + bins
    return np.bincount(flat, minlength=count * 2 * size).reshape(count, 2, size)


def of_histograms(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The same figures from counts, all scores of one bin taken as tied.

    Args:
        counts: (..., 2, bins), as of `histograms`.

    Returns:
        A dict of `auroc`, `ap` and `best_dice`, each (...); NaN where a class is missing.
    """
    counts = counts[..., ::-1].astype(np.float64)  # from the highest scores to the lowest
    healthy, lesion = np.moveaxis(np.cumsum(counts, axis=-1), -2, 0)
    totals = healthy[..., -1:], lesion[..., -1:]
    whole = (totals[0] > 0) & (totals[1] > 0)
    recall = np.divide(lesion, totals[1], out=np.full_like(lesion, np.nan), where=whole)
    fall_out = np.divide(healthy, totals[0], out=np.full_like(healthy, np.nan), where=whole)
    chosen = healthy + lesion
    precision = np.divide(lesion, chosen, out=np.zeros_like(lesion), where=chosen > 0)
    gained = np.diff(recall, axis=-1, prepend=0)
    widths = np.diff(fall_out, axis=-1, prepend=0)
    return {
        "auroc": np.sum(widths * (recall - gained / 2), axis=-1),
        "ap": np.sum(gained * precision, axis=-1),
        "best_dice": np.where(whole, dice(lesion, chosen, totals[1]), np.nan).max(axis=-1),
    }


def resampled_weights(groups: int, resamples: int, seed: int) -> np.ndarray:
    """How often each group comes in each bootstrap resample: int (resamples, groups)."""
    return np.random.default_rng(seed).multinomial(
        groups, np.full(groups, 1 / groups), size=resamples
    )


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """The 2.5th and 97.5th percentile of resampled values, without the undefined ones."""
    values = values[np.isfinite(values)]
    return tuple(np.percentile(values, [2.5, 97.5]).tolist()) if values.size else None
