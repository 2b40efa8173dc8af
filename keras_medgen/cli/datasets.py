"""`keras-medgen datasets`."""

import typer

from keras_medgen.data.readers.patches import PICTURES, SMALLEST_PATCH
from keras_medgen.data.readers.registry import MEDMNIST, DataSet

HEADER = ("name", "train/val/test", "sides", "channels", "classes", "task", "licence")
NUMBERS = ("channels", "classes")


def datasets() -> None:
    """List the data sets that are known by name, with their size and licence.

    \b
    Examples:
      keras-medgen datasets
      keras-medgen train --data breastmnist
    """
    rows = [HEADER]
    for name, picture in PICTURES.items():
        sides = f"from {SMALLEST_PATCH}"
        rows.append((name, "of one photograph", sides, "3", "-", "none", picture.licence))
    rows += [_row(dataset) for dataset in MEDMNIST.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if title in NUMBERS else cell.ljust(width)
            for title, cell, width in zip(HEADER, row, widths, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())
    typer.echo(
        "\nFiles are looked for in --data-dir, ~/.medmnist and ~/.keras/datasets, and else "
        "downloaded once, MD5 checked.\nLicences differ: those marked NC forbid commercial use. "
        "MedMNIST asks to be cited: doi:10.1038/s41597-022-01721-8."
    )


def _row(dataset: DataSet) -> tuple[str, ...]:
    sides = " ".join(map(str, sorted(dataset.files)))
    licence = dataset.licence
    return (
        dataset.name,
        "/".join(str(dataset.counts[split]) for split in ("train", "val", "test")),
        sides if dataset.dimensions == 2 else f"{sides} (3D)",
        str(dataset.channels),
        str(len(dataset.class_names)),
        dataset.task,
        f"{licence}, non-commercial" if "-NC" in licence else licence,
    )
