"""How far generated images are from real ones, beside how far real ones are from each other."""

import numpy as np

from keras_medgen import metrics
from keras_medgen.evaluation.images import classes_of
from keras_medgen.evaluation.report import Section, Table

REPEATS = 20  # subsamples
FEW = 500  # images, below which a distance is mostly its bias

READING = [
    "A Fréchet distance compares the means and covariances of features; a kernel distance their "
    "third moments too, and is unbiased, so that it may be negative.",
    "The floor is the distance between two disjoint halves of the real images, of as many images "
    "each: what more images of the same split would score. The ratio to it can be read across data "
    "sets and extractors, the distance itself cannot.",
    "Beside the ratio to the test images stands that of real training images: where those differ "
    "from the test images, by another hospital or other shares of the classes, so will all that "
    "was learnt from them, and no generator can be expected below it.",
    "Subsamples are drawn without replacement, of real images and of those of each seed of the "
    "generator in turn. Their ranges do not hold what another training would give.",
]


def distance_name(label, num) -> str:
    """What a Fréchet distance in these features is called: FID for Inception's alone."""
    kind = "FID" if label.startswith("inception") else "FD"
    return f"{kind}[{label},N={num}]"


def kernel_name(label, num) -> str:
    """What a kernel distance in these features is called: KID for Inception's alone."""
    kind = "KID" if label.startswith("inception") else "KD"
    return f"{kind}[{label},N={num}]"


