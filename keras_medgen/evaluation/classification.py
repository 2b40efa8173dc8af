"""How well predicted probabilities tell classes apart, and how sure that is."""

import numpy as np
import scipy.stats

from keras_medgen.metrics.small_classifier import checked_labels

CONFIDENCE = 0.95


def classification_figures(labels: np.ndarray, probabilities: np.ndarray, task: str) -> dict:
    """Accuracy, area under the ROC curve and recall.

    Args:
        labels: int (n,) or (n, 1), from 0; of the task "multi-label" (n, num_classes) of 0 and 1.
        probabilities: (n, num_classes).
        task: "multi-class", "ordinal" or "multi-label".

    Returns:
        A dict of `accuracy`, the share of images whose most probable class is theirs, or of labels
        on the right side of 0.5; `aucs`, (num_classes,), of each class against all others, NaN
        for a class that none or all of the images have; `auc`, their mean without those, NaN
        without any; `recalls`, (num_classes,), the share of each class's images, or of each
        label's, that are found, NaN where there are none; and `influence`, a dict of `accuracy`
        and `auc`, each (n,), for `difference`.

    Raises:
        ValueError: for labels that do not fit the probabilities.
    """
    num_classes = probabilities.shape[1]
    labels = checked_labels(labels, len(probabilities), num_classes, task)
    if task == "multi-label":
        actual, predicted = labels > 0, probabilities > 0.5
        right = (actual == predicted).mean(axis=1)
    else:
        classes = np.arange(num_classes)
        actual = labels[:, None] == classes
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
        first: `classification_figures` or `segmentation_figures` of each seed.
        second: likewise.
        name: a figure that has an influence: "accuracy", "auc" or "dice".

    Returns:
        The mean of the second less that of the first, and the ends of its 95% interval: what other
        test images, each judged in both ways, and other seeds would make of it, by Student's t with
        the degrees of freedom of Welch and Satterthwaite. Of one seed a way, the interval is over
        test images alone. Test images count as independent, so that of few patients with many
        images each it is too narrow; it holds neither other training images nor other generated
        ones. Seeds that suit other test images count in both parts: it is rather wide.

    References:
        DeLong, DeLong and Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver
        Operating Characteristic Curves: A Nonparametric Approach, Biometrics 44, 1988

        Satterthwaite, An Approximate Distribution of Estimates of Variance Components, Biometrics
        Bulletin 2, 1946
    """
    means, influences, variances, degrees = [], [], [], []
    for one in (first, second):
        values = [figures[name] for figures in one]
        means.append(np.mean(values))
        influences.append(np.mean([figures["influence"][name] for figures in one], axis=0))
        if len(values) > 1:
            variances.append(np.var(values, ddof=1) / len(values))
            degrees.append(len(values) - 1)
    value, influence = means[1] - means[0], influences[1] - influences[0]
    degrees.append(max(1, len(influence) - 1))
    variances.append(np.sum(influence**2) / (len(influence) * degrees[-1]))
    error = _half_width(np.array(variances), np.array(degrees))
    return float(value), float(value - error), float(value + error)


def _half_width(variances, degrees):
    """Of the interval of a sum, from the variances of its parts and their degrees of freedom."""
    total = variances.sum()
    if total == 0:
        return 0.0
    freedom = total**2 / np.sum(variances**2 / degrees)
    return scipy.stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(total)
