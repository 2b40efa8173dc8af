"""How well detectors tell lesions from healthy images and pixels, beside two baselines."""

import numpy as np

from keras_medgen.anomaly import metrics
from keras_medgen.anomaly.detector import AnomalyDetector
from keras_medgen.anomaly.table import AnomalyTable

PATIENTS = 10  # from which on their resamples say something
NAMES = {"intensity": "intensity threshold", "blurred": "blurred image"}
CHUNK = 100  # resamples at a time


def evaluate(
    detector: AnomalyDetector | dict[str, AnomalyDetector],
    images: np.ndarray,
    labels: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    patients: np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> AnomalyTable:
    """Scores detectors on test images, always beside the intensity and the blurred image.

    The baselines are processed, and their thresholds fitted on the same validation images, as
    those of the (first) detector; what does not beat them has learned nothing of use.

    Args:
        detector: a fitted `AnomalyDetector`, or several by their names for the table.
        images: (n, height, width, channels), test images: others than those of `fit`.
        labels: int (n,), 0 for healthy. Default: whether an image's mask has a lesion.
        masks: int (n, height, width), 0 where healthy. Without them there are no pixel figures.
        patients: (n,), names or numbers. Ten or more give intervals, by a bootstrap over the
            patients; of fewer each one's own figures are listed. Where each image is of another
            patient: `np.arange(n)`.
        resamples: of the bootstrap.
        seed: of the same.

    Returns:
        An `AnomalyTable`: a row for each detector, then "intensity threshold" and "blurred image".

    Raises:
        ValueError: for a detector that is not fitted, without labels and masks, or for arrays
            that do not fit the images.
    """
    detectors = detector if isinstance(detector, dict) else {"detector": detector}
    if detectors.keys() & set(NAMES.values()):
        raise ValueError(f"{' and '.join(NAMES.values())} are the names of the baselines.")
    if not detectors or any(one.fitted is None for one in detectors.values()):
        raise ValueError("evaluate needs a detector whose fit has set its thresholds.")
    if not len(images):
        raise ValueError("evaluate needs images. Received: none.")
    weights = {name: one.fitted["weight"] for name, one in detectors.items()}
    found = found_by(detectors, images)
    targets = {"labels": labels, "masks": masks, "patients": patients}
    return tabulated(found, weights, images, **targets, resamples=resamples, seed=seed)


def found_by(
    detectors: dict[str, AnomalyDetector], images: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """What each detector, and each baseline of the first, finds in images, by its name."""
    baselines = next(iter(detectors.values())).baselines
    everything = detectors | {NAMES[name]: one for name, one in baselines.items()}
    return {name: one.detect(images) for name, one in everything.items()}


def tabulated(
    found: dict[str, dict[str, np.ndarray]],
    weights: dict[str, float],
    images: np.ndarray,
    labels: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    patients: np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> AnomalyTable:
    """The table of what was found; see `evaluate`.

    Args:
        found: of `found_by`.
        weights: of the intensity in each detector's maps.
        images: that it was found in.
        labels: see `evaluate`.
        masks: see `evaluate`.
        patients: see `evaluate`.
        resamples: see `evaluate`.
        seed: see `evaluate`.
    """
    labels, masks = _targets(images, labels, masks)
    patients = _checked(patients, "patients", (len(images),))
    counts = {"images": len(images), "lesion_images": int(labels.sum())}
    if masks is not None:
        counts |= {"pixels": masks.size, "lesion_pixels": int(masks.sum())}
    names, groups = None, None
    if patients is not None:
        names, groups = np.unique(patients, return_inverse=True)
        groups = groups.ravel()
        counts["patients"] = len(names)
    rows, intervals, by_patient = {}, {}, {}
    for name, one in found.items():
        rows[name] = _figures(one, labels, masks)
        if names is not None and len(names) >= PATIENTS:
            drawn = metrics.resampled_weights(len(names), resamples, seed)
            intervals[name] = _intervals(one, labels, masks, groups, drawn)
        elif names is not None:
            by_patient[name] = _by_patient(one, labels, masks, groups, names)
    return AnomalyTable(rows, intervals, by_patient, counts, weights)


def _targets(images, labels, masks):
    masks = _checked(masks, "masks", np.shape(images)[:3])
    masks = None if masks is None else masks != 0
    if labels is None:
        if masks is None:
            raise ValueError("evaluate needs labels, masks or both. Received: neither.")
        return masks.any(axis=(1, 2)), masks
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return _checked(labels, "labels", (len(images),)) != 0, masks


def _checked(values, name, shape):
    if values is None:
        return None
    values = np.asarray(values)
    if name == "masks" and values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}. Received: {values.shape}.")
    return values


def _figures(found, labels, masks):
    row = {f"image_{k}": v for k, v in metrics.ranking(labels, found["scores"]).items()}
    if masks is None:
        return row
    targets, scores = masks.ravel(), found["maps"].ravel()
    row |= {f"pixel_{k}": v for k, v in metrics.ranking(targets, scores).items()}
    hits, predicted = (found["masks"] & masks).sum(), found["masks"].sum()
    row["dice"] = float(metrics.dice(hits, predicted, masks.sum()))
    row["best_dice"] = metrics.best_dice(targets, scores)[0] if masks.any() else np.nan
    return row


def _by_patient(found, labels, masks, groups, names):
    """From each figure to a dict from each patient to theirs."""
    own = {}
    for number, name in enumerate(names):
        of_one = groups == number
        part = {key: value[of_one] for key, value in found.items()}
        own[str(name)] = _figures(part, labels[of_one], None if masks is None else masks[of_one])
    return {column: {name: row[column] for name, row in own.items()} for column in own[str(name)]}


def _intervals(found, labels, masks, groups, weights):
    resampled = {}
    by_images = metrics.histograms(labels, found["scores"], groups)
    for column, values in _resampled(by_images, weights).items():
        if column != "best_dice":
            resampled[f"image_{column}"] = values
    if masks is not None:
        of_pixels = np.broadcast_to(groups[:, None, None], masks.shape).ravel()
        by_pixels = metrics.histograms(masks.ravel(), found["maps"].ravel(), of_pixels)
        found_by_pixels = _resampled(by_pixels, weights)
        resampled |= {f"pixel_{k}": found_by_pixels[k] for k in ("auroc", "ap")}
        sums = [
            weights @ np.bincount(groups, weights=part.sum(axis=(1, 2)))
            for part in (found["masks"] & masks, found["masks"], masks)
        ]
        resampled["dice"] = metrics.dice(*sums)
        resampled["best_dice"] = found_by_pixels["best_dice"]
    return {column: metrics.interval(values) for column, values in resampled.items()}


def _resampled(counts, weights):
    """The figures of each resample, a few at a time for their size."""
    parts = [
        metrics.of_histograms(np.tensordot(weights[start : start + CHUNK], counts, axes=1))
        for start in range(0, len(weights), CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
