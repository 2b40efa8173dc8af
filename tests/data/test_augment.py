import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import skimage.transform
import tensorflow as tf

from keras_medgen.data.augment import Augment, augment
from tests.conftest import blobs

FILLS = ["zero", "reflect", "edge"]
EVERYTHING = {
    "flip_horizontal": True,
    "flip_vertical": True,
    "rotation": 20,
    "translation": 0.1,
    "zoom": 0.2,
    "crop": 0.7,
    "elastic": 0.05,
    "gamma": 1.5,
    "noise": 0.05,
}


@pytest.fixture
def images(rng):
    """Smooth images, not square, of two channels."""
    spots = blobs(rng, 12, (24, 30, 1))
    return np.concatenate([spots, 255 - spots], axis=-1).astype(np.float32) / 255


@pytest.fixture
def retinas():
    whole = skimage.transform.resize(skimage.data.retina(), (96, 96), anti_aliasing=True)
    return np.stack([whole[i : i + 64, i : i + 64] for i in range(0, 32, 4)]).astype(np.float32)


def apply(images, seeds=None, masks=None, **options):
    seeds = tf.range(len(images), dtype=tf.int64) if seeds is None else tf.constant(seeds)
    batch = {"images": tf.constant(images)}
    if masks is not None:
        batch["masks"] = tf.constant(masks)
    changed = tf.function(augment(**options))(batch, seeds)
    assert changed["images"].dtype == tf.float32
    assert changed["images"].shape == images.shape
    arrays = {key: value.numpy() for key, value in changed.items()}
    return arrays["images"] if masks is None else arrays


def test_nothing_is_changed_unless_asked(images, rng):
    masks = rng.integers(0, 5, images.shape[:3]).astype(np.int32)
    labels = tf.constant(rng.integers(0, 3, len(images)))
    batch = {"images": tf.constant(images), "masks": tf.constant(masks), "labels": labels}
    changed = augment()(batch, tf.range(len(images), dtype=tf.int64))
    assert list(changed) == list(batch)
    for key, value in batch.items():
        np.testing.assert_array_equal(changed[key], value)
    assert augment().description == "not augmented"


def test_an_elastic_deformation_changes_images_by_a_little(retinas):
    changed = apply(retinas, elastic=0.04, fill="edge")
    differences = np.abs(changed - retinas).mean(axis=(1, 2, 3))
    assert (differences > 1e-3).all()
    assert (differences < 0.05).all()


