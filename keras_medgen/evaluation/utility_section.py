"""What is said of classifiers that were trained on real and on generated images."""

import numpy as np

from keras_medgen.evaluation.arms import beyond_spread, mean_and_range
from keras_medgen.evaluation.classification import difference
from keras_medgen.evaluation.report import Section, Table

# Arms: what a classifier was trained on. The fourth kind is such as "real+1.0".
REAL, GENERATED, FEWER = "trtr", "tstr", "trtr_same_size"
FEW_TESTED = 100
LOST = 0.5  # of the recall that real images teach: where generated ones teach less, it is said

READING = (
    "TRTR is trained on real and tested on real images, TSTR trained on synthetic and tested on "
    "real images. All classifiers are one small network with as many steps, without augmentation; "
    "the checkpoint is chosen on real validation images.",
    "A TSTR as high as TRTR does not show that the images are new: copies of training images reach "
    "it too.",
    "Label agreement is how far classifiers that were trained on real images find in generated "
    "images the labels that were asked for. They err on real test images too.",
)


def utility_section(figures, agreement, arms, labels, names, task) -> Section:
    """Figures, sentences, tables and warnings of `utility`.

    Args:
        figures: from the name of an arm to a list, of each seed's `classification_figures` on the
            real test images.
        agreement: list of those of the classifiers trained on real images, on the generated
            images and their labels.
        arms: from the name of an arm to its title and its number of images.
        labels: dict of checked labels: `train`, `test` and `new`, those of the generated images.
        names: of the classes.
        task: "multi-class", "ordinal" or "multi-label".

    Returns:
        The section.
    """
    metrics = _metrics(figures, agreement, names)
    tested = len(labels["test"])
    spread = (
        f"Figures are means over {len(agreement)} trainings, with the lowest and the highest in "
        "brackets: the spread of training. Differences from real images alone have a 95% interval "
        f"over {'seeds of training and ' if len(agreement) > 1 else ''}test images (Student's t; "
        "DeLong et al. 1988). It takes each test image to be of another patient, and holds neither "
        "what other training images nor what another generator would change. Generated images are "
        "said to raise or lower a figure where every training with them is above, or below, every "
        "training without, and that interval does not hold 0. Each interval is of one comparison, "
        "not adjusted for how many there are."
    )
    return Section(
        "utility",
        summary=_summary(metrics, figures, labels["test"], names, task),
        reading=[*READING, spread],
        metrics=metrics,
        tables=_tables(figures, agreement, arms, names, tested),
        warnings=_warnings(figures, labels, names, task),
    )


def _metrics(figures, agreement, names):
    metrics = {}
    for arm, found in figures.items():
        for name in ("accuracy", "auc"):
            metrics |= _with_range(f"{arm}_{name}", [one[name] for one in found])
        metrics |= _by_class(f"{arm}_recall", found, names)
    metrics |= _with_range("label_agreement", [one["accuracy"] for one in agreement])
    auc = mean_and_range([one["auc"] for one in agreement])
    if auc is not None:
        metrics["label_agreement_auc"] = auc[0]
    return metrics | _by_class("label_agreement", agreement, names)


def _with_range(name, values):
    found = mean_and_range(values)
    if found is None:
        return {}
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def _by_class(name, found, names):
    recalls = np.mean([one["recalls"] for one in found], axis=0)
    known = np.flatnonzero(~np.isnan(recalls))
    return {f"{name}/{names[c]}": float(recalls[c]) for c in known}


def _summary(metrics, figures, tested, names, task):
    def said(arm):
        auc = metrics.get(f"{arm}_auc")
        of_auc = "" if auc is None else f" (AUC {auc:.3f})"
        return f"{metrics[f'{arm}_accuracy']:.3f}{of_auc}"

    first = (
        f"On {len(tested)} real test images the accuracy is {said(REAL)} after training on real "
        f"images and {said(GENERATED)} after training on generated images alone"
    )
    if FEWER in figures:
        first += f"; {said(FEWER)} on as few real images as there are generated ones"
    if task != "multi-label":
        counts = np.bincount(tested)
        always = f"{counts.max() / len(tested):.3f}"
        first += f"; to answer {names[counts.argmax()]} to every image would have {always}"
    sentences = [first + "."]
    if any(arm.startswith("real+") for arm in figures):
        sentences += [
            _of_adding(figures, "accuracy", "accuracy"),
            _of_adding(figures, "auc", "AUC"),
        ]
    sentences += _of_what_is_lost(metrics, names)
    unit = "labels of generated images" if task == "multi-label" else "generated images"
    sentences.append(
        f"Classifiers trained on real images agree with what was asked for in "
        f"{metrics['label_agreement']:.1%} of the {unit}."
    )
    return sentences


