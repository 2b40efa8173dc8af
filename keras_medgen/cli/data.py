"""`keras-medgen data inspect` and `keras-medgen data prepare`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from keras_medgen import data
from keras_medgen.cli import options
from keras_medgen.data.load import load_with
from keras_medgen.data.settings import Settings
from keras_medgen.data.shards import check_target
from keras_medgen.data.splits import SPLITS
from keras_medgen.pictures import save_grid

SHEET_COLUMNS = 12
SHEET_ROWS = 4  # for a source without classes
MEASURED = 1000  # images of a split whose grey values are looked at

Source = Annotated[str, typer.Argument(help=options.SOURCE_HELP)]


def inspect(
    source: Source,
    out: Annotated[Path, typer.Option(help="Contact sheet, a PNG.")] = Path("contact_sheet.png"),
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    resize: options.ResizeOption = options.Resize.pad,
    window: options.Window = None,
    axis: options.Axis = None,
    data_dir: options.DataDir = None,
    seed: options.Seed = 0,
):
    """Say what a source holds: shape, classes, grey values, copies, what is left out and why.

    \b
    Examples:
      keras-medgen data inspect pneumoniamnist
      keras-medgen data inspect scans/ --image-size 64 --out scans.png
      keras-medgen data inspect ct/ --window lung --image-size 128 --channels 1
    """
    if out.suffix.casefold() != ".png":
        raise ValueError(f"--out must name a .png file. Received: --out {out}.")
    images = load_with(
        source,
        Settings(
            image_size=image_size,
            channels=channels,
            resize=resize.value,
            window=options.parse_window(window),
            axis=axis,
            data_dir=data_dir,
            seed=seed,
            split=False,  # so that one patient can be looked at
        ),
    )
    _print_facts(images)
    examples = _examples(images)
    save_grid(out, np.concatenate(examples), columns=SHEET_COLUMNS)
    rows = "a row or more for each class" if images.num_classes else "from all over one split"
    typer.echo(f"contact sheet: {out} ({rows})")


def prepare(
    source: Source,
    directory: Annotated[Path, typer.Argument(help="Folder to write.")],
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    resize: options.ResizeOption = options.Resize.pad,
    window: options.Window = None,
    axis: options.Axis = None,
    deduplicate: options.DeduplicateOption = options.Deduplicate.report,
    data_dir: options.DataDir = None,
    seed: options.Seed = 0,
):
    """Read a source once and write it as TFRecords, which load at once and stream at any size.

    \b
    Examples:
      keras-medgen data prepare scans/ prepared/scans --image-size 64
      keras-medgen train --data prepared/scans

    Splits, copies and what was left out are settled here and kept. Given again after it was
    stopped, it goes on and ends with the same shards.
    """
    check_target(directory)  # before the source is read
    images = data.load(
        source,
        image_size=image_size,
        channels=channels,
        resize=resize.value,
        window=options.parse_window(window),
        axis=axis,
        deduplicate=deduplicate.value,
        data_dir=data_dir,
        seed=seed,
    )
    data.write_shards(images, directory)
    size = sum(path.stat().st_size for path in directory.iterdir())
    typer.echo(f"{directory}: {images.report.used} images, {size / 2**20:,.1f} MB")


def _print_facts(images: data.ImageData) -> None:
    report, provenance = images.report, images.provenance
    height, width, channels = images.image_shape
    typer.echo(f"source        {provenance['source']}")
    typer.echo(f"licence       {provenance['licence']}")
    typer.echo(f"images        {report.used} used of {report.found} found")
    typer.echo(f"shape         {height} x {width} pixels, {channels} channels")
    masked = []
    for split, count in provenance["counts"].items():
        if not count:
            continue
        some = images.examples(_evenly(images.rows(split), MEASURED))
        pixels = some["images"]
        low, middle, high = np.percentile(pixels, [1, 50, 99])
        typer.echo(
            f"{split:13} {count} images; grey values {pixels.min():.2f} to {pixels.max():.2f}, "
            f"1% below {low:.2f}, median {middle:.2f}, 1% above {high:.2f}"
            + (f" (of {len(pixels)} images)" if len(pixels) < count else "")
        )
        masked += [(mask > 0).any() for mask in some.get("masks", [])]
    typer.echo(f"task          {images.task}")
    if images.class_names:
        wide = max(map(len, images.class_names))
        typer.echo(f"{'classes':14}{'':{wide}} {'train':>8} {'val':>8} {'test':>8}")
        counts = [
            _count(images.columns["labels"][images.rows(split)], images)
            for split in provenance["counts"]
        ]
        for name, *numbers in zip(images.class_names, *counts, strict=True):
            typer.echo(f"{'':14}{name:{wide}} " + " ".join(f"{n:8}" for n in numbers))
    if masked:
        typer.echo(f"masks         {np.mean(masked):.0%} of the images have one that is not empty")
    near = "not looked for" if report.near_duplicates is None else f"{report.near_duplicates} pairs"
    typer.echo(f"copies        {report.exact_copies} exact; near duplicates: {near}")
    for pair, leak in report.leaks.items():
        first, second = pair.split("/")
        typer.echo(
            f"leak          {leak['exact'] + leak['near']} images of {second} stand in {first} "
            f"too ({leak['exact']} exactly); --deduplicate drop mends it"
        )
    for note in report.notes:
        typer.echo(f"note          {note}")
    for reason, some in provenance["report"]["left_out"].items():
        more = some["images"] - len(some["first"])
        names = ", ".join(some["first"]) + (f" and {more} more" if more else "")
        typer.echo(f"left out      {reason}: {names}")
    for step in provenance["preprocessing"]:
        typer.echo(f"processed     {step}")


def _count(labels: np.ndarray, images: data.ImageData) -> np.ndarray:
    if images.task == "multi-label":
        return labels.sum(axis=0)
    return np.bincount(labels, minlength=images.num_classes)


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]


def _examples(images: data.ImageData) -> list[np.ndarray]:
    """Rows of images, evenly chosen: of each class, or of all; training images if there are any."""
    rows = next(rows for split in SPLITS if len(rows := images.rows(split)))
    if images.num_classes is None:
        groups, per_group = [rows], SHEET_COLUMNS * SHEET_ROWS
    else:
        labels = images.columns["labels"][rows]
        numbers = range(images.num_classes)
        has = (lambda n: labels[:, n] == 1) if labels.ndim == 2 else (lambda n: labels == n)
        groups, per_group = [rows[has(n)] for n in numbers], SHEET_COLUMNS
    shown = []
    for group in groups:
        if not len(group):
            continue
        pixels = images.examples(_evenly(group, per_group))["images"]
        blank = np.ones((-len(pixels) % SHEET_COLUMNS, *pixels.shape[1:]), np.float32)
        shown += [pixels, blank]
    return shown
