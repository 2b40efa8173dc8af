"""One call that says what generated images are worth."""

import datetime
import math
import sys
from importlib import metadata

import numpy as np

from keras_medgen._version import __version__
from keras_medgen.data import ImageData
from keras_medgen.evaluation.authenticity import authenticity
from keras_medgen.evaluation.diversity import diversity
from keras_medgen.evaluation.fidelity import fidelity
from keras_medgen.evaluation.images import generated_by, given_images, say, split_hashes
from keras_medgen.evaluation.membership import membership
from keras_medgen.evaluation.report import Report, Section, Table
from keras_medgen.evaluation.segmentation import segmentation_utility
from keras_medgen.evaluation.utility import utility
from keras_medgen.metrics import ClassifierFeatures, RadiomicsLite, RandomConvolutions
from keras_medgen.metrics.features import COMPONENTS
from keras_medgen.metrics.small_classifier import SMALLEST_SIDE, checked_labels, train_classifier
from keras_medgen.models import GenerativeModel

GENERATIONS = 3  # seeds of the generator
HELD_OUT = 20  # images at least, to be held out real ones
TRAININGS = 3  # seeds of whatever is trained here
MOST_FITTED = 10_000  # training images, of which an extractor takes its scale and components
PACKAGES = ("keras", "tensorflow", "numpy", "scipy", "scikit-learn", "scikit-image")


