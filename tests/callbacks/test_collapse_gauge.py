import csv
import itertools
import warnings

import keras
import numpy as np
import pytest

import keras_medgen as kmg
from tests.callbacks.conftest import fit
from tests.conftest import textures


class Model:
    """What the gauge needs of a model."""

    def __init__(self, samples, examples=None):
        self.samples = samples
        self.examples = examples
        self.calls = []

    def generate(self, num, seed):
        self.calls.append((num, seed))
        return self.samples[:num]

    def example_batch(self, num):
        return None if self.examples is None else {"images": self.examples[:num]}


@pytest.fixture
def varied(rng):
    return textures(rng, 20, (24, 24, 1)).astype(np.float32) / 255


def run(gauge, model, epochs=1):
    """The logs of each epoch."""
    gauge.set_model(model)
    gauge.on_train_begin()
    logs = [{"loss": 1.0} for _ in range(epochs)]
    for epoch, log in enumerate(logs):
        gauge.on_epoch_end(epoch, log)
    return logs


def by_pairs(images):
    return np.mean(
        [float(kmg.ops.ms_ssim(a[None], b[None])[0]) for a, b in itertools.combinations(images, 2)]
    )


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_figures_are_means_over_all_pairs(varied, silent):
    model = Model(varied[:7], varied[7:12])
    gauge = kmg.callbacks.CollapseGauge(num=6, margin=1.0, seed=3)
    (logs,) = run(gauge, model)
    assert logs["loss"] == 1.0
    assert logs["sample_ms_ssim"] == pytest.approx(by_pairs(varied[:6]), abs=1e-6)
    assert logs["image_ms_ssim"] == pytest.approx(by_pairs(varied[7:12]), abs=1e-6)
    assert model.calls == [(6, 3)]


@pytest.mark.parametrize("chunk", [1, 4, 15, 512])
def test_the_size_of_the_chunks_does_not_matter(varied, chunk, monkeypatch):
    monkeypatch.setattr("keras_medgen.metrics.diversity.PAIRS", chunk)
    (logs,) = run(kmg.callbacks.CollapseGauge(num=6), Model(varied))
    assert logs["sample_ms_ssim"] == pytest.approx(by_pairs(varied[:6]), abs=1e-6)


def test_large_images_go_in_smaller_chunks(varied, monkeypatch):
    monkeypatch.setattr("keras_medgen.metrics.diversity.VALUES", 24 * 24 * 2)
    (logs,) = run(kmg.callbacks.CollapseGauge(num=5), Model(varied))
    assert logs["sample_ms_ssim"] == pytest.approx(by_pairs(varied[:5]), abs=1e-6)


def test_a_lasting_collapse_is_told_once(varied):
    model = Model(np.repeat(varied[:1], 20, axis=0), varied)
    with pytest.warns(UserWarning, match="may have collapsed") as told:
        logs = run(kmg.callbacks.CollapseGauge(num=8), model, epochs=3)
    assert len(told) == 1
    sentence = str(told[0].message)
    assert sentence.startswith("after epoch 1 ")
    assert f"{logs[0]['image_ms_ssim']:.3f}" in sentence
    assert "1.000" in sentence
    assert [log["sample_ms_ssim"] for log in logs] == pytest.approx([1, 1, 1], abs=1e-6)
    assert logs[0]["image_ms_ssim"] < 0.5


def test_a_collapse_after_the_gap_had_closed_is_told_again(varied):
    model = Model(varied, varied[10:])
    gauge = kmg.callbacks.CollapseGauge(num=8)
    gauge.set_model(model)
    gauge.on_train_begin()
    same = np.repeat(varied[:1], 8, axis=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for epoch, samples in enumerate((same, varied, same, same)):
            model.samples = samples
            gauge.on_epoch_end(epoch, {})
    assert [str(one.message).split()[2] for one in told] == ["1", "3"]


def test_samples_as_diverse_as_the_images_are_no_collapse(varied, silent):
    logs = run(kmg.callbacks.CollapseGauge(num=10), Model(varied[:10], varied[10:]), epochs=2)
    assert abs(logs[0]["sample_ms_ssim"] - logs[0]["image_ms_ssim"]) < 0.1


@pytest.mark.parametrize(("excess", "told"), [(0.01, True), (-0.01, False)])
def test_the_margin_is_what_decides(varied, excess, told):
    model = Model(np.repeat(varied[:1], 4, axis=0), varied)
    margin = 1 - by_pairs(varied[:4]) - excess
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(kmg.callbacks.CollapseGauge(num=4, margin=margin), model)
    assert bool(caught) == told


def test_images_that_are_given_come_first_and_may_be_bytes(varied, silent):
    eight_bit = (varied[:5] * 255).round().astype(np.uint8)
    gauge = kmg.callbacks.CollapseGauge(images=eight_bit, num=4, margin=1.0)
    (logs,) = run(gauge, Model(varied, varied[10:]))
    expected = by_pairs(eight_bit[:4].astype(np.float32) / 255)
    assert logs["image_ms_ssim"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("examples", [None, 1])
def test_without_images_there_is_nothing_to_compare_with(varied, examples, silent):
    model = Model(np.repeat(varied[:1], 4, axis=0), None if examples is None else varied[:1])
    (logs,) = run(kmg.callbacks.CollapseGauge(num=4), model)
    assert set(logs) == {"loss", "sample_ms_ssim"}


def test_epochs_between_repeat_the_last_figures(varied, silent):
    model = Model(varied)
    logs = run(kmg.callbacks.CollapseGauge(num=3, every=3), model, epochs=7)
    assert len(model.calls) == 3  # after epochs 1, 3 and 6
    assert len({log["sample_ms_ssim"] for log in logs}) == 1
    model.samples = varied[5:]
    again = run(kmg.callbacks.CollapseGauge(num=3, every=3), model, epochs=1)
    assert again[0]["sample_ms_ssim"] == pytest.approx(by_pairs(varied[5:8]), abs=1e-6)


def test_history_and_csv_have_the_columns(model, images, tmp_path):
    gauge = kmg.callbacks.CollapseGauge(num=4, margin=1.0)
    log = keras.callbacks.CSVLogger(tmp_path / "history.csv")
    fit(model, images, gauge, log, validation_data=(images[:4],))
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    history = model.history.history
    for name in ("sample_ms_ssim", "image_ms_ssim"):
        assert [float(row[name]) for row in rows] == history[name]
        assert len(history[name]) == 2
    assert history["image_ms_ssim"][0] == pytest.approx(by_pairs(images[:4]), abs=1e-5)
    last = by_pairs(model.generate(4, seed=0))
    assert history["sample_ms_ssim"][-1] == pytest.approx(last, abs=1e-5)


def test_small_images_are_refused_at_the_start():
    small = np.zeros((4, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match="at least 11"):
        run(kmg.callbacks.CollapseGauge(images=small), Model(small))


@pytest.mark.parametrize("arguments", [{"num": 1}, {"every": 0}, {"margin": -0.1}])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        kmg.callbacks.CollapseGauge(**arguments)
