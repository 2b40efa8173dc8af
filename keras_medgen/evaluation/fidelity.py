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
    "each: what a perfect generator would score. The ratio to it can be read across data sets and "
    "extractors, the distance itself cannot.",
    "Intervals hold 95 % of the subsamples, without replacement, of real and generated images, "
    "over the seeds of the generator. They do not hold what another training would give.",
]


def distance_name(label, num) -> str:
    """What a Fréchet distance in these features is called: FID for Inception's alone."""
    kind = "FID" if label.startswith("inception") else "FD"
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
    columns = ["features", "split", "N", "distance", "floor", "ratio", "kernel distance", "floor"]
    table = Table("Fréchet and kernel distances, and their floors", columns, [])
    by_class = Table("Fréchet distances by class", ["class", *columns[:6]], [])
    refused, few = {}, {}
    for extractor in extractors:
        pools = [extractor(pool) for pool in generated.pools]
        for split, examples in splits.items():
            real = extractor(examples["images"])
            num = min(num_images, len(real) // 2, *(len(pool) for pool in pools))
            if num <= _length(extractor):
                refused.setdefault(extractor.label, []).append(f"{split} ({num})")
                continue
            if num < FEW:
                few[split] = num
            found = _distances(real, pools, num, seed)
            name = f"{split}/{distance_name(extractor.label, num)}"
            section.metrics |= {
                name: found["distance"][0],
                f"{name}/floor": found["floor"][0],
                f"{name}/ratio": found["ratio"][0],
                f"{split}/KD[{extractor.label},N={num}]": found["kernel"][0],
                f"{split}/KD[{extractor.label},N={num}]/floor": found["kernel_floor"][0],
            }
            if extractor is extractors[0]:
                section.metrics |= {
                    f"{split}/floor": found["floor"][0],
                    f"{split}/ratio": found["ratio"][0],
                }
                section.summary.append(_sentence(split, found["ratio"], extractor.label, num))
            table.rows.append([extractor.label, split, num, *found.values()])
            if class_names and "labels" in examples and generated.labels is not None:
                rows = _by_class(real, pools, examples, generated, num_images, class_names, seed)
                for class_name, of_class, found in rows:
                    key = f"{split}/{class_name}"
                    if of_class <= _length(extractor):
                        refused.setdefault(extractor.label, []).append(f"{key} ({of_class})")
                        continue
                    name = f"{key}/{distance_name(extractor.label, of_class)}"
                    found = found()
                    section.metrics |= {
                        name: found["distance"][0],
                        f"{name}/floor": found["floor"][0],
                        f"{name}/ratio": found["ratio"][0],
                    }
                    row = [class_name, extractor.label, split, of_class]
                    by_class.rows.append([*row, found["distance"], found["floor"], found["ratio"]])
    section.tables = [one for one in (table, by_class) if one.rows]
    section.warnings = _warnings(refused, few)
    return section


def _length(extractor):
    return int(extractor.label.rsplit("/", 1)[1])


def _warnings(refused, few):
    """Sentences on the distances that are not there, and on those that say little."""
    found = [
        f"no distance in {label} of {', '.join(which)}: each side needs more images than there are "
        "features."
        for label, which in refused.items()
    ]
    if few:
        numbers = ", ".join(f"{num} of {split}" for split, num in few.items())
        found.append(
            f"distances of few images ({numbers}) are mostly bias: read their ratio to the floor."
        )
    return found


def _by_class(real, pools, examples, generated, num_images, class_names, seed):
    """For each class its name, the size of a side, and a function that gives its distances."""
    rows = classes_of(examples["labels"], len(class_names))
    columns = [classes_of(labels, len(class_names)) for labels in generated.labels]
    for number, name in enumerate(class_names):
        own = [_taken(pool, of_pool[number]) for pool, of_pool in zip(pools, columns, strict=True)]
        num = min(num_images, len(rows[number]) // 2, *(len(pool) for pool in own))

        def found(number=number, own=own, num=num):
            return _distances(_taken(real, rows[number]), own, num, seed)

        yield name, num, found


def _taken(features, rows):
    return metrics.Features(features.values[rows], features.name, features.sha256)


def _distances(real, pools, num, seed):
    """(mean, low, high) of each figure over subsamples."""
    random = np.random.default_rng(seed)
    found = {name: [] for name in ("distance", "floor", "kernel", "kernel_floor")}
    for repeat in range(REPEATS):
        order = random.permutation(len(real))
        pool = pools[repeat % len(pools)]
        half, other = (_taken(real, order[part]) for part in (slice(num), slice(num, 2 * num)))
        ours = _taken(pool, random.permutation(len(pool))[:num])
        found["distance"].append(metrics.frechet_distance(half, ours))
        found["floor"].append(metrics.frechet_distance(half, other))
        found["kernel"].append(metrics.kernel_distance(half, ours))
        found["kernel_floor"].append(metrics.kernel_distance(half, other))
    arrays = {name: np.array(values) for name, values in found.items()}
    # Of a ratio of two noisy figures, the ratio of their means; its interval from each to the mean
    # of the floors.
    ratio = arrays["distance"] / arrays["floor"].mean()
    return {
        "distance": interval(arrays["distance"]),
        "floor": interval(arrays["floor"]),
        "ratio": interval(ratio),
        "kernel": interval(arrays["kernel"]),
        "kernel_floor": interval(arrays["kernel_floor"]),
    }


def interval(values) -> tuple[float, float, float]:
    """Mean, and the range of 95 % of the values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


def _sentence(split, ratio, label, num):
    return (
        f"Generated images are {ratio[0]:.2f} times as far from the {split} images as these are "
        f"from each other (Fréchet distance in {label}, {num} images a side)."
    )
