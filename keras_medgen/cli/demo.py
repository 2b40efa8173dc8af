"""`keras-medgen demo`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_medgen.cli import options, runs
from keras_medgen.cli.settings import Settings
from keras_medgen.cli.training import run_training

SECONDS = 100  # of training, so that with the rest it stays within two minutes


def demo(
    out: Annotated[Path, typer.Option(help="Run directory; an older demo there is replaced.")] = (
        Path("runs/demo")
    ),
    seed: options.Seed = 0,
):
    """Train a VAE on patches of a real fundus photograph, in two minutes and with no download.

    \b
    Examples:
      keras-medgen demo
      keras-medgen demo --out runs/another --seed 1
    """
    settings = Settings(
        data="retina_patches",
        image_size=64,
        # Small batches and the plain bound: as many steps, and as much of the vessels, as fit.
        batch_size=16,
        kl_weight=1.0,
        epochs=5,
        max_minutes=SECONDS / 60,
        seed=seed,
    )
    # An older demo is replaced, any other run is not.
    older = runs.read_json(out / runs.RUN).get("settings", {})
    overwrite = older.get("max_minutes") == settings.max_minutes
    run_training(settings, runs.RunDirectory(out), overwrite)
    typer.echo(
        "\nThree commands to try next:\n"
        f"  keras-medgen generate {out} --num 16 --seed 1 --out {out}-images\n"
        "  keras-medgen train --data histology_patches --epochs 10\n"
        f"  keras-medgen export {out} saved_models/retina_vae"
    )
