import functools
import gzip
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_medgen.data.found import UnreadableError
from keras_medgen.data.readers import nifti_volume
from keras_medgen.data.readers.nifti import scan_nifti

nibabel = pytest.importorskip("nibabel")

EMPTY = "an empty slice"


@pytest.fixture(autouse=True)
def _clean_keras():
    """Nothing here uses Keras, and clearing its session takes longer than these tests."""


# file: shape of the images, number of images, number of empty slices; or the reason for none.
EXPECTED = {
    "anatomical.nii": ((41, 33, 1), 25, 0),
    "brats_pat0006_flair.nii.gz": ((240, 240, 1), 138, 17),  # 3 are dark, but their mask marks them
    "brats_pat0006_seg.nii.gz": None,  # the mask of the file above
    "example4d.nii.gz": ((96, 128, 2), 24, 0),
    "example_nifti2.nii.gz": ((20, 32, 2), 12, 0),
    "functional.nii": ((21, 17, 1), 60, 0),
    "monai_anatomical_label.nii.gz": "mask without a volume",
    "monai_reoriented_anat_moved_label.nii.gz": "mask without a volume",
    "niivue_CT_AVM.nii.gz": ((242, 256, 1), 141, 13),
    "niivue_CT_pitch.nii.gz": ((248, 175, 1), 58, 0),
    "niivue_MR_Gd.nii.gz": ((188, 176, 1), 134, 10),
    "niivue_chris_MRA.nii.gz": ((256, 200, 1), 35, 85),
    "niivue_chris_PD.nii.gz": ((256, 191, 1), 54, 0),
    "reoriented_anat_moved.nii": ((26, 21, 1), 19, 3),
    "row_major.dconn.nii": "CIFTI",
    "someones_anatomy.nii.gz": ((67, 57, 1), 56, 0),
    "someones_epi.nii.gz": ((61, 53, 1), 33, 0),
    "standard.nii.gz": ((5, 4, 1), 7, 0),
}


@functools.cache
def _scanned(folder):
    return scan_nifti(sorted(folder.iterdir()), None, None, None)


@pytest.fixture
def real(test_data):
    return test_data / "files" / "nifti"


def _file(name):
    return re.sub(r"( volume \d+)? slice \d+$", "", name)


