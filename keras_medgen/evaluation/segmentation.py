"""What generated images are worth to a segmenter: Dice on real images with and without them."""

from collections.abc import Sequence

import numpy as np

from keras_medgen.evaluation.arms import (
    beyond_spread,
    combined_rows,
    mean_and_range,
    with_validation,
)
from keras_medgen.evaluation.images import say
from keras_medgen.evaluation.report import Section, Table
from keras_medgen.evaluation.segmenter import SMALLEST_SIDE, segmenter_training
from keras_medgen.metrics.repeated_training import outputs_of

STEPS = 200
REAL, BOTH = "real", "both"
TITLES = {REAL: "real", BOTH: "real and generated"}

READING = (
    "All segmenters are one small U-Net with as many steps, without augmentation; the checkpoint "
    "is chosen on real validation images, and any lesion counts, whatever its class. Figures are "
    "means over {count} trainings, with the lowest and the highest in brackets: the spread of "
    "training alone, to which other test patients would add theirs.",
    "Dice is taken over all pixels of all test images together; Dice by image is the mean over the "
    "test images that show a lesion.",
)
PSEUDO_MASKS = (
    "The generated images have no masks of their own: they were given those that the segmenter "
    "finds in them after training on real images (self-training). What is gained shows what more "
    "images add, and not that a mask is known for them."
)
OWN_MASKS = "The generated images were trained on with the masks that were given with them."


def segmentation_utility(
    train: dict[str, np.ndarray],
    val: dict[str, np.ndarray] | None,
    test: dict[str, np.ndarray],
    synthetic: dict[str, np.ndarray],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    ratio: float = 1.0,
    steps: int = STEPS,
    verbose: bool = False,
) -> Section | str:
    """Trains a small segmenter of lesions on real images, and on real and generated ones.

    Args:
        train: dict of `images`, float32 (n, height, width, channels) in [0, 1], and `masks`, int
            (n, height, width), 0 where there is no lesion: real.
        val: likewise; None, empty or without masks to hold out a part of `train`.
        test: likewise.
        synthetic: likewise: generated. Without `masks`, those of the segmenter trained on real
            images are taken (self-training).
        seeds: of the trainings.
        ratio: generated images for one real one, where they are trained on together.
        steps: of each training, of 16 images.
        verbose: whether to say what is going on.

    Returns:
        The section "segmentation", or the reason why nothing can be said. Its figures are
        `real_dice` and `both_dice`, over all pixels of the test images, and `real_image_dice` and
        `both_image_dice`, in the mean over the test images that show a lesion; means over the
        seeds, with `_low` and `_high`, the lowest and the highest seed; and `real_with_lesion`
        and `generated_with_lesion`, the shares of training images whose mask is not empty.

    Raises:
        ValueError: for masks that do not fit their images, no seed, or a ratio that is not
            positive.
    """
    if not len(seeds) or not ratio > 0:
        raise ValueError(
            "there must be a seed, and ratio must be positive. "
            f"Received: seeds={list(seeds)}, ratio={ratio}."
        )
    parts = {"train": train, "val": val, "test": test}
    reason = _reason_against(parts, synthetic)
    if reason:
        return f"segmentation: {reason}"
    own_masks = synthetic.get("masks") is not None
    if val is not None and val.get("masks") is None:
        val = None
    train, val, held_out = with_validation(train, val)
    masks, val_masks, test_masks = (_lesions(part) for part in (train, val, test))
    new_masks = _lesions(synthetic) if own_masks else None
    images = np.concatenate([train["images"], synthetic["images"]])
    training = segmenter_training(images.shape[1:], steps)
    figures, shares = {REAL: [], BOTH: []}, []
    real, new = len(train["images"]), len(synthetic["images"])

    def tested():
        return segmentation_figures(test_masks, outputs_of(training.network, test["images"]) > 0)

    for number, seed in enumerate(seeds, 1):
        which = f"training {number} of {len(seeds)}"
        say(verbose, f"segmentation: {TITLES[REAL]}, {which}")
        training.fit(train["images"], masks, val["images"], val_masks, seed=seed)
        figures[REAL].append(tested())
        of_generated = new_masks
        if of_generated is None:
            logits = outputs_of(training.network, synthetic["images"])
            of_generated = (logits > 0).astype(np.float32)
        shares.append(of_generated.any(axis=(1, 2)).mean())
        say(verbose, f"segmentation: {TITLES[BOTH]}, {which}")
        targets = np.concatenate([masks, of_generated])
        rows = combined_rows(real, new, ratio, seed)
        training.fit(images, targets, val["images"], val_masks, seed=seed, rows=rows)
        figures[BOTH].append(tested())
    section = _section(figures, len(test_masks), real, round(ratio * real), own_masks)
    section.metrics["real_with_lesion"] = float(masks.any(axis=(1, 2)).mean())
    section.metrics["generated_with_lesion"] = float(np.mean(shares))
    if held_out:
        section.warnings.append(held_out)
    if len(seeds) < 3:
        section.warnings.append(f"segmentation was measured with {len(seeds)} of three seeds.")
    return section


