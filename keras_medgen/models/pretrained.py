"""Small trained models that come with the project."""

import dataclasses
import importlib.resources
import json
from pathlib import Path

import keras

from keras_medgen._download import download, find, keras_home
from keras_medgen.models.base import GenerativeModel

FILE = "model.keras"
CHECKOUT = Path(__file__).parents[2] / "saved_models"
RELEASE = None  # URL of the folder of the published files, once there is one


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What is known of a trained model.

    Attributes:
        summary: what it makes, in a line.
        image_shape: (height, width, channels).
        source: of the images that it was trained on.
        licence: of those images.
        sha256: of its .keras file.
    """

    summary: str
    image_shape: tuple[int, int, int]
    source: str
    licence: str
    sha256: str


def _read_pretrained() -> dict[str, Pretrained]:
    """Reads pretrained.json, which benchmarks/pretrained.py writes."""
    text = importlib.resources.files(__package__).joinpath("pretrained.json").read_text("utf-8")
    return {
        name: Pretrained(**facts | {"image_shape": tuple(facts["image_shape"])})
        for name, facts in json.loads(text).items()
    }


PRETRAINED: dict[str, Pretrained] = _read_pretrained()


def load_pretrained(
    name: str, cache_dir: str | Path | None = None, release: str | None = RELEASE
) -> GenerativeModel:
    """Loads a trained model: from a checkout, from where it was downloaded to, or from a release.

    Looked through are the folders `saved_models` of the checkout that the package runs from and
    of the working directory, and then `cache_dir`. Each folder of `saved_models` also holds the
    model's card, the report on its images, and its SavedModel. Of any file the SHA-256 is checked.

    The models are small, and were trained for minutes: for trying things out, for teaching and as
    a start for fine-tuning, never for diagnosis. They have no optimizer: `compile` one to train on.

    Args:
        name: a key of `kmg.models.PRETRAINED`, which says what each was trained on, and under
            which licence.
        cache_dir: folder of downloaded models. Default: `~/.keras/keras_medgen`, or
            `$KERAS_HOME/keras_medgen`.
        release: URL of a folder that holds the files of a release, `NAME.keras` each, to download
            from. There is no published one yet.

    Returns:
        A `kmg.models.GenerativeModel`.

    Raises:
        ValueError: for another name, or for a file that is not the published one.
        FileNotFoundError: if it is in none of the folders, and there is no release to ask.
        ConnectionError: if the download failed; the message says what to put where by hand.
        OSError: if `cache_dir` cannot be written to.

    Example:
    ```python
    model = kmg.models.load_pretrained("pneumonia_vaegan_28")
    images = model.generate(4, labels=[0, 0, 1, 1], seed=0)  # normal, normal, pneumonia, pneumonia
    ```
    """
    if name not in PRETRAINED:
        raise ValueError(f"name must be one of {', '.join(PRETRAINED)}. Received: name={name!r}.")
    sha256 = PRETRAINED[name].sha256
    if cache_dir is None:
        home, folder = keras_home()
        where, cached = f"{home}/keras_medgen/{name}", folder / "keras_medgen" / name
    else:
        where, cached = f"cache_dir/{name}", Path(cache_dir).expanduser() / name
    folders = {
        f"the checkout's saved_models/{name}": CHECKOUT / name,
        f"./saved_models/{name}": Path("saved_models") / name,
        where: cached,
    }
    path = find(FILE, folders, sha256, "sha256")
    if path is None:
        if release is None:
            raise FileNotFoundError(
                f"{name} is in none of {', '.join(folders)}: clone the project's repository and "
                "work there, or give as release the URL of a folder that has it."
            )
        url = f"{release.rstrip('/')}/{name}.keras"
        path = download(FILE, url, sha256, "sha256", cached, where, "cache_dir")
    return keras.saving.load_model(path)
