"""What generated images are worth to a classifier: train on them, test on real ones."""

import functools
from collections.abc import Sequence

import numpy as np

from keras_medgen.evaluation.arms import combined_rows, with_validation
from keras_medgen.evaluation.classification import classification_figures
from keras_medgen.evaluation.figures import figure_text
from keras_medgen.evaluation.images import say
from keras_medgen.evaluation.report import Section
from keras_medgen.evaluation.utility_section import FEWER, GENERATED, REAL, utility_section
from keras_medgen.metrics.small_classifier import (
    SMALLEST_SIDE,
    STEPS,
    TrainedClassifier,
    checked_labels,
    classifier_training,
)

NEARLY = 0.9  # as many generated images as real ones: no need to train on fewer real ones


def utility(
    train: dict[str, np.ndarray],
    val: dict[str, np.ndarray] | None,
    test: dict[str, np.ndarray],
    synthetic: dict[str, np.ndarray],
    *,
    num_classes: int,
    task: str,
    class_names: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    ratios: Sequence[float] = (0.5, 1.0),
    steps: int = STEPS,
    verbose: bool = False,
) -> Section | str:
    """Trains a small classifier on real images, on generated ones and on both.

    Where there are fewer generated images than real ones, it is trained on as many real ones too.

    Args:
        train: dict of `images`, float32 (n, height, width, channels) in [0, 1], and `labels`, int
            (n,), or of the task "multi-label" (n, num_classes) of 0 and 1: real.
        val: likewise; None or empty to hold out a part of `train`.
        test: likewise.
        synthetic: likewise: generated, with the labels that were asked for.
        num_classes: number of classes, or of labels.
        task: "multi-class", "ordinal" (taken as classes) or "multi-label".
        class_names: of the classes or labels. Default: their numbers.
        seeds: of the trainings.
        ratios: generated images for one real one, where they are trained on together.
        steps: of each training, of 64 images.
        verbose: whether to say what is going on.

    Returns:
        The section "utility", or the reason why nothing can be said. Its figures are
        `{arm}_accuracy`, `{arm}_auc` (in the mean over the classes, each against the others) and
        `{arm}_recall/{class}`, means over the seeds, with `_low` and `_high`, the lowest and the
        highest seed, of the first two. An arm is `trtr`, `tstr`, `trtr_same_size`, or such as
        `real+1.0`. `label_agreement`, its `_low` and `_high`, `label_agreement_auc` and
        `label_agreement/{class}` are of the classifiers trained on real images, and say how far
        they find in generated images the labels that were asked for.

    Raises:
        ValueError: for labels that do not fit the images or the classes, no seed, or ratios that
            are not positive.

    Reference:
        Esteban, Hyland and Rätsch, Real-valued (Medical) Time Series Generation with Recurrent
        Conditional GANs, 2017, https://arxiv.org/abs/1706.02633: training on synthetic and testing
        on real
    """
    if not len(seeds) or not all(ratio > 0 for ratio in ratios):
        raise ValueError(
            "there must be a seed, and ratios must be positive. "
            f"Received: seeds={list(seeds)}, ratios={list(ratios)}."
        )
    reason = _reason_against(train, test, synthetic, task)
    if reason:
        return f"utility: {reason}"
    train, val, held_out = with_validation(train, val)
    labels = {
        name: checked_labels(part["labels"], len(part["images"]), num_classes, task)
        for name, part in (("train", train), ("val", val), ("test", test), ("new", synthetic))
    }
    images = np.concatenate([train["images"], synthetic["images"]])
    both_labels = np.concatenate([labels["train"], labels["new"]])
    training = classifier_training(images.shape[1:], num_classes, task, steps)

    trained = TrainedClassifier(training.network, task)

    def figures_of(part, of):
        return classification_figures(labels[of], trained.probabilities(part["images"]), task)

    arms = _arms(len(labels["train"]), len(labels["new"]), ratios)
    figures, agreement = {arm: [] for arm in arms}, []
    for number, seed in enumerate(seeds, 1):
        for arm, (title, rows_of) in arms.items():
            say(verbose, f"utility: {title}, training {number} of {len(seeds)}")
            rows = rows_of(seed)
            training.fit(images, both_labels, val["images"], labels["val"], seed=seed, rows=rows)
            figures[arm].append(figures_of(test, "test"))
            if arm == REAL:
                agreement.append(figures_of(synthetic, "new"))
    names = [str(c) for c in range(num_classes)] if class_names is None else list(class_names)
    described = {arm: (title, len(rows_of(0))) for arm, (title, rows_of) in arms.items()}
    section = utility_section(figures, agreement, described, labels, names, task)
    most = max(ratios, default=0)
    if len(labels["new"]) < most * len(labels["train"]):
        times = most * len(labels["train"]) / len(labels["new"])
        section.warnings.append(
            f"there are {len(labels['new'])} generated images for {len(labels['train'])} real "
            f"ones: at a ratio of {most:g} each is shown {figure_text(times)} times as often as a "
            "real one."
        )
    if held_out:
        section.warnings.append(held_out)
    return section


def _arms(real, generated, ratios):
    """From an arm to its title and a function of a seed: rows of real, then generated images."""
    arms = {
        REAL: ("real", lambda _: np.arange(real)),
        GENERATED: ("generated", lambda _: real + np.arange(generated)),
    }
    if generated < NEARLY * real:
        arms[FEWER] = (
            "real, as few as generated",
            lambda seed: np.random.default_rng(seed).permutation(real)[:generated],
        )
    for ratio in map(float, ratios):
        rows_of = functools.partial(combined_rows, real, generated, ratio)
        arms[f"real+{ratio}"] = (f"real and {ratio:g} times as many generated", rows_of)
    return arms


def _reason_against(train, test, synthetic, task):
    """Why nothing can be said, or None."""
    if task == "none" or train.get("labels") is None or test.get("labels") is None:
        return "the real images have no labels."
    if synthetic.get("labels") is None:
        return (
            "the generated images have no labels: a conditional model makes some, and images that "
            "are given need theirs."
        )
    if not all(len(part["images"]) for part in (train, test, synthetic)):
        return "it needs training, test and generated images."
    sides = train["images"].shape[1:3]
    if min(sides) < SMALLEST_SIDE:
        return (
            f"images of {sides[0]} by {sides[1]} pixels are too small for its classifier, which "
            f"takes sides of {SMALLEST_SIDE} or more."
        )
    if not np.ptp(np.asarray(train["labels"]), axis=0).any():
        return "the training images are of one class."
    return None
