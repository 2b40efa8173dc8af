import csv
import json

import numpy as np
import pytest

from keras_medgen import evaluation
from keras_medgen.cli import evaluate as command
from tests.conftest import blobs
from tests.evaluation.hand_made import hand_made
from tests.models.contract import MODELS


@pytest.fixture(scope="module")
def model():
    return MODELS["VAE"].make(0)


@pytest.fixture
def source(call, rng):
    """Images in the working folder, where a run that names them finds them."""
    images = blobs(rng, 60)[..., 0]
    path = call.folder / "scans.npz"
    np.savez(path, train_images=images[:40], val_images=images[40:50], test_images=images[50:])
    return path


@pytest.fixture
def run(call, model):
    folder = call.folder / "run"
    folder.mkdir()
    model.save(folder / "model.keras")
    return folder


def record(run, source, sha256=None):
    settings = {"data": source.name, "kl_weight": 2.0, "epochs": 20, "seed": 0}
    content = {"settings": settings, "epochs": 7, "train_seconds": 65.5}
    if sha256:
        content["data"] = {"sha256": sha256}
    (run / "run.json").write_text(json.dumps(content))


@pytest.fixture
def evaluated(monkeypatch):
    """Stands in for the evaluation: keeps what it was called with, and gives a report."""
    calls = []

    def stand_in(model, data, **arguments):
        calls.append((model, data, arguments))
        return hand_made()

    monkeypatch.setattr(evaluation, "evaluate", stand_in, raising=False)
    return calls


def test_a_report_of_the_recorded_source(call, run, source, evaluated):
    record(run, source)
    code, out, err = call("evaluate", "run", "--num-images", 20, "--seed", 3)
    assert code == 0, err
    names = {path.name for path in (run / "report").iterdir()}
    assert names == {"metrics.json", "report.html", "model_card.md"}
    [(model, data, arguments)] = evaluated
    assert type(model).__name__ == "VAE"
    assert data.provenance["counts"] == {"train": 40, "val": 10, "test": 10}
    assert arguments == {"num_images": 20, "seed": 3, "training_seconds": 65.5}
    for said in (hand_made().sections[0].summary[0], "3.21", "run/report: report.html", "1 warn"):
        assert said in out
    content = json.loads((run / "report/metrics.json").read_text())
    training = {"data": "scans.npz", "kl_weight": 2.0, "epochs": 7, "train_seconds": 65.5}
    assert content["model"]["training"] == training
    assert "train seconds: 65.5" in (run / "report/model_card.md").read_text()


def test_a_report_elsewhere_is_only_replaced_when_told(call, run, source, evaluated):
    arguments = ("evaluate", run / "model.keras", "--data", source, "--out", "said")
    assert call(*arguments)[0] == 0
    assert evaluated[0][2] == {"num_images": 1000, "seed": 0, "training_seconds": None}
    assert (call.folder / "said/report.html").is_file()
    code, _, err = call(*arguments)
    assert code == 2
    assert "--overwrite" in err
    assert call(*arguments, "--overwrite")[0] == 0
    code, _, err = call("evaluate", "run", "--data", source, "--out", "run", "--overwrite")
    assert code == 2
    assert "left as it is" in err
    assert len(evaluated) == 2


@pytest.mark.filterwarnings("default:run was trained on another source")
def test_another_source_is_said_on_the_page(call, run, source, evaluated):
    record(run, source, sha256="00" * 32)
    code, _, err = call("evaluate", "run", "--data", source)
    assert code == 0
    assert "run was trained on another source than scans.npz" in err
    for name in ("report.html", "metrics.json", "model_card.md"):
        assert "another source than scans.npz" in (run / "report" / name).read_text()


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        (None, "run does not say what it was trained on: give --data."),
        ({"data": "gone.npz"}, "run was trained on gone.npz, which is not here"),
        ({"data": "scans.npz"}, "run was trained on another scans.npz than the one that is here"),
    ],
)
def test_a_source_that_is_not_found_is_asked_for(call, run, source, evaluated, recorded, message):
    if recorded:
        content = {"settings": recorded, "data": {"sha256": "00" * 32}}
        (run / "run.json").write_text(json.dumps(content))
    code, _, err = call("evaluate", "run")
    assert code == 2
    assert message in err
    assert "--data" in err
    assert not evaluated
    assert not (run / "report").exists()


