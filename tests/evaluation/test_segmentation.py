import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from keras_medgen.evaluation import segmentation
from keras_medgen.evaluation.segmentation import segmentation_figures, segmentation_utility
from keras_medgen.evaluation.segmenter import lesion_loss, segmenter
from keras_medgen.metrics.repeated_training import RepeatedTraining
from tests.anomaly.conftest import with_lesions
from tests.conftest import blobs


def split(rng, count):
    images = blobs(rng, count) // 3  # darker than any lesion
    images, masks = with_lesions(rng, images)
    images[masks > 0] = 0.9
    return {"images": images, "masks": masks}


@pytest.fixture
def splits(rng):
    return {name: split(rng, n) for name, n in (("train", 40), ("val", 16), ("test", 24))}


@pytest.fixture
def trainings(monkeypatch):
    """What `RepeatedTraining.fit` was given, each time."""
    given, fit = [], RepeatedTraining.fit

    def recorded(self, images, targets, val_images, val_targets, **kwargs):
        given.append({"images": images, "targets": targets, "val": val_images, **kwargs})
        return fit(self, images, targets, val_images, val_targets, **kwargs)

    monkeypatch.setattr(RepeatedTraining, "fit", recorded)
    return given


def test_masks_that_were_given(rng, splits, trainings):
    synthetic = split(rng, 20)
    section = segmentation_utility(**splits, synthetic=synthetic, steps=60, seeds=(0, 1))
    assert section.metrics["real_dice"] > 0.8
    assert section.metrics["both_dice"] > 0.8
    assert section.metrics["real_with_lesion"] == 0.5
    assert section.metrics["generated_with_lesion"] == 0.5
    assert [one["seed"] for one in trainings] == [0, 0, 1, 1]
    np.testing.assert_array_equal(trainings[1]["targets"][40:], synthetic["masks"] != 0)
    np.testing.assert_array_equal(np.bincount(trainings[1]["rows"]), [1] * 40 + [2] * 20)
    assert [row[:2] for row in section.tables[0].rows] == [["real", 40], ["real and generated", 80]]
    assert section.summary[1] == segmentation.OWN_MASKS
    assert "24 real test images" in section.summary[0]
    assert section.metrics["real_dice_low"] <= section.metrics["real_dice"]


def test_masks_that_the_segmenter_finds(rng, splits, trainings):
    synthetic = split(rng, 20)
    masks = synthetic.pop("masks")
    section = segmentation_utility(**splits, synthetic=synthetic, steps=60, seeds=(0,))
    taken = trainings[1]["targets"][40:]
    assert set(np.unique(taken)) == {0, 1}
    assert f1_score((masks != 0).ravel(), taken.ravel() > 0) > 0.8
    assert section.summary[1] == segmentation.PSEUDO_MASKS
    assert "not known what that difference means" in section.summary[0]
    assert section.warnings == ["segmentation was measured with 1 of three seeds."]


def test_dice_over_all_pixels_and_of_each_image(rng):
    found, masks = rng.random((2, 12, 9, 9)) < 0.2
    masks[::3] = False
    values = segmentation_figures(masks, found)
    assert values["dice"] == pytest.approx(f1_score(masks.ravel(), found.ravel()))
    lesions = [i for i in range(12) if i % 3]
    expected = [f1_score(masks[i].ravel(), found[i].ravel()) for i in lesions]
    assert values["image_dice"] == pytest.approx(np.mean(expected))
    # A false alarm on an image without a lesion lowers the first alone.
    found[0] = True
    alarmed = segmentation_figures(masks, found)
    assert alarmed["dice"] < values["dice"]
    assert alarmed["image_dice"] == values["image_dice"]


