"""Reports of several models side by side, where their figures mean the same."""

import dataclasses
import itertools
import re
from pathlib import Path

from keras_medgen._files import written_whole
from keras_medgen.evaluation.page import REPORT, load_metrics, render
from keras_medgen.evaluation.report import Table

NUMBER = re.compile(r"\bN=(\d+)")


@dataclasses.dataclass
class Comparison:
    """Reports on the same real images, by the same extractors, of as many images.

    Attributes:
        names: of the reports, which head the columns.
        models: what each report is of.
        sections: for each section of the reports a dict of its `name`; `summaries`, the (report,
            verdict) of each; `table`, of every figure; `reading`, how to read them.
        notes: sentences on what else differs.
        settings: of the first report.
        data: of the first report.
    """

    names: list[str]
    models: Table
    sections: list[dict]
    notes: list[str]
    settings: dict
    data: dict


def compare(directories: list[str | Path]) -> Comparison:
    """Puts saved reports side by side.

    Args:
        directories: two or more of reports, or of runs that hold one each.

    Returns:
        `Comparison`.

    Raises:
        FileNotFoundError: if one of them holds no report.
        ValueError: if their figures are not comparable: other real images, another first feature
            extractor, other numbers of images. Where a further extractor is another, such as
            classifiers trained on another machine, its figures are left out and a note says so.
    """
    paths = [Path(directory).resolve() for directory in directories]
    # The folder in a run gives no column its name: the run does.
    paths = [path.parent if path.name == REPORT else path for path in paths]
    if len(set(paths)) < max(2, len(paths)):
        raise ValueError(
            "directories must be two different ones or more. "
            f"Received: {', '.join(map(str, directories)) or 'none'}."
        )
    names = _names(paths)
    reports = dict(zip(names, map(load_metrics, directories), strict=True))
    for first, second in itertools.combinations(names, 2):
        unlike = _unlike(reports[first], reports[second])
        if unlike:
            raise ValueError(f"{first} and {second} cannot be compared: {unlike}.")
    left_out = _unlike_extractors(reports)
    for report in reports.values():
        report["metrics"] = {
            figure: value
            for figure, value in report["metrics"].items()
            if not any(f"[{label}]" in figure or f"[{label}," in figure for label in left_out)
        }
    first = reports[names[0]]
    found = [[section["name"] for section in report["sections"]] for report in reports.values()]
    return Comparison(
        names=names,
        models=_models(reports),
        sections=[_section(name, reports) for name in dict.fromkeys(itertools.chain(*found))],
        notes=[
            *(f"No figures of {label}: it is of {why}." for label, why in left_out.items()),
            *_notes(reports),
        ],
        settings=first["settings"],
        data=first["data"],
    )


def write_comparison(directories: list[str | Path], path: str | Path) -> Comparison:
    """Writes saved reports side by side as one self-contained HTML page.

    Args:
        directories: two or more of reports, or of runs that hold one each.
        path: of the page.

    Returns:
        `Comparison`, what the page shows.

    Raises:
        FileNotFoundError: if one of them holds no report.
        ValueError: if their figures are not comparable: other real images, another first feature
            extractor, other numbers of images. Where a further extractor is another, its figures
            are left out and a note says so.
    """
    comparison = compare(directories)
    with written_whole(path) as file:
        file.write_text(render("comparison.html.j2", comparison=comparison), encoding="utf-8")
    return comparison