def fidelity(splits, generated, extractors, num_images, seed, class_names=None) -> Section:
    """Fréchet and kernel distances to the real splits, with floors and intervals.

    Args:
        splits: from "train" and "test" to a dict of `images` and maybe `labels`.
        generated: `Generated`.
        extractors: fitted `FeatureExtractor`s.
        num_images: the most images on each side of a distance.
        seed: of the subsamples.
        class_names: of the labels; None for no figures by class.
    """
    section = Section("fidelity", reading=list(READING))
    columns = [
        *("features", "split", "N", "distance", "floor", "ratio"),
        *("ratio of training images", "kernel distance", "floor"),
    ]
    table = Table("Fréchet and kernel distances, and their floors", columns, [])
    by_class = Table("Distances by class", ["class", *columns[:6], *columns[7:]], [])
    refused, few = {}, {}
    for extractor in extractors:
        of_classifiers = isinstance(extractor, metrics.ClassifierFeatures)
        pools = [extractor(pool) for pool in generated.pools]
        features = {split: extractor(examples["images"]) for split, examples in splits.items()}
        for split, examples in splits.items():
            if split == "train" and of_classifiers:
                section.warnings.append(
                    f"no distance to the training images in {extractor.label}: the classifiers "
                    "know those by heart."
                )
                continue
            real = features[split]
            num = min(num_images, len(real) // 2, *(len(pool) for pool in pools))
            with_frechet = num > real.values.shape[1]
            if not with_frechet:
                refused.setdefault(extractor.label, []).append(f"{split} ({num})")
            elif num < FEW:
                few[split] = num
            if num < 2:
                continue
            found = _distances(real, pools, num, seed, with_frechet)
            of_training = None
            comparable = with_frechet and not of_classifiers and num <= len(features["train"])
            if split == "test" and comparable:
                of_training = _distances(real, [features["train"]], num, seed)["ratio"]
            _add_figures(section, split, extractor.label, num, found)
            if extractor is extractors[0] and with_frechet:
                section.metrics |= {
                    f"{split}/floor": found["floor"][0],
                    f"{split}/ratio": found["ratio"][0],
                }
                if of_training:
                    section.metrics[f"{split}/real_train_ratio"] = of_training[0]
                section.summary.append(
                    _sentence(split, found["ratio"], of_training, extractor.label, num)
                )
            row = list(found.values())
            table.rows.append([extractor.label, split, num, *row[:3], of_training, *row[3:]])
            if class_names and "labels" in examples and generated.labels is not None:
                rows = _by_class(real, pools, examples, generated, num_images, class_names)
                for name, of_class, real_of_class, own in rows:
                    with_frechet = of_class > real.values.shape[1]
                    if not with_frechet:
                        which = f"{split}, class {name} ({of_class})"
                        refused.setdefault(extractor.label, []).append(which)
                    if of_class < 2:
                        continue
                    found = _distances(real_of_class, own, of_class, seed, with_frechet)
                    _add_figures(section, f"{split}/{name}", extractor.label, of_class, found)
                    row = [name, extractor.label, split, of_class, *found.values()]
                    by_class.rows.append(row)
    section.tables = [one for one in (table, by_class) if one.rows]
    section.warnings += _warnings(refused, few)
    if len(generated.pools) == 1 and table.rows and table.rows[0][2] == len(generated.images):
        section.warnings.append(
            "all generated images are in each subsample: the ranges hold the variation of the "
            "real images alone."
        )
    return section


def _add_figures(section, prefix, label, num, found):
    distance = f"{prefix}/{distance_name(label, num)}"
    kernel = f"{prefix}/{kernel_name(label, num)}"
    names = {
        distance: "distance",
        f"{distance}/floor": "floor",
        f"{distance}/ratio": "ratio",
        kernel: "kernel",
        f"{kernel}/floor": "kernel_floor",
    }
    section.metrics |= {name: found[key][0] for name, key in names.items() if found[key]}


def _warnings(refused, few):
    """Sentences on the distances that are not there, and on those that say little."""
    found = [
        f"no Fréchet distance in {label} of {'; '.join(which)}: each side needs more images than "
        "there are features. A kernel distance does not."
        for label, which in refused.items()
    ]
    if few:
        numbers = ", ".join(f"{num} of {split}" for split, num in few.items())
        found.append(
            f"Fréchet distances of few images ({numbers}) are mostly bias: read their ratio to "
            "the floor."
        )
    return found


def _by_class(real, pools, examples, generated, num_images, class_names):
    """For each class its name, the size of a side, its real features and its generated pools."""
    rows = classes_of(examples["labels"], len(class_names))
    columns = [classes_of(labels, len(class_names)) for labels in generated.labels]
    for number, name in enumerate(class_names):
        own = [_taken(pool, of_pool[number]) for pool, of_pool in zip(pools, columns, strict=True)]
        num = min(num_images, len(rows[number]) // 2, *(len(pool) for pool in own))
        yield name, num, _taken(real, rows[number]), own


def _taken(features, rows):
    return metrics.Features(features.values[rows], features.name, features.sha256)


def _distances(real, pools, num, seed, with_frechet=True):
    """(mean, low, high) of each figure over subsamples; None for those that are not wanted."""
    random = np.random.default_rng(seed)
    found = {name: [] for name in ("distance", "floor", "kernel", "kernel_floor")}
    for repeat in range(REPEATS):
        order = random.permutation(len(real))
        pool = pools[repeat % len(pools)]
        half, other = (_taken(real, order[part]) for part in (slice(num), slice(num, 2 * num)))
        ours = _taken(pool, random.permutation(len(pool))[:num])
        if with_frechet:
            found["distance"].append(metrics.frechet_distance(half, ours))
            found["floor"].append(metrics.frechet_distance(half, other))
        found["kernel"].append(metrics.kernel_distance(half, ours))
        found["kernel_floor"].append(metrics.kernel_distance(half, other))
    ranges = {name: interval(values) if values else None for name, values in found.items()}
    ratio = None
    if with_frechet:
        # A mean of ratios would be too high, for the floor is noisy: that of the means.
        _, low, high = interval(np.divide(found["distance"], found["floor"]))
        ratio = ranges["distance"][0] / ranges["floor"][0], low, high
    distance, floor, kernel, kernel_floor = ranges.values()
    return {
        "distance": distance,
        "floor": floor,
        "ratio": ratio,
        "kernel": kernel,
        "kernel_floor": kernel_floor,
    }


def interval(values) -> tuple[float, float, float]:
    """Mean, and the range of 95 % of the values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


def _sentence(split, ratio, of_training, label, num):
    real = f", and real training images {of_training[0]:.3g} times" if of_training else ""
    return (
        f"Generated images are {ratio[0]:.3g} times as far from the {split} images as these are "
        f"from each other{real} (Fréchet distance in {label}, {num} images a side)."
    )
