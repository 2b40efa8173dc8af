"""Images and curves as PNG files; those of generated images carry a mark that says so."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_medgen._files import written_whole
from keras_medgen._marks import synthetic_mark

GAP = 2  # pixels between the images of a grid
SMALLEST_CELL = 96  # smaller images are enlarged by whole factors until they are this wide


def save_picture(path: str | Path, image: np.ndarray, synthetic: bool) -> None:
    """Writes one image as a PNG.

    Args:
        path: of the PNG.
        image: (height, width, channels) in [0, 1], or uint8; of 2 or 4 channels the first is shown.
        synthetic: whether it is generated, and the file is marked so.
    """
    with written_whole(path) as file:
        as_picture(to_uint8(image)).save(file, pnginfo=synthetic_mark(synthetic))


def save_grid(
    path: str | Path, images: np.ndarray, columns: int, synthetic: bool | str = False
) -> None:
    """Writes images as one PNG, row by row.

    Args:
        path: of the PNG.
        images: (n, height, width, channels) in [0, 1], or uint8; of 2 or 4 channels the first
            is shown.
        columns: images in a row.
        synthetic: True where the images are generated, "partly" where some are, or are
            reconstructions: the file is marked so (see `synthetic_mark`).
    """
    factor = max(1, -(-SMALLEST_CELL // max(images.shape[1:3])))
    pixels = to_uint8(images).repeat(factor, axis=1).repeat(factor, axis=2)
    with written_whole(path) as file:
        as_picture(grid(pixels, columns)).save(file, pnginfo=synthetic_mark(synthetic))


def save_reconstructions(
    path: str | Path, images: np.ndarray, reconstructions: np.ndarray, columns: int = 8
) -> None:
    """Writes rows of images, each row above the row of their reconstructions, as one PNG.

    The file is marked as partly generated.

    Args:
        path: of the PNG.
        images: (n, height, width, channels) in [0, 1], or uint8.
        reconstructions: as `images`.
        columns: images in a row.
    """
    above, below, rows = to_uint8(images), to_uint8(reconstructions), []
    for start in range(0, len(above), columns):
        part = slice(start, start + columns)
        missing = columns - len(above[part])
        blank = np.full((missing, *above.shape[1:]), 255, np.uint8)
        rows += [above[part], blank, below[part], blank]
    save_grid(path, np.concatenate(rows), columns, synthetic="partly")


OF_SAMPLES, OF_IMAGES = "sample_ms_ssim", "image_ms_ssim"  # one is read beside the other


def save_curves(path: str | Path, history: dict[str, list[float]]) -> None:
    """Writes each term of a training history, and its validation, against the epochs as a PNG.

    Args:
        path: of the PNG.
        history: from a name to its value at each epoch; `val_` names the validation of a term.
    """
    from matplotlib.figure import Figure  # slow to import

    terms = [name for name in history if not name.startswith("val_") and name != OF_IMAGES]
    if not any(history.get("penalty", [])):  # of weight 0
        terms = [name for name in terms if name != "penalty"]
    terms.sort(key=lambda name: name != "loss")  # the total first, the others as they came
    columns = min(4, len(terms))
    rows = -(-len(terms) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[len(terms) :]:
        axes.set_axis_off()
    for axes, name in zip(places, terms, strict=False):
        labels = {name: "training", f"val_{name}": "validation"}
        if name == OF_SAMPLES:
            labels = {OF_SAMPLES: "between samples", OF_IMAGES: "between images"}
        for key, label in labels.items():
            if key in history:
                epochs = range(1, len(history[key]) + 1)
                axes.plot(epochs, history[key], label=label, marker=".")
        axes.set(title=name.replace("_", " "), xlabel="epoch")
        axes.locator_params(axis="x", integer=True)
        axes.legend()
    with written_whole(path) as file:
        figure.savefig(file, dpi=120)


def save_scatter(
    path: str | Path,
    points: np.ndarray,
    groups: np.ndarray | None,
    names: list[str] | None,
    title: str,
    axes: list[str],
) -> None:
    """Writes points in the plane as one PNG, each in the colour of its group.

    Args:
        path: of the PNG.
        points: (n, 2).
        groups: int (n,), from 0; None for one colour.
        names: of the groups; those without points are left out.
        title: of the picture.
        axes: names of the two axes.
    """
    import matplotlib  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    plot = figure.subplots()
    plot.set(title=title, xlabel=axes[0], ylabel=axes[1])
    order = np.random.default_rng(0).permutation(len(points))  # no group hides another
    style = {"s": 12, "alpha": 0.7, "linewidths": 0}
    if groups is None:
        plot.scatter(*points.T, **style)
    else:
        few = len(names) <= 10
        colours = matplotlib.colormaps["tab10" if few else "turbo"].resampled(
            10 if few else len(names)
        )
        plot.scatter(*points[order].T, c=colours(groups[order]), **style)
        for group in np.unique(groups):
            plot.scatter([], [], color=colours(group), label=names[group])
        columns = -(-len(np.unique(groups)) // 20)
        figure.legend(loc="outside right upper", ncols=columns)
    with written_whole(path) as file:
        figure.savefig(file, dpi=100)


def save_panels(
    path: str | Path,
    rows: list[list[np.ndarray]],
    names: list[str],
    titles: list[str],
    synthetic: bool | str = False,
) -> None:
    """Writes named rows of planes under titles as one PNG; what is called a map in colours.

    Args:
        path: of the PNG.
        rows: of planes (height, width) or (height, width, channels), of 2 or 4 channels the
            first: in [0, 1], but for maps, which are shown from 0 to the largest value of their
            own; all of NaN for a blank. As many in a row as there are titles.
        names: of the rows.
        titles: of the columns.
        synthetic: see `save_grid`.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(1.6 * len(titles), 1.6 * len(rows) + 0.3), layout="constrained")
    places = figure.subplots(len(rows), len(titles), squeeze=False)
    for axes_of_row, planes, name in zip(places, rows, names, strict=True):
        for axes, plane, title in zip(axes_of_row, planes, titles, strict=True):
            is_map = title == "map"
            axes.imshow(
                plane[..., 0] if plane.ndim == 3 and plane.shape[-1] != 3 else plane,
                cmap="inferno" if is_map else "gray",
                vmin=0,
                vmax=max(plane.max(), 1e-12) if is_map else 1,
            )
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
        axes_of_row[0].set_ylabel(name)
    for axes, title in zip(places[0], titles, strict=True):
        axes.set_title(title, fontsize="medium")
    with written_whole(path) as file:
        mark = synthetic_mark(synthetic)
        figure.savefig(file, dpi=120, pil_kwargs={} if mark is None else {"pnginfo": mark})


