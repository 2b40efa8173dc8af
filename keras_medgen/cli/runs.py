"""Run directories: what one training leaves behind, whole or not at all."""

import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

import keras

from keras_medgen._files import folder_written_whole, written_whole
from keras_medgen._version import __version__
from keras_medgen.cli.options import check_free
from keras_medgen.models import GenerativeModel

MODEL, HISTORY, LOSS = "model.keras", "history.csv", "loss.png"
LATENTS = "latents.png"
SAMPLES, RECONSTRUCTIONS, METRICS = "samples.png", "reconstructions.png", "metrics.json"
RUN, EXPORT, PROGRESS = "run.json", "export", "progress"
# Of an interrupted run alone: what to go on from, and where its images are, which names folders.
CHECKPOINT, SOURCE = "checkpoint.keras", "source.json"
PARTIAL = ".partial"
PACKAGES = ("keras", "tensorflow", "tensorflow-probability", "numpy", "scikit-image", "pillow")


class RunDirectory:
    """A run as it is made: in `OUT.partial`, which becomes `OUT` when it is complete.

    A process killed at any moment leaves one of: nothing; `OUT.partial` that can be taken up from
    its last whole epoch; a complete `OUT.partial` that has only to be put in its place; `OUT`.

    Args:
        out: where the run shall stand.
        resume: whether there must be an interrupted run, which `out` may name with or without its
            ".partial".

    Attributes:
        out: where the run shall stand.
        path: where it stands until then.
        record: what its run.json says so far; empty for a new run.

    Raises:
        FileNotFoundError: if there is no interrupted run to resume.
        FileExistsError: if the run to resume is finished.
    """

    def __init__(self, out: Path, resume: bool = False):
        out = out.resolve()  # for "." has no name
        self.out = out.with_name(out.name.removesuffix(PARTIAL)) if resume else out
        self.path = self.out.with_name(self.out.name + PARTIAL)
        self.record = read_json(self.path / RUN)
        self._resume = resume
        if resume and not self.record:
            if (self.out / RUN).is_file():
                raise FileExistsError(f"{self.out} is finished: there is nothing to resume.")
            raise FileNotFoundError(f"There is no interrupted run {self.path}.")

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do but to put it in its place."""
        return "epochs" in self.record

    def __str__(self):
        """Where the run shall stand, as seen from here."""
        here = Path.cwd()
        return str(self.out.relative_to(here) if self.out.is_relative_to(here) else self.out)

    def check(self, settings: dict, overwrite: bool) -> None:
        """Looks whether a run of these settings can be made, or taken up.

        Args:
            settings: what the run depends on, as JSON.
            overwrite: whether a finished run at `out` may be replaced, and an interrupted one of
                other settings dropped.

        Raises:
            FileExistsError: if there is something in the way.
            ValueError: if the run to resume began with other images.
        """
        check_free(self.out, overwrite)
        if self.out.exists() and not (self.out / RUN).is_file() and not _is_empty(self.out):
            raise FileExistsError(f"{self.out} is not a run directory; it is left as it is.")
        if not self.path.exists() or _is_empty(self.path):
            return
        if not (self.path / RUN).exists():
            raise FileExistsError(f"{self.path} is no interrupted run; it is left as it is.")
        if self.record.get("settings") == settings:
            return
        if self._resume:
            raise ValueError(f"the images are no longer those that {self.path} began with.")
        if not overwrite:
            raise FileExistsError(
                f"{self.path} holds an interrupted run with other settings: delete it, choose "
                "another --out or --overwrite."
            )
        shutil.rmtree(self.path)
        self.record = {}

    def begin(self, record: dict, source: dict) -> None:
        """Makes the folder, or tidies up what a killed process left in it.

        Args:
            record: for run.json, so far: what it takes to make the same run again.
            source: for source.json: where the images are.
        """
        if not self.record:
            if self.path.exists():
                self.path.rmdir()  # it is empty
            with folder_written_whole(self.path) as folder:
                _write_json(folder / RUN, record)
            self.record = record
        for path in list(self.path.rglob(".*")):  # files and folders that were half written
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self.write_json(SOURCE, source)

    def abandon(self) -> bool:
        """Removes the folder, unless it holds a whole epoch to go on from: returns whether."""
        kept = (self.path / CHECKPOINT).exists()
        if not kept:
            shutil.rmtree(self.path)
        return kept

    def write_json(self, name: str, content: dict) -> None:
        """Writes a JSON file of the run."""
        _write_json(self.path / name, content)

    def finish(self, record: dict) -> None:
        """Puts the run in its place.

        Args:
            record: for run.json, with its `epochs`.
        """
        if not self.complete:
            self.write_json(RUN, record)
        for name in (CHECKPOINT, SOURCE):
            (self.path / name).unlink(missing_ok=True)
        replaced = self.out.with_name(f".{self.out.name}-{os.getpid()}")
        if self.out.exists():
            self.out.rename(replaced)
        self.path.rename(self.out)
        shutil.rmtree(replaced, ignore_errors=True)


def read_json(path: Path) -> dict:
    """A JSON file of a run; empty where it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict) -> None:
    with written_whole(path) as file:
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


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
