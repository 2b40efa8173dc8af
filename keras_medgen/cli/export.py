"""`keras-medgen export`."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from keras_medgen import serving
from keras_medgen.cli import runs
from keras_medgen.evaluation.page import CARD, REPORT
from keras_medgen.models import GenerativeModel
from keras_medgen.serving.export import FORMATS

Format = enum.StrEnum("Format", {name: name for name in FORMATS})
LEFT_OUT = ("report",)  # of the provenance: it names files that could not be read


def export(
    run: Annotated[Path, typer.Argument(help="Run directory, or a .keras file.")],
    directory: Annotated[Path, typer.Argument(help="Folder of the model's versions.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="Default: one more than the highest there.")
    ] = None,
    format: Annotated[
        Format,
        typer.Option(help="onnx: the decoder alone (extra onnx), in a folder of its own."),
    ] = Format.saved_model,
):
    """Write a trained model as a SavedModel, in the layout that TF Serving expects.

    What the run knows of its classes and images goes along, and the model card of its report.

    \b
    Examples:
      keras-medgen export runs/demo saved_models/retina_vae
      keras-medgen export runs/demo saved_models/retina_vae --version 3
      keras-medgen export runs/demo onnx/retina_vae --format onnx
    """
    model, card = runs.load_model(run), run / REPORT / CARD
    path = serving.export(
        model,
        directory,
        version,
        format=format.value,
        card=card if card.is_file() else None,
        **told_of(model, runs.read_json(run / runs.RUN)),
    )
    typer.echo(f"{path}")


def told_of(model: GenerativeModel, record: dict) -> dict:
    """What a run's record says of its model, as arguments of `kmg.serving.export`."""
    provenance = record.get("data")
    if provenance is not None:
        provenance = {name: said for name, said in provenance.items() if name not in LEFT_OUT}
    names = None if model.num_classes is None else record.get("class_names")
    return {"class_names": names, "provenance": provenance}
