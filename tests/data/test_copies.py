import io

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from tests.conftest import textures

SPLITS = ("train", "val", "test")


def jpeg(image, quality=60):
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(image.shape)


@pytest.fixture
def images(rng):
    return textures(rng, 60, (32, 32, 1))


@pytest.fixture
def leaky(images, write_npz):
    """6 exact copies of train in test, 2 re-encoded ones, one in val, and one within train."""
    test = images[40:54].copy()
    test[:6] = images[:6]
    test[6:8] = [jpeg(image) for image in images[6:8]]
    val = images[54:].copy()
    val[0] = images[20]
    train = images[:40].copy()
    train[39] = train[38]
    return write_npz(train_images=train, val_images=val, test_images=test)


class TestPublishedSplits:
    def test_leaks_are_reported_with_figures(self, leaky, capsys):
        data = kmg.data.load(leaky)
        assert data.provenance["counts"] == {"train": 40, "val": 6, "test": 14}  # as published
        assert data.report.leaks == {
            "train/val": {"exact": 1, "near": 0},
            "train/test": {"exact": 6, "near": 2},
        }
        assert data.report.exact_copies == 8
        line = capsys.readouterr().err.splitlines()[-1]
        assert "LEAK: 8 images of test (57.1%) are also in train, 6 exactly" in line
        assert data.provenance["report"]["leaks"] == data.report.leaks

    def test_drop_repairs_them(self, leaky):
        published = kmg.data.load(leaky)
        data = kmg.data.load(leaky, deduplicate="drop")
        assert data.report.leaks == {}
        assert data.report.exact_copies == 0
        assert data.provenance["counts"] == {"train": 30, "val": 6, "test": 14}
        np.testing.assert_array_equal(
            data.arrays("test")["images"], published.arrays("test")["images"]
        )
        reasons = dict(data.report.left_out)
        assert reasons["train 0"] == "the same pixels as test 0"
        assert reasons["train 6"] == "the same picture as test 6"
        assert reasons["train 20"] == "the same pixels as val 0"
        assert reasons["train 39"] == "the same pixels as train 38"
        assert data.report.found == 60 == data.report.used + len(reasons)

    def test_clean_splits_are_clean(self, images, write_npz):
        path = write_npz(
            train_images=images[:40], val_images=images[40:50], test_images=images[50:]
        )
        report = kmg.data.load(path).report
        assert (report.leaks, report.exact_copies, report.near_duplicates) == ({}, 0, 0)

    def test_constant_images_are_no_copies(self, images, write_npz):
        images[[0, 45, 55]] = 0
        path = write_npz(
            train_images=images[:40], val_images=images[40:50], test_images=images[50:]
        )
        assert kmg.data.load(path, deduplicate="drop").report.left_out == []

    def test_copies_under_different_labels_are_named(self, images, write_npz):
        images[30:33] = images[:3]
        path = write_npz(train_images=images, train_labels=(np.arange(60) >= 31).astype(int))
        assert kmg.data.load(path).report.notes == [
            "2 pairs of copies stand under different labels"
        ]

    @pytest.mark.parametrize("several", [False, True])
    def test_classes_that_training_lacks_are_named(self, images, write_npz, several):
        arrays = {}
        for split, rows, classes in (("train", 40, (0, 2)), ("val", 10, (1,)), ("test", 10, (3,))):
            labels = np.resize(classes, rows)
            arrays[f"{split}_labels"] = np.eye(4, dtype=int)[labels] if several else labels
            arrays[f"{split}_images"], images = images[:rows], images[rows:]
        data = kmg.data.load(write_npz(**arrays))
        assert data.task == ("multi-label" if several else "multi-class")
        assert data.report.notes == ["no training image is of the class 1, 3: no model learns it"]