def _reason_against(parts, synthetic):
    """Why nothing can be said, or None."""
    for name in ("train", "test"):
        masks = parts[name].get("masks")
        if masks is None:
            return "the data has no masks."
        if not np.any(masks):
            return f"no image of the split {name} shows a lesion."
    if not len(synthetic["images"]):
        return "there are no generated images."
    sides = parts["train"]["images"].shape[1:3]
    if min(sides) < SMALLEST_SIDE:
        return (
            f"images of {sides[0]} by {sides[1]} pixels are too small for its segmenter, which "
            f"takes sides of {SMALLEST_SIDE} or more."
        )
    return None


def _lesions(part):
    """Masks as the loss takes them: 1 where there is any lesion."""
    masks, images = np.asarray(part["masks"]), part["images"]
    if masks.shape != images.shape[:3]:
        raise ValueError(
            f"masks must be of shape {images.shape[:3]}, like their images. "
            f"Received: shape {masks.shape}."
        )
    return (masks != 0).astype(np.float32)


def segmentation_figures(masks: np.ndarray, found: np.ndarray) -> dict:
    """How well found masks agree with the true ones.

    Args:
        masks: (n, height, width); what is not 0 is a lesion. One of them shows some at least.
        found: likewise.

    Returns:
        A dict of `dice`, Dice's coefficient over all pixels of all images together, which false
        alarms lower; `image_dice`, its mean over the images that show a lesion, where those on
        other images do not count; and `influence`, a dict of `dice`, (n,), for `difference`.

    Raises:
        ValueError: if the shapes differ, or no mask shows a lesion.
    """
    masks, found = np.asarray(masks) != 0, np.asarray(found) != 0
    if masks.shape != found.shape or masks.ndim != 3 or not masks.any():
        raise ValueError(
            "masks and found must be of one shape (n, height, width), some pixel of masks not 0. "
            f"Received: shapes {masks.shape} and {found.shape}, {masks.sum()} pixels not 0."
        )
    overlap = 2 * (found & masks).sum(axis=(1, 2))
    size, lesion = found.sum(axis=(1, 2)) + masks.sum(axis=(1, 2)), masks.any(axis=(1, 2))
    dice = overlap.sum() / size.sum()
    return {
        "dice": float(dice),
        "image_dice": float(np.mean(overlap[lesion] / size[lesion])),
        "influence": {"dice": (overlap - dice * size) / size.mean()},
    }


def _section(figures, tested, real, generated, own_masks):
    of = {
        f"{arm}_{name}": mean_and_range([one[name] for one in found])
        for arm, found in figures.items()
        for name in ("dice", "image_dice")
    }
    metrics = {}
    for name, (mean, low, high) in of.items():
        metrics |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    values = [[one["dice"] for one in found] for found in figures.values()]
    verdict = {
        1: "higher beyond the spread of training",
        -1: "lower beyond the spread of training",
        0: "no more of a difference than another seed makes",
    }[beyond_spread(*values)]
    if len(values[0]) < 2:
        verdict = "from one seed it is not known what that difference means"
    rows = [
        [TITLES[arm], count, of[f"{arm}_dice"], of[f"{arm}_image_dice"]]
        for arm, count in ((REAL, real), (BOTH, real + generated))
    ]
    reading = [READING[0].format(count=len(values[0])), *READING[1:]]
    return Section(
        "segmentation",
        summary=[
            f"On {tested} real test images lesions are found with a Dice coefficient of "
            f"{metrics['real_dice']:.3f} after training on real images, and of "
            f"{metrics['both_dice']:.3f} with generated images beside them: {verdict}.",
            OWN_MASKS if own_masks else PSEUDO_MASKS,
        ],
        reading=reading,
        metrics=metrics,
        tables=[
            Table(
                f"Segmenters on {tested} real test images",
                ["trained on", "images", "Dice", "Dice by image"],
                rows,
            )
        ],
    )
