import io

import numpy as np
import pytest
import skimage
import tensorflow as tf
from PIL import Image
from skimage.transform import AffineTransform, warp

from keras_medgen.data.duplicates import (
    THUMBNAIL,
    clusters,
    digest,
    find_duplicates,
    thumbnail,
    thumbnails,
)
from tests.conftest import blobs


def _each_channel(image, change):
    return np.stack([np.asarray(change(Image.fromarray(c))) for c in image.transpose(2, 0, 1)], -1)


def as_jpeg(image):
    def encode(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=60)
        return Image.open(buffer)

    return encode(Image.fromarray(image)) if image.shape[-1] == 3 else _each_channel(image, encode)


def zoomed(image, rng):
    """Enlarged by 1.1 and cropped to its size, at the centre or anywhere."""
    height, width = image.shape[:2]
    size = round(width * 1.1), round(height * 1.1)
    method = rng.choice([Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
    play = np.array([size[1] - height, size[0] - width])
    top, left = play // 2 if rng.random() < 0.5 else rng.integers(0, play + 1)
    box = (left, top, left + width, top + height)
    return _each_channel(image, lambda picture: picture.resize(size, method).crop(box))


def planted_leak(images, seed):
    """200 images in train; in test, 30 copies, 10 as JPEG and 10 zoomed, and where each is from."""
    rng = np.random.default_rng(seed)
    train = images[rng.permutation(len(images))[:200]]
    origin = rng.permutation(200)[:50]
    test = [
        *train[origin[:30]],
        *[np.asarray(as_jpeg(image)) for image in train[origin[30:40]]],
        *[zoomed(image, rng) for image in train[origin[40:]]],
    ]
    return np.concatenate([train, test]), np.repeat([0, 1], [200, 50]), origin


def find(images, sides=None):
    return find_duplicates([digest(image) for image in images], thumbnails(images), sides)


def assert_finds_the_leak(images, seed):
    images, sides, origin = planted_leak(images, seed)
    found = find(images, sides)
    planted = list(zip(origin.tolist(), range(200, 250), strict=True))
    joined = clusters(250, found.exact)
    assert all(joined[i] == joined[j] for i, j in planted[:30])
    near = set(map(tuple, found.near.tolist()))
    assert sum(pair in near for pair in planted[30:]) >= 18


def crops(picture, step):
    rows, columns = (side // step for side in picture.shape[:2])
    return [
        picture[i * step : (i + 1) * step, j * step : (j + 1) * step]
        for i in range(rows)
        for j in range(columns)
    ]


@pytest.fixture(scope="module")
def real_crops():
    """Pieces of a photograph of a retina and of a stained section, (64, 64, 3), all distinct."""
    pieces = crops(skimage.data.retina(), 128) + crops(skimage.data.immunohistochemistry(), 42)
    pieces = [np.asarray(Image.fromarray(p).resize((64, 64))) for p in pieces if p.std() > 8]
    assert len(pieces) > 220
    return np.stack(pieces)


def read(folder, name, key):
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        splits = [s for s in ("train", "val", "test") if f"{s}_{key}" in file.files]
        parts = [file[f"{s}_{key}"] for s in splits]
    sides = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate(parts), sides


def read_images(folder, name):
    images, sides = read(folder, name, "images")
    return (images if images.ndim == 4 else images[..., None]), sides


class TestDigest:
    def test_tells_pixels_shape_and_dtype(self, rng):
        image = rng.integers(0, 256, (6, 4, 1), np.uint8)
        other = image.copy()
        other[3, 2] ^= 1
        different = [image, other, image.reshape(4, 6, 1), image.astype(np.int8)]
        assert len({digest(x) for x in different}) == 4
        assert {len(digest(x)) for x in different} == {16}

    def test_memory_layout_does_not_matter(self, rng):
        image = rng.integers(0, 256, (6, 4, 3), np.uint8)
        assert digest(np.asfortranarray(image)) == digest(image)
        assert digest(image[::-1][::-1]) == digest(image)


class TestThumbnails:
    def test_follow_pillow(self, real_crops):
        # Pillow's bicubic filter has the same kernel, and its "L" the same weights.
        expected = [
            np.asarray(Image.fromarray(x).convert("L").resize((THUMBNAIL,) * 2, Image.BICUBIC))
            for x in real_crops
        ]
        small = thumbnails(real_crops)
        assert small.dtype == np.uint8
        assert np.abs(small - np.array(expected, float)).max() <= 3

    def test_floats_give_the_same(self, real_crops):
        np.testing.assert_array_equal(
            thumbnails(real_crops[:20]), thumbnails(real_crops[:20] / np.float32(255))
        )

    def test_in_a_pipeline(self, real_crops):
        one_by_one = tf.data.Dataset.from_tensor_slices(real_crops[:20]).map(thumbnail)
        np.testing.assert_array_equal(
            np.stack(list(one_by_one.as_numpy_iterator())), thumbnails(real_crops[:20])
        )

    @pytest.mark.parametrize("shape", [(28, 28, 1), (17, 40, 2), (224, 224, 3)])
    def test_any_size_and_channels(self, shape):
        assert (thumbnails(np.full((2, *shape), 77, np.uint8)) == 77).all()
        assert thumbnails(np.zeros((0, *shape), np.uint8)).shape == (0, THUMBNAIL, THUMBNAIL)


class TestExact:
    def test_each_copy_with_the_first(self):
        found = find_duplicates([b"a", b"b", b"a", b"c", b"a", b"b"], near=False)
        np.testing.assert_array_equal(found.exact, [[0, 2], [0, 4], [1, 5]])
        assert found.near.shape == (0, 2)

    def test_between_sides_every_copy_is_named(self, rng):
        digests = [b"%d" % k for k in rng.integers(0, 40, 300)]
        sides = rng.integers(0, 3, 300)
        found = find_duplicates(digests, sides=sides, near=False).exact
        assert (found[:, 0] < found[:, 1]).all()
        assert (sides[found[:, 0]] != sides[found[:, 1]]).all()
        joined = clusters(300, found)
        leaks = [
            (i, j)
            for i in range(300)
            for j in range(i)
            if digests[i] == digests[j] and sides[i] != sides[j]
        ]
        assert leaks
        assert all(joined[i] == joined[j] for i, j in leaks)
        assert {row for pair in leaks for row in pair} == set(found.ravel().tolist())

    def test_copies_on_one_side_are_no_leak(self):
        assert not len(find_duplicates([b"a", b"a", b"b"], sides=[1, 1, 0], near=False).exact)


@pytest.mark.parametrize("seed", range(3))
def test_planted_leak_among_crops_of_pictures(real_crops, seed):
    assert_finds_the_leak(real_crops, seed)


def test_distinct_crops_are_not_flagged(real_crops):
    found = find(real_crops)
    assert not len(found.exact)
    assert len(np.unique(found.near)) <= 0.01 * len(real_crops)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_small_sets(real_crops, count, rng):
    images = real_crops[-count:]
    copies = [np.asarray(as_jpeg(x)) for x in images] + [zoomed(x, rng) for x in images]
    found = find(np.concatenate([images, copies]), np.repeat([0, 1], [count, 2 * count]))
    joined = [[i, i + k * count] for i in range(count) for k in (1, 2)]
    assert found.near.tolist() == joined


def test_brightness_and_contrast_do_not_hide_a_copy(real_crops):
    darker = (real_crops[-30:] * 0.6 + 20).round().astype(np.uint8)
    found = find(np.concatenate([darker, real_crops[30:]]), np.arange(len(real_crops)))
    near = set(map(tuple, found.near.tolist()))
    assert all((i, i + len(real_crops) - 30) in near for i in range(30))


def test_pictures_without_detail_are_no_near_duplicates(real_crops, rng):
    constant = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((64, 64, 3), np.uint8)
    faint = (100 + rng.integers(0, 2, (20, 64, 64, 3))).astype(np.uint8)
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[:, None, None] * np.ones(
        (5, 1, 64, 3), np.uint8
    )
    ramp[:, 0, 0, 0] = range(5)
    spots = blobs(rng, 40, (64, 64, 3))
    with np.errstate(all="raise", under="ignore"):
        plain = find(np.concatenate([constant, faint, ramp, spots]))
        among = find(np.concatenate([real_crops[:50], constant, faint]))
        alone = find(constant)
    assert not len(plain.near)
    assert not len(among.near)
    assert not len(alone.near)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(real_crops, count):
    found = find(real_crops[:count])
    assert found.exact.shape == found.near.shape == (0, 2)


class TestSides:
    @pytest.fixture
    def images(self, real_crops):
        images = real_crops[-60:].copy()
        jpeg = np.asarray(as_jpeg(images[0]))
        # 0 and its exact copies 10 and 11; its re-encoded copies 20 (exact again 21) and 30.
        images[[10, 11]] = images[0]
        images[[20, 21]] = jpeg
        images[30] = np.clip(jpeg.astype(int) + 3, 0, 255)
        return images

    def test_all_pairs_join_one_cluster(self, images):
        found = find(images)
        np.testing.assert_array_equal(found.exact, [[0, 10], [0, 11], [20, 21]])
        joined = clusters(60, np.concatenate([found.exact, found.near]))
        rows = [0, 10, 11, 20, 21, 30]
        np.testing.assert_array_equal(np.flatnonzero(joined == joined[0]), rows)
        assert (np.bincount(joined) > 1).sum() == 1

    def test_every_image_that_leaks_is_named(self, images):
        sides = np.zeros(60, int)
        sides[[11, 20, 21]] = 7
        found = find(images, sides)
        np.testing.assert_array_equal(found.exact, [[0, 11], [10, 11]])
        pairs = np.concatenate([found.exact, found.near])
        assert (sides[pairs[:, 0]] != sides[pairs[:, 1]]).all()
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert len(np.unique(pairs, axis=0)) == len(pairs)
        assert set(found.near.ravel().tolist()) == {0, 10, 11, 20, 21, 30}

    def test_one_side_for_each_image_is_as_good_as_none(self, images):
        np.testing.assert_array_equal(
            np.unique(find(images, np.arange(60)).near), [0, 10, 11, 20, 21, 30]
        )

    def test_one_side_has_no_leaks(self, images):
        found = find(images, np.full(60, 3))
        assert not len(found.exact)
        assert not len(found.near)


def test_clusters():
    joined = clusters(7, np.array([[0, 3], [3, 5], [2, 6]]))
    np.testing.assert_array_equal(joined, [0, 1, 2, 0, 3, 0, 2])
    np.testing.assert_array_equal(clusters(3, np.zeros((0, 2), int)), [0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thumbs": None}, r"thumbs must be of shape \(2, 32, 32\).*None"),
        ({"thumbs": np.zeros((3, 32, 32), np.uint8)}, r"\(2, 32, 32\).*\(3, 32, 32\)"),
        ({"thumbs": np.zeros((2, 32, 32), np.uint8), "sides": [0]}, r"sides.*\(2,\).*\(1,\)"),
    ],
)
def test_arguments_that_do_not_belong_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_duplicates([b"a", b"b"], **arguments)


REAL = (
    "pneumoniamnist",
    "breastmnist",
    "brain_tumor_mri_64",
    "prostate_gleason_64",
    "fundus_64",
    "brats6_slices_64",
)


class TestRealSets:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("name", REAL)
    def test_planted_leak(self, test_data, name, seed):
        assert_finds_the_leak(read_images(test_data, name)[0], seed)

    @pytest.mark.parametrize(
        ("name", "group"),
        [
            ("pneumoniamnist", None),
            ("prostate_gleason_64", "slide"),
            ("fundus_64", "patient"),
            ("brats6_slices_64", "patient"),
        ],
    )
    def test_distinct_images_are_not_flagged(self, test_data, name, group):
        images, _ = read_images(test_data, name)
        # Slices or photographs of one patient may be alike.
        sides = read(test_data, name, group)[0] if group else None
        found = find(images, sides)
        assert len(np.unique(found.near)) <= 0.005 * len(images)

    def test_breastmnist(self, test_data):
        """BreastMNIST's source has many pictures twice, a little shifted or with other marks.

        Pawłowska, Karwat and Żołek (2023), doi:10.1016/j.dib.2023.109247, say so. So what is
        flagged is checked by another way of comparison, on the images themselves.
        """
        images, sides = read_images(test_data, "breastmnist")
        labels = read(test_data, "breastmnist", "labels")[0][:, 0]
        found = find(images)
        assert len(found.exact) == 1
        assert sides[found.exact[0]].tolist() == [0, 2]
        assert 190 <= len(found.near) <= 230
        assert np.mean(labels[found.near[:, 0]] == labels[found.near[:, 1]]) > 0.93  # chance: 0.61
        wrong = [pair for pair in found.near if not _pixels_correlate(*images[pair, ..., 0])]
        assert len(np.unique(wrong)) <= 0.01 * len(images)

    def test_known_near_duplicates_of_brain_tumor_mri(self, test_data):
        images, sides = read_images(test_data, "brain_tumor_mri_64")
        known = read(test_data, "brain_tumor_mri_64", "near_duplicate_of_test")[0]
        found = find(images, sides)
        assert known.sum() == 9
        assert set(np.flatnonzero(known)) <= set(found.near[:, 0])
        assert len(np.unique(found.near[:, 0])) < 30  # the others: neighbouring slices


def _pixels_correlate(image, target):
    """Whether the pixels as they are correlate, at one of a grid of zooms and shifts.

    200 random pairs of BreastMNIST reach 0.92 at most.
    """
    inner = slice(4, -4)
    for zoom in (1, 1.05, 1 / 1.05, 1.1, 1 / 1.1):
        centre = (image.shape[0] - 1) / 2 * (1 - 1 / zoom)
        for down in np.arange(-1.5, 2, 0.5):
            for right in np.arange(-1.5, 2, 0.5):
                move = AffineTransform(scale=1 / zoom, translation=(centre + right, centre + down))
                moved = warp(image.astype(float), move, order=1, mode="edge")
                pair = moved[inner, inner].ravel(), target[inner, inner].ravel()
                if np.corrcoef(*pair)[0, 1] >= 0.93:
                    return True
    return False
