"""A report as files: figures for machines, a page for readers, a card for whoever uses it."""

import base64
import functools
import io
import json
import re
from pathlib import Path

import numpy as np

from keras_medgen._files import written_whole
from keras_medgen._marks import synthetic_mark
from keras_medgen.evaluation.figures import NONE, facts, figure_text, headlines, interval_text
from keras_medgen.evaluation.report import Picture, Report, Table
from keras_medgen.pictures import as_picture, grid, to_uint8

METRICS, PAGE, CARD = "metrics.json", "report.html", "model_card.md"
REPORT = "report"  # the folder of a run that holds one
FORMAT = "keras_medgen report 1"
QUESTIONS = {
    "fidelity": "Do they look like real images?",
    "diversity": "Do they vary as real images do?",
    "authenticity": "Are they new, or copies of training images?",
    "utility": "Can a classifier learn from them?",
    "segmentation": "Can a segmentation learn from them?",
    "cost": "What do they cost?",
    "limits": "What was not looked at?",
}
# Of the provenance: why images were left out names files, and those may be named after patients.
NEVER_SAVED = "left_out"
ELSEWHERE = ("counts", "split_sha256", NEVER_SAVED)  # the first two have a table of their own
# What the range of a figure is.
PERCENTILES = "from the 2.5th to the 97.5th percentile over"
RANGES = {
    "fidelity": f"{PERCENTILES} subsamples of the images (of a model, those of several seeds)",
    "diversity": f"{PERCENTILES} subsamples of the images (of a model, those of several seeds)",
    "authenticity": f"{PERCENTILES} resamples of the real images",
    "utility": "the lowest and the highest of the trainings; of a difference, its 95% interval",
    "segmentation": "the lowest and the highest of the trainings",
}

WIDE, CELL = 960, 96  # CSS pixels: of the page's column, and what a small image is enlarged to
NARROW = 326  # of the column on a phone: what is wider is shrunk to it
SMALLEST_CELL = 36  # where that would make an image smaller, the picture scrolls in its box


def write_report(report: Report, directory: str | Path) -> None:
    """Writes metrics.json, report.html and model_card.md, each whole or not at all.

    Args:
        report: what `evaluate` returned.
        directory: made if it does not exist; a report that stands there is replaced.
    """
    directory = Path(directory)
    shown = {
        "report": report,
        "of_images": report.model.get("class") == "images",
        "provenance": _provenance(report),
    }
    pictures = {
        section.name: [_shown(picture) for picture in section.pictures if len(picture.images)]
        for section in report.sections
    }
    texts = {
        # One figure that is NaN would make a JSON that strict readers refuse.
        METRICS: json.dumps(as_json(_content(report)), indent=2, allow_nan=False) + "\n",
        CARD: render("model_card.md.j2", **shown),
        PAGE: render("report.html.j2", **shown, pictures=pictures),
    }
    for name, text in texts.items():
        with written_whole(directory / name) as file:
            file.write_text(text, encoding="utf-8")


def load_metrics(directory: str | Path) -> dict:
    """What `write_report` wrote into metrics.json.

    Args:
        directory: of a report, or of a run that holds one in `report`.

    Returns:
        A dict of `metrics`, `features`, `settings`, `model`, `data`, `versions`, `date`, `title`,
        `warnings` and `sections`, each a dict of its `name`, `summary` and `reading`.

    Raises:
        FileNotFoundError: if there is no report.
    """
    directory = Path(directory)
    for folder in (directory, directory / REPORT):
        try:
            content = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        # A run has a metrics.json too, of its reconstructions.
        if isinstance(content, dict) and content.get("format") == FORMAT:
            return content
    raise FileNotFoundError(
        f"There is no report in {directory}: `keras-medgen evaluate` makes one of a run."
    )


def render(template: str, **content) -> str:
    """Fills one of the templates."""
    return _templates().get_template(template).render(**content)


@functools.cache
def _templates():
    import jinja2  # slow to import

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_medgen.evaluation"),
        autoescape=lambda name: name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"figure": figure_text, "cell": _markdown_cell, "prose": _prose}
    templates.globals |= {
        "facts": lambda content: facts(content, ELSEWHERE),
        "headlines": headlines,
        "interval": interval_text,
        "question": lambda name: QUESTIONS.get(name, name.replace("_", " ").capitalize()),
        "figures": _figures,
        "ranges": _ranges,
    }
    return templates


