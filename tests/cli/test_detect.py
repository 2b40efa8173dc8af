import csv
import json

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from tests.anomaly.conftest import with_lesions
from tests.conftest import blobs
from tests.models.contract import MODELS


@pytest.fixture
def lesions(rng, write_npz):
    """Images of which every other one has a lesion."""
    images, masks = with_lesions(rng, blobs(rng, 60))
    images = (images[..., 0] * 255).round().astype(np.uint8)
    arrays = {"images": images, "masks": masks.astype(np.uint8)}
    arrays["labels"] = masks.any(axis=(1, 2)).astype(np.uint8)[:, None]
    parts = {"train": np.s_[:30], "val": np.s_[30:45], "test": np.s_[45:]}
    split = {
        f"{part}_{name}": a[rows] for part, rows in parts.items() for name, a in arrays.items()
    }
    return write_npz("lesions.npz", **split, class_names=["well", "ill"])


@pytest.fixture(scope="module")
def model():
    return MODELS["VAE"].make(0)  # which has learned nothing: that is told too


@pytest.fixture
def run(call, model):
    folder = call.folder / "run"
    folder.mkdir()
    model.save(folder / "model.keras")
    (folder / "run.json").write_text(json.dumps({"settings": {"seed": 3}}))
    return folder


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_picture_and_table(call, run, model, lesions):
    arguments = ("--method", "reconstruction+kl", "--median", 3, "--shown", 6)
    code, out, err = call("detect", "run", "--data", lesions, "--out", "found", *arguments)
    assert code == 0, err
    folder = call.folder / "found"
    files = {"scores.csv", "found.png", "detector.json", "table.md", "table.json"}
    assert {path.name for path in folder.iterdir()} == files
    data = kmg.data.load(lesions)
    val, test = (data.arrays(name) for name in ("val", "test"))
    expected = kmg.anomaly.detect(model, test["images"], "reconstruction+kl")["scores"]
    rows = read(folder / "scores.csv")
    assert [row["split"] for row in rows] == ["val"] * 15 + ["test"] * 15
    rows = rows[15:]
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=1e-3)
    assert [int(row["label"]) for row in rows] == test["labels"].tolist()
    healthy = val["images"][val["labels"] == 0]
    scores = kmg.anomaly.detect(model, healthy, "reconstruction+kl")["scores"]
    flags = expected > np.quantile(scores, 0.95)
    assert [row["flag"] == "1" for row in rows] == flags.tolist()
    assert f"found: {flags.sum()} of 15 test images do not look healthy (healthy: well)" in out
    table = json.loads((folder / "table.json").read_text())
    assert list(table["rows"]) == [
        "VAE, reconstruction+kl",
        "intensity threshold",
        "blurred image",
    ]
    assert table["counts"]["lesion_images"] == test["labels"].sum()
    assert (folder / "table.md").read_text() in out
    with Image.open(folder / "found.png") as picture:
        width, height = picture.size
        assert height > width  # six rows of four columns
    detector = kmg.anomaly.AnomalyDetector.from_config(
        json.loads((folder / "detector.json").read_text()), model
    )
    assert detector.detect(test["images"])["flags"].tolist() == flags.tolist()


def test_without_labels_there_is_no_table(call, run, scans):
    code, _, err = call("detect", run / "model.keras", "--data", scans, "--out", "found")
    assert code == 0, err
    names = {path.name for path in (call.folder / "found").iterdir()}
    assert names == {"scores.csv", "found.png", "detector.json"}
    assert {row["label"] for row in read(call.folder / "found/scores.csv")} == {""}
    code, _, err = call("detect", "run", "--data", scans, "--out", "found")
    assert code == 2
    assert "--overwrite" in err
    assert call("detect", "run", "--data", scans, "--out", "found", "--overwrite")[0] == 0


def test_another_class_may_be_the_healthy_one(call, run, lesions, write_npz):
    with np.load(lesions, allow_pickle=False) as file:
        unmasked = {name: file[name] for name in file.files if "masks" not in name}
    source = write_npz("unmasked.npz", **unmasked)
    for healthy, number in (("well", 0), ("ill", 1), ("1", 1)):
        out = f"found-{healthy}"
        code, _, err = call("detect", "run", "--data", source, "--out", out, "--healthy", healthy)
        assert code == 0, err
        table = json.loads((call.folder / out / "table.json").read_text())
        lesion = unmasked["test_labels"] != number
        assert table["counts"] == {"images": 15, "lesion_images": lesion.sum()}
    names = "found-well", "found-ill"
    first, second = ((call.folder / out / "scores.csv").read_text() for out in names)
    assert first != second  # of other thresholds


def test_the_source_is_split_as_the_run_split_it(call, run, model, rng, write_npz):
    source = write_npz("one.npz", train_images=blobs(rng, 80)[..., 0])
    assert call("detect", "run", "--data", source, "--out", "found", "--seed", 5)[0] == 0
    rows = [row for row in read(call.folder / "found/scores.csv") if row["split"] == "test"]
    test = kmg.data.load(source, seed=3).arrays("test")["images"]
    expected = kmg.anomaly.detect(model, test)["scores"]
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--healthy", "fine"), "--healthy must be a class: well, ill. Received: --healthy fine."),
        (("--intensity", "some"), "--intensity must be a number from 0 to 1, or auto."),
        (("--method", "features"), "method must be one that the model has: reconstruction, kl"),
        (("--median", 4), "median must be None or odd"),
    ],
)
def test_mistakes_are_one_sentence(call, run, lesions, arguments, message):
    code, _, err = call("detect", "run", "--data", lesions, "--out", "found", *arguments)
    assert code == 2
    assert message in err
    assert not (call.folder / "found").exists()


def test_what_is_no_result_is_left_as_it_is(call, run, lesions):
    (call.folder / "mine").mkdir()
    code, _, err = call("detect", "run", "--data", lesions, "--out", "mine", "--overwrite")
    assert code == 2
    assert "left as it is" in err
