from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.models.contract import MODELS


@pytest.fixture
def model():
    return MODELS["VAE"].make(0)


def test_versions_count_up(model, tmp_path):
    directory = tmp_path / "models" / "vae"
    paths = [kmg.serving.export(model, directory, version) for version in (None, None, 7, None)]
    assert [path.name for path in paths] == ["1", "2", "7", "8"]
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2", "7", "8"]


def test_a_version_that_is_there_is_left_alone(model, tmp_path):
    path = kmg.serving.export(model, tmp_path, version=1)
    before = (path / "saved_model.pb").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="1 exists already"):
        kmg.serving.export(model, tmp_path, version=1)
    assert (path / "saved_model.pb").stat().st_mtime_ns == before


def test_version_zero_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="version=0"):
        kmg.serving.export(model, tmp_path, version=0)


def test_a_failed_export_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(module, path, **kwargs):
        Path(path, "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        kmg.serving.export(model, tmp_path / "vae", version=1)
    assert list((tmp_path / "vae").iterdir()) == []


def test_signatures_have_the_names_that_a_server_shows(model, tmp_path):
    path = kmg.serving.export(model, tmp_path)
    signatures = tf.saved_model.load(str(path)).signatures
    described = {
        name: (
            {k: s.shape.as_list() for k, s in signature.structured_input_signature[1].items()},
            {k: s.shape.as_list() for k, s in signature.structured_outputs.items()},
        )
        for name, signature in signatures.items()
    }
    images, latents = [None, 16, 16, 1], [None, 4]
    assert described == {
        "serving_default": ({"latents": latents}, {"images": images}),
        "encode": ({"images": images}, {"mean": latents, "log_var": latents}),
        "reconstruct": ({"images": images}, {"images": images}),
    }


def test_a_folder_that_other_users_can_read(model, tmp_path):
    path = kmg.serving.export(model, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o755
    assert np.all([(file.stat().st_mode & 0o444) == 0o444 for file in path.rglob("*")])
