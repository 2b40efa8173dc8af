import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from keras_medgen.evaluation import arms
from keras_medgen.evaluation.classification import classification_figures, difference
from keras_medgen.evaluation.utility import utility
from keras_medgen.evaluation.utility_section import utility_section
from keras_medgen.metrics.small_classifier import SMALLEST_SIDE


def bright(rng, count, classes=3, side=16):
    """Images whose bright stripe says their class."""
    labels = rng.integers(0, classes, count)
    images = rng.normal(0.3, 0.1, (count, side, side, 1))
    width = side // classes
    for image, label in zip(images, labels, strict=True):
        image[:, label * width : (label + 1) * width] += 0.4
    return {"images": images.clip(0, 1).astype(np.float32), "labels": labels}


@pytest.fixture
def splits(rng):
    return {name: bright(rng, n) for name, n in (("train", 60), ("val", 30), ("test", 120))}


def run(splits, synthetic, **kwargs):
    arguments = {"num_classes": 3, "task": "multi-class", "steps": 40, "seeds": (0, 1)}
    return utility(**splits, synthetic=synthetic, **arguments | kwargs)


class TestFigures:
    @pytest.fixture
    def probabilities(self, rng):
        return rng.dirichlet(np.ones(4), 200)

    def test_are_those_of_scikit_learn(self, rng, probabilities):
        labels = rng.integers(0, 4, 200)
        found = classification_figures(labels, probabilities, "multi-class")
        predicted = probabilities.argmax(axis=1)
        assert found["accuracy"] == accuracy_score(labels, predicted)
        assert found["auc"] == pytest.approx(
            roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        )
        np.testing.assert_allclose(found["recalls"], recall_score(labels, predicted, average=None))

    def test_of_labels_are_those_of_scikit_learn(self, rng, probabilities):
        labels = rng.integers(0, 2, (200, 4))
        found = classification_figures(labels, 2 * probabilities, "multi-label")
        predicted = 2 * probabilities > 0.5
        assert found["accuracy"] == accuracy_score(labels.ravel(), predicted.ravel())
        assert found["auc"] == pytest.approx(roc_auc_score(labels, probabilities, average="macro"))
        np.testing.assert_allclose(found["recalls"], recall_score(labels, predicted, average=None))

    def test_a_class_that_is_not_there(self, rng, probabilities):
        labels = rng.integers(0, 3, 200)
        found = classification_figures(labels, probabilities, "ordinal")
        np.testing.assert_array_equal(np.isnan(found["aucs"]), [False, False, False, True])
        np.testing.assert_array_equal(np.isnan(found["recalls"]), [False, False, False, True])
        expected = [roc_auc_score(labels == c, probabilities[:, c]) for c in range(3)]
        assert found["auc"] == pytest.approx(np.mean(expected))
        alone = classification_figures(np.zeros(200, int), probabilities, "multi-class")
        assert np.isnan(alone["auc"])

    def test_ties_count_half(self, rng):
        labels, scores = rng.integers(0, 2, (80, 1)), rng.integers(0, 4, 80) / 8
        found = classification_figures(labels, np.stack([1 - scores, scores], 1), "multi-class")
        assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))

    @pytest.mark.parametrize("task", ["multi-class", "multi-label"])
    def test_the_interval_of_a_difference_is_that_of_a_bootstrap(self, rng, task):
        labels = rng.integers(0, 3, 150)
        signal = np.eye(3)[labels] + rng.normal(0, 0.6, (150, 3))  # seen by both
        if task == "multi-label":
            labels = (signal + rng.normal(0, 0.5, (150, 3)) > 0.5).astype(int)
        ways = [
            [scipy.special.softmax(4 * (signal + rng.normal(0, s, (150, 3))), axis=1)]
            for s in (0.2, 0.5)
        ]

        def figures(rows):
            return [[classification_figures(labels[rows], p[rows], task) for p in w] for w in ways]

        whole = figures(np.arange(150))
        resampled = [figures(rng.integers(0, 150, 150)) for _ in range(300)]
        for name in ("accuracy", "auc"):
            value, low, high = difference(*whole, name)
            first, second = (np.mean([one[name] for one in way]) for way in whole)
            assert value == pytest.approx(second - first)
            assert (low + high) / 2 == pytest.approx(value)
            deviation = np.std([difference(*both, name)[0] for both in resampled])
            assert (high - low) / (2 * 1.96) == pytest.approx(deviation, rel=0.2)

    def test_the_interval_of_a_difference_is_over_seeds_too(self):
        """Where all test images behave alike, it is that of two means of three."""
        ways = [
            [{"auc": value, "influence": {"auc": np.zeros(9)}} for value in values]
            for values in ([0.1, 0.2, 0.3], [0.5, 0.7, 0.9])
        ]
        test = scipy.stats.ttest_ind([0.5, 0.7, 0.9], [0.1, 0.2, 0.3], equal_var=False)
        interval = test.confidence_interval(0.95)
        assert difference(*ways, "auc") == pytest.approx((0.5, interval.low, interval.high))

    def test_the_interval_of_a_difference_of_one_seed_is_that_of_a_paired_t_test(self, rng):
        """Which is over test images alone."""
        labels, right = np.zeros(12, int), rng.random((2, 12)) < [[0.4], [0.8]]
        ways = [
            [classification_figures(labels, np.stack([one, ~one], axis=1), "multi-class")]
            for one in right
        ]
        test = scipy.stats.ttest_rel(right[1].astype(float), right[0].astype(float))
        interval = test.confidence_interval(0.95)
        assert difference(*ways, "accuracy")[1:] == pytest.approx((interval.low, interval.high))

    def test_the_interval_of_a_difference_holds_the_truth(self, rng):
        """Nineteen times of twenty, of three seeds: seeds and images each have their effects."""

        def way(images):
            of_images = images + rng.normal(0, 0.2, 40)  # how the way suits each image
            values = [of_images + rng.normal(0, 0.1) for _ in range(3)]  # how a seed turns out
            return [{"auc": v.mean(), "influence": {"auc": v - v.mean()}} for v in values]

        held = []
        for _ in range(3000):
            images = rng.normal(0, 1, 40)  # hard and easy ones, for both ways
            _, low, high = difference(way(images), way(images), "auc")
            held.append(low < 0 < high)
        assert np.mean(held) == pytest.approx(0.95, abs=0.012)

    def test_the_interval_of_a_difference_of_one_image_is_nothing(self):
        ways = [[classification_figures([0], np.array([[0.9, 0.1]]), "multi-class")]] * 2
        assert difference(*ways, "accuracy") == (0, 0, 0)
        assert np.isnan(difference(*ways, "auc")).all()


