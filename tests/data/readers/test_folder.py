import json

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from tests.conftest import textures


@pytest.fixture
def plant(tmp_path, rng):
    """Writes pictures that differ to paths below a folder, which it returns."""

    def write(*paths, shape=(24, 20, 1), root="scans"):
        pictures = textures(rng, len(paths), shape)
        for path, picture in zip(paths, pictures, strict=True):
            path = tmp_path / root / path
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.squeeze()).save(path)
        return tmp_path / root

    return write


def numbered(folder, count, suffix=".png"):
    return [f"{folder}/{i}{suffix}" for i in range(count)]


def counts(data):
    return data.provenance["counts"]


class TestLayouts:
    def test_a_flat_folder_has_no_labels(self, plant):
        data = kmg.data.load(plant(*numbered(".", 20)), image_size=16)
        assert data.task == "none"
        assert data.class_names is None
        assert counts(data) == {"train": 16, "val": 2, "test": 2}
        assert data.report.found == data.report.used == 20

    def test_class_folders_are_cut_class_by_class(self, plant):
        folder = plant(*numbered("benign", 40), *numbered("malignant", 20))
        data = kmg.data.load(folder, image_size=16)
        assert data.class_names == ["benign", "malignant"]
        labels = {split: data.arrays(split)["labels"] for split in ("train", "val", "test")}
        assert {s: np.bincount(n).tolist() for s, n in labels.items()} == {
            "train": [32, 16],
            "val": [4, 2],
            "test": [4, 2],
        }

    @pytest.mark.parametrize(
        ("train", "val", "test"),
        [("Training", None, "Testing"), ("train", "val", "test"), ("Train", "valid", None)],
    )
    def test_split_folders_are_kept(self, plant, train, val, test):
        names = {"train": (train, 20), "val": (val, 10), "test": (test, 12)}
        paths = [
            path
            for folder, count in names.values()
            if folder
            for c in ("glioma", "meningioma")
            for path in numbered(f"{folder}/{c}", count)
        ]
        data = kmg.data.load(plant(*paths), image_size=16)
        assert data.class_names == ["glioma", "meningioma"]
        for split, (folder, count) in names.items():
            if split != "train" and folder:
                assert counts(data)[split] == 2 * count
            assert counts(data)[split] >= 4
        assert sum(counts(data).values()) == len(paths)

    def test_an_archive_in_a_folder_of_its_own(self, plant):
        paths = [*numbered("archive/set/train/a", 8), *numbered("archive/set/train/b", 8)]
        data = kmg.data.load(plant(*paths, *numbered("archive/set/test/a", 3)), image_size=16)
        assert data.class_names == ["a", "b"]
        assert counts(data)["test"] == 3

    def test_classes_are_sorted_as_people_count(self, plant):
        folder = plant(*(f"grade {g}/{i}.png" for g in (10, 9, 1) for i in range(5)))
        names = kmg.data.load(folder, image_size=16).class_names
        assert names == ["grade 1", "grade 9", "grade 10"]

    def test_one_folder_of_images_is_no_class(self, plant):
        assert kmg.data.load(plant(*numbered("images", 12)), image_size=16).task == "none"

    def test_what_lies_beside_the_archive_does_not_matter(self, plant):
        paths = [f"archive/data/{s}/{c}/{i}.png" for s in ("Training", "Testing") for c in "xy"
                 for i in range(6)]  # fmt: skip
        folder = plant(*paths)
        (folder / "README.md").write_text("about")
        data = kmg.data.load(folder, image_size=16)
        assert data.class_names == ["x", "y"]
        assert counts(data)["test"] == 12
        assert [name for name, _ in data.report.left_out] == ["README.md"]

    def test_splits_without_training_are_an_error(self, plant):
        folder = plant(*(f"{s}/{c}/{i}.png" for s in ("val", "test") for c in "xy" for i in "abc"))
        with pytest.raises(ValueError, match="images in test, val but none to train on"):
            kmg.data.load(folder, image_size=16)

    def test_many_small_folders_may_be_patients(self, plant):
        data = kmg.data.load(plant(*(f"{p}/{i}.png" for p in "abcdef" for i in range(5))))
        assert "6 folders of about 5 images" in data.report.notes[0]
        assert "column patient" in data.report.notes[0]

    def test_folders_below_a_class_stay_in_one_split(self, plant):
        folder = plant(
            *(f"{c}/patient{p}/{i}.png" for c in "ab" for p in range(6) for i in range(4))
        )
        data = kmg.data.load(folder, image_size=16)
        owners = {s: set() for s in counts(data)}
        for split, seen in owners.items():
            for row in data.rows(split):
                seen.add(data.store.read(np.array([row]))["images"].tobytes())
        assert all(len(seen) % 4 == 0 for seen in owners.values())


