import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_medgen import _startup
from keras_medgen.cli import main
from tests.conftest import blobs

COMMANDS = [
    *("train", "demo", "generate", "evaluate", "compare", "detect", "export", "datasets"),
    *("data inspect", "data prepare"),
]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["train"], "--data"),
            (["train", "--data", "missing.npz"], "no file or folder missing.npz"),
            (["train", "--data", "cheastmnist"], "histology_patches"),
            (["train", "--data", "SCANS", "--model", "flow"], "'flow' is not"),
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
