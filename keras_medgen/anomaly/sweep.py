"""Partial noising at several timesteps, beside each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_medgen import pictures
from keras_medgen.anomaly.detection import NUM_DRAWS
from keras_medgen.anomaly.detector import AnomalyDetector
from keras_medgen.anomaly.differences import of_channel
from keras_medgen.anomaly.evaluation import found_by, tabulated
from keras_medgen.anomaly.table import AnomalyTable

COLUMNS = ("input", "noised", "restored", "map", "predicted mask", "true mask")


def sweep_timesteps(
    model,
    data,
    timesteps: Sequence[int] = (300, 200, 100, 50, 25),
    *,
    out: str | Path | None = None,
    shown: int | None = None,
    resamples: int = 1000,
    **arguments,
) -> AnomalyTable:
    """Detects with a diffusion model from each of several timesteps.

    Of each, a detector is fitted on the validation images (the healthy ones, of label 0, or all
    where there are no labels or masks; those with a lesion and a mask too) and evaluated on the
    test images. To choose the timestep by this table is to choose it on the test images.

    Args:
        model: a `keras_medgen.models.Diffusion` of healthy images.
        data: what `keras_medgen.data.load` returns; or a dict of "val" and "test", each a dict of
            `images` and where they exist `labels`, `masks` and `patients`.
        timesteps: from 0 to below `model.num_timesteps`.
        out: PNG to write: a row for each timestep; input, noised, restored (the mean over
            draws), map, predicted mask, true mask.
        shown: number of the test image in it. Default: the one with the largest lesion.
        resamples: see `evaluate`.
        **arguments: for `AnomalyDetector`.

    Returns:
        The `AnomalyTable`, a row "t = 300" for each timestep, and the baselines.

    Raises:
        ValueError: for a model without timesteps, or data without labels and masks.
    """
    if not hasattr(model, "num_timesteps"):
        raise ValueError(
            f"sweep_timesteps needs a diffusion model. Received: {type(model).__name__}."
        )
    val, test = (_split(data, name) for name in ("val", "test"))
    validation = validation_arguments(val)
    detectors = {
        f"t = {timestep}": AnomalyDetector(model, "diffusion", timestep=timestep, **arguments).fit(
            **validation
        )
        for timestep in timesteps
    }
    known = {name: test.get(name) for name in ("labels", "masks", "patients")}
    weights = {name: one.fitted["weight"] for name, one in detectors.items()}
    found = found_by(detectors, test["images"])
    table = tabulated(found, weights, test["images"], **known, resamples=resamples)
    if out is not None:
        if shown is None:
            masks = test.get("masks")
            shown = 0 if masks is None else int((np.asarray(masks) != 0).sum(axis=(1, 2)).argmax())
        rows = [_panels(one, found[name], test, shown) for name, one in detectors.items()]
        pictures.save_panels(out, rows, list(detectors), COLUMNS, synthetic="partly")
    return table


def validation_arguments(split: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """The arguments of `AnomalyDetector.fit` in a split's arrays.

    Args:
        split: dict of `images` (n, height, width, channels) and where they exist `labels` (n,) or
            (n, classes) and `masks` (n, height, width), 0 for healthy.

    Returns:
        A dict of `healthy`, the images without a label or a mask, and of `images` and `masks`,
        those with a mask, or None where there are none.
    """
    images, masks = split["images"], split.get("masks")
    lesions = np.zeros(len(images), bool)
    if split.get("labels") is not None:
        lesions |= (np.asarray(split["labels"]).reshape(len(images), -1) != 0).any(axis=1)
    if masks is None:
        return {"healthy": images[~lesions], "images": None, "masks": None}
    masks = np.asarray(masks)
    masked = (masks != 0).any(axis=(1, 2))
    given = {"healthy": images[~(lesions | masked)], "images": None, "masks": None}
    if masked.any():
        given |= {"images": images[masked], "masks": masks[masked]}
    return given


def _split(data, name):
    """A split's arrays in one form: channels, masks without them, labels 0 where healthy."""
    split = dict(data[name] if isinstance(data, dict) else data.arrays(name))
    images = np.asarray(split["images"])
    split["images"] = images[..., None] if images.ndim == 3 else images
    if split.get("masks") is not None:
        split["masks"] = np.asarray(split["masks"]).reshape(images.shape[:3])
    if split.get("labels") is not None:
        labels = np.asarray(split["labels"]).reshape(len(images), -1)
        split["labels"] = (labels != 0).any(axis=1).astype(int)
    return split


def _panels(detector, found, test, shown):
    """What is shown of one image: (height, width) in [0, 1], or NaN for what is not known."""
    # The noise of an image goes by its number: with those before it, the last is as it was.
    images = test["images"][: shown + 1]
    arguments = detector.arguments
    noised = detector.model.noised(
        images,
        arguments["timestep"],
        labels=detector.labels(len(images)),
        seed=arguments.get("num_draws", NUM_DRAWS) * arguments.get("seed", 0),
    )[shown]
    image = images[shown].astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    channel, masks = detector.shown_channel(images), test.get("masks")
    planes = (image, noised, found["restored"][shown])
    return [
        *(of_channel(plane[None], channel)[0] for plane in planes),
        found["maps"][shown],
        found["masks"][shown].astype(float),
        np.full(image.shape[:2], np.nan) if masks is None else (masks[shown] != 0).astype(float),
    ]
