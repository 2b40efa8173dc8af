import dataclasses
import inspect

import numpy as np
import pytest
import skimage
import tensorflow as tf
from PIL import Image

import keras_medgen as kmg
from keras_medgen.data import reading
from keras_medgen.data.load import load_with
from keras_medgen.data.settings import Settings
from tests.conftest import textures


@pytest.fixture
def path(rng, write_npz):
    images = textures(rng, 50, (24, 20, 1))
    return write_npz(train_images=images, train_labels=np.arange(50) % 2)


class TestDatasets:
    def test_batches_are_dicts_of_unit_images_and_labels(self, path):
        data = kmg.data.load(path, batch_size=8)
        batch = next(iter(data.train))
        assert set(batch) == {"images", "labels"}
        assert batch["images"].shape == (8, 24, 20, 1)
        assert batch["images"].dtype == tf.float32
        assert batch["labels"].dtype == tf.int32
        assert 0 <= batch["images"].numpy().min() < batch["images"].numpy().max() <= 1

    def test_every_epoch_holds_every_image_once_in_an_order_of_its_own(self, path):
        data = kmg.data.load(path, batch_size=8)
        stored = data.arrays("train")["images"]
        epochs = [np.concatenate([b["images"] for b in data.train]) for _ in range(2)]
        assert (epochs[0] != epochs[1]).any()
        for epoch in epochs:
            assert (epoch != stored).any()
            np.testing.assert_array_equal(
                np.unique(epoch.reshape(40, -1), axis=0), np.unique(stored.reshape(40, -1), axis=0)
            )

    def test_the_seed_decides_the_order(self, path):
        first, again = (
            [b["labels"].numpy() for b in kmg.data.load(path, batch_size=8, seed=3).train]
            for _ in range(2)
        )
        for ours, theirs in zip(first, again, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_labels_stay_with_their_images(self, path):
        data = kmg.data.load(path, batch_size=8)
        stored = data.arrays("train")
        label_of = {i.tobytes(): n for i, n in zip(stored["images"], stored["labels"], strict=True)}
        for batch in data.train:
            for image, label in zip(batch["images"].numpy(), batch["labels"].numpy(), strict=True):
                assert label_of[image.tobytes()] == label

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_val_and_test_keep_the_order_of_their_arrays(self, path, split):
        data = kmg.data.load(path, batch_size=2)
        batches = np.concatenate([b["images"] for b in getattr(data, split)])
        np.testing.assert_array_equal(batches, data.arrays(split)["images"])

    def test_it_says_what_it_is(self, path):
        text = repr(kmg.data.load(path))
        assert "scans.npz" in text
        assert "train 40, val 5, test 5" in text


class TestResizing:
    @pytest.fixture
    def picture(self):
        from skimage.data import immunohistochemistry

        return immunohistochemistry()[:300, :200]

    def resized(self, write_npz, picture, image_size, **arguments):
        # Copies would all belong to one split: only the first stays as it is.
        noise = np.random.default_rng(0).integers(0, 255, (11, *picture.shape), np.uint8)
        images = np.concatenate([picture[None], noise])
        splits = {"train_images": images[:4], "val_images": images[4:8], "test_images": images[8:]}
        data = kmg.data.load(write_npz(**splits), image_size=image_size, **arguments)
        return (data.arrays("train")["images"][0] * 255).round()

    def test_stretch_is_near_pillow_lanczos(self, write_npz, picture):
        ours = self.resized(write_npz, picture, 48, resize="stretch")
        pillow = np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.LANCZOS))
        assert ours.shape == (48, 48, 3)
        assert np.abs(ours - pillow).mean() < 0.2
        assert np.abs(ours - pillow).max() <= 2

    def test_crop_takes_the_central_square(self, write_npz, picture):
        ours = self.resized(write_npz, picture, 48, resize="crop")
        square = Image.fromarray(picture[50:250]).resize((48, 48), Image.Resampling.LANCZOS)
        assert np.abs(ours - np.asarray(square)).mean() < 0.2

    def test_pad_keeps_the_proportions_on_black(self, write_npz, picture):
        ours = self.resized(write_npz, picture, 48)
        assert (ours[:, :8] == 0).all()
        assert (ours[:, 40:] == 0).all()
        inside = Image.fromarray(picture).resize((32, 48), Image.Resampling.LANCZOS)
        assert np.abs(ours[:, 8:40] - np.asarray(inside)).mean() < 0.2

    def test_floating_point_images_stay_in_range(self, write_npz, rng):
        sharp = (rng.random((12, 40, 40)) > 0.5).astype(np.float32)
        data = kmg.data.load(write_npz(train_images=sharp), image_size=24)
        images = data.arrays("train")["images"]
        assert images.min() == 0
        assert images.max() == 1
        assert "resized to 24 x 24 (pad, Lanczos)" in data.provenance["preprocessing"]

    def test_channels(self, write_npz, picture):
        grey = self.resized(write_npz, picture, 48, resize="stretch", channels=1)
        colour = self.resized(write_npz, picture, 48, resize="stretch")
        assert grey.shape == (48, 48, 1)
        assert np.abs(grey[..., 0] - colour @ [0.299, 0.587, 0.114]).max() <= 0.51
        again = self.resized(write_npz, picture[..., 0], 48, channels=3)
        assert again.shape == (48, 48, 3)
        assert (again[..., :1] == again).all()
        with pytest.raises(ValueError, match="channels=3 for images of 2"):
            self.resized(write_npz, picture[..., :2], 48, channels=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "cheastmnist"}, ValueError, "source='cheastmnist'; is it chestmnist"),
        ({"source": "Xyz"}, ValueError, r"retina_patches.*chestmnist.*source='Xyz'\."),
        ({"source": "nowhere.npz"}, FileNotFoundError, "nowhere.npz"),
        ({"source": "no/where"}, FileNotFoundError, "no file or folder no/where"),
        ({"image_size": 0}, ValueError, "image_size=0"),
        ({"image_size": "64"}, ValueError, "image_size='64'"),
        ({"image_size": 32.0}, ValueError, "image_size=32.0"),
        ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"seed": None}, ValueError, "seed=None"),
        ({"channels": 1.0}, ValueError, "channels=1.0"),
        ({"validation_fraction": "a"}, ValueError, "validation_fraction='a'"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"channels": 2}, ValueError, "channels=2"),
        ({"resize": "squash"}, ValueError, "resize='squash'"),
        ({"validation_fraction": 0.0}, ValueError, "validation_fraction=0.0"),
        ({"test_fraction": 0.7}, ValueError, "test_fraction=0.7"),
        ({"window": "lungs"}, ValueError, "window.*'lungs'"),
        ({"axis": 3}, ValueError, "axis=3"),
        ({"deduplicate": True}, ValueError, "'report' or 'drop'. Received: deduplicate=True"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'"),
        ({"cache": False}, ValueError, "cache=False"),
        ({"decoding": "quick"}, ValueError, "decoding='quick'"),
        ({"augment": {"rotation": 10}}, ValueError, "keras_medgen.data.augment.*augment={"),
        ({"balance": True}, ValueError, "balance=True needs one label.*'none'"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        kmg.data.load(**{"source": "histology_patches", **arguments})


def test_load_and_settings_have_the_same_defaults():
    parameters = dict(inspect.signature(kmg.data.load).parameters)
    parameters.pop("source")
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    fields.pop("split")  # not for users
    assert {name: parameter.default for name, parameter in parameters.items()} == fields


class TestWindow:
    def test_by_name(self):
        settings = Settings(window="lung")
        assert (settings.window, settings.preset) == ("lung", "lung")
        assert settings.window_range == (-600, 1500)

    @pytest.mark.parametrize("window", [(40, 400), [40.0, 400.0], np.array([40, 400])])
    def test_by_range(self, window):
        settings = Settings(window=window)
        assert settings == Settings(window=(40.0, 400.0))
        assert (settings.window_range, settings.preset) == ((40.0, 400.0), None)

    def test_none(self):
        assert (Settings().window_range, Settings().preset) == (None, None)


@pytest.mark.parametrize(("split", "least"), [(True, 10), (False, 1)])
def test_a_source_of_no_usable_image(tmp_path, split, least):
    Image.new("L", (20, 20)).save(tmp_path / "black.png")
    message = rf"gives 0 images; at least {least} must be usable \(1 left out: black.png: all"
    with pytest.raises(ValueError, match=message):
        load_with(tmp_path, Settings(split=split))


@pytest.fixture
def folder(tmp_path, rng):
    """JPEGs and PNGs, of 40 x 40 and larger, grey and RGB, in two classes of 30 and 12."""
    for i, picture in enumerate(textures(rng, 42, (96, 96, 3))):
        picture = picture[: 40 + i, :, : 3 if i % 4 else 1].squeeze()
        place = tmp_path / "source" / ("many" if i < 30 else "few")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{i}.{'jpg' if i % 3 else 'png'}", quality=95)
    return tmp_path / "source"


class TestCache:
    @pytest.mark.parametrize("cache", ["file", "none", "auto"])
    def test_every_place_gives_the_same_pixels(self, folder, cache, tmp_path):
        expected = kmg.data.load(folder, image_size=32, cache="memory")
        (tmp_path / "cache").mkdir()
        data = kmg.data.load(folder, image_size=32, cache=cache, data_dir=tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []  # nothing is left behind
        for split in ("train", "val", "test"):
            for name, array in expected.arrays(split).items():
                np.testing.assert_array_equal(data.arrays(split)[name], array)
        for ours, theirs in zip(data.train, expected.train, strict=True):
            np.testing.assert_array_equal(ours["images"], theirs["images"])
            np.testing.assert_array_equal(ours["labels"], theirs["labels"])
        few = data.arrays("train", limit=2)["images"]  # from all over, for classes stand in order
        whole = expected.arrays("train")["images"]
        np.testing.assert_array_equal(few, whole[[0, len(whole) // 2]])
        assert len(data.arrays("train", limit=0)["images"]) == 0
        assert len(data.arrays("train", limit=1000)["images"]) == len(whole)

    def test_auto_takes_the_first_with_room(self, monkeypatch):
        monkeypatch.setattr(reading, "_free_memory", lambda: 1000)
        usage = type("Usage", (), {"free": 5000})
        monkeypatch.setattr(reading.shutil, "disk_usage", lambda path: usage)
        assert reading.choose_cache("auto", 250, None) == "memory"
        assert reading.choose_cache("auto", 251, None) == "file"
        assert reading.choose_cache("auto", 2501, None) == "none"
        assert reading.choose_cache("memory", 10**12, None) == "memory"


class TestDecoding:
    def test_jpegs_are_as_pillow_reads_them(self, folder):
        data = kmg.data.load(folder, image_size=32, resize="stretch", channels=3, cache="none")
        assert sum(example.jpeg is not None for example in data.store.examples) == 28
        for split in ("train", "val", "test"):
            rows = data.rows(split)
            images = data.store.read(rows)["images"].astype(float)
            for row, ours in zip(rows, images, strict=True):
                example = data.store.examples[row]
                with Image.open(example.path) as picture:
                    pillow = picture.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)
                assert np.abs(ours - np.asarray(pillow)).mean() < 0.3, example.name

    def test_fast_is_near(self, tmp_path):
        picture = skimage.data.retina()
        for i in range(12):
            part = picture[100 * i : 100 * i + 256, 500:756]
            Image.fromarray(part).save(tmp_path / f"{i}.jpg", quality=90)
        exact, fast = (
            kmg.data.load(tmp_path, image_size=64, decoding=how).arrays("train")["images"]
            for how in ("exact", "fast")
        )
        assert 0 < np.abs(exact - fast).mean() * 255 < 1
        # Not at half scale where that would be too small.
        large = [
            kmg.data.load(tmp_path, image_size=200, decoding=how).arrays("train")["images"]
            for how in ("exact", "fast")
        ]
        np.testing.assert_array_equal(*large)


class TestTraining:
    def test_balance_repeats_the_smaller_classes(self, folder):
        data = kmg.data.load(folder, image_size=32, balance=True)
        batches = list(data.train)
        epoch = np.concatenate([batch["labels"] for batch in batches])
        counts = np.bincount(epoch)
        assert counts[0] == counts[1] == (data.columns["labels"][data.rows("train")] == 1).sum()
        plain = np.concatenate([batch["labels"] for batch in data.val])
        np.testing.assert_array_equal(plain, data.arrays("val")["labels"])
        # Every image of the smaller class comes as often as any other, give or take one.
        images = np.concatenate([batch["images"] for batch in batches])[epoch == 0]
        _, repeats = np.unique(images.reshape(len(images), -1), axis=0, return_counts=True)
        assert set(repeats) <= {len(images) // len(repeats), len(images) // len(repeats) + 1}

    def test_augmentation_changes_training_images_alone(self, folder):
        augment = kmg.data.augment(flip_horizontal=True, rotation=15)
        plain = kmg.data.load(folder, image_size=32)
        data, again, other = (
            kmg.data.load(folder, image_size=32, augment=augment, seed=seed) for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(
            np.concatenate([batch["images"] for batch in data.test]),
            plain.arrays("test")["images"],
        )
        epochs = [np.concatenate([batch["images"] for batch in data.train]) for _ in range(2)]
        repeated = [np.concatenate([batch["images"] for batch in again.train]) for _ in range(2)]
        for ours, theirs in zip(epochs, repeated, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        stored = {image.tobytes() for image in plain.arrays("train")["images"]}
        assert sum(image.tobytes() in stored for image in epochs[0]) < 5
        seen = [{image.tobytes() for image in epoch} for epoch in epochs]
        assert len(seen[0] & seen[1]) < 5  # another change in each epoch
        assert (next(iter(other.train))["images"] != next(iter(data.train))["images"]).numpy().any()
        assert data.provenance["augmentation"].startswith("train only: augmented: flipped")
