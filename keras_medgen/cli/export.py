"""`keras-medgen export`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_medgen import serving
from keras_medgen.cli import runs


def export(
    run: Annotated[Path, typer.Argument(help="Run directory, or a .keras file.")],
    directory: Annotated[Path, typer.Argument(help="Folder of the model's versions.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="Default: one more than the highest there.")
    ] = None,
):
    """Write a trained model as a SavedModel, in the layout that TF Serving expects.

    \b
    Examples:
      keras-medgen export runs/demo saved_models/retina_vae
      keras-medgen export runs/demo saved_models/retina_vae --version 3
    """
    typer.echo(f"{serving.export(runs.load_model(run), directory, version)}")
