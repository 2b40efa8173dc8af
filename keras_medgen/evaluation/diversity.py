"""Whether generated images cover what real ones show, or repeat a few of them."""

import numpy as np

from keras_medgen import metrics
from keras_medgen.evaluation.fidelity import interval
from keras_medgen.evaluation.images import classes_of
from keras_medgen.evaluation.report import Section, Table

REPEATS = 20  # subsamples
NEIGHBOURS = 5
FEW = 100  # images, below which neighbourhoods say little
FIGURES = ("precision", "recall", "density", "coverage")
MOST_ALIKE = 400  # images, of which the mean MS-SSIM of pairs is taken

READING = [
    "Precision is the share of generated images that lie among real ones, recall the share of "
    "real images that lie among generated ones; density and coverage ask the same with less "
    "weight on outliers (Naeem et al. 2020). Beside each stands the figure of other real images.",
    "The Vendi score is the number of images that are effectively different, at most that of the "
    "features (Friedman and Dieng 2023). The mean MS-SSIM over pairs rises where images repeat "
    "each other.",
]


def diversity(real, generated, extractor, num_images, seed, class_names=None) -> Section:
    """Precision, recall, density, coverage, Vendi score and likeness, beside those of real images.

    Args:
        real: dict of `images` and maybe `labels`, of the training split.
        generated: `Generated`.
        extractor: fitted `FeatureExtractor`.
        num_images: the most images on each side.
        seed: of the subsamples.
        class_names: of the labels; None for no figures by class.
    """
    section = Section("diversity", reading=list(READING))
    values = extractor(real["images"]).values
    pools = [extractor(pool).values for pool in generated.pools]
    table = Table(
        f"Neighbourhoods of {NEIGHBOURS} in {extractor.label}, generated and other real images",
        ["images", "N", *(f"{n}{of}" for n in FIGURES for of in ("", " (real)"))],
        [],
    )
    num = min(num_images, len(values) // 2, *(len(pool) for pool in pools))
    if num <= NEIGHBOURS:
        section.warnings.append(
            f"no precision or recall: they need more than {NEIGHBOURS} images on each side, "
            f"and there are {num}."
        )
        return section
    if num < FEW:
        section.warnings.append(f"with N={num}, neighbourhoods say little.")
    found = _neighbourhoods(values, pools, num, seed)
    section.metrics |= {name: figure[0] for name, figure in found.items()}
    table.rows.append(["all", num, *found.values()])
    if class_names and "labels" in real and generated.labels is not None:
        rows = classes_of(real["labels"], len(class_names))
        columns = [classes_of(labels, len(class_names)) for labels in generated.labels]
        for number, name in enumerate(class_names):
            own = [p[c[number]] for p, c in zip(pools, columns, strict=True)]
            size = min(num_images, len(rows[number]) // 2, *(len(pool) for pool in own))
            if size <= NEIGHBOURS:
                section.warnings.append(f"{name}: too few images for precision and recall: {size}.")
                continue
            found_of = _neighbourhoods(values[rows[number]], own, size, seed)
            section.metrics |= {f"{name}/{key}": figure[0] for key, figure in found_of.items()}
            table.rows.append([name, size, *found_of.values()])
    section.tables.append(table)
    section.tables.append(_likeness(section, real, generated, values, pools, num, extractor, seed))
    section.summary.append(
        f"Recall is {found['recall'][0]:.2f} where other real images have "
        f"{found['recall_real'][0]:.2f}, coverage {found['coverage'][0]:.2f} where they have "
        f"{found['coverage_real'][0]:.2f}: how much of the real variety is there."
    )
    return section


def _neighbourhoods(values, pools, num, seed):
    """(mean, low, high) of each figure, generated and real, over subsamples."""
    random = np.random.default_rng(seed)
    found = {f"{name}{of}": [] for name in FIGURES for of in ("", "_real")}
    for repeat in range(REPEATS):
        order = random.permutation(len(values))
        half, other = values[order[:num]], values[order[num : 2 * num]]
        pool = pools[repeat % len(pools)]
        ours = pool[random.permutation(len(pool))[:num]]
        for of, images in (("", ours), ("_real", other)):
            figures = metrics.precision_recall_density_coverage(half, images, k=NEIGHBOURS)
            for name in FIGURES:
                found[f"{name}{of}"].append(figures[name])
    return {name: interval(figures) for name, figures in found.items()}


def _likeness(section, real, generated, values, pools, num, extractor, seed):
    """The Vendi score and the mean MS-SSIM of pairs, of as many images of each kind."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(values))[:num]
    ours = random.permutation(len(pools[0]))[:num]
    section.metrics["vendi"] = metrics.vendi_score(pools[0][ours])
    section.metrics["vendi_real"] = metrics.vendi_score(values[chosen])
    row = [section.metrics["vendi"], section.metrics["vendi_real"]]
    if min(real["images"].shape[1:3]) >= 11:
        for name, images in (
            ("pairwise_ms_ssim", generated.pools[0][ours]),
            ("pairwise_ms_ssim_real", real["images"][chosen]),
        ):
            section.metrics[name] = metrics.mean_pairwise_ms_ssim(images[:MOST_ALIKE], seed=seed)
    row += [section.metrics.get(f"pairwise_ms_ssim{of}") for of in ("", "_real")]
    return Table(
        f"Variety of {num} images",
        ["", "generated", "real"],
        [
            [f"Vendi score [{extractor.label}]", *row[:2]],
            ["mean MS-SSIM of pairs", *row[2:]],
        ],
    )
