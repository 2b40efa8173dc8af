import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.layers import DifferentiableAugmentation

ALL = ("brightness", "saturation", "contrast", "translation", "cutout")
GREY = ("brightness", "contrast", "translation", "cutout")
COUNTS = {"brightness": 1, "saturation": 1, "contrast": 1, "translation": 2, "cutout": 2}


def by_loops(images, uniform, augmentation):
    """The paper's operations, image by image and pixel by pixel, in float64."""
    results = []
    for image, numbers in zip(images.astype(np.float64), uniform.astype(np.float64), strict=True):
        numbers = list(numbers)
        height, width, _ = image.shape
        for name in augmentation:
            if name == "brightness":
                image = image + numbers.pop(0) - 0.5
            elif name == "saturation":
                mean = image.mean(axis=2, keepdims=True)
                image = (image - mean) * 2 * numbers.pop(0) + mean
            elif name == "contrast":
                image = (image - image.mean()) * (numbers.pop(0) + 0.5) + image.mean()
            elif name == "translation":
                furthest = [int(side / 8 + 0.5) for side in (height, width)]
                down, right = (int(numbers.pop(0) * (2 * n + 1)) - n for n in furthest)
                moved = np.full_like(image, -1)
                for y in range(height):
                    for x in range(width):
                        if 0 <= y - down < height and 0 <= x - right < width:
                            moved[y, x] = image[y - down, x - right]
                image = moved
            else:
                sizes = [int(side / 2 + 0.5) for side in (height, width)]
                ends = []
                for side, size in zip((height, width), sizes, strict=True):
                    centre = int(numbers.pop(0) * (side + 1 - size % 2))
                    ends.append((max(centre - size // 2, 0), centre - size // 2 + size))
                image = image.copy()
                image[slice(*ends[0]), slice(*ends[1])] = -1
        results.append(image)
    return np.stack(results)


def pair(rng, augmentation, count=40, shape=(12, 9, 1)):
    images = rng.uniform(-1, 1, (count, *shape)).astype(np.float32)
    uniform = rng.uniform(size=(count, sum(COUNTS[name] for name in augmentation))).astype(
        np.float32
    )
    return images, uniform


@pytest.mark.parametrize(
    ("augmentation", "shape"),
    [
        *(((name,), (12, 9, 3)) for name in ALL),
        (GREY, (16, 16, 1)),
        (ALL, (28, 20, 3)),
        (("cutout", "brightness", "translation"), (7, 11, 1)),
    ],
)
@pytest.mark.parametrize("in_graph", [False, True])
def test_equals_the_loops(rng, augmentation, shape, in_graph):
    images, uniform = pair(rng, augmentation, shape=shape)
    layer = DifferentiableAugmentation(augmentation)
    assert layer.num_uniform == uniform.shape[1]
    augmented = (tf.function(layer) if in_graph else layer)(images, uniform)
    assert augmented.dtype == tf.float32
    np.testing.assert_allclose(augmented, by_loops(images, uniform, augmentation), atol=2e-6)


@pytest.mark.parametrize("edge", [0.0, np.nextafter(1, 0, dtype=np.float32), 1.0])
def test_the_ends_of_the_random_numbers(rng, edge):
    augmentation = ("translation", "cutout")
    images, uniform = pair(rng, augmentation, count=2, shape=(16, 16, 1))
    uniform[:] = edge
    inside = np.minimum(uniform, 1 - 1e-7)
    augmented = DifferentiableAugmentation(augmentation)(images, uniform)
    np.testing.assert_allclose(augmented, by_loops(images, inside, augmentation))


def test_translation_and_cutout_reach_every_place_equally(rng):
    uniform = rng.uniform(size=(4000, 2)).astype(np.float32)
    images = np.full((4000, 16, 16, 1), 1, np.float32)
    moved = DifferentiableAugmentation(("translation",))(images, uniform).numpy()
    down = (moved[:, :, 8, 0] == 1).argmax(axis=1) - (moved[:, ::-1, 8, 0] == 1).argmax(axis=1)
    values, counts = np.unique(down, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(counts / 4000, 1 / 5, atol=0.03)
    cut = DifferentiableAugmentation(("cutout",))(images, uniform).numpy()
    sizes = (cut == -1).sum(axis=(1, 2, 3))
    assert sizes.max() == 64  # half the side
    assert sizes.min() == 16  # the centre in a corner


def test_gradients_of_any_order_equal_finite_differences(rng):
    images, uniform = pair(rng, ALL, count=3, shape=(8, 9, 3))
    layer = DifferentiableAugmentation(ALL)
    weights = rng.normal(size=images.shape)

    def objective(x):
        return (weights * by_loops(x, uniform, ALL) ** 3).sum()

    def slope_along(x, direction, step=1e-4):
        ahead, behind = x + step * direction, x - step * direction
        return (objective(ahead) - objective(behind)) / (2 * step)

    x = tf.constant(images)
    along, across = rng.normal(size=(2, *images.shape))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(tf.cast(weights, tf.float32) * layer(x, uniform) ** 3)
        first = inner.gradient(value, x)
        slope = tf.reduce_sum(first * tf.cast(along, tf.float32))
    second = outer.gradient(slope, x)
    precise = images.astype(np.float64)
    expected = slope_along(precise, along)
    np.testing.assert_allclose(slope, expected, rtol=1e-4)
    step = 1e-4
    expected = slope_along(precise + step * across, along)
    expected = (expected - slope_along(precise - step * across, along)) / (2 * step)
    np.testing.assert_allclose(np.sum(second * across), expected, rtol=1e-3)


def test_the_derivative_of_a_translation_is_the_opposite_one(rng):
    images, uniform = pair(rng, ("translation",), count=5)
    layer = DifferentiableAugmentation(("translation",))
    upstream = rng.normal(size=images.shape).astype(np.float32)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        moved = layer(x, uniform)
    gradient = tape.gradient(moved, x, output_gradients=upstream)
    # <A x, y> = <x, A' y> for the linear part A.
    linear = moved - layer(tf.zeros_like(x), uniform)
    np.testing.assert_allclose(np.sum(linear * upstream), np.sum(x * gradient), rtol=1e-5)


def test_no_policy_is_no_change(rng):
    images = rng.uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    layer = DifferentiableAugmentation(())
    assert layer.num_uniform == 0
    np.testing.assert_array_equal(layer(images, np.zeros((2, 0), np.float32)), images)


def test_stays_in_single_precision_and_comes_back_from_its_config(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    images, uniform = pair(rng, GREY)
    layer = DifferentiableAugmentation(GREY)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.augmentation == GREY
    expected = by_loops(images, uniform, GREY)
    np.testing.assert_allclose(again(images, uniform), expected, atol=2e-6)


@pytest.mark.parametrize("augmentation", [("flip",), "cutout", ("cutout", "color")])
def test_other_names_are_refused(augmentation):
    with pytest.raises(ValueError, match="augmentation must be a tuple of brightness, saturation"):
        DifferentiableAugmentation(augmentation)


def test_shapes_are_checked(rng):
    images, uniform = pair(rng, ("saturation",))
    with pytest.raises(ValueError, match="3 channels"):
        DifferentiableAugmentation(("saturation",))(images, uniform)
    with pytest.raises(ValueError, match=r"uniform must have the shape \(batch, 2\)"):
        DifferentiableAugmentation(("cutout",))(images, uniform)
