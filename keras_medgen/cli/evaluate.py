"""`keras-medgen evaluate`."""

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from keras_medgen import evaluation
from keras_medgen.cli import options, runs
from keras_medgen.cli.settings import Settings
from keras_medgen.cli.sources import read_again
from keras_medgen.evaluation.figures import figure_text, headlines
from keras_medgen.evaluation.page import CARD, METRICS, PAGE, REPORT
from keras_medgen.evaluation.reader_study import score_study, write_study
from keras_medgen.evaluation.report import Report

COMPARED, READ = 1000, 50  # images


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory, or a .keras file.")],
    source: Annotated[
        str | None,
        typer.Option("--data", help=options.SOURCE_HELP + " Default: what the run was trained on."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make. Default: RUN/report.")] = None,
    num_images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The most images on each side of a figure, 1000 by default; in a reader study of "
            "each kind, 50.",
        ),
    ] = None,
    reader_study: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Make a study for readers instead: a page of real and generated images, blinded, "
            "and a CSV to fill in.",
        ),
    ] = None,
    score: Annotated[
        bool,
        typer.Option("--score", help="With --reader-study: say what the filled CSV shows."),
    ] = False,
    data_dir: options.DataDir = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that folder.")] = False,
):
    """Say what a model's images are worth: a page to read, figures, and a model card.

    \b
    Examples:
      keras-medgen evaluate runs/demo
      keras-medgen evaluate runs/vae --data pneumoniamnist.npz --num-images 500
      keras-medgen evaluate runs/vae --reader-study study
      keras-medgen evaluate runs/vae --reader-study study --score

    report.html asks whether the images look real, vary as real ones do, are no copies of training
    images, and are of use for training; each figure stands beside that of real images.
    """
    if score and reader_study is None:
        raise ValueError("--score is for a reader study: give its folder with --reader-study.")
    if score:
        for sentence in score_study(reader_study)["summary"]:
            typer.echo(sentence)
        typer.echo(f"The figures stand in {reader_study / 'scores.md'}")
        return
    if reader_study is not None:
        if reader_study.exists():  # maybe with answers in it
            raise FileExistsError(f"{reader_study} exists already: choose another --reader-study.")
        model = runs.load_model(run)
        images, _ = read_again(run, source, model, data_dir)
        page = _write_study(reader_study, model, images, num_images or READ, seed)
        typer.echo(f"{page}: give it to readers, but not {page.parent / 'key'}")
        return
    out = out or (run if run.is_dir() else run.parent) / REPORT
    options.check_free(out, overwrite)
    if out.exists() and not (out / PAGE).is_file():
        raise FileExistsError(f"{out} holds no {PAGE}; it is left as it is.")
    model = runs.load_model(run)
    images, same = read_again(run, source, model, data_dir)
    record = runs.read_json((run if run.is_dir() else run.parent) / runs.RUN)
    report = evaluation.evaluate(
        model,
        images,
        num_images=num_images or COMPARED,
        seed=seed,
        training_seconds=record.get("train_seconds"),
    )
    if record:
        report.model["training"] = _training(record)
    if not same:
        _tell_of_another_source(report, run, source)
    report.save(out)
    _print(report, out)


def _write_study(directory, model, images, num, seed) -> Path:
    """As many generated images as test images, and of a conditional model of the same classes."""
    test = images.arrays("test")
    rows = np.random.default_rng(seed).permutation(len(test["images"]))[:num]
    if model.num_classes is not None and "labels" not in test:
        raise ValueError("--data must have labels, for the model makes images of classes.")
    labels = None if model.num_classes is None else test["labels"][rows]
    generated = model.generate(len(rows), labels=labels, seed=seed)
    return write_study(directory, test["images"][rows], generated, num_each=len(rows), seed=seed)


def _training(record: dict) -> dict:
    """Of a run's record, what a reader of the model card wants; of the settings, the chosen."""
    defaults = dataclasses.asdict(Settings(data=""))
    chosen = {
        name: value
        for name, value in record.get("settings", {}).items()
        if name in defaults and value != defaults[name]
    }
    if "autoencoder" in chosen:  # the folders above it are nobody else's affair
        chosen["autoencoder"] = Path(chosen["autoencoder"]).name
    return chosen | {name: record[name] for name in ("epochs", "train_seconds") if name in record}


def _tell_of_another_source(report: Report, run: Path, source: str) -> None:
    """Copies and members were looked for among images that the model never saw."""
    sentence = (
        f"{run.name} was trained on another source than {Path(source).name}: neither copies of "
        "its training images nor members of its training data can be found here."
    )
    warnings.warn(sentence, stacklevel=2)
    report.section("authenticity").warnings.insert(0, sentence)


def _print(report: Report, out: Path) -> None:
    for section in report.sections:
        if section.metrics:
            typer.echo(f"\n{section.name}: {' '.join(section.summary[:1])}")
        for label, _, value in headlines(section.name, section.metrics):
            typer.echo(f"  {figure_text(value):>12}  {label}")
    typer.echo(f"\n{out}: {PAGE}, {CARD}, {METRICS}; {len(report.warnings)} warnings")
