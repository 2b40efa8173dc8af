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


@pytest.fixture
def unexported(monkeypatch):
    """Trainings end without an export, which takes longer than they do: for tests of all else."""

    def export(model, run, images):
        (run.path / "export").mkdir()
        return 0.0

    monkeypatch.setattr("keras_medgen.cli.training._export", export)


@pytest.fixture
def scans(rng, write_npz):
    images = blobs(rng, 60)[..., 0]
    return write_npz(train_images=images[:40], val_images=images[40:50], test_images=images[50:])


def small(scans, out, *more):
    """Arguments of a training of a second or two."""
    return (
        "train",
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