class TestArms:
    def test_rows_of_both(self):
        rows = arms.combined_rows(10, 6, 0.5, seed=0)
        np.testing.assert_array_equal(rows[:10], np.arange(10))
        assert len(rows) == 15
        assert len(set(rows[10:])) == 5
        assert set(rows[10:]) < set(range(10, 16))
        counts = np.bincount(arms.combined_rows(10, 4, 2.0, seed=0))
        np.testing.assert_array_equal(counts, [1] * 10 + [5] * 4)

    def test_beyond_the_spread_of_the_seeds(self):
        assert arms.beyond_spread([0.5, 0.6], [0.61, 0.7]) == 1
        assert arms.beyond_spread([0.5, 0.6], [0.6, 0.7]) == 0
        assert arms.beyond_spread([0.5, 0.6], [0.4, 0.49]) == -1
        assert arms.beyond_spread([0.5], [0.9]) == 0
        assert arms.mean_and_range([1, 2, 6]) == (3, 1, 6)
        assert arms.mean_and_range([1, np.nan]) is None

    def test_holds_out_validation_images(self, rng):
        train = bright(rng, 50)
        for val in (None, {"images": np.zeros((0, 16, 16, 1)), "labels": np.zeros(0)}):
            kept, held_out, said = arms.with_validation(train, val)
            assert len(kept["images"]) == 40
            assert "10 of the training images" in said
            both = np.concatenate([kept["images"], held_out["images"]]).sum(axis=(1, 2, 3))
            np.testing.assert_array_equal(
                np.sort(both), np.sort(train["images"].sum(axis=(1, 2, 3)))
            )
            for part in (kept, held_out):
                stripes = part["images"][..., 0].mean(axis=1)
                places = [stripes[:, 5 * c : 5 * c + 5].mean(axis=1) for c in range(3)]
                np.testing.assert_array_equal(np.argmax(places, axis=0), part["labels"])
        assert arms.with_validation(train, train) == (train, train, None)