class TestDraws:
    """What 4,000 seeds choose, read off images that tell."""

    count = 4000

    def images_of(self, values):
        return np.broadcast_to(np.float32(values), (self.count, *np.shape(values))).copy()

    @pytest.mark.parametrize(
        ("option", "axis"), [("flip_horizontal", 1), ("flip_vertical", 0)], ids=["x", "y"]
    )
    def test_half_are_flipped(self, option, axis):
        image = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3, 1)
        changed = apply(self.images_of(image), **{option: True})
        same = (changed == image).all(axis=(1, 2, 3))
        flipped = (changed == np.flip(image, axis)).all(axis=(1, 2, 3))
        assert (same ^ flipped).all()
        assert abs(flipped.mean() - 0.5) < 0.03  # four standard errors

    def test_flips_of_both_axes_are_independent(self):
        image = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3, 1)
        changed = apply(self.images_of(image), flip_horizontal=True, flip_vertical=True)
        both = (changed == image[::-1, ::-1]).all(axis=(1, 2, 3))
        assert abs(both.mean() - 0.25) < 0.03

    def test_angles_are_uniform_in_both_directions(self):
        # A dot on the right of the centre, whose centre of mass tells the angle.
        y, x = np.mgrid[:33, :33] - 16.0
        dot = np.exp(-(y**2 + (x - 10) ** 2) / 8)[..., None]
        changed = apply(self.images_of(dot), rotation=30)[..., 0]
        mass = changed.sum(axis=(1, 2))
        angles = np.degrees(
            np.arctan2(-(changed * y).sum((1, 2)) / mass, (changed * x).sum((1, 2)) / mass)
        )
        assert_uniform(angles, -30, 30, tolerance=0.5)

    def test_shifts_are_uniform_on_both_axes(self):
        y, x = np.mgrid[:32, :48]
        dot = np.exp(-((y - 15.5) ** 2 + (x - 23.5) ** 2) / 4)[..., None]
        changed = apply(self.images_of(dot), translation=0.25)[..., 0]
        mass = changed.sum(axis=(1, 2))
        down, right = (changed * y).sum((1, 2)) / mass, (changed * x).sum((1, 2)) / mass
        assert_uniform(down - 15.5, -8, 8, tolerance=0.1)
        assert_uniform(right - 23.5, -12, 12, tolerance=0.1)
        assert abs(np.corrcoef(down, right)[0, 1]) < 0.06

    def test_zoom_is_uniform_in_its_logarithm(self):
        y, x = np.mgrid[:33, :33] - 16.0
        ramp = 0.5 + np.stack([y, x], -1) / 100
        changed = apply(self.images_of(ramp), zoom=0.5, fill="edge")
        slopes = 100 * (changed[:, 17, 16, 0] - changed[:, 15, 16, 0]) / 2
        assert_uniform(np.log(1 / slopes), -math.log(1.5), math.log(1.5), tolerance=0.01)
        np.testing.assert_allclose(changed[:, 16, 16], 0.5, atol=1e-5)  # the centre stays

    def test_crops_stay_inside_of_the_image(self):
        y, x = np.mgrid[:32, :40]
        ramp = np.stack([y / 31, x / 39], -1)
        changed = apply(self.images_of(ramp), crop=0.5)
        kept = (changed[:, 20, 0, 0] - changed[:, 10, 0, 0]) * 31 / 10
        assert_uniform(kept, 0.5, 1, tolerance=0.01)
        for axis, side in enumerate((32, 40)):
            # The share of the room that the crop leaves before it.
            before = changed[:, 0, 0, axis] / (1 - kept)
            assert_uniform(before[kept < 0.99], 0, 1, tolerance=0.001)
            # Black never enters from outside: a crop of a ramp is a ramp.
            steps = np.diff(changed[..., axis], axis=1 + axis) * (side - 1)
            expected = np.broadcast_to(kept[:, None, None], steps.shape)
            np.testing.assert_allclose(steps, expected, atol=1e-3)

    def test_gamma_is_uniform_in_its_logarithm(self):
        values = np.array([0, 0.25, 0.5, 1], np.float32).reshape(2, 2, 1)
        changed = apply(self.images_of(values), gamma=2)
        exponents = np.log(changed[:, 1, 0, 0]) / np.log(0.5)
        assert_uniform(np.log(exponents), -math.log(2), math.log(2), tolerance=0.02)
        np.testing.assert_allclose(changed[:, 0, 1, 0], 0.25**exponents, rtol=1e-5)
        np.testing.assert_array_equal(changed[:, 0, 0, 0], 0)
        np.testing.assert_array_equal(changed[:, 1, 1, 0], 1)

    def test_noise_is_normal_and_independent_by_pixel(self):
        grey = self.images_of(np.full((4, 4, 2), 0.5))
        noise = (apply(grey, noise=0.1) - 0.5).reshape(self.count, -1)
        np.testing.assert_allclose(noise.mean(0), 0, atol=0.008)
        np.testing.assert_allclose(noise.std(0), 0.1, atol=0.006)
        assert abs((np.abs(noise) < 0.1).mean() - 0.6827) < 0.006
        correlations = np.corrcoef(noise.T) - np.eye(32)
        assert np.abs(correlations).max() < 0.08

    def test_noise_is_clipped(self):
        changed = apply(self.images_of(np.array([0.0, 1.0]).reshape(1, 2, 1)), noise=0.5)
        assert (changed.min(), changed.max()) == (0, 1)
        assert abs((changed[:, 0, 0] == 0).mean() - 0.5) < 0.03

    def test_elastic_fields_are_centred_and_differ(self):
        y, x = np.mgrid[:16, :16]
        ramp = np.stack([y, x], -1) / 30 + 0.25
        moves = 30 * (apply(self.images_of(ramp), elastic=0.1)[:, 4:12, 4:12] - ramp[4:12, 4:12])
        np.testing.assert_allclose(moves.mean(0), 0, atol=0.03)
        # A uniform control's standard deviation is its bound / sqrt(3); B-spline weights, whose
        # squares sum to about 0.48 along an axis, are applied along both.
        np.testing.assert_allclose(moves.std(0), 0.1 * 16 / math.sqrt(3) * 0.48, rtol=0.1)
        assert abs(np.corrcoef(moves[:, 4, 4].T)[0, 1]) < 0.06