def test_every_real_file_is_expected(real):
    assert {path.name for path in real.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_real_files_end_as_they_should(real, name):
    examples, left_out = _scanned(real)
    examples = [example for example in examples if _file(example.name) == name]
    reasons = [reason for file, reason in left_out if _file(file) == name]
    outcome = EXPECTED[name]
    if outcome is None or isinstance(outcome, str):
        assert not examples
        assert len(reasons) == (outcome is not None)
        assert all(re.search(outcome, reason) for reason in reasons)
        return
    shape, used, empty = outcome
    assert (len(examples), len(reasons)) == (used, empty)
    assert all(reason.startswith(EMPTY) for reason in reasons)
    for example in (examples[0], examples[used // 2], examples[-1]):
        image = example.read()
        assert image.shape == example.shape == shape
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1


def test_a_real_volume_against_nibabels_own_floats(real):
    path = real / "someones_anatomy.nii.gz"
    volume = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
    low, high = np.percentile(volume[volume > volume.min()], [0.5, 99.5])
    examples, _ = scan_nifti([path], None, None, None)
    for example in examples[::10]:
        index = int(example.name.split()[-1]) - 1
        picture = np.rot90(volume[::-1, :, index])  # from the patient's right, front up
        expected = np.clip((picture - low) / (high - low), 0, 1)
        np.testing.assert_allclose(example.read()[..., 0], expected, atol=1e-6)


def test_a_real_mask_lies_on_its_tumour(real):
    examples, _ = _scanned(real)
    examples = [example for example in examples if "flair" in example.name]
    labels = np.asanyarray(nibabel.load(real / "brats_pat0006_seg.nii.gz").dataobj)
    bright, rest = [], []
    for example in examples:
        mask, image = example.read_mask(), example.read()[..., 0]
        assert mask.dtype == np.int32
        assert mask.shape == image.shape
        index = int(example.name.split()[-1]) - 1
        np.testing.assert_array_equal(mask, labels[..., index].T)  # the file is in LPS order
        bright.append(image[mask > 0])
        rest.append(image[(mask == 0) & (image > 0)])
    # Tumour is bright in FLAIR.
    assert np.concatenate(bright).mean() > 1.2 * np.concatenate(rest).mean()
    assert {example.patient for example in examples} == {"brats_pat0006"}
    assert len({example.volume for example in examples}) == 1


def _write(path, values, affine=None, slope=None, intercept=0.0):
    affine = np.eye(4) if affine is None else np.asarray(affine, float)
    image = nibabel.Nifti1Image(values, affine)
    if slope is not None:
        image.header.set_slope_inter(slope, intercept)  # `values` are then what is stored
    image.to_filename(path)
    return path


def _noise(rng, shape, dtype=np.int16):
    return rng.integers(0, 1000, shape).astype(dtype)


class TestOrientation:
    # Voxels in RAS+ order: a mark far right (x), in front (y) and at the top (z).
    SHAPE = (6, 8, 10)

    @pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SLA"])
    @pytest.mark.parametrize(
        ("axis", "index", "size", "place"),
        [
            # Axial: front up, the patient's right on the picture's left.
            (2, 9, (8, 6), (0, 0)),
            # Coronal: head up, the patient's right on the picture's left.
            (1, 7, (10, 6), (0, 0)),
            # Sagittal: head up, front on the left.
            (0, 5, (10, 8), (0, 0)),
        ],
    )
    def test_a_marked_voxel(self, tmp_path, rng, axes, axis, index, size, place):
        volume = rng.uniform(0, 0.5, self.SHAPE).astype(np.float32)
        volume[5, 7, 9] = 1
        image = nibabel.Nifti1Image(volume, np.eye(4))
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(np.eye(4)), nibabel.orientations.axcodes2ornt(axes)
        )
        image.as_reoriented(turn).to_filename(tmp_path / "a.nii.gz")
        examples, _ = scan_nifti([tmp_path / "a.nii.gz"], None, axis, None)
        assert len(examples) == self.SHAPE[axis]
        (example,) = [e for e in examples if e.name == f"a.nii.gz slice {index + 1}"]
        picture = example.read()[..., 0]
        assert picture.shape == size
        assert np.unravel_index(picture.argmax(), size) == place
        for other in examples:
            if other is not example:
                assert other.read().max() < example.read().max() or picture.max() == 1

    def test_left_and_behind_are_on_the_other_side(self, tmp_path, rng):
        volume = rng.uniform(0, 0.5, self.SHAPE).astype(np.float32)
        volume[0, 2, 4] = 5  # far left, rather behind
        path = _write(tmp_path / "a.nii", volume)
        picture = scan_nifti([path], (2.5, 5.0), 2, None)[0][4].read()[..., 0]
        assert np.unravel_index(picture.argmax(), picture.shape) == (5, 5)

    def test_which_axis_without_one(self, tmp_path, rng):
        thin = _write(tmp_path / "thin.nii", _noise(rng, (6, 1, 8)))
        examples, _ = scan_nifti([thin], None, None, None)
        assert [example.shape for example in examples] == [(8, 6, 1)]
        _, left_out = scan_nifti([thin], None, 2, None)
        assert "1 x 6 pixels" in left_out[0][1]
        flat = _write(tmp_path / "flat.nii", _noise(rng, (6, 8)))
        assert scan_nifti([flat], None, None, None)[0][0].shape == (8, 6, 1)
        with pytest.raises(ValueError, match="axis=3"):
            scan_nifti([flat], None, 3, None)


class TestScale:
    @pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
    @pytest.mark.parametrize(("slope", "intercept"), [(None, 0), (2.5, -100), (-1.5, 40)])
    def test_percentiles_above_the_least_value(self, tmp_path, rng, suffix, slope, intercept):
        stored = _noise(rng, (12, 10, 5))
        stored[:, :4] = stored.min() if slope is None or slope > 0 else stored.max()  # background
        path = _write(tmp_path / f"a.{suffix}", stored, slope=slope, intercept=intercept)
        values = stored * (slope or 1.0) + intercept
        low, high = np.percentile(values[values > values.min()], [0.5, 99.5])
        examples, left_out = scan_nifti([path], None, None, None)
        assert not left_out
        for index, example in enumerate(examples):
            assert not example.eight_bit
            expected = np.clip((values[..., index] - low) / (high - low), 0, 1)
            np.testing.assert_allclose(example.read()[..., 0], expected[::-1, ::-1].T, atol=1e-5)

    def test_a_window(self, tmp_path, rng):
        values = rng.integers(-1000, 1000, (12, 10, 5)).astype(np.int16)
        path = _write(tmp_path / "a.nii", values)
        example = scan_nifti([path], (40.0, 400.0), None, None)[0][2]
        expected = np.clip((values[..., 2] - 39.5) / 399 + 0.5, 0, 1)[::-1, ::-1].T
        np.testing.assert_allclose(example.read()[..., 0], expected, atol=1e-6)

    def test_values_that_are_not_finite_are_black_or_white(self, tmp_path, rng):
        values = rng.uniform(0, 1, (12, 10, 5)).astype(np.float32)
        values[0, 0, 0], values[1, 0, 0], values[2, 0, 0] = np.nan, np.inf, -np.inf
        image = scan_nifti([_write(tmp_path / "a.nii", values)], None, None, None)[0][0].read()
        assert image[-1, -1, 0] == image[-1, -3, 0] == 0
        assert image[-1, -2, 0] == 1

    def test_two_values_are_black_and_white(self, tmp_path, rng):
        values = (rng.uniform(size=(12, 10, 3)) > 0.5).astype(np.uint8)
        image = scan_nifti([_write(tmp_path / "a.nii", values)], None, None, None)[0][0].read()
        np.testing.assert_array_equal(image[..., 0], values[..., 0][::-1, ::-1].T)

    def test_empty_slices(self, tmp_path):
        values = np.zeros((20, 20, 5), np.int16)
        values[::2, :, 1] = 100  # half
        values[0, :3, 2] = 100  # 3 of 400 pixels
        values[0, :4, 3] = 100  # 4 of 400: one per cent
        values[..., 4] = 50
        examples, left_out = scan_nifti([_write(tmp_path / "a.nii", values)], None, None, None)
        assert [example.name for example in examples] == ["a.nii slice 2", "a.nii slice 4"]
        assert [name for name, _ in left_out] == [f"a.nii slice {n}" for n in (1, 3, 5)]
        assert [reason.split(": ")[1][:5] for _, reason in left_out] == ["all p", "fewer", "all p"]

    @pytest.mark.parametrize("is_given", [True, False])
    def test_dark_slices_that_a_mask_marks_are_kept(self, tmp_path, is_given):
        values = np.zeros((20, 20, 5), np.int16)
        values[::2, :, 0] = 100
        values[0, :3, 1:4] = 100  # 3 of 400 pixels
        labels = np.zeros((20, 20, 5), np.uint8)
        labels[5, 5, 1] = labels[5, 5, 4] = 1
        image = _write(tmp_path / "a.nii", values)
        mask = _write(tmp_path / ("lesion.nii" if is_given else "a_seg.nii"), labels)
        masks = {image: mask} if is_given else None
        examples, left_out = scan_nifti([image, mask], None, None, None, masks=masks)
        assert [example.name for example in examples] == ["a.nii slice 1", "a.nii slice 2"]
        assert examples[1].read_mask().sum() == 1
        # The last one is marked too, but there is nothing to see.
        assert [name for name, _ in left_out] == [f"a.nii slice {n}" for n in (3, 4, 5)]
        assert [reason.split(": ")[1][:5] for _, reason in left_out] == ["fewer", "fewer", "all p"]


class TestFourthAxis:
    def test_channels(self, tmp_path, rng):
        values = _noise(rng, (12, 10, 5, 3)) * np.array([1, 2, 3], np.int16)
        path = _write(tmp_path / "a.nii.gz", values)
        for channels in (None, 3):
            examples, _ = scan_nifti([path], None, None, channels)
            assert [e.name for e in examples] == [f"a.nii.gz slice {n}" for n in range(1, 6)]
            image = examples[0].read()
            assert image.shape == examples[0].shape == (10, 12, 3)
            for entry in range(3):
                volume = values[..., entry].astype(float)
                low, high = np.percentile(volume[volume > volume.min()], [0.5, 99.5])
                expected = np.clip((volume[..., 0] - low) / (high - low), 0, 1)[::-1, ::-1].T
                np.testing.assert_allclose(image[..., entry], expected, atol=1e-6)

    def test_images_of_their_own(self, tmp_path, rng):
        values = _noise(rng, (12, 10, 5, 2))
        examples, _ = scan_nifti([_write(tmp_path / "a.nii", values)], None, None, 1)
        assert len(examples) == 10
        assert examples[5].name == "a.nii volume 2 slice 1"
        assert {e.path for e in examples} == {tmp_path / "a.nii"}
        assert {e.shape for e in examples} == {(10, 12, 1)}
        assert [e.volume for e in examples] == [0] * 5 + [1] * 5
        assert len({e.patient for e in examples}) == 1

    def test_time_points_share_a_range(self, tmp_path, rng):
        values = _noise(rng, (12, 10, 2, 6)) * np.arange(1, 7, dtype=np.int16)
        examples, _ = scan_nifti([_write(tmp_path / "a.nii", values)], None, None, None)
        assert len(examples) == 12
        low, high = np.percentile(values[values > values.min()], [0.5, 99.5])
        last = examples[-1]
        assert last.name == "a.nii volume 6 slice 2"
        expected = np.clip((values[..., 1, 5] - low) / (high - low), 0, 1)[::-1, ::-1].T
        np.testing.assert_allclose(last.read()[..., 0], expected, atol=1e-6)

    def test_trailing_axes(self, tmp_path, rng):
        one = _write(tmp_path / "one.nii", _noise(rng, (12, 10, 2, 1, 1)))
        vectors = _write(tmp_path / "vectors.nii", _noise(rng, (12, 10, 2, 1, 3)))
        five = _write(tmp_path / "five.nii", _noise(rng, (12, 10, 2, 2, 3)))
        examples, left_out = scan_nifti([one, vectors, five], None, None, None)
        assert [e.shape[-1] for e in examples] == [1, 1, 3, 3]
        assert [name for name, _ in left_out] == ["five.nii"]
        assert "5 dimensions" in left_out[0][1]

    def test_colours(self, tmp_path, rng):
        pixels = rng.integers(0, 256, (12, 10, 2, 3), np.uint8)
        dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        values = pixels.view(dtype)[..., 0]
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "a.nii.gz")
        examples, _ = scan_nifti([tmp_path / "a.nii.gz"], (0.0, 10.0), None, None)
        expected = np.swapaxes(pixels[::-1, ::-1, 0], 0, 1) / 255
        np.testing.assert_allclose(examples[0].read(), expected, atol=1e-6)


class TestMasks:
    def _pair(self, folder, rng, mask_name="p1_seg.nii.gz", image_name="p1_t1.nii.gz", **changes):
        folder.mkdir(exist_ok=True)
        values = _noise(rng, (12, 10, 5))
        labels = rng.integers(0, 4, (12, 10, 5)).astype(np.uint8)
        image = _write(folder / image_name, values)
        mask = _write(folder / mask_name, changes.get("labels", labels), changes.get("affine"))
        return image, mask, labels

    @pytest.mark.parametrize(
        ("mask_name", "image_name"),
        [
            ("p1_seg.nii.gz", "p1_t1.nii.gz"),
            ("p1_t1_Mask.nii", "p1_t1.nii.gz"),
            ("p1_LABEL.nii.gz", "p1.nii"),
            ("p1_labels.nii", "p1_x.nii"),
            ("p1-roi.nii", "p1-t1.nii"),
            ("seg.nii", "t1.nii"),
        ],
    )
    def test_belong_by_name(self, tmp_path, rng, mask_name, image_name):
        image, mask, labels = self._pair(tmp_path, rng, mask_name, image_name)
        examples, left_out = scan_nifti([mask, image], None, 1, None)
        assert not left_out
        assert len(examples) == 10
        for index, example in enumerate(examples):
            found = example.read_mask()
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, labels[:, index][::-1, ::-1].T)

    def test_follow_their_image_through_orientation(self, tmp_path, rng):
        image, mask, labels = self._pair(tmp_path, rng)
        flipped = nibabel.load(mask).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
        flipped.to_filename(mask)
        (example, *_), left_out = scan_nifti([image, mask], None, 2, None)
        assert not left_out
        np.testing.assert_array_equal(example.read_mask(), labels[..., 0][::-1, ::-1].T)

    def test_one_mask_for_several_modalities(self, tmp_path, rng):
        image, mask, _ = self._pair(tmp_path, rng)
        other = _write(tmp_path / "p1_xyz.nii.gz", _noise(rng, (12, 10, 5)))
        stranger = _write(tmp_path / "p2_xyz.nii.gz", _noise(rng, (12, 10, 5)))
        examples, _ = scan_nifti([image, other, stranger, mask], None, None, None)
        assert [e.read_mask is not None for e in examples] == [True] * 10 + [False] * 5
        assert [e.patient for e in examples] == ["p1"] * 10 + ["p2_xyz"] * 5

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"labels": np.ones((12, 10, 4), np.uint8)}, "12 x 10 x 4 voxels, but p1_t1.nii.gz"),
            ({"affine": np.diag([1, 1, 2, 1])}, "elsewhere in space than p1_t1.nii.gz"),
            ({"labels": np.full((12, 10, 5), 0.5, np.float32)}, "not whole numbers"),
            ({"labels": np.full((12, 10, 5), np.nan, np.float32)}, "not whole numbers"),
            ({"labels": np.ones((12, 10, 5, 2), np.uint8)}, "2 entries on the fourth axis"),
        ],
    )
    def test_that_do_not_fit(self, tmp_path, rng, changes, reason):
        image, mask, _ = self._pair(tmp_path, rng, **changes)
        examples, left_out = scan_nifti([image, mask], None, None, None)
        assert len(examples) == 5
        assert {example.read_mask for example in examples} == {None}
        assert len(left_out) == 1
        assert left_out[0][0] == "p1_seg.nii.gz"
        assert reason in left_out[0][1]

    def test_without_a_volume_or_one_too_many(self, tmp_path, rng):
        image, mask, _ = self._pair(tmp_path, rng)
        second = _write(tmp_path / "p1_roi.nii", np.ones((12, 10, 5), np.uint8))
        alone = _write(tmp_path / "p3_mask.nii", np.ones((12, 10, 5), np.uint8))
        elsewhere, _, _ = self._pair(tmp_path / "other", rng, image_name="p3_t1.nii")
        _, left_out = scan_nifti([image, mask, second, alone, elsewhere], None, None, None)
        assert dict(left_out) == {
            "p1_roi.nii": "p1_seg.nii.gz is already the mask of p1_t1.nii.gz",
            "p3_mask.nii": "a mask without a volume of its name beside it",
        }