class TestUtility:
    def test_of_other_real_images(self, rng, splits):
        section = run(splits, bright(rng, 60), class_names=["left", "middle", "right"])
        metrics = section.metrics
        assert section.name == "utility"
        for arm in ("trtr", "tstr", "real+0.5", "real+1.0"):
            assert metrics[f"{arm}_accuracy"] > 0.9, arm
            assert metrics[f"{arm}_accuracy_low"] <= metrics[f"{arm}_accuracy"]
            assert metrics[f"{arm}_auc"] > 0.95
            assert metrics[f"{arm}_recall/right"] > 0.8
        assert metrics["label_agreement"] > 0.9
        assert metrics["label_agreement/left"] > 0.8
        assert not any(name.startswith("trtr_same_size") for name in metrics)
        table, by_class = section.tables
        assert [row[:2] for row in table.rows] == [
            ["real", 60],
            ["generated", 60],
            ["real and 0.5 times as many generated", 90],
            ["real and 1 times as many generated", 120],
        ]
        assert table.rows[1][2] == tuple(
            metrics[f"tstr_accuracy{of}"] for of in ("", "_low", "_high")
        )
        assert by_class.columns == [
            "class", "real", "generated", "real+0.5", "real+1.0", "label agreement"
        ]  # fmt: skip
        assert [row[0] for row in by_class.rows] == ["left", "middle", "right"]
        assert "120 real test images" in section.summary[0]
        assert "; to answer " in section.summary[0]
        assert section.warnings == ["utility was measured with 2 of the usual three seeds."]

    def test_of_images_whose_labels_mean_nothing(self, rng, splits):
        synthetic = bright(rng, 60)
        synthetic["labels"] = rng.permutation(synthetic["labels"])
        metrics = run(splits, synthetic, ratios=(), seeds=(0,)).metrics
        assert metrics["trtr_accuracy"] > 0.9
        assert metrics["tstr_accuracy"] < 0.6
        assert metrics["label_agreement"] < 0.55

    def test_of_fewer_images_without_validation_or_a_class(self, rng, splits):
        synthetic = bright(rng, 20, classes=2)
        del splits["val"]
        section = run(splits, synthetic, val=None, ratios=(2.0,), steps=4)
        assert "trtr_same_size_accuracy" in section.metrics
        assert [row[1] for row in section.tables[0].rows] == [48, 20, 20, 48 + 96]
        said = " ".join(section.warnings)
        assert "no generated image was asked to show 2:" in said
        assert "each is shown 4.80 times as often" in said
        assert "12 of the training images, drawn at random, were held out" in said
        assert "label_agreement/2" not in section.metrics

    def test_of_several_labels(self, rng, splits):
        def several(part):
            return part | {"labels": np.eye(3, dtype=int)[part["labels"]]}

        splits = {name: several(part) for name, part in splits.items()}
        section = run(splits, several(bright(rng, 60)), task="multi-label", ratios=(), seeds=(0,))
        assert section.metrics["tstr_accuracy"] > 0.9
        assert section.metrics["tstr_auc"] > 0.95
        assert "labels of generated images" in section.summary[-1]
        assert "to answer" not in section.summary[0]

    def test_of_nothing_to_learn(self, rng, splits):
        synthetic = bright(rng, 20)
        unlabelled = {"images": synthetic["images"]}
        assert "real images have no labels" in run(splits, synthetic, task="none")
        for part in (unlabelled, unlabelled | {"labels": None}):
            assert "a conditional model makes some, and images that are given" in run(splits, part)
        empty = {name: array[:0] for name, array in synthetic.items()}
        assert "needs training, test and generated" in run(splits, empty)
        splits["train"]["labels"] = np.ones(60, int)
        assert "are of one class" in run(splits, synthetic)

    def test_of_images_that_are_too_small(self, rng):
        small = bright(rng, 20, side=SMALLEST_SIDE - 1)
        found = run(dict.fromkeys(("train", "val", "test"), small), small)
        assert found.startswith("utility: images of 7 by 7 pixels are too small")
        just = bright(rng, 20, side=SMALLEST_SIDE)
        assert run(dict.fromkeys(("train", "val", "test"), just), just, steps=1).metrics

    def test_arguments_are_checked(self, rng, splits):
        synthetic = bright(rng, 20)
        with pytest.raises(ValueError, match="there must be a seed"):
            run(splits, synthetic, seeds=())
        with pytest.raises(ValueError, match=r"ratios must be positive.*ratios=\[0\]"):
            run(splits, synthetic, ratios=(0,))
        with pytest.raises(ValueError, match="numbers from 0 to 1"):
            run(splits, synthetic, num_classes=2)