def grid(pixels: np.ndarray, columns: int, border: bool = True) -> np.ndarray:
    """Images as one, row by row, on white.

    Args:
        pixels: uint8 (n, height, width, channels).
        columns: images in a row.
        border: whether there is a gap around them too, and not between them alone.

    Returns:
        uint8 (height, width, channels).
    """
    cells = ((0, -len(pixels) % columns), (0, GAP), (0, GAP), (0, 0))  # a gap below, one beside
    cells = np.pad(pixels, cells, constant_values=255)
    count, height, width, channels = cells.shape
    rows = cells.reshape(count // columns, columns, height, width, channels).swapaxes(1, 2)
    whole = rows.reshape(-1, columns * width, channels)
    if border:
        return np.pad(whole, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255)
    return whole[:-GAP, :-GAP]


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] as 8 bits; such of 8 bits stay as they are.

    Raises:
        ValueError: for other numbers up to 255, which would all be white.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if np.max(images, initial=0) > 2:
        raise ValueError(
            "images must be uint8, or in [0, 1]. "
            f"Received: {images.dtype} up to {np.max(images):.4g}."
        )
    return (np.clip(images, 0, 1) * 255).round().astype(np.uint8)


def as_picture(pixels: np.ndarray) -> Image.Image:
    """One image, uint8 (height, width, 1 or 3 channels; of 2 or 4 the first), for Pillow."""
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
