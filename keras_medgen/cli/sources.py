"""The images of a run, read again."""

from pathlib import Path

from keras_medgen import data
from keras_medgen.cli import options, runs
from keras_medgen.data.readers.patches import PICTURES
from keras_medgen.data.readers.registry import MEDMNIST
from keras_medgen.models import GenerativeModel

# Of what a run was trained on: what its source must be read with again.
READING = ("image_size", "channels", "resize", "window", "axis", "deduplicate", "seed")


def read_again(
    run: Path, source: str | None, model: GenerativeModel, data_dir: Path | None
) -> tuple[data.ImageData, bool]:
    """Reads and splits a source as a run did: of the same source, other images are tested.

    Args:
        run: directory, or a .keras file.
        source: of images; None for the one that the run was trained on, if it is still there.
        model: of the run.
        data_dir: where downloaded data sets are; None for the usual places.

    Returns:
        The images, and whether the run was trained on this source as far as it says: one that
        does not is believed.

    Raises:
        ValueError: if the source is not known, or its images are not of the model's shape.
    """
    record = runs.read_json((run if run.is_dir() else run.parent) / runs.RUN)
    settings = record.get("settings", {})
    given, source = source, source or _recorded(run, settings)
    arguments = {name: settings[name] for name in READING if name in settings}
    height, width, channels = model.image_shape
    if height == width:
        arguments["image_size"] = height
    if channels in (1, 3):
        arguments["channels"] = channels
    arguments["window"] = options.parse_window(arguments.get("window"))
    images = data.load(source, data_dir=data_dir, **arguments)
    if images.image_shape != model.image_shape:
        raise ValueError(
            f"--data must hold images of the model's shape, {model.image_shape}. "
            f"Received: {source}, whose images are of {images.image_shape}."
        )
    trained_on = record.get("data", {}).get("sha256")
    same = trained_on in (None, images.provenance.get("sha256"))
    if given is None and not same:
        raise ValueError(
            f"{run} was trained on another {source} than the one that is here: give its place "
            "with --data."
        )
    return images, same


def _recorded(run: Path, settings: dict) -> str:
    """The source that a run was trained on. Only its name is recorded, for folders are private."""
    name = settings.get("data")
    if name is None:
        raise ValueError(f"{run} does not say what it was trained on: give --data.")
    if name in PICTURES or name.casefold() in MEDMNIST or Path(name).exists():
        return name
    raise ValueError(f"{run} was trained on {name}, which is not here: give its place with --data.")
