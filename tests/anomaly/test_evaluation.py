import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
)

from keras_medgen.anomaly import AnomalyDetector, evaluate
from keras_medgen.anomaly.metrics import resampled_weights

ROWS = ["detector", "intensity threshold", "blurred image"]


@pytest.fixture
def detector(blurring, splits):
    images, masks, lesion = (splits["val"][name] for name in ("images", "masks", "labels"))
    detector = AnomalyDetector(blurring, median=3, min_region=3)
    return detector.fit(images[lesion == 0], images[lesion == 1], masks[lesion == 1])


def figures(found, labels, masks):
    targets, maps = (masks != 0).ravel(), found["maps"].ravel()
    precision, recall, _ = precision_recall_curve(targets, maps)
    return {
        "image_auroc": roc_auc_score(labels, found["scores"]),
        "image_ap": average_precision_score(labels, found["scores"]),
        "pixel_auroc": roc_auc_score(targets, maps),
        "pixel_ap": average_precision_score(targets, maps),
        "dice": f1_score(targets, found["masks"].ravel()),
        "best_dice": np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)),
    }


def test_figures_are_those_of_scikit_learn(detector, splits):
    table = evaluate(detector, **splits["test"])
    assert list(table.rows) == ROWS
    every = [detector, *detector.baselines.values()]
    for row, one in zip(table.rows.values(), every, strict=True):
        found = one.detect(splits["test"]["images"])
        expected = figures(found, splits["test"]["labels"], splits["test"]["masks"])
        assert row == pytest.approx(expected)
    lesions = splits["test"]["labels"].sum()
    pixels = (splits["test"]["masks"] != 0).sum()
    assert table.counts == {
        "images": 24,
        "lesion_images": lesions,
        "pixels": 24 * 256,
        "lesion_pixels": pixels,
        "patients": 4,
    }


def test_each_of_few_patients(detector, splits):
    test = splits["test"]
    test["patients"] = np.repeat(["b", "a", "d", "c"], 6)
    test["labels"][:6] = 0
    table = evaluate(detector, **test)
    assert table.intervals == {}
    own = table.by_patient["intensity threshold"]
    assert list(own["pixel_ap"]) == ["a", "b", "c", "d"]
    assert np.isnan(own["image_auroc"]["b"])  # of healthy images alone
    found = detector.baselines["intensity"].detect(test["images"][6:12])
    expected = figures(found, test["labels"][6:12], test["masks"][6:12])
    for name in ("image_auroc", "pixel_ap", "dice"):
        assert own[name]["a"] == pytest.approx(expected[name])
    text = table.to_markdown()
    assert f"| detector, patient a | {table.by_patient['detector']['image_auroc']['a']:.3f}" in text
    assert "| detector, patient b | - | - |" in text
    assert table.as_dict()["by_patient"]["detector"]["image_auroc"]["b"] is None


def test_intervals_of_many_patients(detector, splits):
    """As from scikit-learn's figures of each resample."""
    test = splits["test"] | {"patients": np.arange(24) // 2}
    table = evaluate(detector, **test, resamples=40, seed=1)
    assert table.by_patient == {}
    found = detector.detect(test["images"])
    resampled = []
    for weights in resampled_weights(12, 40, seed=1):
        rows = np.repeat(np.arange(24), np.repeat(weights, 2))
        part = {name: values[rows] for name, values in found.items()}
        resampled.append(figures(part, test["labels"][rows], test["masks"][rows]))
    for name, ends in table.intervals["detector"].items():
        expected = np.percentile([row[name] for row in resampled], [2.5, 97.5])
        np.testing.assert_allclose(ends, expected, atol=2e-3)
    assert set(table.intervals["detector"]) == set(table.rows["detector"])
    again = evaluate(detector, **test, resamples=40, seed=1)
    assert again.intervals == table.intervals
    low, high = table.intervals["detector"]["image_auroc"]
    assert f"({low:.3f} to {high:.3f})" in table.to_markdown()


def test_several_detectors_and_no_masks(detector, splits, blurring):
    healthy = splits["val"]["images"][1::2]
    other = AnomalyDetector(blurring, timestep=20).fit(healthy)
    arguments = {"images": splits["test"]["images"], "labels": splits["test"]["labels"][:, None]}
    table = evaluate({"first": detector, "second": other}, **arguments)
    assert list(table.rows) == ["first", "second", *ROWS[1:]]
    assert list(table.rows["first"]) == ["image_auroc", "image_ap"]
    assert table.intervals == table.by_patient == {}
    assert table.to_markdown().splitlines()[:2] == [
        "| | image AUROC | image AP |",
        "|---|---:|---:|",
    ]
    # Labels as the masks tell them.
    known = {"images": splits["test"]["images"], "masks": splits["test"]["masks"]}
    by_masks = evaluate(detector, **known)
    assert by_masks.rows["detector"]["image_ap"] == table.rows["first"]["image_ap"]


def test_a_share_of_the_intensity_is_told(blurring, splits):
    healthy = splits["val"]["images"][1::2]
    mixed, pure = (AnomalyDetector(blurring, intensity=w).fit(healthy) for w in (0.4, 0.0))
    table = evaluate({"mixed": mixed, "pure": pure}, **splits["test"])
    assert table.weights == {"mixed": 0.4, "pure": 0.0}
    assert table.to_markdown().endswith("weight of the intensity in the maps of mixed: 0.4.\n")


def test_nothing_to_tell_apart(detector, splits):
    table = evaluate(detector, splits["test"]["images"], masks=0 * splits["test"]["masks"])
    row = table.rows["detector"]
    assert row.pop("dice") == 0
    assert np.isnan(list(row.values())).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None, "masks": None}, "labels, masks or both"),
        ({"labels": np.zeros(3)}, r"labels must be of shape \(24,\)"),
        ({"masks": np.zeros((24, 8, 8))}, r"masks must be of shape \(24, 16, 16\)"),
        ({"patients": np.zeros(5)}, "patients must be of shape"),
    ],
)
def test_arguments_are_checked(detector, splits, change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(detector, **splits["test"] | change)


def test_the_detector_must_be_fitted(blurring, splits):
    with pytest.raises(ValueError, match="whose fit has set"):
        evaluate(AnomalyDetector(blurring), **splits["test"])


def test_the_intensity_of_brain_slices(test_data):
    """Figures published with the set; the threshold from one patient, tested on two others."""
    with np.load(test_data / "brats6_slices_64.npz", allow_pickle=False) as file:
        train, test = (
            {name: file[f"{split}_{name}"] for name in ("images", "labels", "masks", "patient")}
            for split in ("train", "test")
        )
    val = {name: values[train["patient"] == 6] for name, values in train.items()}
    lesion = val["labels"][:, 0] == 1
    detector = AnomalyDetector(None, "intensity", channel=0)
    detector.fit(val["images"][~lesion], val["images"][lesion], val["masks"][lesion])
    patients = test.pop("patient")
    table = evaluate(detector, **test, patients=patients)
    assert list(table.rows) == ROWS
    for name in ROWS[:2]:
        row = table.rows[name]
        assert row["pixel_ap"] == pytest.approx(0.802, abs=5e-4)
        assert row["best_dice"] == pytest.approx(0.786, abs=5e-4)
        assert row["image_auroc"] == pytest.approx(0.927, abs=5e-4)
        assert 0.5 < row["dice"] < row["best_dice"]
    assert table.rows["blurred image"]["pixel_ap"] < 0.2
    assert list(table.by_patient["detector"]["dice"]) == ["1", "2"]