class TestReaderStudy:
    def test_is_written_and_scored(self, call, run, source):
        arguments = ("evaluate", "run", "--data", source, "--reader-study", "study")
        code, out, err = call(*arguments, "--num-images", 8)
        assert code == 0, err
        assert "study/study.html: give it to readers, but not study/key" in out
        study = call.folder / "study"
        assert not (run / "report").exists()
        with (study / "key/key.csv").open(newline="") as file:
            truth = {row["image"]: row["truth"] for row in csv.DictReader(file)}
        assert sorted(truth.values()) == ["generated"] * 8 + ["real"] * 8
        with (study / "answers.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("reader", "image", "verdict", "confidence", "comment"))
            writer.writerows(("anna", image, what, "", "") for image, what in truth.items())
        code, out, err = call("evaluate", "run", "--reader-study", "study", "--score")
        assert code == 0, err
        assert "anna called 1.00" in out
        assert "better than guessing" in out
        assert (study / "scores.md").is_file()
        code, _, err = call(*arguments, "--overwrite")
        assert code == 2
        assert "study exists already" in err

    def test_of_a_conditional_model_has_the_classes_of_the_real_images(self, rng, tmp_path):
        labels = np.arange(12, dtype=np.int32) % 3
        asked = []

        class Images:
            def arrays(self, split):
                assert split == "test"  # which the model has not seen
                return {"images": blobs(rng, 12), "labels": labels}

        class Conditional:
            num_classes = 3

            def generate(self, num, labels, seed):
                asked.append(sorted(labels))
                return blobs(rng, num)

        command._write_study(tmp_path / "all", Conditional(), Images(), 50, seed=0)
        command._write_study(tmp_path / "few", Conditional(), Images(), 5, seed=0)
        assert asked[0] == sorted(labels)
        assert len(asked[1]) == 5
        with (tmp_path / "few/key/key.csv").open(newline="") as file:
            real = [row for row in csv.DictReader(file) if row["truth"] == "real"]
        assert sorted(int(row["row"]) for row in real) == list(range(5))

    def test_a_score_needs_a_study(self, call, run):
        code, _, err = call("evaluate", "run", "--score")
        assert code == 2
        assert "give its folder with --reader-study" in err


class TestCompare:
    @pytest.fixture
    def two(self, call):
        for name in ("vae", "gan"):
            hand_made(title=name).save(call.folder / name / "report")

    def test_a_page_of_two(self, call, two):
        code, out, err = call("compare", "vae", "gan", "--out", "both.html")
        assert (code, out.strip()) == (0, "both.html: vae, gan"), err
        assert "fidelity" in (call.folder / "both.html").read_text()
        code, _, err = call("compare", "vae", "gan", "--out", "both.html")
        assert code == 2
        assert "--overwrite" in err
        assert call("compare", "vae", "gan", "--out", "both.html", "--overwrite")[0] == 0

    def test_unlike_runs_are_refused_in_one_sentence(self, call, two):
        hand_made(settings={"num_images": 500}).save(call.folder / "few/report")
        code, out, err = call("compare", "vae", "few")
        assert (code, out) == (2, "")
        assert err == (
            "keras-medgen: vae and few cannot be compared: they are of 1000 and 500 images "
            "(num_images).\n"
        )
        assert not (call.folder / "comparison.html").exists()

    def test_the_page_is_html(self, call, two):
        code, _, err = call("compare", "vae", "gan", "--out", "both.pdf")
        assert code == 2
        assert "--out must name an .html file" in err
