"""The package as a whole: what importing it does, and which part may know which."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestBackend:
    CODE = "import keras_medgen"

    def assert_refused(self, finished):
        assert finished.returncode == 1
        last = finished.stderr.strip().splitlines()[-1]
        assert last.startswith("ImportError: keras_medgen runs on Keras' TensorFlow backend")
        assert "'jax'" in last

    def test_of_the_environment(self):
        self.assert_refused(run_python(self.CODE, KERAS_BACKEND="jax"))

    def test_of_the_configuration_file(self, tmp_path):
        (tmp_path / "keras.json").write_text('{"backend": "jax"}')
        environment = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
        self.assert_refused(run_python(self.CODE, **environment))

    def test_of_a_keras_that_is_imported_already(self, monkeypatch):
        import keras

        from keras_medgen import _startup

        monkeypatch.setattr(keras.config, "backend", lambda: "torch")
        with pytest.raises(ImportError, match="'torch'"):
            _startup.check_backend()

    def test_a_broken_configuration_file_counts_as_none(self, tmp_path, monkeypatch):
        from keras_medgen import _startup

        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        assert _startup._configured_backend() == "tensorflow"
        (tmp_path / "keras.json").write_text("{")
        assert _startup._configured_backend() == "tensorflow"


def test_importing_leaves_the_slow_and_the_rare_for_later():
    finished = run_python(
        "import sys, keras_medgen as kmg\n"
        "late = ('tensorflow_probability', 'tf_keras', 'skimage.metrics')\n"
        "print([name for name in late if name in sys.modules], kmg.__version__)"
    )
    from keras_medgen import __version__

    assert finished.stdout.split("\n")[0] == f"[] {__version__}"


def test_a_saved_model_loads_after_importing_the_package_alone(tmp_path):
    from tests.models.contract import MODELS

    MODELS["VAE"].make(0).save(tmp_path / "model.keras")
    finished = run_python(
        "import keras, keras_medgen\n"
        f"print(type(keras.saving.load_model({str(tmp_path / 'model.keras')!r})).__name__)"
    )
    assert finished.stdout.strip() == "VAE", finished.stderr


def test_import_contracts():
    program = Path(sys.executable).with_name("lint-imports")
    finished = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout
    assert "0 broken" in finished.stdout


def test_the_readme_has_its_two_commands():
    readme = (ROOT / "README.md").read_text()
    quickstart = readme.split("<!-- quickstart -->")[1].split("<!-- /quickstart -->")[0]
    commands = [line for line in quickstart.splitlines() if line and not line.startswith("```")]
    assert len(commands) == 2
    assert "keras-medgen demo" in commands[0]
    assert "pytest" in commands[1]
