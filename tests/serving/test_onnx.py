import builtins

import numpy as np
import pytest

import keras_medgen as kmg
from tests.serving.small_models import CLASSES, small_model


@pytest.fixture
def onnxruntime():
    pytest.importorskip("tf2onnx", reason="the extra onnx is not installed")
    return pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.mark.parametrize("name", ["VAE", "VAEGAN, conditional", "GAN"])
def test_the_decoder(name, tmp_path, onnxruntime):
    model = small_model(name)
    path = kmg.serving.export(model, tmp_path / "onnx", format="onnx")
    assert {file.name for file in path.rglob("*") if file.is_file()} == {
        "model.onnx",
        "model.json",
        "model_card.md",
    }
    session = onnxruntime.InferenceSession(str(path / "model.onnx"))
    for rows in (1, 7):
        latents = np.random.default_rng(rows).standard_normal((rows, 4), np.float32)
        given, labels = {"latents": latents}, None
        if model.num_classes is not None:
            labels = np.arange(rows) % CLASSES
            given["labels"] = np.eye(CLASSES, dtype=np.float32)[labels]
        (images,) = session.run(["images"], given)
        np.testing.assert_allclose(images, model.decode(latents, labels), atol=1e-4)


def test_one_that_differs_is_not_exported(tmp_path, monkeypatch, onnxruntime):
    model = small_model("VAE")
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda latents: decode(latents) + 0.01)
    with pytest.raises(RuntimeError, match=r"differs from the model by 0\.01"):
        kmg.serving.export(model, tmp_path / "onnx", format="onnx")
    assert list((tmp_path / "onnx").iterdir()) == []


def test_diffusion_is_refused(tmp_path):
    with pytest.raises(ValueError, match="VAE, VAEGAN, GAN"):
        kmg.serving.export(small_model("Diffusion"), tmp_path / "onnx", format="onnx")


def test_without_the_extra(tmp_path, monkeypatch):
    original = builtins.__import__

    def missing(name, *arguments, **options):
        if name in ("onnxruntime", "tf2onnx"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'keras_medgen\[onnx\]'"):
        kmg.serving.export(small_model("VAE"), tmp_path / "onnx", format="onnx")
