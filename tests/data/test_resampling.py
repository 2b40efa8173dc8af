import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.transform
import tensorflow as tf

from keras_medgen.data.augment import ONE_TO_ONE
from keras_medgen.data.resampling import (
    affine,
    displacement_field,
    resample,
    resample_nearest,
    source_places,
)
from tests.conftest import blobs

# SciPy's names of the three fills.
SCIPY_MODES = {"zero": "grid-constant", "reflect": "reflect", "edge": "nearest"}


@pytest.fixture
def images(rng):
    """Smooth images, not square, of two channels."""
    spots = blobs(rng, 12, (24, 30, 1))
    return np.concatenate([spots, 255 - spots], axis=-1).astype(np.float32) / 255


def moved(images, fill="zero", *, flips=(False, False), angle=0, shift=(0, 0), scale=1, offset=0):
    """One known change of place, of all images alike."""
    count, height, width, _ = images.shape
    matrices, offsets = affine(
        tf.constant([flips] * count),
        tf.fill([count], float(angle)),
        tf.constant([shift] * count, tf.float32),
        tf.fill([count], float(scale)),
        tf.zeros((count, 2)) + np.float32(offset),
    )
    places = source_places(matrices, offsets, None, height, width)
    return resample(tf.constant(images), places, fill).numpy()


class TestResampling:
    @pytest.mark.parametrize("fill", SCIPY_MODES)
    def test_agrees_with_scipy_far_outside_too(self, images, rng, fill):
        _, height, width, channels = images.shape
        sides = np.array([[height], [width]])
        places = (rng.uniform(-1.2, 2.2, (len(images), 2, height * width)) * sides).astype(
            np.float32
        )
        ours = resample(tf.constant(images), tf.constant(places), fill).numpy()
        theirs = [
            [
                scipy.ndimage.map_coordinates(image[..., c], p, order=1, mode=SCIPY_MODES[fill])
                for c in range(channels)
            ]
            for image, p in zip(images.astype(np.float64), places, strict=True)
        ]
        theirs = np.reshape(theirs, (-1, channels, height, width)).transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    @pytest.mark.parametrize("fill", SCIPY_MODES)
    def test_masks_agree_with_scipy(self, rng, fill):
        masks = rng.integers(0, 100, (6, 14, 11)).astype(np.int32)
        places = rng.uniform(-15, 30, (6, 2, 14 * 11)).astype(np.float32)
        ours = resample_nearest(tf.constant(masks), tf.constant(places), fill).numpy()
        theirs = [
            scipy.ndimage.map_coordinates(mask, p, order=0, mode=SCIPY_MODES[fill])
            for mask, p in zip(masks, places, strict=True)
        ]
        np.testing.assert_array_equal(ours, np.reshape(theirs, masks.shape))


