"""Random changes of training images, inside tf.data."""

import dataclasses
import math
import numbers

import numpy as np
import tensorflow as tf

from keras_medgen.data.resampling import (
    affine,
    displacement_field,
    resample,
    resample_nearest,
    source_places,
)

FILLS = {
    "zero": "black outside",
    "reflect": "mirrored at the border",
    "edge": "the border's pixels repeated outside",
}

# Distance of the elastic grid's points where the caller gives none, as a fraction of the side.
SMOOTHNESS = 0.25

# A cubic B-spline deformation is one to one as long as its control points move by less than this
# share of their distance (Choi & Lee 2000, "Injectivity conditions of 2D and 3D uniform cubic
# B-spline functions": 1 / 2.0464).
ONE_TO_ONE = 0.48

# Where each option's draw stands among an image's random numbers, so that one option's values do
# not depend on which others are on; those of the elastic grid follow.
FLIP_Y, FLIP_X, ANGLE, SHIFT_Y, SHIFT_X, ZOOM, CROP, CROP_Y, CROP_X, GAMMA, NUM_DRAWS = range(11)


def augment(**options) -> "Augment":
    """Random changes of the training images; each is off unless it is asked for.

    Args:
        **options: those of `keras_medgen.data.Augment`.

    Returns:
        `Augment`.

    Raises:
        ValueError: if an option is unknown or outside its range.

    Example:
        data = keras_medgen.data.load(
            "pneumoniamnist", augment=keras_medgen.data.augment(rotation=10, translation=0.05)
        )
    """
    names = [field.name for field in dataclasses.fields(Augment)]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise ValueError(f"augment takes the options {', '.join(names)}. Received: {unknown}.")
    return Augment(**options)


