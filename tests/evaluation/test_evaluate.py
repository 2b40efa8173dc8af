import functools
import importlib
import json

import keras
import numpy as np
import pytest

import keras_medgen as kmg
from keras_medgen import metrics
from keras_medgen.evaluation.fidelity import fidelity
from keras_medgen.evaluation.images import generated_by, given_images

evaluate_module = importlib.import_module("keras_medgen.evaluation.evaluate")


def pictures(rng, count, shape=(16, 16, 1)):
    """Bright squares in the upper half (class 0) or the lower half (class 1), and their labels."""
    labels = rng.integers(0, 2, count)
    images = rng.uniform(0, 0.2, (count, *shape))
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(1, 4) + 7 * label, rng.integers(1, 11)
        image[top : top + 4, left : left + 4] += rng.uniform(0.5, 0.8)
    return images.astype(np.float32), labels


@pytest.fixture
def data(rng, write_npz):
    arrays = {}
    for split, count in (("train", 320), ("val", 80), ("test", 200)):
        images, labels = pictures(rng, count)
        arrays[f"{split}_images"] = np.round(images * 255).astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    return kmg.data.load(write_npz(**arrays))


class TestFidelity:
    @pytest.fixture
    def judged(self, rng):
        def judge(generated, labels=None, num=100, class_names=None):
            sets = [pictures(rng, n) for n in (400, 300)]
            splits = {
                name: {"images": images, "labels": of}
                for name, (images, of) in zip(("train", "test"), sets, strict=True)
            }
            extractor = metrics.RandomConvolutions(8).fit(sets[0][0])
            generated = given_images(generated, labels, None)
            return fidelity(splits, generated, [extractor], num, 0, class_names)

        return judge

    def test_images_of_the_same_distribution_are_at_the_floor(self, judged, rng):
        section = judged(pictures(rng, 300)[0])
        assert section.metrics["test/ratio"] == pytest.approx(1, abs=0.35)
        assert section.metrics["train/ratio"] == pytest.approx(1, abs=0.35)

    def test_worse_images_are_far_above_it(self, judged, rng):
        images, _ = pictures(rng, 300)
        assert judged(images * 0.7).metrics["test/ratio"] > 5
        ratio = section_interval(judged(images * 0.7))
        assert ratio[1] < ratio[0] < ratio[2]

    def test_names_hold_what_makes_figures_comparable(self, judged, rng):
        section = judged(pictures(rng, 300)[0], num=120)
        assert "test/FD[randconv-v1/8,N=120]" in section.metrics
        assert "test/KD[randconv-v1/8,N=120]/floor" in section.metrics
        assert "few images (120 of train, 120 of test)" in section.warnings[0]

    def test_half_of_the_real_images_is_the_most(self, judged, rng):
        assert "test/FD[randconv-v1/8,N=150]" in judged(pictures(rng, 300)[0], num=1000).metrics

    def test_by_class(self, judged, rng):
        images, labels = pictures(rng, 300)
        images[labels == 1] *= 0.7
        found = judged(images, labels, 60, ["upper", "lower"]).metrics
        ratios = {
            name: next(v for k, v in found.items() if k.startswith(f"test/{name}") and "ratio" in k)
            for name in ("upper", "lower")
        }
        assert ratios["lower"] > 3 * ratios["upper"]

    def test_too_few_images_are_refused_with_the_reason(self, judged, rng):
        section = judged(pictures(rng, 8)[0])
        name = "KD[randconv-v1/8,N=8]"
        assert set(section.metrics) == {
            *(f"test/{name}", f"test/{name}/floor", f"train/{name}", f"train/{name}/floor")
        }
        assert section.warnings[0] == (
            "no Fréchet distance in randconv-v1/8 of train (8); test (8): each side needs more "
            "images than there are features. A kernel distance does not."
        )

    def test_ranges_that_hold_the_real_images_alone_say_so(self, judged, rng):
        images, _ = pictures(rng, 100)
        assert "real images alone" in judged(images).warnings[-1]
        assert "real images alone" not in str(judged(images, num=50).warnings)

    def test_real_training_images_stand_beside(self, rng):
        """Where the test images are darker, no generator can be expected to know."""
        train, test = pictures(rng, 300)[0], pictures(rng, 200)[0] * 0.7
        extractor = metrics.RandomConvolutions(8).fit(train)
        splits = {"train": {"images": train}, "test": {"images": test}}
        generated = given_images(pictures(rng, 300)[0], None, None)
        found = fidelity(splits, generated, [extractor], 100, 0).metrics
        assert found["test/ratio"] > 5
        assert found["test/real_train_ratio"] == pytest.approx(found["test/ratio"], rel=0.2)
        assert "train/real_train_ratio" not in found


