"""How well predicted probabilities tell classes apart, and how sure that is."""

import numpy as np
import scipy.stats

Z = 1.959963984540054  # of a 95% interval


def classification_figures(labels: np.ndarray, probabilities: np.ndarray, task: str) -> dict:
    """Accuracy, area under the ROC curve and recall.

    Args:
        labels: int (n,), from 0; of the task "multi-label" (n, num_classes) of 0 and 1.
        probabilities: (n, num_classes).
        task: "multi-class", "ordinal" or "multi-label".

    Returns:
        A dict of `accuracy`, the share of images whose most probable class is theirs, or of labels
        on the right side of 0.5; `aucs`, (num_classes,), of each class against all others, NaN
        for a class that none or all of the images have; `auc`, their mean without those, NaN
        without any; `recalls`, (num_classes,), the share of each class's images, or of each
        label's, that are found, NaN where there are none; and `influence`, a dict of `accuracy`
        and `auc`, each (n,), for `difference`.
    """
    num_classes = probabilities.shape[1]
    if task == "multi-label":
        actual, predicted = np.asarray(labels) > 0, probabilities > 0.5
        right = (actual == predicted).mean(axis=1)
    else:
        classes = np.arange(num_classes)
        actual = np.asarray(labels)[:, None] == classes
        predicted = probabilities.argmax(axis=1)[:, None] == classes
        right = (actual & predicted).any(axis=1)
    count, found = actual.sum(axis=0), (actual & predicted).sum(axis=0)
    each = [_auc(actual[:, c], probabilities[:, c]) for c in range(num_classes)]
    aucs = np.array([auc for auc, _ in each])
    known = ~np.isnan(aucs)
    of_auc = np.array([influence for _, influence in each])[known]
    return {
        "accuracy": float(right.mean()),
        "aucs": aucs,
        "auc": float(aucs[known].mean()) if known.any() else np.nan,
        "recalls": np.divide(found, count, out=np.full(num_classes, np.nan), where=count > 0),
        "influence": {
            "accuracy": right - right.mean(),
            "auc": of_auc.mean(axis=0) if known.any() else np.full(len(actual), np.nan),
        },
    }


def _auc(actual, scores):
    """The area under one class's ROC curve, and how each image moves it."""
    positives, negatives = np.flatnonzero(actual), np.flatnonzero(~actual)
    influence = np.full(len(actual), np.nan)
    if not len(positives) or not len(negatives):
        return np.nan, influence
    # The share of negatives below each positive, and of positives above each negative: a tie
    # counts half.
    ranks = scipy.stats.rankdata(scores)
    below = (ranks[positives] - scipy.stats.rankdata(scores[positives])) / len(negatives)
    above = 1 - (ranks[negatives] - scipy.stats.rankdata(scores[negatives])) / len(positives)
    auc = below.mean()
    influence[positives] = (below - auc) * len(actual) / len(positives)
    influence[negatives] = (above - auc) * len(actual) / len(negatives)
    return auc, influence


def difference(first: list[dict], second: list[dict], name: str) -> tuple[float, float, float]:
    """How much one figure differs between two ways of training, tested on the same images.

    Args:
        first: `classification_figures` of each seed.
        second: likewise.
        name: "accuracy" or "auc".

    Returns:
        The mean of the second less that of the first, and the ends of its 95% interval: over test
        images, each judged in both ways, and over seeds, where there are several.

    Reference:
        DeLong, DeLong and Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver
        Operating Characteristic Curves: A Nonparametric Approach, Biometrics 44, 1988
    """
    means, influences, variance = [], [], 0.0
    for one in (first, second):
        values = [figures[name] for figures in one]
        means.append(np.mean(values))
        influences.append(np.mean([figures["influence"][name] for figures in one], axis=0))
        if len(values) > 1:
            variance += np.var(values, ddof=1) / len(values)
    value, influence = means[1] - means[0], influences[1] - influences[0]
    error = Z * np.sqrt(variance + np.mean(influence**2) / len(influence))
    return float(value), float(value - error), float(value + error)