def _content(report):
    return {
        "format": FORMAT,
        "title": report.title,
        "date": report.date,
        "metrics": report.metrics,
        "warnings": report.warnings,
        "sections": [
            {"name": s.name, "summary": s.summary, "reading": s.reading} for s in report.sections
        ],
        "features": report.features,
        "settings": report.settings,
        "model": report.model,
        "data": _without(report.data, NEVER_SAVED),
        "versions": report.versions,
    }


def _without(content, name):
    """A nested dict without one key, wherever it stands."""
    if not isinstance(content, dict):
        return content
    return {key: _without(value, name) for key, value in content.items() if key != name}


def as_json(content):
    """The same in Python's own types, with None for a number that is not finite."""
    if isinstance(content, dict):
        return {str(name): as_json(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [as_json(value) for value in content]
    if isinstance(content, np.ndarray | np.generic):
        return as_json(content.tolist())
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content


def _provenance(report) -> list[Table]:
    """The splits of the real images, and the feature extractors."""
    counts, hashes = (report.data.get(name) or {} for name in ("counts", "split_sha256"))
    splits = [[name, counts.get(name), hashes.get(name, NONE)] for name in counts | hashes]
    extractors = [
        [name, extractor["preprocessing"], extractor["sha256"]]
        for name, extractor in report.features.items()
    ]
    tables = [
        Table("Splits of the real images", ["split", "images", "SHA-256 of the pixels"], splits),
        Table(
            "Feature extractors: figures of different ones are not comparable",
            ["name", "preprocessing", "SHA-256"],
            extractors,
        ),
    ]
    return [table for table in tables if table.rows]


def _figures(metrics) -> Table:
    """All figures of a section that has no table."""
    return Table("Figures", ["figure", "value"], [list(pair) for pair in metrics.items()])


def _ranges(section) -> str:
    """What the ranges in a section's tables are; empty where there are none."""
    cells = [cell for table in section.tables for row in table.rows for cell in row]
    there = any(isinstance(cell, tuple | list) for cell in cells)
    return RANGES.get(section.name, "") if there else ""


def _prose(sentence):
    """A sentence as HTML, with what stands between backticks as code."""
    import markupsafe

    escaped = str(markupsafe.escape(sentence))
    return markupsafe.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escaped))


def _markdown_cell(text):
    """Text as it may stand in a table of Markdown."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _shown(picture: Picture) -> dict:
    """What the page's template says of a picture."""
    columns = min(picture.columns, len(picture.images))
    pixels = grid(to_uint8(np.asarray(picture.images)), columns, border=False)
    file = io.BytesIO()
    mark = synthetic_mark("partly" if picture.synthetic and picture.real else picture.synthetic)
    as_picture(pixels).save(file, "PNG", pnginfo=mark)
    height, width = pixels.shape[:2]
    sides = picture.images.shape[1:3]
    factor = max(1, min(-(-CELL // max(sides)), WIDE // width))
    least = min(width * factor, columns * SMALLEST_CELL)
    count = f"{len(picture.images)} images" if len(picture.images) > 1 else "one image"
    # Of other channels than grey or RGB, the first is shown.
    caption = picture.caption + (
        "" if picture.images.shape[-1] in (1, 3) else " The first channel is shown."
    )
    return {
        "uri": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii"),
        "caption": caption,
        "synthetic": picture.synthetic,
        "real": picture.real,
        "width": width * factor,
        "height": height * factor,
        "least": least,
        "scrolls": least > NARROW,
        # Enlarged pixels stay squares; shrunk ones would be dropped.
        "enlarged": "everywhere" if width <= NARROW else "wide" if factor > 1 else "never",
        "alt": f"{count} of {sides[0]} by {sides[1]} pixels, {columns} in a row"
        + f", {_kind(picture)}. {caption}",
    }


def _kind(picture):
    if not picture.synthetic:
        return "real"
    return "synthetic and real" if picture.real else "synthetic"