def section_interval(section):
    table = section.tables[0]
    row = next(row for row in table.rows if row[1] == "test")
    return row[table.columns.index("ratio")]


class TestEvaluate:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        for name in ("utility", "train_classifier"):
            quick = functools.partial(getattr(evaluate_module, name), steps=20)
            monkeypatch.setattr(evaluate_module, name, quick)

    def test_images(self, data, rng, tmp_path):
        images, labels = pictures(rng, 300)
        report = kmg.evaluation.evaluate(images, data, num_images=100, labels=labels)
        names = [section.name for section in report.sections]
        assert names == ["fidelity", "diversity", "authenticity", "utility", "cost", "limits"]
        assert report.metrics["fidelity/test/ratio"] < 2
        assert report.metrics["authenticity/flagged"] == 0
        assert report.metrics["diversity/coverage"] > 0.8
        assert set(report.features) == {"randconv-v1/64", "radiomics-lite/32", "classifier/64"}
        assert set(report.data["split_sha256"]) == {"train", "val", "test"}
        assert not any("train/FD[classifier" in name for name in report.metrics)
        assert all(isinstance(value, (int, float)) for value in report.metrics.values())
        assert "segmentation: the data has no masks." in str(report.section("limits").summary)
        report.save(tmp_path / "report")
        saved = json.loads((tmp_path / "report/metrics.json").read_text())
        assert saved["metrics"] == pytest.approx(report.metrics)

    def test_repeats(self, data, rng):
        images, _ = pictures(rng, 120)

        def figures():
            extractors = [metrics.RandomConvolutions(8)]
            report = kmg.evaluation.evaluate(images, data, 60, extractors=extractors)
            return {k: v for k, v in report.metrics.items() if not k.startswith("cost/")}

        assert figures() == figures()

    def test_a_model(self, data):
        model = kmg.models.VAE(data.image_shape, latent_dim=2, num_classes=2)
        extractors = [metrics.RandomConvolutions(8)]
        report = kmg.evaluation.evaluate(model, data, num_images=40, extractors=extractors)
        assert report.metrics["fidelity/test/ratio"] > 3  # it was never trained
        assert "authenticity/membership_auc[reconstruction]" in report.metrics
        assert "utility/tstr_accuracy" in report.metrics
        trained = (*model.encoder.trainable_variables, *model.decoder.trainable_variables)
        assert report.metrics["cost/parameters"] == sum(np.prod(v.shape) for v in trained)
        assert report.settings["generated"] == 120
        assert report.title.startswith("VAE on ")

    def test_labels_of_a_conditional_model_come_as_the_real_ones_do(self):
        model = kmg.models.VAE((16, 16, 1), latent_dim=2, num_classes=2)
        generated = generated_by(model, 50, [0, 1], np.array([0] * 9 + [1]), False)
        assert [len(pool) for pool in generated.pools] == [50, 50]
        assert 0.75 < np.mean(np.concatenate(generated.labels) == 0) < 0.99
        again = model.generate(50, labels=generated.labels[1], seed=1)
        np.testing.assert_array_equal(generated.pools[1], again)

    @pytest.mark.parametrize(
        ("images", "given", "message"),
        [
            (np.zeros((9, 16, 16)), {}, r"Received: \(16, 16\)"),
            (np.full((9, 16, 16, 1), 2.0), {}, "lie in"),
            (np.zeros((9, 8, 8, 1)), {}, r"must be like those of data, \(16, 16, 1\)"),
            (np.zeros((9, 16, 16, 1)), {"labels": [0]}, r"Received: shape \(1,\)"),
            (np.zeros((9, 16, 16, 1)), {"labels": [2] * 9}, "labels must be 9 numbers from 0 to 1"),
            (np.zeros((9, 16, 16, 1)), {"masks": np.zeros((9, 8, 8))}, r"shape \(n, 16, 16\)"),
            (np.zeros((9, 16, 16, 1)), {"num_images": 1}, "num_images=1"),
            (np.zeros((9, 16, 16, 1)), {"extractors": []}, "one at least"),
        ],
    )
    def test_bad_input(self, data, images, given, message):
        with pytest.raises(ValueError, match=message):
            kmg.evaluation.evaluate(images, data, **given)

    def test_a_model_of_classes_needs_data_with_labels(self, rng, write_npz):
        images = {f"{split}_images": pictures(rng, 9)[0] for split in ("train", "val", "test")}
        data = kmg.data.load(write_npz(**images))
        model = kmg.models.VAE(data.image_shape, latent_dim=2, num_classes=2)
        with pytest.raises(ValueError, match="data must have labels"):
            kmg.evaluation.evaluate(model, data)

    @pytest.mark.parametrize(
        ("task", "shape"), [("none", (16, 16, 1)), ("multi-label", (16, 16, 2))]
    )
    def test_few_images(self, rng, write_npz, task, shape):
        """What they are too few for is named, and the rest is measured."""
        arrays = {}
        for split, count in (("train", 24), ("val", 6), ("test", 10)):
            arrays[f"{split}_images"] = pictures(rng, count, shape)[0]
            if task == "multi-label":
                arrays[f"{split}_labels"] = rng.integers(0, 2, (count, 3)).astype(np.uint8)
        data = kmg.data.load(write_npz(**arrays))
        assert data.task == task
        labels = None if task == "none" else rng.integers(0, 2, (12, 3))
        made = np.concatenate([pictures(rng, 11, shape)[0], arrays["train_images"][:1]])
        report = kmg.evaluation.evaluate(made, data, labels=labels)
        assert "randconv-v1/12" in report.features
        assert report.metrics["authenticity/exact_copies"] == 1
        assert report.metrics["authenticity/flagged"] == 1
        assert "authenticity/membership_auc" not in report.metrics
        assert any("no attack on membership" in warning for warning in report.warnings)
        assert ("utility/tstr_auc" in report.metrics) == (task != "none")

    def test_few_training_images(self, rng, write_npz):
        """No fold of the attack on membership would have a member."""
        counts = {"train": 4, "val": 20, "test": 20}
        arrays = {f"{of}_images": pictures(rng, n, (16, 16, 1))[0] for of, n in counts.items()}
        data = kmg.data.load(write_npz(**arrays))
        report = kmg.evaluation.evaluate(pictures(rng, 12, (16, 16, 1))[0], data)
        assert "authenticity/membership_auc" not in report.metrics
        assert any("needs 20 training images" in warning for warning in report.warnings)

    def test_images_that_two_splits_share_are_told(self, rng, write_npz):
        arrays = {f"{split}_images": pictures(rng, 30)[0] for split in ("train", "val", "test")}
        arrays["test_images"][:4] = arrays["train_images"][:4]
        report = kmg.evaluation.evaluate(pictures(rng, 30)[0], kmg.data.load(write_npz(**arrays)))
        told = [warning for warning in report.warnings if "of test are also in train" in warning]
        assert len(told) == 2  # of fidelity and of authenticity
        assert "4 images" in told[0]