class TestWhatCannotBeUsed:
    def test_is_listed_with_its_reason_and_without_folders(self, plant):
        folder = plant(*numbered("a", 10), *numbered("b", 10))
        (folder / "a" / "notes.txt").write_text("no image")
        (folder / "a" / "cut.png").write_bytes((folder / "a" / "0.png").read_bytes()[:100])
        (folder / "b" / "black.png").parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "b" / "black.png")
        (folder / "b" / ".hidden.png").write_bytes(b"")
        (folder / "empty class").mkdir()
        (folder / "single").mkdir()
        picture = np.random.default_rng(5).integers(0, 255, (9, 9), np.uint8)
        Image.fromarray(picture).save(folder / "single" / "one.png")
        data = kmg.data.load(folder, image_size=16)
        reasons = dict(data.report.left_out)
        assert data.report.used == 20
        assert data.report.found == 20 + len(data.report.left_out)
        assert set(reasons) == {"notes.txt", "cut.png", "black.png", "empty class", "one.png"}
        assert reasons["notes.txt"].startswith("no image")
        assert "truncated" in reasons["cut.png"].casefold()
        assert reasons["black.png"] == "all pixels are 0"
        assert reasons["empty class"] == "a folder without images"
        assert reasons["one.png"] == "the only image of its class 'single'"
        assert data.class_names == ["a", "b"]
        assert set(np.unique(data.arrays("train")["labels"])) == {0, 1}
        assert str(folder.parent) not in json.dumps(data.provenance)

    def test_is_an_error_if_asked_for(self, plant):
        folder = plant(*numbered(".", 12))
        (folder / "5.png").write_bytes(b"broken")
        with pytest.raises(ValueError, match=r"5.png: not an image"):
            kmg.data.load(folder, image_size=16, on_error="raise")

    def test_damaged_pixels_are_an_error_if_asked_for(self, plant):
        folder = plant(*numbered(".", 12))
        (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:200])
        with pytest.raises(ValueError, match=r"5.png: damaged"):
            kmg.data.load(folder, image_size=16, on_error="raise")

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "scans").mkdir()
        with pytest.raises(ValueError, match="folder scans is empty"):
            kmg.data.load(tmp_path / "scans")

    def test_a_folder_without_images(self, tmp_path):
        (tmp_path / "a.txt").write_text("words")
        with pytest.raises(ValueError, match=r"gives no image \(a.txt: no image"):
            kmg.data.load(tmp_path)

    def test_too_few_images(self, plant):
        with pytest.raises(ValueError, match="scans gives 5 images; at least 10"):
            kmg.data.load(plant(*numbered(".", 5)), image_size=16)

    def test_images_of_several_sizes_need_a_size(self, plant):
        plant(*numbered("a", 10))
        folder = plant(*numbered("b", 10), shape=(40, 40, 1))
        with pytest.raises(ValueError, match=r"2 sizes, from 24 x 20 to 40 x 40.*image_size"):
            kmg.data.load(folder)
        assert kmg.data.load(folder, image_size=24).image_shape == (24, 24, 1)

    def test_a_jpeg_that_tensorflow_refuses_has_pillows_reason(self, plant):
        folder = plant(*numbered(".", 12, ".jpg"), shape=(64, 64, 3))
        whole = (folder / "3.jpg").read_bytes()
        (folder / "3.jpg").write_bytes(whole[: len(whole) // 2])
        data = kmg.data.load(folder, image_size=16)
        assert data.report.used == 11
        (name, reason), *rest = data.report.left_out
        assert (name, rest) == ("3.jpg", [])
        assert "truncated" in reason


class TestMasks:
    def test_beside_their_images(self, tmp_path, rng):
        folder = tmp_path / "busi"
        masks = rng.integers(0, 2, (24, 16, 16), np.uint8)
        for i, picture in enumerate(textures(rng, 24, (16, 16, 1))):
            place = folder / ("benign" if i < 12 else "malignant")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[..., 0]).save(place / f"({i}).png")
            if i % 3:  # not all have one
                Image.fromarray(masks[i] * 255).save(place / f"({i})_mask.png")
        Image.fromarray(masks[2] * 255).save(folder / "benign" / "(1)_mask_1.png")
        data = kmg.data.load(folder)
        assert data.report.used == 24
        assert "8 images have no mask: theirs is taken to be empty" in data.report.notes
        batch = next(iter(data.val))
        assert batch["masks"].dtype == np.int32
        assert batch["masks"].shape == (len(batch["images"]), 16, 16)
        found = {}
        for split in counts(data):
            arrays = data.arrays(split)
            for image, mask in zip(arrays["images"], arrays["masks"], strict=True):
                found[image.tobytes()] = mask
        for i in range(24):
            place = folder / ("benign" if i < 12 else "malignant")
            image = np.asarray(Image.open(place / f"({i}).png"))[..., None] / np.float32(255)
            expected = masks[i] if i % 3 else np.zeros((16, 16))
            expected = np.maximum(masks[1], masks[2]) if i == 1 else expected
            np.testing.assert_array_equal(found[image.tobytes()], expected)

    def test_in_a_folder_of_their_own(self, tmp_path, rng):
        for i, picture in enumerate(textures(rng, 12, (16, 16, 1))):
            for name, pixels in (("images", picture[..., 0]), ("masks", picture[..., 0] > 99)):
                (tmp_path / name).mkdir(exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8) * (255 if name == "masks" else 1)).save(
                    tmp_path / name / f"{i}.png"
                )
        data = kmg.data.load(tmp_path)
        arrays = data.arrays("train")
        assert data.task == "none"
        assert data.report.used == 12
        assert data.report.notes == []
        np.testing.assert_array_equal(arrays["masks"], arrays["images"][..., 0] * 255 > 99.5)

    @pytest.mark.parametrize("place", ["{kind}/{split}", "{split}/{kind}", "set/{kind}/{split}"])
    @pytest.mark.parametrize("masks", ["masks", "labels"])
    def test_in_folders_above_or_below_the_splits(self, tmp_path, rng, place, masks):
        for i, picture in enumerate(textures(rng, 30, (16, 16, 1))[..., 0]):
            split = "test" if i % 3 == 0 else "train"
            for kind, pixels in (("images", picture), (masks, (picture > 99) * np.uint8(255))):
                folder = tmp_path / place.format(kind=kind, split=split)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{i}.png")
        Image.fromarray(picture).save(
            tmp_path / place.format(kind=masks, split="test") / "none.png"
        )
        data = kmg.data.load(tmp_path)
        assert data.task == "none"
        assert counts(data)["test"] == 10
        assert data.report.left_out == [("none.png", "a mask without an image of its name")]
        arrays = data.arrays("test")
        np.testing.assert_array_equal(arrays["masks"], arrays["images"][..., 0] * 255 > 99.5)

    def test_are_resized_with_their_images(self, tmp_path, rng):
        for i in range(12):
            picture = np.zeros((30, 20), np.uint8)
            y, x = rng.integers(4, 14, 2)
            picture[y : y + 6, x : x + 6] = rng.integers(128, 255, (6, 6))
            Image.fromarray(picture).save(tmp_path / f"{i}.png")
            Image.fromarray((picture > 0).astype(np.uint8)).save(tmp_path / f"{i}_mask.png")
        for how in ("pad", "crop", "stretch"):
            arrays = kmg.data.load(tmp_path, image_size=60, resize=how).arrays("train")
            lit = arrays["images"][..., 0] > 0.25
            overlap = (lit & (arrays["masks"] == 1)).sum() / (lit | (arrays["masks"] == 1)).sum()
            assert overlap > 0.9

    def test_of_another_size_leave_the_image_out(self, plant):
        folder = plant(*numbered(".", 12))
        Image.fromarray(np.ones((3, 3), np.uint8)).save(folder / "7_mask.png")
        data = kmg.data.load(folder)
        assert data.report.left_out == [
            ("7.png", "its mask is of 3 x 3 pixels, the image of 24 x 20")
        ]


