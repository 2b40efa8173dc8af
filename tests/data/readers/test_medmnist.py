import dataclasses
import hashlib

import numpy as np
import pytest

import keras_medgen as kmg
from keras_medgen.data.readers.registry import MEDMNIST, File
from tests.conftest import textures

SPLITS = {"train": 12, "val": 6, "test": 7}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Puts arrays into the place of a published set, in a data_dir that it returns."""

    def write(name, **arrays):
        (tmp_path / "sets").mkdir(exist_ok=True)
        path = tmp_path / "sets" / MEDMNIST[name].file_name(28)
        np.savez(path, **arrays)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        files = {**MEDMNIST[name].files, 28: File("http://127.0.0.1:9/none.npz", md5)}
        monkeypatch.setitem(MEDMNIST, name, dataclasses.replace(MEDMNIST[name], files=files))
        return path.parent

    return write


def split_up(array, key):
    ends = np.cumsum(list(SPLITS.values()))
    parts = np.split(array, ends[:-1])
    return {f"{split}_{key}": part for split, part in zip(SPLITS, parts, strict=True)}


def test_an_ordinal_set(publish, rng):
    images = textures(rng, 25, (28, 28, 3))
    labels = rng.integers(0, 3, (25, 1))  # the grades 3 and 4 do not occur here
    folder = publish("retinamnist", **split_up(images, "images"), **split_up(labels, "labels"))
    data = kmg.data.load("retinamnist", data_dir=folder)
    assert data.task == "ordinal"
    assert data.class_names == ["0", "1", "2", "3", "4"]
    assert data.provenance["licence"] == "CC BY 4.0"
    assert "DeepDRiD" in data.provenance["origin"]  # who made the images
    assert "doi:" in data.provenance["citation"]
    assert data.provenance["counts"] == SPLITS
    np.testing.assert_array_equal(data.arrays("test")["labels"], labels[-7:, 0])


def test_a_multi_label_set(publish, rng):
    images = textures(rng, 25, (28, 28, 1))[..., 0]
    labels = rng.integers(0, 2, (25, 14))
    folder = publish("chestmnist", **split_up(images, "images"), **split_up(labels, "labels"))
    data = kmg.data.load("chestmnist", data_dir=folder, batch_size=5)
    assert data.task == "multi-label"
    assert "cardiomegaly" in data.class_names
    assert next(iter(data.train))["labels"].shape == (5, 14)
    with pytest.raises(ValueError, match=r"balance=True needs one label an image.*multi-label"):
        kmg.data.load("chestmnist", data_dir=folder, balance=True)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_volumes_come_as_slices_and_whole(publish, rng, axis):
    cubes = rng.integers(0, 256, (25, 8, 8, 8), np.uint8)
    labels = rng.integers(0, 11, (25, 1))
    folder = publish("organmnist3d", **split_up(cubes, "images"), **split_up(labels, "labels"))
    data = kmg.data.load("organmnist3d", data_dir=folder, axis=axis)
    assert data.image_shape == (8, 8, 1)
    assert data.provenance["counts"] == {split: 8 * count for split, count in SPLITS.items()}
    turned = np.moveaxis(cubes[-7:], 1 + (axis or 0), 1) / np.float32(255)
    arrays = data.arrays("test")
    np.testing.assert_array_equal(arrays["images"][..., 0], turned.reshape(-1, 8, 8))
    np.testing.assert_array_equal(arrays["labels"], np.repeat(labels[-7:, 0], 8))
    whole = data.arrays("test", limit=3, volumes=True)
    spread = [0, 2, 4]  # three of seven volumes
    np.testing.assert_array_equal(whole["images"][..., 0], turned[spread])
    np.testing.assert_array_equal(whole["labels"], labels[-7:, 0][spread])


def test_images_of_other_sizes_come_from_the_next_larger_file(publish, rng):
    images = textures(rng, 25, (28, 28, 1))[..., 0]
    labels = rng.integers(0, 2, (25, 1))
    folder = publish("pneumoniamnist", **split_up(images, "images"), **split_up(labels, "labels"))
    data = kmg.data.load("pneumoniamnist", image_size=20, data_dir=folder)
    assert data.image_shape == (20, 20, 1)
    with pytest.raises(ValueError, match="no slices of volumes"):
        data.arrays("test", volumes=True)


def test_offline_it_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    facts = MEDMNIST["breastmnist"]
    files = {28: File("http://127.0.0.1:9/breastmnist.npz", facts.files[28].md5)}
    monkeypatch.setitem(MEDMNIST, "breastmnist", dataclasses.replace(facts, files=files))
    with pytest.raises(OSError, match=r"put it into ~/.medmnist as breastmnist.npz \(MD5 7506"):
        kmg.data.load("breastmnist")


def test_an_official_file(test_data):
    data = kmg.data.load("PneumoniaMNIST", data_dir=test_data)
    assert data.class_names == ["normal", "pneumonia"]
    assert data.provenance["md5"] == "28209eda62fecd6e6a2d98b1501bb15f"
