"""Runs that were stopped, or killed, and go on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_medgen import callbacks, precision
from tests.cli.conftest import RUN_FILES, small

PROGRAM = Path(sys.executable).with_name("keras-medgen")


def assert_same(first, second):
    """Two runs have the same history, to the letter, and the same weights, to the bit."""
    histories = [(run / "history.csv").read_bytes() for run in (first, second)]
    assert histories[0] == histories[1]
    models = [keras.saving.load_model(run / "model.keras") for run in (first, second)]
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def interrupted(call, scans, monkeypatch):
    """Makes a run of two epochs that was stopped late in the second, and returns its folder."""
    write = callbacks.SampleGrid.on_epoch_end

    def stop(grid, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        write(grid, epoch, logs)

    def make(out, *more):
        with monkeypatch.context() as patch:
            patch.setattr(callbacks.SampleGrid, "on_epoch_end", stop)
            code, _, err = call(*small(scans, out, *more))
        assert code == 130
        assert f"goes on from its last whole epoch with: keras-medgen train --resume {out}\n" in err
        return call.folder / f"{out}.partial"

    return make


class TestResume:
    @pytest.mark.usefixtures("unexported")
    def test_ends_as_an_unbroken_run(self, call, scans, interrupted, monkeypatch):
        monkeypatch.setattr(precision, "_has_bfloat16", lambda: True)
        monkeypatch.setattr(precision, "_speedup", lambda: 2.0)
        arguments = ("--mixed-precision", "auto", "--augment", "flip_horizontal")
        assert call(*small(scans, "whole", *arguments))[0] == 0
        partial = interrupted("broken", *arguments)
        assert {path.name for path in call.folder.iterdir()} == {"whole", "broken.partial"}

        monkeypatch.setattr(precision, "_speedup", lambda: 1.0)  # another day, it would say no
        elsewhere = call.folder / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        code, out, _ = call("train", "--resume", "../broken")
        assert code == 0
        assert "Going on from epoch 1" in out
        assert "Epoch 2/2" in out
        assert "Epoch 1/2" not in out
        assert not partial.exists()
        run = call.folder / "broken"
        assert {path.name for path in run.iterdir()} == RUN_FILES
        assert_same(call.folder / "whole", run)
        records = [json.loads((call.folder / r / "run.json").read_text()) for r in ("whole", run)]
        assert records[1]["dtype_policy"] == "mixed_bfloat16"
        assert records[0]["settings"] == records[1]["settings"]
        assert (records[0]["resumed_from_epoch"], records[1]["resumed_from_epoch"]) == (None, 1)
        assert str(scans.parent) not in (run / "run.json").read_text()

    @pytest.mark.usefixtures("unexported")
    def test_refuses_what_has_changed_and_then_goes_on(self, call, scans, interrupted, write_npz):
        partial = interrupted("a")
        code, _, err = call(*small(scans, "a", "--epochs", 5))
        assert code == 2
        assert "interrupted run with other settings" in err

        with np.load(scans) as file:
            other = write_npz("other.npz", **{k: 255 - v for k, v in file.items()})
        code, _, err = call("train", "--resume", "a", "--data", other)
        assert code == 2
        assert "the images are no longer those" in err

        moved = scans.rename(scans.with_name("moved.npz"))
        code, _, err = call("train", "--resume", "a")
        assert code == 2
        assert f"no file or folder {scans}" in err
        source = partial / "source.json"
        kept = source.read_text()
        source.unlink()
        code, _, err = call("train", "--resume", "a")
        assert code == 2
        assert "give --data too" in err
        source.write_text(kept)
        moved.rename(scans)

        record = partial / "run.json"
        kept = record.read_text()
        record.write_text(kept.replace('"kl_weight"', '"kl_heaviness"'))
        code, _, err = call("train", "--resume", "a")
        assert code == 2
        assert "another version" in err
        record.write_text(kept)

        code, out, _ = call(*small(scans, "a"))
        assert code == 0
        assert "Going on from epoch 1" in out
        assert len((call.folder / "a/history.csv").read_text().splitlines()) == 1 + 2

    @pytest.mark.usefixtures("unexported")
    def test_images_may_have_another_name_by_now(self, call, scans, interrupted):
        partial = interrupted("a")
        renamed = scans.rename(scans.with_name("renamed.npz"))
        code, out, _ = call("train", "--resume", partial, "--data", renamed)
        assert code == 0
        assert "Going on from epoch 1" in out

    def test_the_clock_does_not_start_anew_after_the_training(self, call, scans, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        arguments = small(scans, "a", "--epochs", 50, "--max-minutes", 0.001)
        with monkeypatch.context() as patch:
            patch.setattr("keras_medgen.cli.training._export", stop)
            assert call(*arguments)[0] == 130
        history = (call.folder / "a.partial/history.csv").read_text()
        assert len(history.splitlines()) < 51
        code, out, _ = call("train", "--resume", "a")
        assert code == 0
        assert "Epoch" not in out
        assert (call.folder / "a/history.csv").read_text() == history

    @pytest.mark.parametrize("moment", ["_export", "_finish"])
    def test_stopped_late_it_loses_nothing(self, call, scans, monkeypatch, moment):
        def stop(*args, **kwargs):
            original(*args, **kwargs)
            raise KeyboardInterrupt

        if moment == "_finish":  # all is done but the last renaming

            def stop(run, record):
                run.write_json("run.json", record)
                raise KeyboardInterrupt

        original = getattr(sys.modules["keras_medgen.cli.training"], moment)
        with monkeypatch.context() as patch:
            patch.setattr(f"keras_medgen.cli.training.{moment}", stop)
            assert call(*small(scans, "late", "--epochs", 1))[0] == 130
        before = (call.folder / "late.partial/model.keras").stat().st_mtime_ns
        code, out, _ = call("train", "--resume", "late.partial")
        assert code == 0
        assert "Epoch" not in out
        assert {path.name for path in (call.folder / "late").iterdir()} == RUN_FILES
        after = (call.folder / "late/model.keras").stat().st_mtime_ns
        assert (after == before) is (moment == "_finish")


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--resume", "nowhere"], "There is no interrupted run"),
            (["--resume", "nowhere", "--epochs", "3"], "Received: --epochs."),
            (
                ["--resume", "nowhere", "--clip-norm", "1", "--overwrite"],
                "--clip-norm, --overwrite",
            ),
        ],
    )
    def test_before_a_run_is_read(self, call, arguments, message):
        code, out, err = call("train", *arguments)
        assert (code, out) == (2, "")
        assert message in err

    def test_a_finished_run(self, call):
        (call.folder / "done").mkdir()
        (call.folder / "done/run.json").write_text("{}")
        for name in ("done", "done.partial"):
            code, _, err = call("train", "--resume", name)
            assert code == 2
            assert "done is finished: there is nothing to resume." in err


def killed(arguments, folder, epoch):
    """Runs the command, and kills it in the epoch after this one; whether in time."""
    process = subprocess.Popen(
        [PROGRAM, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert any(line.startswith(f"Epoch {epoch + 1}/") for line in process.stdout)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.usefixtures("unexported")
def test_killed_it_ends_as_an_unbroken_run(call, scans):
    """The short form of benchmarks/kill_and_resume.py, which kills at random."""
    arguments = ("--epochs", 12)
    assert call(*small(scans, "whole", *arguments))[0] == 0
    assert killed(small(scans, "broken", *arguments), call.folder, epoch=2)
    assert call("train", "--resume", "broken")[0] == 0
    assert_same(call.folder / "whole", call.folder / "broken")
