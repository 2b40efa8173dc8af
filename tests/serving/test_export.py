import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen.cli import main
from tests.models.contract import MODELS
from tests.serving.small_models import CLASSES, small_model


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


def described(path):
    """Inputs and outputs of each signature, from their names to their shapes."""
    signatures = tf.saved_model.load(str(path)).signatures
    return {
        name: (
            {k: s.shape.as_list() for k, s in signature.structured_input_signature[1].items()},
            {k: s.shape.as_list() for k, s in signature.structured_outputs.items()},
        )
        for name, signature in signatures.items()
    }


def test_signatures_have_the_names_that_a_server_shows(model, tmp_path):
    path = kmg.serving.export(model, tmp_path)
    images, latents, rows = {"images": [None, 16, 16, 1]}, {"latents": [None, 4]}, [None]
    seed, files = {"seed": rows}, {"image_bytes": rows}
    posterior = {"mean": [None, 4], "log_var": [None, 4]}
    detected = {"maps": [None, 16, 16], "scores": rows}
    assert described(path) == {
        "serving_default": (latents, images),
        "sample_latents": (seed, latents),
        "generate": (seed, images),
        "generate_png": (seed, files),
        "encode": (images, posterior),
        "encode_bytes": (files, posterior),
        "reconstruct": (images, images),
        "reconstruct_bytes": (files, images),
        "reconstruct_png": (images, files),
        "reconstruct_png_bytes": (files, files),
        "detect": (images, detected),
        "detect_bytes": (files, detected),
    }


def test_signatures_of_a_conditional_model(tmp_path):
    model = small_model("VAE, conditional")
    path = kmg.serving.export(model, tmp_path, class_names=["a", "b", "c"])
    for name, (inputs, _) in described(path).items():
        if name == "class_name":
            assert inputs == {"label": [None]}
        elif "seed" in inputs:
            assert inputs == {"seed": [None], "label": [None]}
        else:
            assert inputs["labels"] == [None, CLASSES]


@pytest.mark.parametrize(
    ("name", "class_names", "message"),
    [
        ("VAE", ["a", "b", "c"], "conditional model"),
        ("VAE, conditional", ["a", "b"], "must be 3 names"),
        ("VAE, conditional", ["a", "b", 3], "must be 3 names"),
    ],
)
def test_class_names_are_checked(tmp_path, name, class_names, message):
    with pytest.raises(ValueError, match=message):
        kmg.serving.export(small_model(name), tmp_path / "vae", class_names=class_names)
    assert not (tmp_path / "vae").exists()


def test_another_format_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"saved_model, onnx\. Received: format=.tflite."):
        kmg.serving.export(model, tmp_path, format="tflite")


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        ("GAN", ["average_generator"]),
        ("VAEGAN", ["encoder", "decoder"]),
        ("Diffusion", ["average_denoiser"]),
    ],
)
def test_only_what_is_served_is_written(tmp_path, name, networks):
    model = small_model(name)
    path = kmg.serving.export(model, tmp_path)
    written = tf.train.list_variables(str(path / "variables/variables"))
    numbers = sum(math.prod(shape) for key, shape in written if not key.startswith("_CHECK"))
    served = [v for network in networks for v in getattr(model, network).variables]
    assert numbers == sum(math.prod(v.shape) for v in served)
    assert numbers < sum(math.prod(v.shape) for v in model.variables)


class TestAssets:
    def test_for_programs(self, tmp_path):
        model = small_model("VAE, conditional")
        names, provenance = ["normal", "tumour", "Blutung, groß"], {"source": "scans.npz"}
        path = kmg.serving.export(model, tmp_path, class_names=names, provenance=provenance)
        said = json.loads((path / "assets.extra/model.json").read_text(encoding="utf-8"))
        assert said["model_class"] == "VAE"
        assert said["image_shape"] == [16, 16, 1]
        assert (said["latent_dim"], said["num_classes"]) == (4, 3)
        assert said["class_names"] == names
        assert said["value_range"] == [0, 1]
        assert said["provenance"] == provenance
        assert said["versions"]["tensorflow"] == tf.__version__
        assert said["signatures"]["generate_png"] == {
            "inputs": {
                "seed": {"dtype": "int32", "shape": [None]},
                "label": {"dtype": "int32", "shape": [None]},
            },
            "outputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
        }
        assert set(said["signatures"]) == set(tf.saved_model.load(str(path)).signatures)
        assert "variables/variables.index" in said["sha256"]
        for name, digest in said["sha256"].items():
            assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest
        card = (path / "assets.extra/model_card.md").read_text(encoding="utf-8")
        for text in ("Synthetic", "scans.npz", "Blutung, groß", "16 x 16 x 1", "not stated"):
            assert text in card

    def test_the_card_that_is_given(self, model, tmp_path):
        (tmp_path / "card.md").write_text("# Größe", encoding="utf-8")
        for card in ("# Größe", tmp_path / "card.md"):
            path = kmg.serving.export(model, tmp_path / "vae", card=card)
            written = (path / "assets.extra/model_card.md").read_text(encoding="utf-8")
            assert written == "# Größe"

    def test_warm_up(self, tmp_path):
        apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        path = kmg.serving.export(small_model("VAE, conditional"), tmp_path / "scans")
        signatures = tf.saved_model.load(str(path)).signatures
        file = path / "assets.extra/tf_serving_warmup_requests"
        names = []
        for record in tf.data.TFRecordDataset(str(file)):
            request = apis.PredictionLog.FromString(record.numpy()).predict_log.request
            assert request.model_spec.name == "scans"
            names.append(request.model_spec.signature_name)
            given = {key: tf.constant(tf.make_ndarray(v)) for key, v in request.inputs.items()}
            assert all(len(value) == 1 for value in given.values())
            assert signatures[names[-1]](**given)
        assert names == ["serving_default", "generate_png", "encode"]


def test_the_command_tells_what_the_run_knows(tmp_path, capsys):
    run = tmp_path / "run"
    (run / "report").mkdir(parents=True)
    small_model("VAE, conditional").save(run / "model.keras")
    (run / "report/model_card.md").write_text("# Evaluated")
    record = {
        "class_names": ["a", "b", "c"],
        "data": {"source": "scans.npz", "report": {"left_out": {"damaged": "patient_7.png"}}},
    }
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit) as stop:
        main(["export", str(run), str(tmp_path / "served")])
    assert stop.value.code == 0
    path = tmp_path / "served/1"
    assert capsys.readouterr().out.strip() == str(path)
    said = json.loads((path / "assets.extra/model.json").read_text())
    assert said["class_names"] == ["a", "b", "c"]
    assert said["provenance"] == {"source": "scans.npz"}
    assert (path / "assets.extra/model_card.md").read_text() == "# Evaluated"


def test_a_folder_that_other_users_can_read(model, tmp_path):
    path = kmg.serving.export(model, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o755
    assert np.all([(file.stat().st_mode & 0o444) == 0o444 for file in path.rglob("*")])
