"""Run directories: what one training leaves behind, whole or not at all."""

import json
import platform
import shutil
from importlib import metadata
from pathlib import Path

import keras

from keras_medgen._files import written_whole
from keras_medgen._version import __version__
from keras_medgen.models import GenerativeModel

MODEL, HISTORY, LOSS = "model.keras", "history.csv", "loss.png"
SAMPLES, RECONSTRUCTIONS, METRICS = "samples.png", "reconstructions.png", "metrics.json"
RUN, EXPORT, PROGRESS, BACKUP = "run.json", "export", "progress", "backup"
PACKAGES = ("keras", "tensorflow", "tensorflow-probability", "numpy", "scikit-image", "pillow")


class RunDirectory:
    """A run as it is made: in `OUT.partial`, which becomes `OUT` when it is complete.

    A training that was stopped leaves `OUT.partial`; the same command, which means the same
    settings and the same data, takes it up from its last whole epoch.

    Args:
        out: where the run shall stand.
        settings: what the run depends on, as JSON.
        overwrite: whether a finished run at `out` may be replaced, and an interrupted one of
            other settings dropped.

    Raises:
        FileExistsError: if there is something in the way.
    """

    def __init__(self, out: Path, settings: dict, overwrite: bool):
        out = out.resolve()  # for "." has no name
        self.out = out
        self.path = out.with_name(f"{out.name}.partial")
        if out.exists():
            if not overwrite:
                raise FileExistsError(f"{out} exists already: choose another --out or --overwrite.")
            if not (out / RUN).is_file() and (not out.is_dir() or any(out.iterdir())):
                raise FileExistsError(f"{out} is not a run directory; it is left as it is.")
        if self.path.exists() and not (self.path / RUN).exists() and any(self.path.iterdir()):
            raise FileExistsError(f"{self.path} is no interrupted run; it is left as it is.")
        if self.path.exists() and read_settings(self.path) != settings:
            if not overwrite:
                raise FileExistsError(
                    f"{self.path} holds an interrupted run with other settings: delete it, choose "
                    "another --out or --overwrite."
                )
            shutil.rmtree(self.path)
        self.settings = settings

    def begin(self) -> int:
        """Makes the folder, and returns how many epochs of an interrupted run it holds."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_json(RUN, {"settings": self.settings})
        try:
            progress = json.loads((self.path / BACKUP / "training_metadata.json").read_text())
            return int(progress["epoch"])
        except (OSError, ValueError, KeyError):
            return 0

    def abandon(self) -> None:
        """Removes the folder, unless it holds a whole epoch to go on from."""
        if not (self.path / BACKUP).exists():
            shutil.rmtree(self.path)

    def write_json(self, name: str, content: dict) -> None:
        """Writes a JSON file of the run."""
        with written_whole(self.path / name) as file:
            file.write_text(
                json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            )

    def finish(self) -> None:
        """Puts the run in its place."""
        shutil.rmtree(self.path / BACKUP, ignore_errors=True)
        if self.out.exists():
            shutil.rmtree(self.out)
        self.path.rename(self.out)


def read_settings(run: Path) -> dict | None:
    """The settings of a finished or interrupted run; None where they cannot be read."""
    try:
        return json.loads((run / RUN).read_text())["settings"]
    except (OSError, ValueError, KeyError):
        return None


def load_model(run: Path) -> GenerativeModel:
    """Loads the model of a run directory, or of a .keras file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not a model of this package.
    """
    file = run / MODEL if run.is_dir() else run
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {MODEL} in {run}."
            if run.is_dir()
            else f"There is no run directory or .keras file {run}."
        )
    if file.suffix != ".keras":
        raise ValueError(f"{file} is not a run directory or a .keras file.")
    try:
        model = keras.saving.load_model(file)
    except Exception as error:  # whatever a damaged archive makes Keras raise
        raise ValueError(f"{file} cannot be loaded ({type(error).__name__}).") from error
    if not isinstance(model, GenerativeModel):
        raise ValueError(f"{file} holds no model of keras_medgen, but {type(model).__name__}.")
    return model


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    return {
        "keras_medgen": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }
