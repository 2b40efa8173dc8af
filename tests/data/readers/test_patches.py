import dataclasses

import numpy as np
import pytest

import keras_medgen as kmg
from keras_medgen.data.readers import patches
from keras_medgen.data.readers.patches import PICTURES

NAMES = sorted(PICTURES)


@pytest.fixture
def numbered(monkeypatch):
    """Pictures in which every pixel has a colour of its own, so that patches can be traced."""

    def replace(name, tissue=None):
        side = {"retina_patches": 1411, "histology_patches": 512}[name]
        number = np.arange(side * side).reshape(side, side)
        picture = np.stack([number >> 16, number >> 8 & 255, number & 255], -1).astype(np.uint8)
        changes = {"read": lambda: picture}
        if tissue is not None:
            changes["tissue"] = tissue
        monkeypatch.setitem(PICTURES, name, dataclasses.replace(PICTURES[name], **changes))
        return side

    return replace


def pixel_numbers(images, side):
    there = np.zeros(side**2, bool)
    for image in images:
        red, green, blue = np.moveaxis((image * 255).round().astype(np.int32), -1, 0)
        there[red << 16 | green << 8 | blue] = True
    return np.flatnonzero(there)


@pytest.mark.parametrize("image_size", [16, 64, 150])
@pytest.mark.parametrize("name", NAMES)
def test_no_pixel_stands_in_two_splits(numbered, name, image_size):
    side = numbered(name, tissue=lambda picture: np.ones(picture.shape[:2], bool))
    data = kmg.data.load(name, image_size=image_size)
    seen = [pixel_numbers(data.arrays(split)["images"], side) for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == len(np.unique(np.concatenate(seen)))
    assert sum(map(len, seen)) > 0.5 * side**2  # most of the picture is used
    assert data.report.left_out == []


def test_patches_are_cut_as_they_are(numbered):
    side = numbered("histology_patches")
    image = kmg.data.load("histology_patches", image_size=32).arrays("train", limit=1)["images"]
    numbers = (image[0] * 255).round().astype(int) @ [1 << 16, 1 << 8, 1]
    rows, columns = np.divmod(numbers, side)
    expected = np.mgrid[:32, :32]
    np.testing.assert_array_equal([rows - rows[0, 0], columns - columns[0, 0]], expected)


@pytest.mark.parametrize("name", NAMES)
def test_real_patches(name):
    data = kmg.data.load(name, image_size=64, batch_size=16)
    assert data.image_shape == (64, 64, 3)
    assert data.task == "none"
    assert data.num_classes is None
    assert data.class_names is None
    counts = data.provenance["counts"]
    total = sum(counts.values())
    assert data.report.used == total
    assert data.report.found == total + len(data.report.left_out)
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert counts[split] == pytest.approx(share * total, rel=0.35)
        images = data.arrays(split)["images"]
        assert len(images) == counts[split]
        assert images.std(axis=(1, 2, 3)).min() > 0
    assert {"source", "licence", "sha256", "preprocessing", "seed"} <= set(data.provenance)


def test_fundus_patches_lie_inside_the_retina():
    data = kmg.data.load("retina_patches", image_size=64)
    assert data.report.left_out
    assert {reason for _, reason in data.report.left_out} == {"outside the retina"}
    for split in ("train", "val", "test"):
        red = data.arrays(split)["images"][..., 0]
        assert red.min() > patches.DARKEST_RETINA / 255
        assert np.median(red) > 0.6


def test_the_seed_decides_the_split():
    first, again, other = (
        kmg.data.load("histology_patches", image_size=32, seed=seed).arrays("test")["images"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize(
    ("name", "image_size", "message"),
    [
        ("retina_patches", 8, "at least 16.*8"),
        ("histology_patches", 300, "512 x 512.*300 x 300"),
        ("histology_patches", 256, "gives 4 images"),
    ],
)
def test_sizes_that_cannot_be_cut(name, image_size, message):
    with pytest.raises(ValueError, match=message):
        kmg.data.load(name, image_size=image_size)
