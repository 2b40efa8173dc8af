import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_medgen._marks import is_synthetic
from keras_medgen.cli import main
from tests.cli.conftest import no_export, scans_of, small


class TestGenerateAndExport:
    @pytest.fixture(scope="class")
    def trained(self, tmp_path_factory):
        """A run, made once for all tests."""
        folder = tmp_path_factory.mktemp("trained")
        np.savez(folder / "scans.npz", **scans_of(np.random.default_rng(0)))
        arguments = [str(word) for word in small(folder / "scans.npz", folder / "run")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("keras_medgen.cli.training._export", no_export)
            with pytest.raises(SystemExit) as stop:
                main(arguments)
        assert stop.value.code == 0
        return folder / "run"

    @pytest.fixture
    def run(self, call, trained):
        return shutil.copytree(trained, call.folder / "run")

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
        assert all(is_synthetic(path) for path in (call.folder / "five").glob("*.png"))

    def test_pictures_of_a_run_say_what_is_generated(self, call, run, scans):
        marked = {path.name: is_synthetic(path) for path in run.rglob("*.png")}
        assert {name for name, mark in marked.items() if not mark} == {"loss.png", "latents.png"}
        assert {"samples.png", "samples_epoch_0001.png", "reconstructions.png"} < marked.keys()
        assert call("data", "inspect", scans, "--out", "sheet.png")[0] == 0
        assert not is_synthetic(call.folder / "sheet.png")

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