def test_distribution_distance_draws_images_of_all_classes():
    """A folder's images come class by class."""
    images = np.repeat([0.2, 0.8], 100)[:, None, None, None] * np.ones((200, 16, 16, 1), np.float32)
    images += np.random.default_rng(0).normal(0, 0.01, images.shape).astype(np.float32)
    labels = np.repeat([0, 1], 100)
    model = kmg.models.VAE((16, 16, 1), latent_dim=2, num_classes=2)
    asked = []
    model.generate = lambda num, labels=None, seed=0: (asked.append(labels), images[:num])[1]
    callback = kmg.callbacks.DistributionDistance(
        images, 100, labels, extractor=metrics.RandomConvolutions(8)
    )
    callback.set_model(model)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert 30 < np.sum(asked[0]) < 70
    assert logs["distribution_distance"] > 10 * logs["distribution_floor"]
    with pytest.raises(ValueError, match="labels must be as many as the images, 200"):
        kmg.callbacks.DistributionDistance(images, labels=labels[:9])


def test_distribution_distance_in_training(data):
    images = data.arrays("train")["images"]
    model = kmg.models.VAE(data.image_shape, latent_dim=2)
    model.compile()
    callback = kmg.callbacks.DistributionDistance(
        images, 60, extractor=metrics.RandomConvolutions(8)
    )
    stop = keras.callbacks.EarlyStopping(
        "distribution_distance", mode="min", patience=1, min_delta=1e9
    )
    history = model.fit(data.train, epochs=5, callbacks=[callback, stop], verbose=0).history
    distances = history["distribution_distance"]
    assert len(distances) == 2  # for nothing falls by that much
    order = np.random.default_rng(0).permutation(len(images))
    real, other = (callback.extractor(images[order[part]]) for part in (slice(60), slice(60, 120)))
    expected = metrics.frechet_distance(real, callback.extractor(model.generate(60, seed=0)))
    assert distances[-1] == pytest.approx(expected)
    floor = metrics.frechet_distance(real, other)
    assert history["distribution_floor"] == [pytest.approx(floor)] * 2
    assert distances[-1] > floor
    with pytest.raises(ValueError, match="num must be from 2 to half"):
        kmg.callbacks.DistributionDistance(images, 161)