class TestAffine:
    @pytest.mark.parametrize("angle", [-170, -33.3, 10, 90])
    def test_rotation_agrees_with_skimage(self, images, angle):
        theirs = [skimage.transform.rotate(image, angle, mode="edge") for image in images]
        np.testing.assert_allclose(moved(images, "edge", angle=angle), theirs, atol=1e-4)

    def test_quarter_turn_of_a_square(self, images):
        square = images[:, :, :24]
        np.testing.assert_allclose(
            moved(square, angle=90), np.rot90(square, axes=(1, 2)), atol=1e-5
        )

    def test_flips_agree_with_numpy(self, images):
        np.testing.assert_array_equal(moved(images, flips=(True, False)), images[:, ::-1])
        np.testing.assert_array_equal(moved(images, flips=(False, True)), images[:, :, ::-1])

    def test_shift_moves_down_and_right(self, images):
        theirs = scipy.ndimage.shift(images, (0, 2, -3.5, 0), order=1, mode="grid-constant")
        np.testing.assert_allclose(moved(images, shift=(2, -3.5)), theirs, atol=1e-5)

    def test_the_shown_part_is_a_crop_brought_back_to_size(self, images):
        # The upper left quarter: half the side, its centre a quarter of the side from the centre.
        _, height, width, _ = images.shape
        shown = moved(images, "edge", scale=0.5, offset=(-height / 4, -width / 4))
        theirs = [
            skimage.transform.resize(
                image[: height // 2, : width // 2], (height, width), order=1, mode="edge"
            )
            for image in images
        ]
        # But for the last row and column, which see beyond the quarter.
        np.testing.assert_allclose(shown[:, :-1, :-1], np.array(theirs)[:, :-1, :-1], atol=1e-5)

    def test_all_of_it_composed_in_the_stated_order(self, images):
        """Crop, then mirror, then rotate, then shift, each by SciPy's own map."""
        _, height, width, channels = images.shape
        centre = (np.array([height, width]) - 1) / 2
        angle, scale, shift, offset = 25, 0.8, np.array([1.5, -2]), np.array([1, 2])
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        turn = np.array([[cosine, sine], [-sine, cosine]])
        matrix = scale * np.diag([1, -1]) @ turn
        theirs = np.stack(
            [
                [
                    scipy.ndimage.affine_transform(
                        image[..., c].astype(np.float64),
                        matrix,
                        centre + offset - matrix @ (centre + shift),
                        order=1,
                        mode="reflect",
                    )
                    for c in range(channels)
                ]
                for image in images
            ]
        )
        ours = moved(
            images,
            "reflect",
            flips=(False, True),
            angle=angle,
            shift=tuple(shift),
            scale=scale,
            offset=offset,
        )
        np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), atol=1e-4)


class TestElastic:
    @pytest.mark.parametrize("smoothness", [0.1, 0.25, 0.3, 1.0])
    def test_field_is_the_cubic_spline_of_scipy(self, rng, smoothness):
        height, width = 20, 33
        grid = math.ceil(1 / smoothness) + 3
        controls = rng.uniform(-1, 1, (2, 2, grid, grid)).astype(np.float32)
        field = displacement_field(tf.constant(controls), smoothness, height, width).numpy()
        y, x = np.meshgrid(
            *((np.arange(n) + 0.5) / n / smoothness + 1 for n in (height, width)), indexing="ij"
        )
        for i in range(2):
            for axis, side in enumerate((height, width)):
                theirs = scipy.ndimage.map_coordinates(
                    controls[i, axis].astype(np.float64), [y, x], order=3, prefilter=False
                )
                np.testing.assert_allclose(field[i, axis], side * theirs, atol=1e-4)

    def test_displacements_stay_below_the_amplitude_and_never_fold(self, rng):
        """At the strongest that is allowed, with controls at their extremes."""
        smoothness, side = 0.25, 128
        amplitude = ONE_TO_ONE * smoothness
        grid = math.ceil(1 / smoothness) + 3
        controls = amplitude * rng.choice([-1.0, 1.0], (200, 2, grid, grid)).astype(np.float32)
        field = displacement_field(tf.constant(controls), smoothness, side, side).numpy()
        assert np.abs(field).max() <= amplitude * side * (1 + 1e-5)
        down = np.diff(field, axis=2)[..., :-1]
        right = np.diff(field, axis=3)[:, :, :-1]
        determinants = (1 + down[:, 0]) * (1 + right[:, 1]) - down[:, 1] * right[:, 0]
        assert 0 < determinants.min() < 0.5

    def test_a_known_displacement(self, images):
        _, height, width, _ = images.shape
        unmoved = affine(
            tf.zeros((len(images), 2), bool),
            tf.zeros(len(images)),
            tf.zeros((len(images), 2)),
            tf.ones(len(images)),
            tf.zeros((len(images), 2)),
        )
        # Displacements are where to read: one row below, so that the picture moves up.
        displacements = tf.stack([tf.ones((12, height, width)), tf.zeros((12, height, width))], 1)
        places = source_places(*unmoved, displacements, height, width)
        ours = resample(tf.constant(images), places, "edge").numpy()
        np.testing.assert_allclose(ours[:, :-1], images[:, 1:], atol=1e-6)