class TestCutSplits:
    @pytest.mark.parametrize("seed", range(5))
    def test_copies_stay_on_one_side(self, images, write_npz, seed):
        doubled = np.concatenate([images, images[:20], [jpeg(image) for image in images[20:40]]])
        data = kmg.data.load(
            write_npz(train_images=doubled), seed=seed, validation_fraction=0.2, test_fraction=0.2
        )
        assert data.report.leaks == {}
        assert data.report.exact_copies == 20
        assert data.report.near_duplicates == 20
        side = {row: split for split in SPLITS for row in data.rows(split)}
        assert all(side[row] == side[60 + row] for row in range(40))
        assert min(data.provenance["counts"].values()) >= 12

    def test_drop_keeps_one_of_each(self, images, write_npz):
        doubled = np.concatenate([images, images[:20]])
        data = kmg.data.load(write_npz(train_images=doubled), deduplicate="drop")
        assert data.report.used == 60
        assert data.report.left_out[0] == ("train 60", "the same pixels as train 0")

    def test_patients_and_copies_are_joined(self, images, write_npz):
        # Patient 0's first image is also patient 9's: the two stay together.
        images[54] = images[0]
        data = kmg.data.load(
            write_npz(train_images=images, train_patient=np.arange(60) // 6), test_fraction=0.3
        )
        side = {row: split for split in SPLITS for row in data.rows(split)}
        assert len({side[row] for row in (*range(6), *range(54, 60))}) == 1

    def test_a_source_of_look_alikes_is_still_cut(self, images, write_npz):
        # A film, in which one picture turns into another: likeness joins all of its frames.
        first, last = images[:2].astype(float)
        film = [first + share * (last - first) for share in np.linspace(0, 1, 49)]
        data = kmg.data.load(write_npz(train_images=np.stack(film).astype(np.uint8)))
        assert min(data.provenance["counts"].values()) >= 4
        assert "near duplicates join more than half" in data.report.notes[0]


class TestRealSets:
    def test_breastmnist(self, test_data):
        data = kmg.data.load(test_data / "breastmnist.npz")
        # Its source repeats pictures, shifted or with marks (Pawłowska et al. 2023,
        # doi:10.1016/j.dib.2023.109247); test_duplicates.py checks each pair by raw correlation.
        assert data.report.leaks["train/test"] == {"exact": 1, "near": 58}
        mended = kmg.data.load(test_data / "breastmnist.npz", deduplicate="drop")
        assert mended.report.leaks == {}
        assert mended.provenance["counts"]["test"] == 156

    def test_pneumoniamnist(self, test_data):
        report = kmg.data.load(test_data / "pneumoniamnist.npz").report
        assert report.leaks["train/val"]["exact"] == 8
        assert report.leaks.get("train/test", {"exact": 0})["exact"] == 0


@pytest.mark.parametrize("name", ["pneumoniamnist", "brain_tumor_mri_64", "fundus_64"])
def test_a_planted_leak_is_found(test_data, write_npz, name):
    with np.load(test_data / f"{name}.npz", allow_pickle=False) as file:
        pool = file["train_images"]
    pool = pool.reshape(*pool.shape[:3], -1)
    rng = np.random.default_rng(3)
    images = pool[rng.permutation(len(pool))[:200]]
    train, test = images[:120].copy(), images[120:].copy()
    test[:30] = train[:30]
    test[30:40] = [jpeg(image) for image in train[30:40]]
    side = images.shape[1]
    for i in range(40, 50):
        large = round(1.1 * side)
        picture = Image.fromarray(train[i].squeeze()).resize((large, large), Image.BICUBIC)
        y, x = rng.integers(0, large - side + 1, 2)
        test[i] = np.asarray(picture)[y : y + side, x : x + side].reshape(test[i].shape)
    data = kmg.data.load(write_npz(train_images=train, val_images=pool[-20:], test_images=test))
    leak = data.report.leaks["train/test"]
    assert leak["exact"] == 30
    assert leak["near"] >= 18
    dropped = kmg.data.load(
        write_npz("again.npz", train_images=train, val_images=pool[-20:], test_images=test),
        deduplicate="drop",
    )
    assert dropped.report.leaks == {}
