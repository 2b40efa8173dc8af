"""How figures are written for a reader, and which of them come first."""

import numbers
import re

import numpy as np

NONE = "n/a"
MOST_HEADLINES = 4  # of a section

# By section: a figure's name, without the section's, what a reader calls it, and the name of the
# figure to read beside it, with what that is of. Regular expressions, and what they expand to.
REAL = "real images"
HEADLINES = {
    "fidelity": (
        (
            r"test/ratio",
            "distance to test images over its floor",
            (r"test/real_train_ratio", "real training images"),
        ),
        (r"test/FI?D\[[^]]*\]", "distance to test images", (r"\g<0>/floor", REAL)),
        (r"test/KI?D\[[^]]*\]", "kernel distance to test images", (r"\g<0>/floor", REAL)),
        # Which is 1 for real ones, as the floor is their own.
        (r"train/ratio", "distance to training images over its floor (real images: 1)", None),
    ),
    "diversity": tuple(
        (name, name, (r"\g<0>_real", REAL))
        for name in ("precision", "recall", "density", "coverage")
    ),
    "authenticity": (
        (r"exact_copies", "exact copies", (r"\g<0>_held_out", REAL)),
        (r"copied_share", "share of near copies beyond that of real images", None),
        (r"auth_pct(\[.*\])?", r"AuthPct\1", (r"auth_pct_held_out\1", REAL)),
        (r"membership_auc", "membership AUC", (r"blind_auc", "blind to the model")),
    ),
    "utility": (
        (r"tstr_accuracy", "accuracy, trained on synthetic images", (r"trtr_accuracy", REAL)),
        (r"tstr_auc", "AUC, trained on synthetic images", (r"trtr_auc", REAL)),
        (r"label_agreement", "label agreement", (r"trtr_accuracy", REAL)),
    ),
    "segmentation": (
        (r"both_dice", "Dice, trained on both", (r"real_dice", REAL)),
        (r"both_image_dice", "Dice by image, trained on both", (r"real_image_dice", REAL)),
        (r"generated_with_lesion", "share with a lesion", (r"real_with_lesion", REAL)),
    ),
    "cost": (
        (r"parameters", "parameters", None),
        (r"training_seconds", "seconds of training", None),
        (r"images_per_second", "images generated a second", None),
        (r"peak_memory_mib", "peak memory, MiB", None),
    ),
}


def figure_text(value) -> str:
    """A cell of a table as text: three digits of a number, thousands apart.

    Args:
        value: str, int, float, None, or a (value, low, high) of an interval.
    """
    if isinstance(value, tuple | list):
        value, low, high = value
        # Where the figure is undefined, so is its interval.
        bounds = interval_text(low, high)
        return figure_text(value) + (f" ({bounds})" if bounds else "")
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or not np.isfinite(value):
        return NONE
    if isinstance(value, numbers.Integral) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def interval_text(low, high) -> str:
    """An interval as text, empty where it is undefined."""
    bounds = figure_text(low), figure_text(high)
    return "" if NONE in bounds else " to ".join(bounds)


def headlines(section: str, metrics: dict[str, float]) -> list[tuple[str, str, float]]:
    """The figures of a section that a reader wants first; of one without such, its first.

    Args:
        section: its name.
        metrics: its figures, without the section's name.

    Returns:
        (label, name, value) of each, at most four. The label tells what real images score, where
        that is known: "recall (real images: 0.960)".
    """
    found = []
    for pattern, label, beside in HEADLINES.get(section, ()):
        match = next(filter(None, (re.fullmatch(pattern, name) for name in metrics)), None)
        if match is not None:
            label = match.expand(label) + _beside(match, beside, metrics)
            found.append((label, match[0], metrics[match[0]]))
    if not found:
        found = [(name.replace("_", " "), name, value) for name, value in metrics.items()]
    return found[:MOST_HEADLINES]


def _beside(match, beside, metrics):
    """The figure that one is read beside, in brackets."""
    if beside is None:
        return ""
    name, of = beside
    text = figure_text(metrics.get(match.expand(name)))
    return "" if text == NONE else f" ({of}: {text})"


def facts(content: dict, without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """A nested dict as (name, text) lines, for a reader.

    Args:
        content: of str, numbers, lists and dicts; what is empty is left out, and of a serialised
            Keras object, such as a network, only its class is told.
        without: keys that are left out wherever they stand.
    """
    lines = []
    for name, value in content.items():
        if name in without or value is None or (isinstance(value, str | list | dict) and not value):
            continue
        title = str(name).replace("_", " ")
        if isinstance(value, dict) and "class_name" in value and "config" in value:
            lines.append((title, str(value["class_name"])))
        elif isinstance(value, dict):
            lines += [(f"{title}: {inner}", text) for inner, text in facts(value, without)]
        elif isinstance(value, list | tuple):
            apart = "; " if any(isinstance(item, str) for item in value) else ", "
            lines.append((title, apart.join(_exact(item) for item in value)))
        else:
            lines.append((title, _exact(value)))
    return lines


def _exact(value) -> str:
    """A setting as text, to the last digit: a learning rate is no measurement."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