def _of_what_is_lost(metrics, names):
    """A sentence on classes that generated images hardly teach, if there are any."""
    lost = []
    for name in names:
        taught, known = (metrics.get(f"{arm}_recall/{name}", 0.0) for arm in (GENERATED, REAL))
        if taught < LOST * known:
            lost.append(
                f"{name} in {taught:.0%} of its test images (trained on real ones in {known:.0%})"
            )
    said = "Trained on generated images alone, classifiers recognise "
    return [said + "; ".join(lost) + "."] if lost else []


def _of_adding(figures, name, called):
    """One sentence: whether generated images beside all real ones changed a figure."""
    alone = [one[name] for one in figures[REAL]]
    if len(alone) < 2 or np.isnan(alone).any():
        return f"Whether generated images beside the real ones change the {called} is not known."
    groups = {1: [], -1: [], 0: []}
    for arm, found in figures.items():
        if arm.startswith("real+"):
            value, low, high = difference(figures[REAL], found, name)
            way = beyond_spread(alone, [one[name] for one in found])
            certain = way * low > 0 and way * high > 0
            shown = f"{arm} ({value:+.3f}: {low:+.3f} to {high:+.3f})"
            groups[way if certain else 0].append(shown)
    said = {
        1: "raise it",
        -1: "lower it",
        0: "change it no more than other seeds or other test images would",
    }
    parts = [f"{' and '.join(arms)} {said[way]}" for way, arms in groups.items() if arms]
    return (
        f"The {called} is {np.mean(alone):.3f} on real images alone. Generated images beside them: "
        + "; ".join(parts)
        + "."
    )


def _tables(figures, agreement, arms, names, tested):
    def cells(found, of):
        return mean_and_range([of(one) for one in found])

    rows = [
        [
            *arms[arm],
            cells(found, lambda one: one["accuracy"]),
            cells(found, lambda one: one["auc"]),
            None if arm == REAL else difference(figures[REAL], found, "accuracy"),
        ]
        for arm, found in figures.items()
    ]
    short = {REAL: "real", GENERATED: "generated", FEWER: "fewer real"}
    columns = {short.get(arm, arm): found for arm, found in figures.items()}
    columns["label agreement"] = agreement
    by_class = [
        [name, *(cells(found, lambda one, c=c: one["recalls"][c]) for found in columns.values())]
        for c, name in enumerate(names)
    ]
    return [
        Table(
            f"Classifiers on {tested} real test images",
            ["trained on", "images", "accuracy", "AUC", "accuracy less that of real"],
            rows,
        ),
        Table(
            "Recall of each class, by what was trained on; and label agreement",
            ["class", *columns],
            by_class,
        ),
    ]


def _warnings(figures, labels, names, task):
    def has(of):
        counts = of.sum(axis=0) if task == "multi-label" else np.bincount(of, minlength=len(names))
        return counts > 0

    def listed(which):
        return ", ".join(names[c] for c in np.flatnonzero(which))

    warnings = []
    missing = has(labels["train"]) & ~has(labels["new"])
    if missing.any():
        warnings.append(
            f"no generated image was asked to show {listed(missing)}: what is trained on generated "
            "images alone cannot know it."
        )
    undefined = np.isnan(figures[REAL][0]["aucs"])
    if undefined.any():
        warnings.append(
            f"all test images or none are of {listed(undefined)}, which therefore counts in no AUC."
        )
    if len(labels["test"]) < FEW_TESTED:
        warnings.append(f"with {len(labels['test'])} test images, utility is a rough guess.")
    trainings = len(figures[REAL])
    if trainings < 3:
        warnings.append(f"utility was measured with {trainings} of the usual three seeds.")
    return warnings