def evaluate(
    model_or_images,
    data: ImageData,
    num_images: int = 1000,
    seed: int = 0,
    *,
    labels: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    extractors: list | None = None,
    training_seconds: float | None = None,
    verbose: bool | str = "auto",
) -> Report:
    """Measures generated images: fidelity, diversity, authenticity, usefulness and cost.

    Every figure stands beside what real images score. What cannot be measured, because there are
    too few images or no labels, is named with its reason among the report's warnings or limits.

    Args:
        model_or_images: a model of this package, which generates `num_images` for each of three
            seeds, of a conditional one with labels drawn from those of the training images; or
            images (n, height, width, channels), float in [0, 1] or uint8, made elsewhere.
        data: the real images, by `keras_medgen.data.load`: those that the model was trained on
            must be the training split, or the figures of authenticity mean nothing.
        num_images: the most images on either side of a comparison; half of the real ones of a
            split where that is less, as the other half gives the floor. At least 2.
        seed: of the generated images, with the two that follow, and of all that is drawn.
        labels: of given images: int (n,), or (n, num_classes) of 0 and 1. A conditional model has
            its own.
        masks: of given images: int (n, height, width).
        extractors: `keras_medgen.metrics` feature extractors, fitted here on the training images;
            the first is that of diversity and authenticity. Default: random convolutions,
            radiomics, and where there are labels classifiers trained on the training images; 64
            components of each, or half as many as there are training images.
        training_seconds: what training took, for the section on cost.
        verbose: True prints what is going on, False does not, "auto" does on a terminal.

    Returns:
        A `Report`: `metrics`, `warnings`, `sections`, `save(directory)`.

    Raises:
        ValueError: for images, labels or masks that do not fit, or data without a training or a
            test split.
    """
    if num_images < 2:
        raise ValueError(f"num_images must be at least 2. Received: num_images={num_images}.")
    if verbose == "auto":
        verbose = sys.stdout.isatty()
    splits = {name: data.arrays(name) for name in ("train", "val", "test")}
    for name in ("train", "test"):
        if len(splits[name]["images"]) < 4:
            raise ValueError(
                f"data must have at least 4 images in the split {name}. "
                f"Received: {len(splits[name]['images'])}."
            )
    if extractors is not None and not extractors:
        raise ValueError("extractors must be None or one at least. Received: none.")
    model = model_or_images if isinstance(model_or_images, GenerativeModel) else None
    shape = np.shape(model_or_images)[1:] if model is None else model.image_shape
    if shape != data.image_shape:
        raise ValueError(
            f"generated images must be like those of data, {data.image_shape}. Received: {shape}."
        )
    if model is None:
        if labels is not None and "labels" in splits["train"]:
            labels = checked_labels(labels, len(model_or_images), data.num_classes, data.task)
        if masks is not None and np.shape(masks)[1:] != shape[:2]:
            raise ValueError(
                f"masks must be of shape (n, {shape[0]}, {shape[1]}). "
                f"Received: shape {np.shape(masks)}."
            )
        generated = given_images(model_or_images, labels, masks)
    elif labels is not None or masks is not None:
        raise ValueError("labels and masks are for given images: a model makes its own.")
    else:
        seeds = range(seed, seed + GENERATIONS)
        generated = generated_by(model, num_images, seeds, splits["train"].get("labels"), verbose)
    if extractors is None:
        say(verbose, "training classifiers, whose features real images are told apart by")
        extractors = default_extractors(splits, data)
    train_images = splits["train"]["images"]
    if len(train_images) > MOST_FITTED:
        chosen = np.random.default_rng(0).permutation(len(train_images))[:MOST_FITTED]
        train_images = train_images[np.sort(chosen)]
    for extractor in extractors:
        extractor.fit(train_images)
    names = data.class_names if generated.labels is not None else None

    sections = []
    say(verbose, "fidelity")
    judged = {name: splits[name] for name in ("test", "train")}
    sections.append(fidelity(judged, generated, extractors, num_images, seed, names))
    say(verbose, "diversity")
    first = extractors[0]
    sections.append(diversity(splits["train"], generated, first, num_images, seed, names))
    say(verbose, "authenticity")
    sections.append(_authenticity(model, splits, generated, first, seed))
    missing = []
    for found in (
        _utility(splits, generated, data, seed, verbose),
        _segmentation(splits, generated, seed, verbose),
    ):
        (missing if isinstance(found, str) else sections).append(found)
    _warn_of_leaks(sections, data.report.leaks)
    sections.append(_cost(model, generated, training_seconds))
    sections.append(_limits(model, missing))
    return Report(
        title=f"{_name(model)} on {data.provenance['source']}",
        sections=sections,
        features={extractor.label: extractor.as_dict() for extractor in extractors},
        settings={
            "num_images": num_images,
            "seed": seed,
            "generations": len(generated.pools),
            "generated": len(generated.images),
        },
        model=_described(model),
        data={**data.provenance, "split_sha256": split_hashes(splits)},
        versions={
            "keras_medgen": __version__,
            **{name: metadata.version(name) for name in PACKAGES},
        },
        date=datetime.date.today().isoformat(),
    )