def assert_uniform(values, low, high, tolerance):
    assert low - tolerance < values.min() < low + 0.02 * (high - low) + tolerance
    assert high + tolerance > values.max() > high - 0.02 * (high - low) - tolerance
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    expected = low + (high - low) * np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, expected, atol=0.04 * (high - low) + tolerance)


class TestSeeds:
    def test_decide_alone(self, images):
        seeds = np.arange(12, dtype=np.int64) * 10**15 - 7
        first = apply(images, seeds, **EVERYTHING)
        np.testing.assert_array_equal(apply(images, seeds, **EVERYTHING), first)
        other = apply(images, seeds + 1, **EVERYTHING)
        assert (np.abs(other - first).mean(axis=(1, 2, 3)) > 0.01).all()

    def test_a_row_does_not_depend_on_its_batch(self, images, rng):
        seeds = rng.integers(0, 2**62, 12)
        whole = apply(images, seeds, **EVERYTHING)
        order = rng.permutation(12)
        np.testing.assert_allclose(
            apply(images[order], seeds[order], **EVERYTHING), whole[order], atol=1e-5
        )
        for i in (0, 7):
            alone = apply(images[i : i + 1], seeds[i : i + 1], **EVERYTHING)
            np.testing.assert_allclose(alone[0], whole[i], atol=1e-5)

    def test_one_image_many_seeds(self, images):
        changed = apply(np.repeat(images[:1], 12, 0), **EVERYTHING)
        assert len(np.unique(changed.reshape(12, -1), axis=0)) == 12

    def test_an_option_does_not_change_anothers_draws(self, images):
        """Flips stay what they are with an elastic deformation and noise that are too small."""
        flipped = apply(images, flip_horizontal=True, fill="edge")
        more = apply(images, flip_horizontal=True, elastic=1e-6, noise=1e-7, fill="edge")
        np.testing.assert_allclose(more, flipped, atol=1e-4)