class TestMasksGivenByTheUser:
    def _volume(self, path, rng):
        return _write(path, _noise(rng, (12, 10, 5)))

    def _labels(self, path, value, **options):
        return _write(path, np.full((12, 10, 5), value, np.uint8), **options)

    def test_need_no_name_and_may_lie_anywhere(self, tmp_path, rng):
        (tmp_path / "elsewhere").mkdir()
        image = self._volume(tmp_path / "p1_t1.nii.gz", rng)
        labels = rng.integers(0, 4, (12, 10, 5)).astype(np.uint8)
        mask = _write(tmp_path / "elsewhere" / "tumour.nii", labels)
        other = self._volume(tmp_path / "p2_t1.nii.gz", rng)
        # Whether the mask is among the files or not, it is a mask and no volume.
        for paths in ([image, other], [image, mask, other]):
            examples, left_out = scan_nifti(paths, None, None, None, masks={image: mask})
            assert not left_out
            assert [e.path for e in examples] == [image] * 5 + [other] * 5
            assert [e.read_mask is not None for e in examples] == [True] * 5 + [False] * 5
            for index, example in enumerate(examples[:5]):
                expected = labels[..., index][::-1, ::-1].T
                np.testing.assert_array_equal(example.read_mask(), expected)

    def test_come_before_masks_by_name(self, tmp_path, rng):
        image = self._volume(tmp_path / "p1_t1.nii", rng)
        other = self._volume(tmp_path / "p1_t2.nii", rng)
        by_name = self._labels(tmp_path / "p1_seg.nii", 1)
        given = self._labels(tmp_path / "p1_expert.nii", 2)
        paths = [by_name, image, other]
        examples, left_out = scan_nifti(paths, None, None, None, masks={image: given})
        assert not left_out
        assert [int(e.read_mask().max()) for e in examples] == [2] * 5 + [1] * 5
        examples, left_out = scan_nifti(paths[:2], None, None, None, masks={image: given})
        assert [int(e.read_mask().max()) for e in examples] == [2] * 5
        assert left_out == [
            ("p1_seg.nii", "p1_expert.nii is already the mask of p1_t1.nii"),
        ]

    def test_that_are_named_like_one_are_reported_once(self, tmp_path, rng):
        image = self._volume(tmp_path / "p1_t1.nii", rng)
        mask = self._labels(tmp_path / "p9_seg.nii", 1)
        examples, left_out = scan_nifti([image, mask], None, None, None, masks={image: mask})
        assert (len(examples), left_out) == (5, [])

    def test_make_a_volume_of_what_is_named_like_a_mask(self, tmp_path, rng):
        image = self._volume(tmp_path / "p1_roi.nii", rng)
        mask = self._labels(tmp_path / "p1.nii", 3)
        examples, left_out = scan_nifti([image], None, None, None, masks={image: mask})
        assert (len(examples), left_out) == (5, [])
        assert examples[0].read_mask().min() == 3

    def test_may_be_volumes_too_where_they_have_masks(self, tmp_path, rng):
        first, second = (self._volume(tmp_path / f"{name}.nii", rng) for name in "ab")
        masks = {first: second, second: self._labels(tmp_path / "c.nii", 1)}
        examples, left_out = scan_nifti([first, second], None, None, None, masks=masks)
        assert not left_out
        assert [e.path for e in examples] == [first] * 5 + [second] * 5

    def test_tell_patients_as_their_names_do(self, tmp_path, rng):
        images = [self._volume(tmp_path / f"p1_{name}.nii", rng) for name in ("a", "b")]
        mask = self._labels(tmp_path / "p1_seg.nii", 1)
        examples, _ = scan_nifti(images, None, None, None, masks=dict.fromkeys(images, mask))
        assert {example.patient for example in examples} == {"p1"}

    @pytest.mark.parametrize(
        ("labels", "affine", "reason"),
        [
            (np.ones((12, 10, 4), np.uint8), None, "12 x 10 x 4 voxels, but p1_t1.nii.gz has"),
            (np.ones((12, 10, 5), np.uint8), np.diag([1, 1, 2, 1]), "elsewhere in space than"),
            (np.full((12, 10, 5), 0.5, np.float32), None, "values are not whole numbers"),
            (None, None, r"cannot be opened \(FileNotFoundError\)"),
        ],
    )
    def test_that_do_not_fit_cost_the_volume(self, tmp_path, rng, labels, affine, reason):
        image = self._volume(tmp_path / "p1_t1.nii.gz", rng)
        other = self._volume(tmp_path / "p2_t1.nii.gz", rng)
        mask = tmp_path / "x.nii.gz"
        if labels is not None:
            _write(mask, labels, affine)
        examples, left_out = scan_nifti([image, other], None, None, None, masks={image: mask})
        assert [e.path for e in examples] == [other] * 5
        assert [e.volume for e in examples] == [0] * 5
        assert [name for name, _ in left_out] == ["p1_t1.nii.gz"]
        assert re.match(f"its mask x.nii.gz cannot be used: .*{reason}", left_out[0][1])
        assert str(tmp_path) not in left_out[0][1]

    def test_are_not_blamed_for_a_damaged_volume(self, tmp_path):
        image = tmp_path / "p1_t1.nii"
        image.write_bytes(b"words " * 100)
        mask = self._labels(tmp_path / "x.nii", 1)
        examples, left_out = scan_nifti([image], None, None, None, masks={image: mask})
        assert not examples
        assert [name for name, _ in left_out] == ["p1_t1.nii"]
        assert "not a NIfTI file" in left_out[0][1]
        assert "mask" not in left_out[0][1]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("patient_001.nii.gz", "patient_001"),  # a number tells patients apart, not modalities
        ("BraTS-GLI-00005-100-t1c.nii.gz", "BraTS-GLI-00005-100"),
        ("p7_FLAIR.nii", "p7"),
        ("sub-01_ses-2_T1w.nii.gz", "sub-01"),
        ("scan7.nii", "scan7"),
    ],
)
def test_patients_by_name(tmp_path, rng, name, patient):
    examples, _ = scan_nifti([_write(tmp_path / name, _noise(rng, (6, 5, 3)))], None, None, None)
    assert {example.patient for example in examples} == {patient}