def default_extractors(splits, data) -> list:
    """Random convolutions, radiomics and, where classes can be learnt, classifiers."""
    train, val = splits["train"], splits["val"]
    components = min(COMPONENTS, len(train["images"]) // 2)
    extractors = [RandomConvolutions(components), RadiomicsLite(components)]
    large = min(train["images"].shape[1:3]) >= SMALLEST_SIDE
    if large and "labels" in train and len(np.unique(train["labels"])) > 1 and len(val["images"]):
        networks = [
            train_classifier(
                train["images"],
                train["labels"],
                val["images"],
                val["labels"],
                num_classes=data.num_classes,
                task=data.task,
                seed=seed,
            ).features
            for seed in range(TRAININGS)
        ]
        extractors.append(ClassifierFeatures(networks, components))
    return extractors


def _authenticity(model, splits, generated, extractor, seed):
    train = splits["train"]
    name = "val" if len(splits["val"]["images"]) >= HELD_OUT else "test"
    held_out = splits[name]
    elsewhere = np.concatenate([splits["val"]["images"], splits["test"]["images"]])
    if len(held_out["images"]) < HELD_OUT:
        section = authenticity(train["images"], None, generated, extractor, seed, name, elsewhere)
        section.warnings.append(
            "near copies are not judged, and there is no attack on membership: they need "
            f"{HELD_OUT} held-out images, and there are {len(held_out['images'])}."
        )
        return section
    section = authenticity(
        train["images"], held_out["images"], generated, extractor, seed, name, elsewhere
    )
    if len(train["images"]) < HELD_OUT:
        section.warnings.append(
            f"there is no attack on membership: it needs {HELD_OUT} training images, and there are "
            f"{len(train['images'])}."
        )
        return section
    attacks = membership(model, train, held_out, generated, extractor, seed)
    for part in ("summary", "reading", "tables", "warnings"):
        getattr(section, part).extend(getattr(attacks, part))
    section.metrics |= attacks.metrics
    if name == "test":
        section.warnings.append(
            "the held-out images are those of the test split, for there are no validation images: "
            "where they differ from the training images by themselves, nothing follows."
        )
    return section


def _warn_of_leaks(sections, leaks):
    """Says where splits share images, in the sections whose figures that changes."""
    of_section = {
        "fidelity": ("train/test",),
        "authenticity": ("train/val", "train/test"),
        "utility": ("train/test", "val/test"),
    }
    for section in sections:
        for pair in of_section.get(section.name, ()):
            alike = sum(leaks.get(pair, {}).values())
            if alike:
                first, second = pair.split("/")
                section.warnings.append(
                    f"{alike} images of {second} are also in {first}, or nearly: "
                    "deduplicate='drop' loads the data without them."
                )


def _utility(splits, generated, data, seed, verbose):
    return utility(
        splits["train"],
        splits["val"],
        splits["test"],
        generated.examples(),
        num_classes=data.num_classes,
        task=data.task,
        class_names=data.class_names,
        seeds=range(seed, seed + TRAININGS),
        verbose=verbose,
    )


def _segmentation(splits, generated, seed, verbose):
    if "masks" not in splits["train"]:
        return "segmentation: the data has no masks."
    return segmentation_utility(
        splits["train"],
        splits["val"],
        splits["test"],
        generated.examples(),
        seeds=range(seed, seed + TRAININGS),
        verbose=verbose,
    )


def _cost(model, generated, training_seconds):
    section = Section(
        "cost",
        reading=[
            "The peak memory is that of the process by the time when the images were generated, "
            "with the real ones in memory."
        ],
    )
    figures = {
        "parameters": None if model is None else _parameters(model),
        "training_seconds": training_seconds,
        "images_per_second": None
        if generated.seconds is None
        else len(generated.images) / generated.seconds,
        "peak_memory_mib": generated.peak_mebibytes,
    }
    section.metrics = {name: value for name, value in figures.items() if value is not None}
    names = ("parameters", "seconds of training", "generated images/s", "peak memory, MiB")
    rows = [list(row) for row in zip(names, figures.values(), strict=True)]
    section.tables.append(Table("What the images cost", ["", "value"], rows))
    return section


def _limits(model, missing):
    training = (
        "nothing is known of how these images were made"
        if model is None
        else "the model was not trained with differential privacy"
    )
    return Section(
        "limits",
        summary=[
            "No reader study was part of this: nobody who reads such images was asked whether "
            "they can be told from real ones. `keras-medgen evaluate --reader-study` prepares one.",
            f"There is no formal guarantee of privacy: {training}, and attacks other than those "
            "above may succeed.",
            "Figures hold for this data set, these splits and this one training, and say nothing "
            "of other hospitals, scanners or patients.",
            *(f"Not measured: {reason}" for reason in missing),
        ],
    )


def _parameters(model):
    """Those that training moves: neither averages of them nor a fitted density."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def _name(model):
    return "Given images" if model is None else type(model).__name__


def _described(model):
    if model is None:
        return {"class": "images"}
    return {
        "class": type(model).__name__,
        "image_shape": list(model.image_shape),
        "num_classes": model.num_classes,
        "parameters": _parameters(model),
    }