class TestWords:
    """What is said of figures that are made up."""

    def section(self, real, both, more=(0.7, 0.7, 0.7), spread=0.01):
        def figures(values, influence):
            halves = np.array([0.5, 0.5])
            found = {"aucs": halves, "recalls": halves}
            found["influence"] = {"accuracy": influence, "auc": influence}
            return [found | {"accuracy": value, "auc": value} for value in values]

        none, some = np.zeros(100), spread * np.tile([-1.0, 1.0], 50)  # an error of spread / 10
        found = {"trtr": figures(real, none), "tstr": figures(more, some)}
        found |= {"real+1.0": figures(both, some), "real+2.0": figures(more, some)}
        arms = {name: (name, 10) for name in found}
        labels = {name: np.arange(200) % 2 for name in ("train", "test", "new")}
        agreement = figures([0.9] * len(real), none)
        return utility_section(found, agreement, arms, labels, ["a", "b"], "ordinal")

    def test_whether_generated_images_helped(self):
        section = self.section([0.70, 0.71, 0.69], [0.72, 0.73, 0.74])
        assert section.summary[1] == (
            "The accuracy is 0.700 on real images alone. Generated images beside them: real+1.0 "
            "(+0.030: +0.007 to +0.053) raise it; real+2.0 (+0.000: -0.024 to +0.024) change it no "
            "more than other seeds or other test images would."
        )
        section = self.section([0.70, 0.71, 0.705], [0.60, 0.62, 0.63], [0.69, 0.65, 0.66])
        assert section.summary[2] == (
            "The AUC is 0.705 on real images alone. Generated images beside them: real+1.0 "
            "(-0.088: -0.122 to -0.055) lower it; real+2.0 (-0.038: -0.086 to +0.010) change it no "
            "more than other seeds or other test images would."
        )
        assert section.warnings == []
        assert section.tables[0].rows[0][-1] is None
        assert section.tables[0].rows[2][-1] == pytest.approx((-0.0883, -0.1219, -0.0548), abs=1e-4)

    def test_what_generated_images_do_not_teach(self):
        labels = {name: np.array([0, 1, 1, 1, 0]) for name in ("train", "test", "new")}
        one = {"accuracy": 0.6, "auc": 0.5, "aucs": np.full(2, 0.5)}
        one["influence"] = {"accuracy": np.zeros(5), "auc": np.zeros(5)}
        recalls = {"trtr": [0.8, 0.9], "tstr": [0.02, 0.95]}
        figures = {arm: [one | {"recalls": np.array(of)}] for arm, of in recalls.items()}
        arms = {arm: (arm, 5) for arm in figures}
        agreement = figures["trtr"]
        said = utility_section(figures, agreement, arms, labels, ["a", "b"], "multi-class").summary
        assert said[0].endswith("; to answer b to every image would have 0.600.")
        assert said[1] == (
            "Trained on generated images alone, classifiers recognise a in 2% of its test images "
            "(trained on real ones in 80%)."
        )

    def test_what_few_test_images_cannot_say(self):
        section = self.section([0.70, 0.71, 0.69], [0.72, 0.73, 0.74], spread=0.2)
        assert "real+1.0 (+0.030: -0.013 to +0.073) and real+2.0" in section.summary[1]
        assert "raise" not in section.summary[1]

    def test_what_one_seed_cannot_say(self):
        section = self.section([0.7], [0.9], [0.7])
        assert "is not known" in section.summary[1]
        assert section.metrics["real+1.0_accuracy"] == 0.9