class TestMasks:
    @pytest.mark.parametrize("fill", FILLS)
    def test_follow_their_images(self, rng, fill):
        images = blobs(rng, 40, (64, 64, 1)).astype(np.float32)
        images = scipy.ndimage.gaussian_filter(images, (0, 3, 3, 0))
        images -= images.min(axis=(1, 2, 3), keepdims=True)
        images /= images.max(axis=(1, 2, 3), keepdims=True)
        masks = 3 * (images[..., 0] > 0.5).astype(np.int32)
        spatial = {k: v for k, v in EVERYTHING.items() if k not in ("gamma", "noise")}
        changed = apply(images, masks=masks, fill=fill, **spatial)
        assert changed["masks"].dtype == np.int32
        assert changed["masks"].shape == masks.shape
        assert set(np.unique(changed["masks"])) == {0, 3}
        seen, expected = changed["masks"] == 3, changed["images"][..., 0] > 0.5
        overlap = (seen & expected).sum((1, 2))
        dice = 2 * overlap / (seen.sum((1, 2)) + expected.sum((1, 2)))
        assert dice.min() > 0.9
        assert dice.mean() > 0.95
        assert (changed["masks"] != masks).any(axis=(1, 2)).all()

    def test_keep_their_values(self, images, rng):
        masks = rng.choice([0, 4, 9, 250], images.shape[:3]).astype(np.int32)
        changed = apply(images, masks=masks, **EVERYTHING)
        assert set(np.unique(changed["masks"])) == {0, 4, 9, 250}

    def test_stay_under_changes_of_intensity(self, images, rng):
        masks = rng.integers(0, 9, images.shape[:3]).astype(np.int32)
        changed = apply(images, masks=masks, gamma=2, noise=0.1)
        np.testing.assert_array_equal(changed["masks"], masks)

    def test_of_real_lesions_stay_on_bright_tissue(self, test_data):
        """Median intensity under the mask, before and after: the mask is on the same tissue."""
        with np.load(test_data / "brats6_slices_64.npz", allow_pickle=False) as file:
            masks = file["train_masks"]
            large = np.flatnonzero((masks > 0).sum(axis=(1, 2)) > 100)[:64]
            masks = masks[large].astype(np.int32)
            images = file["train_images"][large].astype(np.float32) / 255
        changed = apply(
            images, masks=masks, rotation=10, translation=0.05, elastic=0.04, flip_horizontal=True
        )
        before = [image[mask > 0, 0].mean() for image, mask in zip(images, masks, strict=True)]
        after = [
            image[mask > 0, 0].mean()
            for image, mask in zip(changed["images"], changed["masks"], strict=True)
        ]
        np.testing.assert_allclose(after, before, atol=0.03)
        assert set(np.unique(changed["masks"])) <= set(np.unique(masks))


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("fill", FILLS)
def test_images_stay_in_range(rng, channels, fill):
    images = rng.random((16, 20, 28, channels), np.float32).round()
    changed = apply(images, fill=fill, **EVERYTHING)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert np.isfinite(changed).all()


def test_inside_a_dataset(images, rng):
    masks = rng.integers(0, 3, images.shape[:3]).astype(np.int32)
    dataset = tf.data.Dataset.from_tensor_slices(
        ({"images": images, "masks": masks}, np.arange(12, dtype=np.int64))
    )
    changes = augment(**EVERYTHING)
    batches = dataset.batch(5).map(changes, num_parallel_calls=2)
    assert batches.element_spec["images"].shape.as_list() == [None, 24, 30, 2]
    assert batches.element_spec["masks"].shape.as_list() == [None, 24, 30]
    found = list(batches.as_numpy_iterator())
    assert [len(batch["images"]) for batch in found] == [5, 5, 2]
    eager = apply(images, masks=masks, **EVERYTHING)
    for key in ("images", "masks"):
        together = np.concatenate([batch[key] for batch in found])
        wrong = np.abs(together - eager[key]) > 1e-5
        assert wrong.mean() < 1e-3  # rounding of half a pixel may differ in graph mode

    fixed = dataset.batch(4, drop_remainder=True).map(changes)
    assert fixed.element_spec["images"].shape.as_list() == [4, 24, 30, 2]


def test_real_images_stay_themselves(test_data):
    """Gentle changes of chest X-rays keep each nearer to itself than to most others."""
    with np.load(test_data / "pneumoniamnist.npz", allow_pickle=False) as file:
        images = file["train_images"][:200, ..., None].astype(np.float32) / 255
    changed = apply(images, rotation=5, translation=0.03, elastic=0.04, gamma=1.1, fill="edge")
    distances = np.abs(changed[:, None] - images[None]).mean(axis=(2, 3, 4))
    nearer = (distances < np.diag(distances)[:, None]).sum(1)
    assert np.median(nearer) <= 5
    assert (np.abs(changed - images).mean(axis=(1, 2, 3)) > 0.003).all()


