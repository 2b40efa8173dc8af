import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_medgen.cli import runs
from keras_medgen.cli.building import learning_rate
from keras_medgen.cli.settings import Settings
from tests.cli.conftest import RUN_FILES, small


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
        assert record["kl_weight"] == 5.0
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

    @pytest.mark.usefixtures("unexported")
    def test_the_same_seed_gives_the_same_history_to_the_last_digit(self, call, scans):
        for out, seed in (("a", 0), ("b", 0), ("c", 1)):
            assert call(*small(scans, out, "--seed", seed))[0] == 0
        first, again, other = (
            (call.folder / out / "history.csv").read_text() for out in ("a", "b", "c")
        )
        assert first == again
        assert first != other

    @pytest.mark.usefixtures("unexported")
    def test_a_finished_run_is_replaced_only_when_told_to(self, call, scans):
        call(*small(scans, "a"))
        code, _, err = call(*small(scans, "a", "--epochs", 1))
        assert code == 2
        assert "exists already" in err
        assert call(*small(scans, "a", "--epochs", 1, "--overwrite"))[0] == 0
        assert len((call.folder / "a/history.csv").read_text().splitlines()) == 2

    @pytest.mark.usefixtures("untrained")
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
        assert "the training diverged in steps 1 to 5 of epoch 1: " in err  # one block
        assert "loss is nan. Try a smaller --learning-rate" in err
        assert list(call.folder.iterdir()) == []

    @pytest.mark.usefixtures("untrained")
    def test_default_directory(self, call, scans):
        arguments = [a for a in small(scans, "x") if a not in ("--out", "x")]
        assert call(*arguments)[0] == 0
        assert (call.folder / "runs/vae-scans/model.keras").is_file()

    @pytest.mark.usefixtures("untrained")
    @pytest.mark.filterwarnings("default:the samples")
    def test_a_warning_is_a_line(self, call, scans, monkeypatch):
        def fit(*_):
            warnings.warn("the samples are alike", stacklevel=1)
            return {"loss": [0.0]}

        monkeypatch.setattr("keras_medgen.cli.training._fit", fit)
        code, _, err = call(*small(scans, "a"))
        assert code == 0
        assert "\nkeras-medgen: warning: the samples are alike\n" in err

    @pytest.mark.usefixtures("unexported")
    def test_options(self, call, scans):
        images = ("--image-size", 20, "--channels", 3)
        schedule = ("--schedule", "constant", "--warmup-steps", 4, "--learning-rate", 1e-4)
        more = ("--weight-decay", 0.01, "--clip-norm", 2, "--mixed-precision", "bfloat16")
        code, out, _ = call(*small(scans, "a", *images, *schedule, *more))
        assert code == 0
        assert "20 x 20 x 3 pixels; mixed_bfloat16" in out
        with Image.open(call.folder / "a/samples.png") as picture:
            assert picture.mode == "RGB"
        record = json.loads((call.folder / "a/run.json").read_text())
        assert record["dtype_policy"] == "mixed_bfloat16"
        assert record["settings"]["mixed_precision"] == "bfloat16"
        assert record["settings"]["warmup_steps"] == 4
        optimizer = keras.saving.load_model(call.folder / "a/model.keras").optimizer
        assert (optimizer.weight_decay, optimizer.global_clipnorm) == (0.01, 2.0)
        assert float(optimizer.learning_rate) == pytest.approx(1e-4)  # warm-up is over


class TestLearningRate:
    STEPS = 100

    def rates(self, **given):
        rate = learning_rate(Settings(data="", **given), 0.1, self.STEPS)
        if isinstance(rate, float):
            return np.full(self.STEPS + 1, rate)
        return np.array([float(rate(step)) for step in range(self.STEPS + 1)])

    def test_cosine(self):
        steps = np.arange(101)
        expected = 0.05 * (1 + np.cos(np.pi * steps / 100))
        np.testing.assert_allclose(self.rates(), expected, atol=1e-7)
        expected = np.where(
            steps < 20, 0.1 * steps / 20, 0.05 * (1 + np.cos(np.pi * (steps - 20) / 80))
        )
        np.testing.assert_allclose(self.rates(warmup_steps=20), expected, atol=1e-7)

    def test_constant(self):
        np.testing.assert_array_equal(self.rates(schedule="constant"), 0.1)
        expected = np.interp(range(101), [0, 20], [0, 0.1])
        rates = self.rates(schedule="constant", warmup_steps=20)
        np.testing.assert_allclose(rates, expected, atol=1e-7)

    def test_exponential(self):
        rates = self.rates(schedule="exponential")
        np.testing.assert_allclose(rates, np.geomspace(0.1, 0.001, 101), rtol=1e-5)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"warmup_steps": 100}, "fewer than the 100 steps"),
            ({"warmup_steps": 1, "schedule": "exponential"}, "--schedule cosine or constant"),
        ],
    )
    def test_a_warm_up_that_cannot_be(self, given, message):
        with pytest.raises(ValueError, match=message):
            self.rates(**given)


class TestDemo:
    @pytest.mark.slow
    def test_a_short_one(self, call, monkeypatch):
        monkeypatch.setattr("keras_medgen.cli.demo.SECONDS", 1)
        # The first epoch is whole: a narrow network takes it in seconds, in larger batches.
        quick = {"width": 8, "batch_size": 128}
        monkeypatch.setattr(
            "keras_medgen.cli.demo.Settings", lambda **given: Settings(**given | quick)
        )
        code, out, _ = call("demo", "--out", "runs/demo")
        assert code == 0
        assert {path.name for path in (call.folder / "runs/demo").iterdir()} == RUN_FILES
        assert out.count("\n  keras-medgen ") == 3
        assert "64 x 64 x 3 pixels" in out


@pytest.mark.slow
def test_pneumoniamnist_by_default(call, test_data):
    """Four epochs gave 24.4 dB, 0.830 and 25.6 nats: room for another machine's rounding.

    docs/results.md has the figures of ten.
    """
    file = test_data / "pneumoniamnist.npz"
    code, _, _ = call("train", "--data", file, "--epochs", 4, "--seed", 0, "--out", "run")
    assert code == 0
    metrics = json.loads((call.folder / "run" / runs.METRICS).read_text())
    assert metrics["test_psnr"] > 23.8
    assert metrics["test_ssim"] > 0.81
    assert 12 < metrics["test_kl_loss"] < 100  # the latents are in use
