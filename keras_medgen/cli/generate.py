"""`keras-medgen generate`."""

import enum
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from keras_medgen._files import folder_written_whole
from keras_medgen.cli import options, runs
from keras_medgen.ops import samplers
from keras_medgen.pictures import save_grid, save_picture

Sampler = enum.StrEnum("Sampler", {name: name for name in samplers.SAMPLERS})
Spacing = enum.StrEnum("Spacing", {name: name for name in samplers.SPACINGS})


def generate(
    run: Annotated[Path, typer.Argument(help="Run directory, or a .keras file.")],
    num: Annotated[int, typer.Option(min=1, help="How many images.")] = 16,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Of a conditional model: a class, or several to take in turn: 0,2. Default: all."
        ),
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="diffusion. Default: ddim.")] = None,
    num_steps: Annotated[
        int | None, typer.Option(min=1, help="diffusion: of the sampler. Default: 25.")
    ] = None,
    spacing: Annotated[
        Spacing | None, typer.Option(help="diffusion: of the timesteps. Default: quadratic.")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(help="diffusion, conditional: how far to go for the label. Default: 1."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to make. Default: RUN/images-seed-SEED.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that folder.")] = False,
):
    """Draw images from a trained model: a PNG each, a grid of them, and images.npz.

    \b
    Examples:
      keras-medgen generate runs/demo
      keras-medgen generate runs/demo --num 100 --seed 7 --out synthetic
      keras-medgen generate runs/conditional --num 100 --labels 1
      keras-medgen generate runs/diffusion --num 16 --sampler dpm_solver++ --num-steps 15

    Each PNG carries a mark for programs to read: the text "Synthetic", with the value "true".
    """
    if out is None:
        out = (run if run.is_dir() else run.parent) / f"images-seed-{seed}"
    options.check_free(out, overwrite)
    if out.exists() and not (out / "images.npz").is_file():
        raise FileExistsError(f"{out} holds no generated images; it is left as it is.")
    model = runs.load_model(run)
    given = {
        "sampler": sampler,
        "num_steps": num_steps,
        "spacing": spacing,
        "guidance_scale": guidance_scale,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given and not hasattr(model, "num_timesteps"):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names}: for diffusion models. Received: a {type(model).__name__}.")
    images = model.generate(num, labels=_labels(labels, num), seed=seed, **given)
    if out.exists():
        shutil.rmtree(out)
    with folder_written_whole(out) as folder:
        np.savez_compressed(folder / "images.npz", images=images)
        save_grid(folder / "grid.png", images, columns=min(8, num), synthetic=True)
        if images.shape[-1] in (1, 3):  # a PNG shows grey or RGB; images.npz holds any
            for i, image in enumerate(images):
                save_picture(folder / f"image_{i:05d}.png", image, synthetic=True)
    typer.echo(f"{out}: {num} images of {' x '.join(map(str, model.image_shape))} pixels")


def _labels(text: str | None, num: int) -> np.ndarray | None:
    """Takes "0,2" as [0, 2, 0, 2, ...]."""
    if text is None:
        return None
    try:
        return np.resize([int(part) for part in text.split(",")], num)
    except ValueError:
        raise ValueError(
            f"--labels must be classes, such as 1 or 0,2. Received: --labels {text}."
        ) from None
