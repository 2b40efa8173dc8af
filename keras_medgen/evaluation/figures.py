"""How figures are written for a reader, and which of them come first."""

import numbers
import re

import numpy as np

NONE = "n/a"
MOST_HEADLINES = 4  # of a section

# By section: a figure's name, without the section's, and what a reader calls it.
HEADLINES = {
    "fidelity": (
        (r"test/ratio", "distance to test images over its floor"),
        (r"test/FI?D\[[^/]*/?[^/]*\]", "distance to test images"),
        (r"test/floor", "floor: between halves of the test images"),
        (r"train/ratio", "distance to training images over its floor"),
    ),
    "diversity": tuple((name, name) for name in ("precision", "recall", "density", "coverage")),
    "authenticity": (
        (r"exact_copies", "exact copies"),
        (r"copied_share", "share of near copies"),
        (r"auth_pct.*", "AuthPct"),
        (r"membership_auc", "membership AUC"),
    ),
    "utility": (
        (r"trtr_accuracy", "accuracy, trained on real images"),
        (r"tstr_accuracy", "accuracy, trained on synthetic images"),
        (r"label_agreement", "label agreement"),
    ),
    "cost": (
        (r"parameters", "parameters"),
        (r"training_seconds", "seconds of training"),
        (r"images_per_second", "images generated a second"),
        (r"peak_memory_mib", "peak memory, MiB"),
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
        (label, name, value) of each, at most four.
    """
    found = []
    for pattern, label in HEADLINES.get(section, ()):
        name = next((name for name in metrics if re.fullmatch(pattern, name)), None)
        if name is not None:
            found.append((label, name, metrics[name]))
    if not found:
        found = [(name.replace("_", " "), name, value) for name, value in metrics.items()]
    return found[:MOST_HEADLINES]


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