class TestRealFolders:
    def test_kaggle_brain_tumor_mri(self, test_data, tmp_path):
        source = test_data / "files" / "images" / "brain_mri"
        for path in source.rglob("*.jpg"):
            split = "Testing" if path.name.startswith("image") else "Training"
            target = tmp_path / "kaggle" / split / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
        data = kmg.data.load(tmp_path / "kaggle", image_size=64, channels=1, batch_size=4)
        tumours = [f"{name}_tumor" for name in ("glioma", "meningioma", "no", "pituitary")]
        assert data.class_names == tumours
        assert data.report.used == 16
        assert data.report.left_out == []
        assert data.image_shape == (64, 64, 1)

    def test_prostate_gleason(self, test_data):
        folder = test_data / "files" / "images" / "prostate"
        with pytest.raises(ValueError, match="prostate gives 8 images"):
            kmg.data.load(folder)

    def test_all_native_images(self, test_data):
        data = kmg.data.load(test_data / "files" / "images", image_size=64)
        assert data.image_shape == (64, 64, 3)  # some have colour
        assert data.report.found == data.report.used + len(data.report.left_out)
        assert {reason for _, reason in data.report.left_out} <= {
            "the only image of its class 'gastric'",
            "the only image of its class 'histology_gbm'",
        }
        masks = np.concatenate([data.arrays(split)["masks"] for split in counts(data)])
        assert (masks.any(axis=(1, 2))).sum() >= 2