def test_patients_by_folder_where_names_say_nothing(tmp_path, rng):
    paths = []
    for folder in ("p1", "p2"):
        (tmp_path / folder).mkdir()
        for name in ("t1.nii", "flair.nii"):
            paths.append(_write(tmp_path / folder / name, _noise(rng, (6, 5, 1))))
    examples, left_out = scan_nifti(paths, None, None, None)
    patients = [example.patient for example in examples]
    assert patients[0] == patients[1] != patients[2] == patients[3]
    assert not any(
        str(tmp_path) in text for e in examples for text in (e.name, *map(str, left_out))
    )


class TestUnreadable:
    def test_damaged_files(self, tmp_path, rng):
        sound = _write(tmp_path / "a.nii", _noise(rng, (24, 20, 10))).read_bytes()
        zipped = gzip.compress(sound)
        magic = bytearray(sound)
        magic[344:348] = b"what"
        magic[:4] = b"\1\2\3\4"
        huge = bytearray(sound)
        huge[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()
        nowhere = bytearray(sound)
        nowhere[280:328] = bytes(48)  # an affine of zeros
        contents = {
            "cut.nii": (sound[:-100], "cut short"),
            "cut.nii.gz": (zipped[: len(zipped) // 2], "voxels are cut short"),
            "start.nii.gz": (zipped[:200], "not a NIfTI file, or its start is cut short"),
            "sum.nii.gz": (zipped[:-8] + bytes(8), "cut short"),  # of another checksum
            "tail.nii.gz": (zipped[:-3], "cut short"),
            "magic.nii": (bytes(magic), "not a NIfTI file"),
            "text.nii.gz": (gzip.compress(b"words " * 100), "not a NIfTI file"),
            "unzipped.nii.gz": (b"no gzip at all" * 50, "not a NIfTI|cannot be opened"),
            "empty.nii": (b"", "not a NIfTI|cannot be opened"),
            "huge.nii": (bytes(huge), "cut short"),
            "huge.nii.gz": (gzip.compress(bytes(huge)), "cut short"),
            "nowhere.nii": (bytes(nowhere), "no orientation"),
        }
        paths = []
        for name, (data, _) in contents.items():
            paths.append(tmp_path / name)
            paths[-1].write_bytes(data)
        contents["absent.nii"] = (None, "cannot be opened")
        examples, left_out = scan_nifti([*paths, tmp_path / "absent.nii"], None, None, None)
        assert not examples
        assert [name for name, _ in left_out] == list(contents)
        for name, reason in left_out:
            assert re.search(contents[name][1], reason), (name, reason)
            assert str(tmp_path) not in reason

    def test_volumes_of_one_value_and_complex_ones(self, tmp_path, rng):
        paths = [
            _write(tmp_path / "same.nii", np.full((6, 5, 4), 7, np.int16)),
            _write(tmp_path / "nan.nii", np.full((6, 5, 4), np.nan, np.float32)),
            _write(tmp_path / "complex.nii", rng.normal(size=(6, 5, 4)).astype(np.complex64)),
        ]
        _, left_out = scan_nifti(paths, None, None, None)
        assert [reason for _, reason in left_out] == [
            "all voxels are 7",
            "no voxel is a finite number",
            "its voxels are complex numbers",
        ]

    def test_a_file_that_goes_away(self, tmp_path, rng):
        path = _write(tmp_path / "a.nii", _noise(rng, (6, 5, 4)))
        examples, _ = scan_nifti([path], None, None, None)
        path.unlink()
        with pytest.raises(UnreadableError, match="cannot be opened"):
            examples[0].read()


class TestRecentVolumes:
    def test_slices_in_order_read_a_zipped_volume_once(self, tmp_path, rng, monkeypatch):
        paths = [_write(tmp_path / f"{n}.nii.gz", _noise(rng, (6, 5, 20))) for n in range(4)]
        examples, _ = scan_nifti(paths, None, None, None)
        loads = []
        load = nibabel.load
        monkeypatch.setattr(nibabel, "load", lambda path: loads.append(path) or load(path))
        nifti_volume._recent_images.cache_clear()
        for example in examples:
            example.read()
        assert len(loads) == 4
        with ThreadPoolExecutor(3) as pool:  # that want the same volume at the same time
            assert len(list(pool.map(lambda example: example.read(), examples[:20]))) == 20
        assert len(loads) == 5

    def test_a_file_that_changed_is_read_again(self, tmp_path, rng):
        path = _write(tmp_path / "a.nii.gz", _noise(rng, (6, 5, 4)))
        before = scan_nifti([path], None, None, None)[0][0].read()
        path.unlink()
        _write(path, _noise(rng, (6, 5, 4)))
        assert (scan_nifti([path], None, None, None)[0][0].read() != before).any()