class TestDescription:
    def test_names_what_is_on(self):
        changes = augment(flip_horizontal=True, rotation=10)
        assert str(changes) == changes.description
        assert changes.description == (
            "augmented: flipped left-right half of the time, rotated by up to 10 degrees, "
            "black outside"
        )

    def test_of_everything(self):
        text = augment(fill="edge", **EVERYTHING).description
        for part in (
            "left-right",
            "upside down",
            "20 degrees",
            "shifted by up to 10% of the side",
            "zoomed by up to 20%",
            "cropped to at least 70% of the side",
            "elastically by up to 5% of the side (smooth over 25% of the side)",
            "gamma up to 1.5",
            "standard deviation 0.05",
            "repeated outside",
        ):
            assert part in text

    def test_options_make_it_equal_and_hashable(self):
        assert augment(elastic=[0.04, 0.25]) == augment(elastic=0.04) == Augment(elastic=0.04)
        assert len({augment(elastic=[0.04, 0.25]), augment(elastic=0.04)}) == 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            augment().rotation = 3


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"flip_horizontal": 1}, "flip_horizontal must be True or False.*=1"),
            ({"flip_vertical": "yes"}, "flip_vertical must be True or False.*'yes'"),
            ({"rotation": -1}, "rotation must be an angle.*=-1"),
            ({"rotation": 181}, "rotation must be an angle.*=181"),
            ({"rotation": True}, "rotation must be an angle.*True"),
            ({"rotation": float("nan")}, "rotation must be an angle.*nan"),
            ({"translation": 1}, "translation must be a fraction.*=1"),
            ({"translation": "5%"}, "translation must be a fraction.*'5%'"),
            ({"zoom": 1.5}, "zoom must be a fraction.*1.5"),
            ({"crop": 0}, "crop must be a share.*=0"),
            ({"crop": 1.1}, "crop must be a share.*1.1"),
            ({"crop": None}, "crop must be a share.*None"),
            ({"elastic": 0.12}, "elastic must be a displacement.*0.12"),
            ({"elastic": (0.1, 0.2)}, r"elastic must be.*\(0.1, 0.2\)"),
            ({"elastic": (0.1, 2)}, "elastic must be"),
            ({"elastic": (0.1,)}, "elastic must be"),
            ({"elastic": -0.1}, "elastic must be.*-0.1"),
            ({"elastic": "strong"}, "elastic must be.*'strong'"),
            ({"gamma": 0.5}, "gamma must be a factor of at least 1.*0.5"),
            ({"gamma": float("inf")}, "gamma must be.*inf"),
            ({"noise": -0.1}, "noise must be a standard deviation.*-0.1"),
            ({"noise": 12}, "noise must be a standard deviation.*12"),
            ({"fill": "black"}, "fill must be one of 'zero', 'reflect', 'edge'.*'black'"),
            ({"fill": ["zero"]}, "fill must be one of"),
            ({"rotate": 10}, "takes the options flip_horizontal.*'rotate'"),
        ],
    )
    def test_options_are_refused_by_name(self, options, message):
        with pytest.raises(ValueError, match=message):
            augment(**options)

    @pytest.mark.parametrize(
        "images",
        [np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 8, 8), np.float32)],
        ids=["uint8", "no channels"],
    )
    def test_images_of_another_kind(self, images):
        with pytest.raises(ValueError, match=r"must be float32 of shape.*Received: .*\(2, 8, 8"):
            augment(rotation=3)({"images": tf.constant(images)}, tf.zeros(2, tf.int64))

    def test_images_of_unknown_size(self):
        dataset = tf.data.Dataset.from_generator(
            lambda: iter([]),
            output_signature=tf.TensorSpec((None, None, 8, 1), tf.float32),
        )
        with pytest.raises(ValueError, match=r"known but for b.*None"):
            dataset.map(lambda x: augment(rotation=3)({"images": x}, tf.zeros(2, tf.int64)))
