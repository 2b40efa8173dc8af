import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_medgen import _startup, callbacks
from keras_medgen.cli import main, runs
from tests.conftest import blobs

COMMANDS = ["train", "demo", "generate", "export", "datasets", "data inspect", "data prepare"]
RUN_FILES = {
    "model.keras",
    "run.json",
    "history.csv",
    "metrics.json",
    "loss.png",
    "samples.png",
    "reconstructions.png",
    "export",
    "progress",
}


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


class TestTrain:
    def test_leaves_a_whole_run(self, call, scans):
        code, out, err = call(*small(scans, "runs/a"))
        assert code == 0
        (summary,) = err.splitlines()  # and nothing else
        assert summary.startswith("scans.npz: 60 of 60 images used (train 40, val 10, test 10)")
        run = call.folder / "runs/a"
        assert {path.name for path in run.iterdir()} == RUN_FILES
        assert [path.name for path in run.parent.iterdir()] == ["a"]
        assert "Epoch 2/2" in out
        assert "\b" not in out  # no bar, for this is no terminal
        assert "keras-medgen generate runs/a" in out
        for name in RUN_FILES:
            assert name in out

        record = json.loads((run / "run.json").read_text())
        assert record["settings"]["data"] == "scans.npz"
        assert record["settings"]["kl_weight"] == 5.0
        assert record["epochs"] == 2
        assert record["data"]["counts"] == {"train": 40, "val": 10, "test": 10}
        assert record["versions"]["keras"] == keras.__version__
        assert record["export_largest_difference"] < 1e-5
        assert str(scans.parent) not in (run / "run.json").read_text()

        model = keras.saving.load_model(run / "model.keras")
        metrics = json.loads((run / "metrics.json").read_text())
        with np.load(scans) as file:
            test = file["test_images"]
        losses = model.evaluate(test, batch_size=8, verbose=0, return_dict=True)
        for name, value in losses.items():
            assert metrics[f"test_{name}"] == pytest.approx(value, rel=1e-5)
        error = np.mean((model.reconstruct(test)[..., 0] - test / 255) ** 2, axis=(1, 2))
        assert metrics["test_psnr"] == pytest.approx(np.mean(-10 * np.log10(error)), rel=1e-4)
        assert -1 <= metrics["test_ssim"] <= 1
        exported = tf.saved_model.load(str(run / "export/1")).signatures["serving_default"]
        latents = np.ones((2, 4), np.float32)
        np.testing.assert_allclose(
            exported(latents=tf.constant(latents))["images"], model.decode(latents), atol=1e-5
        )

    def test_the_same_seed_gives_the_same_history_to_the_last_digit(self, call, scans):
        for out, seed in (("a", 0), ("b", 0), ("c", 1)):
            assert call(*small(scans, out, "--seed", seed))[0] == 0
        first, again, other = (
            (call.folder / out / "history.csv").read_text() for out in ("a", "b", "c")
        )
        assert first == again
        assert first != other

    def test_a_stopped_training_goes_on_as_if_it_had_not(self, call, scans, monkeypatch):
        arguments = ("--epochs", 4, "--precision", "mixed_bfloat16")
        assert call(*small(scans, "whole", *arguments))[0] == 0
        with monkeypatch.context() as patch:
            begin = callbacks.TimeLimit.on_epoch_begin

            def stop(self, epoch, logs=None):
                begin(self, epoch, logs)
                if epoch == 2:
                    raise KeyboardInterrupt

            patch.setattr(callbacks.TimeLimit, "on_epoch_begin", stop)
            code, _, err = call(*small(scans, "broken", *arguments, "--max-minutes", 60))
        assert code == 130
        assert "goes on from its last whole epoch" in err
        assert {path.name for path in call.folder.iterdir()} == {"whole", "broken.partial"}

        code, _, err = call(*small(scans, "broken", "--epochs", 5))
        assert code == 2
        assert "other settings" in err

        code, out, _ = call(*small(scans, "broken", *arguments, "--max-minutes", 60))
        assert code == 0
        assert "Going on from epoch 2" in out
        assert "Epoch 2/4" not in out
        assert {path.name for path in call.folder.iterdir()} == {"whole", "broken"}
        histories = [call.folder / run / "history.csv" for run in ("whole", "broken")]
        assert histories[0].read_text() == histories[1].read_text()
        weights = [
            keras.saving.load_model(call.folder / run / "model.keras").get_weights()
            for run in ("whole", "broken")
        ]
        for ours, theirs in zip(*weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_a_finished_run_is_replaced_only_when_told_to(self, call, scans):
        call(*small(scans, "a"))
        code, _, err = call(*small(scans, "a", "--epochs", 1))
        assert code == 2
        assert "exists already" in err
        assert call(*small(scans, "a", "--epochs", 1, "--overwrite"))[0] == 0
        assert len((call.folder / "a/history.csv").read_text().splitlines()) == 2

    def test_an_interrupted_run_of_other_settings_is_dropped_when_told_to(self, call, scans):
        (call.folder / "a.partial").mkdir()
        (call.folder / "a.partial/run.json").write_text("{")
        assert call(*small(scans, "a"))[0] == 2
        assert call(*small(scans, "a", "--overwrite"))[0] == 0

    def test_a_folder_of_the_users_is_never_overwritten(self, call, scans):
        (call.folder / "a").mkdir()
        (call.folder / "a/thesis.tex").write_text("years of work")
        code, _, err = call(*small(scans, "a", "--overwrite"))
        assert code == 2
        assert "not a run directory" in err
        assert (call.folder / "a/thesis.tex").read_text() == "years of work"

    def test_a_folder_of_the_users_named_like_an_interrupted_run_is_left(self, call, scans):
        (call.folder / "a.partial").mkdir()
        (call.folder / "a.partial/notes.txt").write_text("mine")
        code, _, err = call(*small(scans, "a", "--overwrite"))
        assert code == 2
        assert "no interrupted run" in err
        assert (call.folder / "a.partial/notes.txt").exists()

    def test_a_training_that_diverges_says_so_and_leaves_nothing(self, call, scans):
        code, _, err = call(*small(scans, "a", "--learning-rate", "1e30"))
        assert code == 2
        assert "diverged" in err
        assert list(call.folder.iterdir()) == []

    @pytest.mark.parametrize("moment", ["SampleGrid", "measuring"])
    def test_stopped_late_it_loses_nothing(self, call, scans, monkeypatch, moment):
        assert call(*small(scans, "whole"))[0] == 0

        def stop(*args, **kwargs):
            if moment == "measuring" or args[1] == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            if moment == "measuring":
                patch.setattr("keras_medgen.cli.train._measure", stop)
            else:
                patch.setattr(callbacks.SampleGrid, "on_epoch_end", stop)
            assert call(*small(scans, "late"))[0] == 130
        code, out, _ = call(*small(scans, "late"))
        assert code == 0
        assert f"epoch {1 if moment == 'SampleGrid' else 2}" in out
        histories = [call.folder / run / "history.csv" for run in ("whole", "late")]
        assert histories[0].read_text() == histories[1].read_text()

    def test_default_directory(self, call, scans):
        arguments = [a for a in small(scans, "x") if a not in ("--out", "x")]
        assert call(*arguments)[0] == 0
        assert (call.folder / "runs/vae-scans/model.keras").is_file()

    def test_sizes_and_channels(self, call, scans):
        code, out, _ = call(*small(scans, "a", "--image-size", 20, "--channels", 3))
        assert code == 0
        assert "20 x 20 x 3" in out
        with Image.open(call.folder / "a/samples.png") as picture:
            assert picture.mode == "RGB"


class TestDemo:
    @pytest.mark.slow
    def test_a_short_one(self, call, monkeypatch):
        monkeypatch.setattr("keras_medgen.cli.train.DEMO_SECONDS", 1)
        code, out, _ = call("demo", "--out", "runs/demo")
        assert code == 0
        assert {path.name for path in (call.folder / "runs/demo").iterdir()} == RUN_FILES
        assert out.count("\n  keras-medgen ") == 3
        assert "64 x 64 x 3 pixels" in out


class TestGenerateAndExport:
    @pytest.fixture
    def run(self, call, scans):
        assert call(*small(scans, "run"))[0] == 0
        return call.folder / "run"

    def test_generate(self, call, run):
        code, out, _ = call("generate", "run", "--num", 5, "--seed", 3, "--out", "five")
        assert code == 0
        assert "five: 5 images of 16 x 16 x 1" in out
        names = {path.name for path in (call.folder / "five").iterdir()}
        assert names == {"grid.png", "images.npz", *(f"image_{i:05d}.png" for i in range(5))}
        expected = keras.saving.load_model(run / "model.keras").generate(5, seed=3)
        with np.load(call.folder / "five/images.npz", allow_pickle=False) as file:
            np.testing.assert_array_equal(file["images"], expected)
        with Image.open(call.folder / "five/image_00004.png") as picture:
            pixels = np.asarray(picture)
        np.testing.assert_array_equal(pixels, (expected[4, ..., 0] * 255).round())

    def test_generate_does_not_overwrite_unless_told_to(self, call, run):
        assert call("generate", run)[0] == 0
        assert (run / "images-seed-0/grid.png").is_file()
        code, _, err = call("generate", run)
        assert code == 2
        assert "--overwrite" in err
        assert call("generate", run, "--num", 2, "--overwrite")[0] == 0
        assert len(list((run / "images-seed-0").glob("image_*.png"))) == 2
        (call.folder / "mine").mkdir()
        code, _, err = call("generate", run, "--out", "mine", "--overwrite")
        assert code == 2
        assert "left as it is" in err

    def test_generate_from_a_keras_file(self, call, run):
        assert call("generate", run / "model.keras", "--num", 1, "--out", "one")[0] == 0
        assert (call.folder / "one/image_00000.png").is_file()

    def test_export(self, call, run):
        code, out, _ = call("export", "run", "served/vae")
        assert (code, out.strip()) == (0, "served/vae/1")
        code, out, _ = call("export", "run", "served/vae", "--version", 5)
        assert (code, out.strip()) == (0, "served/vae/5")
        assert tf.saved_model.contains_saved_model(call.folder / "served/vae/5")
        code, _, err = call("export", "run", "served/vae", "--version", 5)
        assert code == 2
        assert "exists already" in err

    def test_a_model_of_somebody_elses(self, call):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.save(call.folder / "other.keras")
        code, _, err = call("generate", "other.keras")
        assert code == 2
        assert "holds no model of keras_medgen, but Sequential" in err


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["train"], "--data"),
            (["train", "--data", "missing.npz"], "no file or folder missing.npz"),
            (["train", "--data", "cheastmnist"], "histology_patches"),
            (["train", "--data", "SCANS", "--model", "gan"], "'gan' is not"),
            (["train", "--data", "SCANS", "--epochs", "0"], "--epochs"),
            (["train", "--data", "SCANS", "--epochs", "many"], "--epochs"),
            (["train", "--data", "SCANS", "--image-size", "8"], "16 to 256"),
            (["train", "--data", "SCANS", "--image-size", "-3"], "--image-size"),
            (["train", "--data", "SCANS", "--channels", "4"], "channels=4"),
            (["train", "--data", "SCANS", "--max-minutes", "0"], "--max-minutes"),
            (["train", "--data", "SCANS", "--learning-rate", "0"], "--learning-rate"),
            (["train", "--data", "EMPTY"], "no images"),
            (["train", "--data", "FEW"], "8 images; at least 10"),
            (["train", "--data", "CONSTANT"], "constant"),
            (["train", "--data", "NAN"], "NaN"),
            (["train", "--data", "FLAT"], r"(n, height, width)"),
            (["generate", "nowhere"], "no run directory or .keras file nowhere"),
            (["generate", "."], "no model.keras"),
            (["generate", "SCANS"], "not a run directory or a .keras file"),
            (["generate", "BROKEN"], "broken.keras cannot be loaded"),
            (["generate", "nowhere", "--num", "0"], "--num"),
            (["export", "nowhere", "there"], "nowhere"),
            (["dance"], "dance"),
            (["--dance"], "--dance"),
        ],
    )
    def test_are_one_sentence_and_leave_nothing(self, call, scans, write_npz, arguments, message):
        images = blobs(np.random.default_rng(0), 20)[..., 0]
        files = {
            "SCANS": scans,
            "EMPTY": write_npz("empty.npz", pictures=images),
            "FEW": write_npz("few.npz", train_images=images[:8]),
            "CONSTANT": write_npz("constant.npz", train_images=np.zeros_like(images)),
            "NAN": write_npz("nan.npz", train_images=np.full(images.shape, np.nan)),
            "FLAT": write_npz("flat.npz", train_images=images.reshape(20, -1)),
            "BROKEN": scans.with_name("broken.keras"),
        }
        files["BROKEN"].write_bytes(b"no archive")
        code, out, err = call(*(files.get(argument, argument) for argument in arguments))
        assert code == 2
        assert out == ""
        *summary, error = err.splitlines()  # what was read may be said before
        assert len(summary) <= 1
        assert error.startswith("keras-medgen: ")
        assert message in err
        assert list(call.folder.iterdir()) == []

    def test_verbose_gives_the_traceback(self, call):
        with pytest.raises(FileNotFoundError):
            main(["train", "--data", "missing.npz", "--verbose"])

    def test_a_reader_that_goes_away(self, tmp_path):
        program = "from keras_medgen.cli import main; main(['train', '--help'])"
        reader, writer = os.pipe()
        os.close(reader)
        finished = subprocess.run(
            [sys.executable, "-u", "-c", program],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        os.close(writer)
        assert finished.returncode == 1
        assert "BrokenPipe" not in finished.stderr


class TestHelp:
    def test_version(self, call):
        from keras_medgen import __version__

        assert call("--version")[1].strip() == f"keras-medgen {__version__}"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_examples(self, call, command):
        code, out, _ = call(*command.split(), "--help")
        assert code == 0
        assert f"\n    keras-medgen {command}" in out


class TestQuiet:
    """TensorFlow's start-up lines, in the command as it is installed."""

    PROGRAM = Path(sys.executable).with_name("keras-medgen")

    def run(self, *arguments, cwd):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
        return subprocess.run(
            [self.PROGRAM, *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_an_error_stands_alone(self, tmp_path):
        finished = self.run("train", "--data", "missing.npz", cwd=tmp_path)
        assert finished.returncode == 2
        assert finished.stdout == ""
        assert finished.stderr == "keras-medgen: There is no file or folder missing.npz.\n"

    def test_verbose_lets_them_through(self, tmp_path):
        finished = self.run("train", "--data", "missing.npz", "--verbose", cwd=tmp_path)
        assert finished.returncode == 1
        assert "FileNotFoundError" in finished.stderr
        assert len(finished.stderr.splitlines()) > 5

    def test_held_lines_come_out_if_the_import_fails(self, capfd):
        with pytest.raises(RuntimeError), _startup.quiet_native_stderr():  # noqa: PT012
            os.write(2, b"cannot open shared object\n")
            raise RuntimeError
        assert "cannot open shared object" in capfd.readouterr().err
        with _startup.quiet_native_stderr():
            os.write(2, b"noise\n")
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize(
        ("arguments", "quiet"),
        [
            (["/usr/bin/keras-medgen", "demo"], True),
            (["keras-medgen.exe", "demo"], True),
            (["keras-medgen", "demo", "--verbose"], False),
            (["script.py"], False),
            ([], False),
        ],
    )
    def test_only_the_command_is_quiet(self, arguments, quiet):
        assert _startup.is_quiet_command(arguments) is quiet

    def test_the_command_imports_quietly(self, monkeypatch, capfd):
        monkeypatch.setattr(sys, "argv", ["keras-medgen", "demo"])
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        _startup.import_tensorflow()
        assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_pneumoniamnist_by_default(call, test_data):
    """The figures that the README gives, with room for another machine's rounding."""
    file = test_data / "pneumoniamnist.npz"
    code, _, _ = call("train", "--data", file, "--epochs", 20, "--seed", 0, "--out", "run")
    assert code == 0
    metrics = json.loads((call.folder / "run" / runs.METRICS).read_text())
    assert metrics["test_psnr"] > 27
    assert metrics["test_ssim"] > 0.88
    assert 20 < metrics["test_kl_loss"] < 150  # the latents are in use