def _names(paths):
    """As short as they can be while they differ."""
    for length in itertools.count(1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names


def _unlike(one: dict, other: dict) -> str | None:
    """Why the figures of two reports do not mean the same."""
    hashes = [report["data"].get("split_sha256") for report in (one, other)]
    if not all(hashes):
        return "a report does not say which real images it is of"
    if hashes[0] != hashes[1]:
        splits = [name for name in hashes[0] | hashes[1] if _differ(hashes, name)]
        return f"they are of other real images ({', '.join(splits)})"
    for label in {next(iter(report["features"]), None) for report in (one, other)}:
        why = _unlike_extractor(label, (one, other))
        if why:  # for the figures that name no extractor are of the first
            return f"their feature extractors {label} are of {why}"
    numbers = [report["settings"].get("num_images") for report in (one, other)]
    if numbers[0] != numbers[1]:
        return f"they are of {numbers[0]} and {numbers[1]} images (num_images)"
    numbers = [report["settings"].get("generated") for report in (one, other)]
    if numbers[0] != numbers[1]:
        return f"{numbers[0]} and {numbers[1]} images were generated for them"
    sizes = [_sizes(report["metrics"]) for report in (one, other)]
    for name in filter(sizes[1].__contains__, sizes[0]):
        if sizes[0][name] != sizes[1][name]:
            counts = [",".join(sorted(size[name])) for size in sizes]
            return f"{name} is of N={counts[0]} and of N={counts[1]} images"
    return None


def _unlike_extractor(label, reports):
    """What is not the same in an extractor of some reports, those that have it."""
    extractors = [report["features"][label] for report in reports if label in report["features"]]
    for what, said in (
        ("sha256", "other weights (SHA-256)"),
        ("preprocessing", "other preprocessing"),
    ):
        if len({extractor.get(what) for extractor in extractors}) > 1:
            return said
    return None


def _unlike_extractors(reports):
    """From the labels of the extractors that are not the same in all reports to why."""
    labels = dict.fromkeys(itertools.chain(*(report["features"] for report in reports.values())))
    found = {label: _unlike_extractor(label, reports.values()) for label in labels}
    return {label: why for label, why in found.items() if why}


def _differ(pair, name):
    return pair[0].get(name) != pair[1].get(name)


def _sizes(metrics):
    """From each figure's name without its N to the Ns that it comes with."""
    sizes = {}
    for name in metrics:
        if number := NUMBER.search(name):
            sizes.setdefault(NUMBER.sub("N", name), set()).add(number[1])
    return sizes


def _models(reports):
    told = {
        "model": lambda report: report["model"].get("class"),
        "evaluated on": lambda report: report["date"],
        "seed": lambda report: str(report["settings"].get("seed")),
        "warnings": lambda report: str(len(report["warnings"])),
    }
    return Table(
        "What was evaluated",
        ["", *reports],
        [[name, *map(tell, reports.values())] for name, tell in told.items()],
    )


def _section(name, reports):
    of_section = {
        title: next((s for s in report["sections"] if s["name"] == name), None)
        for title, report in reports.items()
    }
    there = {title: section for title, section in of_section.items() if section}
    figures = [
        figure
        for figure in dict.fromkeys(itertools.chain(*(r["metrics"] for r in reports.values())))
        if figure.startswith(f"{name}/")
    ]
    rows = [
        [figure.removeprefix(f"{name}/"), *(r["metrics"].get(figure) for r in reports.values())]
        for figure in figures
    ]
    return {
        "name": name,
        "summaries": [
            # The verdict, and of the limits all.
            (title, " ".join(s["summary"] if name == "limits" else s["summary"][:1]))
            for title, s in there.items()
        ],
        "table": Table(f"All figures of {name}", ["figure", *reports], rows),
        "reading": next(iter(there.values()))["reading"],
    }


def _notes(reports):
    """What does not forbid a comparison, but should be known beside it."""
    notes = []
    versions = {report["versions"].get("keras_medgen") for report in reports.values()}
    if len(versions) > 1:
        notes.append(
            f"The reports were made by different versions of keras_medgen: "
            f"{', '.join(sorted(map(str, versions)))}."
        )
    of_warning = {}
    for name, report in reports.items():
        for warning in report["warnings"]:
            of_warning.setdefault(warning, []).append(name)
    for warning, names in of_warning.items():
        notes.append(warning if len(names) == len(reports) else f"{', '.join(names)}: {warning}")
    return notes
