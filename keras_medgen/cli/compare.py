"""`keras-medgen compare`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_medgen.cli import options
from keras_medgen.evaluation.compare import write_comparison


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Two runs or more that were evaluated, or their reports.")
    ],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("comparison.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that page.")] = False,
):
    """Put the evaluations of several runs side by side on one page.

    \b
    Examples:
      keras-medgen compare runs/vae runs/gan
      keras-medgen compare runs/vae runs/gan runs/diffusion --out comparison.html

    Refused where the figures do not mean the same: other real images, other feature extractors,
    another number of images.
    """
    if out.suffix.casefold() != ".html":
        raise ValueError(f"--out must name an .html file. Received: --out {out}.")
    options.check_free(out, overwrite)
    comparison = write_comparison(runs, out)
    typer.echo(f"{out}: {', '.join(comparison.names)}")
