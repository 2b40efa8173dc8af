"""Options that commands share: how a source is read, and whether a place is free."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from keras_medgen import data


class Resize(enum.StrEnum):
    """How an image gets to the size asked for."""

    pad = "pad"
    crop = "crop"
    stretch = "stretch"


class Deduplicate(enum.StrEnum):
    """What becomes of pictures that stand in two splits."""

    report = "report"
    drop = "drop"


SOURCE_HELP = (
    "A name (`keras-medgen datasets` lists them), a folder of images, a .csv, .npz, DICOM or "
    "NIfTI file, or a folder that `data prepare` wrote."
)
ImageSize = Annotated[
    int | None,
    typer.Option(
        min=1, help="Side in pixels. Default: the images' own, 28 for MedMNIST, 64 for patches."
    ),
]
Channels = Annotated[int | None, typer.Option(help="1 for grey, 3 for RGB. Default: as they are.")]
ResizeOption = Annotated[Resize, typer.Option("--resize", help="How images get to --image-size.")]
Window = Annotated[
    str | None,
    typer.Option(
        help="Of grey values: lung, brain, bone, ..., or CENTRE,WIDTH. Default: the file's own."
    ),
]
Axis = Annotated[
    int | None,
    typer.Option(min=0, max=2, help="Volumes are cut along it. NIfTI: 2, axial, by default."),
]
DeduplicateOption = Annotated[
    Deduplicate,
    typer.Option("--deduplicate", help="Pictures that stand in two splits: report or drop them."),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where downloaded sets are. Default: ~/.medmnist.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of everything random.")]


def check_free(out: Path, overwrite: bool) -> None:
    """Looks whether `--out` can be written.

    Raises:
        FileExistsError: if it exists and is not to be replaced.
    """
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already: choose another --out or --overwrite.")


def parse_window(text: str | None) -> str | tuple[float, float] | None:
    """Takes "lung" as it is and "40,400" as (40.0, 400.0)."""
    if text is None or "," not in text:
        return text
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--window must be a name or CENTRE,WIDTH. Received: --window {text}."
        ) from None
    return centre, width


def parse_grid(text: str) -> tuple[int, int, int]:
    """Takes "7x7x4" as (7, 7, 4)."""
    try:
        rows, columns, channels = (int(part) for part in text.split("x"))
    except ValueError:
        raise ValueError(
            "--latent-grid must be ROWSxCOLUMNSxCHANNELS, such as 7x7x4. "
            f"Received: --latent-grid {text}."
        ) from None
    return rows, columns, channels


def parse_augment(text: str | None) -> data.Augment | None:
    """Takes "flip_horizontal,rotation=10" as `augment(flip_horizontal=True, rotation=10)`."""
    if not text:
        return None
    options = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            options[name] = float(value) if value else True
        except ValueError:
            options[name] = value
    return data.augment(**options)
