"""The command, run within the tests' process."""

import pytest

from keras_medgen.cli import main
from tests.conftest import blobs

RUN_FILES = {
    "model.keras",
    "run.json",
    "history.csv",
    "metrics.json",
    "loss.png",
    "samples.png",
    "reconstructions.png",
    "latents.png",
    "export",
    "progress",
}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own: exit code, stdout, stderr."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    run.folder = folder
    return run


def no_export(model, run, images):
    """In the place of the export of a run."""
    (run.path / "export").mkdir()
    return 0.0


@pytest.fixture
def unexported(monkeypatch):
    """Trainings end without an export, which takes longer than they do: for tests of all else."""
    monkeypatch.setattr("keras_medgen.cli.training._export", no_export)


@pytest.fixture
def untrained(unexported, monkeypatch):
    """Nor is there a training: for tests of what options make of a model."""
    monkeypatch.setattr("keras_medgen.cli.training._fit", lambda *_: {"loss": [0.0]})


@pytest.fixture
def scans(rng, write_npz):
    return write_npz(**scans_of(rng))


def scans_of(rng):
    """The arrays of a file of images."""
    images = blobs(rng, 60)[..., 0]
    return {"train_images": images[:40], "val_images": images[40:50], "test_images": images[50:]}


def small(scans, out, *more):
    """Arguments of a training of a second or two."""
    return (
        "train",
        "--network",
        "dense",
        "--data",
        scans,
        "--latent-dim",
        4,
        "--batch-size",
        8,
        "--epochs",
        2,
        "--out",
        out,
        *more,
    )
