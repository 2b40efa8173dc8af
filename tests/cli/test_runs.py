"""The states that a killed process can leave a run directory in."""

from pathlib import Path

import pytest

from keras_medgen.cli import runs

SETTINGS = {"data": "scans.npz", "epochs": 2}
RECORD = {"settings": SETTINGS, "dtype_policy": "float32"}
SOURCE = {"data": "/home/me/scans.npz"}


class KilledError(BaseException):
    """In place of a SIGKILL."""


@pytest.fixture
def kill_at(monkeypatch):
    """Makes the n-th renaming, from now on and of all, the end."""

    def patch(number):
        rename, calls = Path.rename, []

        def killing(path, target):
            calls.append(path)
            if len(calls) == number:
                raise KilledError
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", killing)

    return patch


def begun(out, overwrite=False):
    run = runs.RunDirectory(out)
    run.check(SETTINGS, overwrite)
    if not run.complete:
        run.begin(RECORD, SOURCE)
    return run


def finished(out, **more):
    run = begun(out)
    (run.path / runs.CHECKPOINT).write_bytes(b"weights")
    run.finish({**RECORD, "epochs": 2, **more})
    return run


def test_a_finished_run_holds_nothing_private(tmp_path):
    finished(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"run.json"}
    assert runs.read_json(tmp_path / "a/run.json") == {**RECORD, "epochs": 2}


def test_nothing_but_the_folder(tmp_path):
    (tmp_path / "a.partial").mkdir()
    with pytest.raises(FileNotFoundError, match="no interrupted run"):
        runs.RunDirectory(tmp_path / "a", resume=True)
    assert begun(tmp_path / "a").record == RECORD


def test_before_the_folder_stands(tmp_path, kill_at):
    kill_at(1)
    with pytest.raises(KilledError):
        begun(tmp_path / "a")
    assert not (tmp_path / "a.partial").exists()


def test_what_is_half_written_is_removed(tmp_path):
    run = begun(tmp_path / "a")
    for folder in ("progress", "export", "export/.1-abc"):
        (run.path / folder).mkdir()
    for file in (".checkpoint-7.keras", "progress/.samples-7.png", "export/.1-abc/saved_model.pb"):
        (run.path / file).write_bytes(b"half")
    (run.path / "progress/samples.png").write_bytes(b"whole")
    again = runs.RunDirectory(tmp_path / "a.partial", resume=True)
    again.begin(RECORD, SOURCE)
    files = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert files == {"run.json", "source.json", "progress/samples.png"}


@pytest.mark.parametrize("number", [1, 2])
def test_while_it_is_put_in_the_place_of_another(tmp_path, kill_at, monkeypatch, number):
    finished(tmp_path / "a", which="old")
    run = begun(tmp_path / "a", overwrite=True)
    with monkeypatch.context():
        kill_at(number)
        with pytest.raises(KilledError):
            run.finish({**RECORD, "epochs": 2, "which": "new"})
    monkeypatch.undo()
    assert (tmp_path / "a").exists() is (number == 1)
    again = runs.RunDirectory(tmp_path / "a", resume=True)
    assert again.complete
    again.finish(again.record)
    assert runs.read_json(tmp_path / "a/run.json")["which"] == "new"
    assert not (tmp_path / "a.partial").exists()


def test_a_finished_run_does_not_hide_an_interrupted_one(tmp_path):
    finished(tmp_path / "a")
    begun(tmp_path / "a", overwrite=True)
    assert not runs.RunDirectory(tmp_path / "a", resume=True).complete


def test_its_name_is_as_short_as_it_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(runs.RunDirectory(Path("runs/a"))) == "runs/a"
    assert str(runs.RunDirectory(tmp_path.parent / "a")) == str(tmp_path.parent / "a")
