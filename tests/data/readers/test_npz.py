import hashlib
import json

import numpy as np
import pytest

import keras_medgen as kmg
from tests.conftest import textures

OFFICIAL_COUNTS = {"train": 4708, "val": 524, "test": 624}


@pytest.fixture
def images(rng):
    return textures(rng, 60, (20, 20, 1))[..., 0]


def test_reads_every_split_as_it_is(images, write_npz, rng):
    labels = rng.integers(0, 3, (60, 1), np.uint8)
    labels[0] = 2
    parts = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}
    arrays = {f"{n}_images": images[part] for n, part in parts.items()}
    path = write_npz(**arrays, **{f"{n}_labels": labels[part] for n, part in parts.items()})
    data = kmg.data.load(path, batch_size=7)
    assert data.task == "multi-class"
    assert data.class_names == ["0", "1", "2"]
    assert data.num_classes == 3
    assert data.image_shape == (20, 20, 1)
    for name, part in parts.items():
        split = data.arrays(name)
        np.testing.assert_array_equal(split["images"], images[part][..., None] / np.float32(255))
        np.testing.assert_array_equal(split["labels"], labels[part, 0])
        assert split["images"].dtype == np.float32
        assert split["labels"].dtype == np.int32
    assert len(data.arrays("train", limit=5)["images"]) == 5
    assert data.provenance["counts"] == {"train": 40, "val": 10, "test": 10}
    assert data.provenance["source"] == "scans.npz"
    assert data.provenance["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data.report.found == data.report.used == 60
    assert str(path.parent) not in json.dumps(data.provenance)  # no folders in what is written
    with pytest.raises(ValueError, match="split='dev'"):
        data.arrays("dev")


def test_floating_point_images_and_class_names(images, write_npz):
    unit = images / np.float64(255)
    path = write_npz(
        train_images=unit, train_labels=np.arange(60) % 2, class_names=np.array(["no", "yes"])
    )
    data = kmg.data.load(path)
    assert data.class_names == ["no", "yes"]
    assert data.arrays("train")["images"].dtype == np.float32
    assert len(data.arrays("train")["labels"]) == len(data.arrays("train")["images"])


def test_several_labels_an_image(images, write_npz, rng):
    labels = rng.integers(0, 2, (60, 14))
    data = kmg.data.load(write_npz(train_images=images, train_labels=labels))
    assert data.task == "multi-label"
    assert data.num_classes == 14
    assert data.arrays("val")["labels"].shape[1] == 14


def test_masks_are_kept(images, write_npz):
    masks = (images > 100).astype(np.uint8) * 3
    path = write_npz(train_images=images, train_masks=masks)
    data = kmg.data.load(path, batch_size=5)
    arrays = data.arrays("train")
    assert arrays["masks"].dtype == np.int32
    np.testing.assert_array_equal(arrays["masks"], 3 * (arrays["images"][..., 0] * 255 > 100.5))
    batch = next(iter(data.train))
    assert batch["masks"].dtype == np.int32
    np.testing.assert_array_equal(batch["masks"] > 0, batch["images"][..., 0].numpy() * 255 > 100.5)
    half = kmg.data.load(path, image_size=10).arrays("train")
    assert half["masks"].shape == (48, 10, 10)
    assert set(np.unique(half["masks"])) == {0, 3}


def test_patients_in_two_splits_of_the_source_are_reported(images, write_npz):
    path = write_npz(
        train_images=images[:40],
        val_images=images[40:50],
        test_images=images[50:],
        train_patient=np.arange(40) // 4,
        test_patient=np.arange(10) + 8,
    )
    (note,) = kmg.data.load(path).report.notes
    assert note == "2 patients or groups stand in both train and test"


class TestMissingSplits:
    def test_are_cut_off_and_share_nothing(self, images, write_npz):
        data = kmg.data.load(
            write_npz(train_images=images), validation_fraction=0.2, test_fraction=0.1
        )
        splits = [data.arrays(name)["images"] for name in ("train", "val", "test")]
        assert [len(split) for split in splits] == [42, 12, 6]
        assert len(np.unique(np.concatenate(splits), axis=0)) == 60

    def test_a_test_split_that_is_there_stays(self, images, write_npz):
        data = kmg.data.load(write_npz(train_images=images[:50], test_images=images[50:]))
        np.testing.assert_array_equal(
            data.arrays("test")["images"], images[50:, ..., None] / np.float32(255)
        )
        assert data.provenance["counts"] == {"train": 45, "val": 5, "test": 10}

    @pytest.mark.parametrize("key", ["patient", "slide"])
    def test_a_patient_stays_in_one_split(self, images, write_npz, key):
        groups = np.arange(60) // 5
        images = np.broadcast_to(groups[:, None, None].astype(np.uint8), images.shape)
        data = kmg.data.load(
            write_npz(train_images=images, **{f"train_{key}": groups}),
            validation_fraction=0.25,
            test_fraction=0.25,
        )
        present = [
            set(np.unique((data.arrays(name)["images"] * 255).round()))
            for name in ("train", "val", "test")
        ]
        assert all(present)
        assert set.union(*present) == set(range(12))
        assert sum(map(len, present)) == 12
        assert "by group" in " ".join(data.provenance["preprocessing"])

    def test_an_empty_split_counts_as_missing(self, images, write_npz):
        path = write_npz(train_images=images, test_images=images[:0], val_images=images[:0])
        assert kmg.data.load(path).provenance["counts"] == {"train": 48, "val": 6, "test": 6}

    def test_classes_keep_their_shares(self, images, write_npz):
        labels = np.arange(60) % 3 == 0
        data = kmg.data.load(write_npz(train_images=images, train_labels=labels))
        for split in ("val", "test"):
            assert np.bincount(data.arrays(split)["labels"]).tolist() == [4, 2]

    def test_the_seed_decides(self, images, write_npz):
        path = write_npz(train_images=images)
        first, again, other = (
            kmg.data.load(path, seed=seed).arrays("test")["images"] for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def _bad(**changes):
    """A sound file, but for `changes`."""
    images = textures(np.random.default_rng(0), 30, (16, 16, 1))[..., 0]
    arrays = {"train_images": images, "test_images": 255 - images[:12], **changes}
    return {name: array for name, array in arrays.items() if array is not None}


PIXELS = textures(np.random.default_rng(1), 30, (16, 16, 1))[..., 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": PIXELS}, "no images: expected the key 'train_images'.*pictures"),
        (_bad(train_images=PIXELS[:8], test_images=None), "gives 8 images; at least 10"),
        (_bad(train_images=PIXELS[:1], test_images=None), "gives 1 images"),
        (_bad(train_images=PIXELS[0]), r"\(n, height, width\).*\(16, 16\)"),
        (_bad(train_images=np.repeat(PIXELS[..., None], 5, -1)), r"1 to 4 channels.*16, 16, 5\)"),
        (_bad(train_images=np.full_like(PIXELS, 7)), "constant.*7"),
        (_bad(train_images=np.full(PIXELS.shape, np.nan)), "100% of the pixels.*NaN"),
        (_bad(train_images=PIXELS.astype(float)), r"lie in \[0, 1\].*, 255\]"),
        (_bad(train_images=PIXELS.astype(np.int16)), "uint8.*int16"),
        (_bad(test_images=PIXELS[:, :15]), "of one shape"),
        (_bad(test_images=PIXELS / 255), "of one dtype"),
        (_bad(train_labels=np.zeros(30, int)), "labels for.*train.*of"),
        (
            _bad(train_labels=np.zeros(29, int), test_labels=np.zeros(12, int)),
            "30 train_images but",
        ),
        (_bad(train_labels=np.zeros(30), test_labels=np.zeros(12)), "integers.*float64"),
        (_bad(train_labels=np.full(30, -1), test_labels=np.zeros(12, int)), "integers from 0"),
        (
            _bad(train_labels=np.full((30, 3), 2), test_labels=np.zeros((12, 3), int)),
            "only 0 and 1",
        ),
        (
            _bad(train_labels=np.ones((30, 3), int), test_labels=np.zeros((12, 4), int)),
            "labels must be of one shape",
        ),
        (
            _bad(train_patient=np.zeros(30, int)),
            "lacks a split.*needed for train and val. Received: 1",
        ),
        (_bad(train_patient=np.zeros(29, int)), r"shape \(30,\).*29"),
        (_bad(test_images=np.zeros_like(PIXELS)), "constant.*test"),
        (_bad(train_masks=np.zeros((30, 4, 4), int)), r"train_masks must be integers of shape"),
        (_bad(train_masks=np.zeros((30, 16, 16), int)), "masks for.*train.*of"),
    ],
)
def test_bad_files_are_refused_by_name(write_npz, arrays, message):
    path = write_npz("spoilt.npz", **arrays)
    with pytest.raises(ValueError, match=f"spoilt.npz.*{message}|spoilt.npz {message}"):
        kmg.data.load(path)


def test_files_that_are_no_npz(tmp_path, write_npz):
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 no archive")
    empty = tmp_path / "empty.npz"
    empty.touch()
    pickled = write_npz("pickled.npz", train_images=np.array([{"a": 1}], dtype=object))
    for path in (broken, empty, pickled):
        with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
            kmg.data.load(path)
    single = tmp_path / "single.npz"
    with single.open("wb") as file:
        np.save(file, PIXELS)
    with pytest.raises(ValueError, match=r"single.npz cannot be read"):
        kmg.data.load(single)


def test_pneumoniamnist(test_data):
    data = kmg.data.load(test_data / "pneumoniamnist.npz", image_size=28)
    assert data.provenance["counts"] == OFFICIAL_COUNTS
    assert data.image_shape == (28, 28, 1)
    assert data.task == "multi-class"
    assert data.num_classes == 2
    assert data.report.used == sum(OFFICIAL_COUNTS.values())
    labels = data.arrays("test")["labels"]
    np.testing.assert_array_equal(np.bincount(labels), [234, 390])


@pytest.mark.parametrize("name", ["fundus_64", "brats6_slices_64", "prostate_gleason_64"])
def test_patients_and_slides_of_real_files(test_data, name):
    data = kmg.data.load(test_data / f"{name}.npz")
    with np.load(test_data / f"{name}.npz", allow_pickle=False) as file:
        groups = next(file[k] for k in ("train_patient", "train_slide") if k in file.files)
        pixels = file["train_images"]
    owner = {image.tobytes(): group for image, group in zip(pixels, groups, strict=True)}
    present = {
        split: {
            owner[image.tobytes()]
            for image in (data.arrays(split)["images"] * 255).round().astype(np.uint8)
            if image.tobytes() in owner
        }
        for split in ("train", "val")
    }
    assert present["train"]
    assert not present["train"] & present["val"]