@dataclasses.dataclass(frozen=True)
class Augment:
    """Changes each image of a batch at random, its mask alike.

    All changes of place make one map of coordinates, so that an image is interpolated (and
    blurred) once: bilinearly, a mask by the nearest pixel. Sides are fractions of the height for
    what moves along y and of the width for what moves along x.

    Args:
        flip_horizontal: mirror left and right, half of the images.
        flip_vertical: mirror top and bottom, half of the images.
        rotation: largest angle in degrees, up to 180; uniform, either way.
        translation: largest shift as a fraction of the side, below 1; uniform, either way.
        zoom: largest enlargement as a fraction, below 1: the factor lies between 1 / (1 + zoom)
            and 1 + zoom, uniform in its logarithm.
        crop: smallest share of the side that a random crop keeps, in (0, 1]; the crop, whose share
            and place are uniform, is brought back to the full size.
        elastic: largest displacement of a smooth random field as a fraction of the side, or a pair
            of it and the field's smoothness: the distance between its independent points as a
            fraction of the side, between 0.01 and 1, 0.25 unless given. The displacement must be
            below 0.48 of the smoothness, which keeps anatomy from folding over; 0.04 looks natural
            on retinas, chest X-rays and brain slices, and 0.08 dents them visibly.
        gamma: largest factor g, at least 1: pixels become image**exponent with the exponent
            between 1 / g and g, uniform in its logarithm.
        noise: standard deviation of Gaussian noise, independent by pixel and channel, at most 1.
        fill: what lies outside of the image: "zero" (black, and 0 in masks; for images on a black
            ground), "reflect" (mirrored at the border, whose pixels are repeated) or "edge" (the
            nearest pixel); these two for anatomy that reaches the border, where black wedges
            would be learned.

    References:
        Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks applied
        to visual document analysis" (random smooth displacements); Rueckert et al. 1999,
        "Nonrigid registration using free-form deformations" (their cubic B-splines).
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation: float = 0.0
    translation: float = 0.0
    zoom: float = 0.0
    crop: float = 1.0
    elastic: float | tuple[float, float] = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    fill: str = "zero"

    def __post_init__(self):
        for name in ("flip_horizontal", "flip_vertical"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise _refused(name, "True or False", getattr(self, name))
        for name, expected, inside in (
            ("rotation", "an angle in degrees between 0 and 180", lambda x: 0 <= x <= 180),
            ("translation", "a fraction of the side, from 0 to below 1", lambda x: 0 <= x < 1),
            ("zoom", "a fraction, from 0 to below 1", lambda x: 0 <= x < 1),
            ("crop", "a share of the side above 0 and up to 1", lambda x: 0 < x <= 1),
            ("gamma", "a factor of at least 1", lambda x: 1 <= x < math.inf),
            ("noise", "a standard deviation between 0 and 1", lambda x: 0 <= x <= 1),
        ):
            value = getattr(self, name)
            if not _is_number(value) or not inside(value):
                raise _refused(name, expected, value)
        pair = (self.elastic, SMOOTHNESS) if _is_number(self.elastic) else self.elastic
        if not (
            isinstance(pair, tuple | list)
            and len(pair) == 2
            and all(map(_is_number, pair))
            and 0.01 <= pair[1] <= 1
            and 0 <= pair[0] < ONE_TO_ONE * pair[1]
        ):
            raise _refused(
                "elastic",
                f"a displacement of at least 0 and below {ONE_TO_ONE} times the smoothness "
                f"(between 0.01 and 1, {SMOOTHNESS} unless given), or a pair of both, as fractions "
                "of the side",
                self.elastic,
            )
        # JSON gives a list, which a frozen class could not be hashed by.
        object.__setattr__(self, "elastic", tuple(pair))
        if self.fill not in list(FILLS):  # a list also takes what cannot be hashed
            raise _refused("fill", "one of " + ", ".join(map(repr, FILLS)), self.fill)

    @property
    def description(self) -> str:
        """What is done to the images, for their provenance."""
        percent = "{:.3g}% of the side".format
        flips = [
            ("flipped left-right half of the time", self.flip_horizontal),
            ("flipped upside down half of the time", self.flip_vertical),
        ]
        moves = [
            (f"rotated by up to {self.rotation:g} degrees", self.rotation),
            (f"shifted by up to {percent(100 * self.translation)}", self.translation),
            (f"zoomed by up to {100 * self.zoom:.3g}%", self.zoom),
            (f"cropped to at least {percent(100 * self.crop)}", self.crop < 1),
            (
                f"deformed elastically by up to {percent(100 * self.elastic[0])} "
                f"(smooth over {percent(100 * self.elastic[1])})",
                self.elastic[0],
            ),
        ]
        intensities = [
            (f"gamma up to {self.gamma:g}", self.gamma > 1),
            (f"Gaussian noise of standard deviation {self.noise:g}", self.noise),
        ]
        done = [text for text, is_on in flips + moves + intensities if is_on]
        # A crop alone reads nothing from outside of the image.
        if any(is_on for (text, is_on) in moves if not text.startswith("cropped")):
            done.append(FILLS[self.fill])
        return "augmented: " + ", ".join(done) if done else "not augmented"

    def __str__(self):
        return self.description

    def __call__(self, batch: dict[str, tf.Tensor], seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        """Changes a batch: each image as its own seed decides, whatever it is batched with.

        Args:
            batch: "images", float32 (b, height, width, channels) in [0, 1], and optional "masks",
                int32 (b, height, width); other keys are passed on.
            seeds: int64 (b,).

        Returns:
            A dict as `batch`, with new "images" and "masks" of the same shapes and ranges.

        Raises:
            ValueError: if the images are of another dtype or of a shape that is not known.
        """
        images = batch["images"]
        shape = tf.TensorShape(images.shape)
        if images.dtype != tf.float32 or shape.rank != 4 or None in shape[1:]:
            raise ValueError(
                "augment: batch['images'] must be float32 of shape (b, height, width, channels), "
                f"known but for b. Received: {tf.as_dtype(images.dtype).name} of shape {shape}."
            )
        height, width, channels = shape[1:]
        amplitude, smoothness = self.elastic
        grid = (2, math.ceil(1 / smoothness) + 3, math.ceil(1 / smoothness) + 3)
        num_uniforms = NUM_DRAWS + (math.prod(grid) if amplitude else 0)
        num_normals = height * width * channels if self.noise else 0
        uniforms, normals = _draws(seeds, num_uniforms, num_normals)

        changed = dict(batch)
        if self._is_spatial():
            matrices, offsets = self._affine(uniforms, height, width)
            displacements = None
            if amplitude:
                controls = amplitude * _around_zero(uniforms[:, NUM_DRAWS:])
                displacements = displacement_field(
                    tf.reshape(controls, (-1, *grid)), smoothness, height, width
                )
            places = source_places(matrices, offsets, displacements, height, width)
            images = resample(images, places, self.fill)
            if "masks" in batch:
                changed["masks"] = resample_nearest(batch["masks"], places, self.fill)
        if self.gamma > 1:
            exponents = tf.exp(math.log(self.gamma) * _around_zero(uniforms[:, GAMMA]))
            images = images ** exponents[:, None, None, None]
        if self.noise:
            images += self.noise * tf.reshape(normals, (-1, height, width, channels))
        if images is not batch["images"]:
            changed["images"] = tf.clip_by_value(images, 0.0, 1.0)
        return changed

    def _is_spatial(self) -> bool:
        moves = self.rotation or self.translation or self.zoom or self.elastic[0]
        return bool(self.flip_horizontal or self.flip_vertical or moves or self.crop < 1)

    def _affine(self, uniforms: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
        sides = tf.constant([height, width], tf.float32)
        kept = 1 - (1 - self.crop) * uniforms[:, CROP]
        # Between the centres of the outer pixels, so that a crop reads nothing from outside.
        room = (1 - kept[:, None]) * (sides - 1)
        flips = tf.constant([self.flip_vertical, self.flip_horizontal])
        return affine(
            flips=tf.logical_and(flips, uniforms[:, FLIP_Y : FLIP_X + 1] < 0.5),
            angles=self.rotation * _around_zero(uniforms[:, ANGLE]),
            shifts=self.translation * _around_zero(uniforms[:, SHIFT_Y : SHIFT_X + 1]) * sides,
            scales=kept * tf.exp(-math.log1p(self.zoom) * _around_zero(uniforms[:, ZOOM])),
            offsets=0.5 * room * _around_zero(uniforms[:, CROP_Y : CROP_X + 1]),
        )


def _draws(seeds: tf.Tensor, num_uniforms: int, num_normals: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Random numbers of each image from its own seed: (b, num_uniforms) and (b, num_normals)."""

    def draw(seed):
        return (
            tf.random.stateless_uniform((num_uniforms,), tf.stack([seed, 0]), alg="philox"),
            tf.random.stateless_normal((num_normals,), tf.stack([seed, 1]), alg="philox"),
        )

    seeds = tf.cast(seeds, tf.int64)
    return tf.map_fn(draw, seeds, fn_output_signature=(tf.float32, tf.float32))


def _around_zero(uniforms: tf.Tensor) -> tf.Tensor:
    return 2 * uniforms - 1


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _refused(name: str, expected: str, value) -> ValueError:
    return ValueError(f"augment: {name} must be {expected}. Received: {name}={value!r}.")