def test_influence_of_an_image_is_what_leaving_it_out_shows(rng):
    masks = rng.random((400, 9, 9)) < rng.uniform(0, 0.4, (400, 1, 1))
    found = np.where(rng.random(masks.shape) < 0.8, masks, ~masks)
    whole = segmentation_figures(masks, found)
    assert np.mean(whole["influence"]["dice"]) == pytest.approx(0, abs=1e-12)
    for left in (0, 7, 31):
        rest = np.arange(400) != left
        without = segmentation_figures(masks[rest], found[rest])["dice"]
        influence = 399 * (whole["dice"] - without)
        assert whole["influence"]["dice"][left] == pytest.approx(influence, rel=0.02)


@pytest.mark.parametrize("shapes", [((2, 9, 9), (3, 9, 9)), ((9, 9), (9, 9))])
def test_masks_that_cannot_be_compared(shapes):
    with pytest.raises(ValueError, match="must be of one shape"):
        segmentation_figures(*map(np.ones, shapes))
    with pytest.raises(ValueError, match="0 pixels not 0"):
        segmentation_figures(np.zeros((2, 9, 9)), np.ones((2, 9, 9)))


def test_loss_is_the_cross_entropy_and_the_soft_dice_loss(rng):
    masks = (rng.random((3, 5, 5)) < 0.3).astype(np.float32)
    logits = rng.normal(0, 2, (3, 5, 5)).astype(np.float32)
    found = 1 / (1 + np.exp(-logits.astype(np.float64)))
    entropy = -np.mean(masks * np.log(found) + (1 - masks) * np.log(1 - found))
    overlap = (2 * np.sum(found * masks) + 1) / (found.sum() + masks.sum() + 1)
    assert float(lesion_loss(masks, logits)) == pytest.approx(entropy + 1 - overlap, rel=1e-5)
    nothing = lesion_loss(np.zeros((2, 4, 4), np.float32), np.full((2, 4, 4), -50, np.float32))
    assert float(nothing) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(16, 16, 1), (64, 64, 2), (129, 77, 3)])
def test_logits_of_every_pixel(shape, rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = segmenter(shape)
    logits = network(rng.random((2, *shape), np.float32))
    assert logits.shape == (2, *shape[:2])
    assert logits.dtype == "float32"
    assert 50_000 < network.count_params() < 100_000


def test_validation_images_without_masks_are_held_out_anew(rng, splits, trainings):
    del splits["val"]["masks"]
    section = segmentation_utility(**splits, synthetic=split(rng, 4), steps=1, seeds=(0,))
    assert len(trainings[0]["images"]) == 32
    assert len(trainings[0]["val"]) == 8
    assert "8 of the training images" in section.warnings[0]


def test_nothing_to_learn(rng, splits):
    synthetic = split(rng, 4)
    none = {name: array[:0] for name, array in synthetic.items()}
    assert segmentation_utility(**splits, synthetic=none).endswith("no generated images.")
    without = {name: {"images": part["images"]} for name, part in splits.items()}
    assert segmentation_utility(**without, synthetic=synthetic).endswith("has no masks.")
    splits["test"]["masks"][:] = 0
    found = segmentation_utility(**splits, synthetic=synthetic)
    assert found == "segmentation: no image of the split test shows a lesion."


def test_images_that_are_too_small(rng, splits):
    small = {
        name: {"images": part["images"][:, :, 1:], "masks": part["masks"][:, :, 1:]}
        for name, part in splits.items()
    }
    found = segmentation_utility(**small, synthetic=small["val"])
    assert found.startswith("segmentation: images of 16 by 15 pixels are too small")
    with pytest.raises(ValueError, match="sides of 16 or more"):
        segmenter((16, 15, 1))  # why


def test_arguments_are_checked(rng, splits):
    synthetic = split(rng, 4)
    with pytest.raises(ValueError, match="there must be a seed"):
        segmentation_utility(**splits, synthetic=synthetic, seeds=())
    synthetic["masks"] = synthetic["masks"][:3]
    with pytest.raises(ValueError, match=r"shape \(4, 16, 16\).*shape \(3, 16, 16\)"):
        segmentation_utility(**splits, synthetic=synthetic)
    with pytest.raises(ValueError, match="sides of 16 or more"):
        segmenter((8, 16, 1))
