import json
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import tensorflow as tf
from skimage.metrics import structural_similarity

from keras_medgen.ops import MS_SSIM_LOSS_FLOOR, ms_ssim, ms_ssim_l1, ms_ssim_levels, ssim

ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "similarity.json").read_text())
POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TOLERANCE = 2e-6
TINY_FLOOR = 1e-6  # takes the path of the loss, and changes no term of the images below


def renormalised(levels):
    return [power / sum(POWERS[:levels]) for power in POWERS[:levels]]


def patches(count, height, width=None, channels=1):
    """Patches of a photograph, float32 in [0, 1]."""
    photograph = skimage.data.camera().astype(np.float32) / 255
    height, width = height, width or height
    rng = np.random.default_rng(0)
    tops = rng.integers(0, 512 - height, (count, channels))
    lefts = rng.integers(0, 512 - width, (count, channels))
    images = [
        photograph[top : top + height, left : left + width]
        for top, left in zip(tops.ravel(), lefts.ravel(), strict=True)
    ]
    return np.moveaxis(np.reshape(images, (count, channels, height, width)), 1, -1)


def noised(images, sigma=0.1):
    noise = np.random.default_rng(1).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def pairs(height, width, channels):
    images = patches(2, height, width, channels)
    noise = np.random.default_rng(0).random(images.shape).astype(np.float32)
    constant = np.ones_like(images)
    return {
        "reconstruction": (images, noised(images)),
        "identical": (images, images),
        "black": (0 * constant, 0 * constant),
        "constant": (0.3 * constant, 0.7 * constant),
        "black against white": (0 * constant, constant),
        "constant against image": (0.5 * constant, images),
        "anticorrelated": (noise, 1 - noise),
        "noise against image": (noise, images),
    }


def float64_ms_ssim(a, b, powers):
    """MS-SSIM from its definition, in float64; the terms that are raised to the powers too."""
    a, b = np.float64(a), np.float64(b)

    def window(x):
        for axis in (1, 2):
            x = scipy.ndimage.gaussian_filter1d(x, 1.5, axis=axis, truncate=3.4)
        return x[:, 5:-5, 5:-5]

    terms = []
    for _ in powers:
        mean_a, mean_b = window(a), window(b)
        variances = window(a * a) - mean_a**2 + window(b * b) - mean_b**2
        contrast = (2 * (window(a * b) - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
        luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        terms.append(contrast.mean((1, 2)))
        odd = [(0, 0), (0, a.shape[1] % 2), (0, a.shape[2] % 2), (0, 0)]
        a, b = (np.pad(x, odd, mode="edge") for x in (a, b))
        a, b = ((x[:, ::2] + x[:, 1::2]) / 2 for x in (a, b))
        a, b = ((x[:, :, ::2] + x[:, :, 1::2]) / 2 for x in (a, b))
    terms[-1] = (contrast * luminance).mean((1, 2))
    terms = np.stack(terms, axis=-1)
    return np.prod(np.maximum(terms, 0) ** powers, axis=-1).mean(-1), terms


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "sides", [(16, 16), (17, 17), (21, 21), (27, 27), (28, 28), (41, 41), (64, 64), (97, 64)]
)
def test_equals_tensorflow(sides, channels):
    powers = renormalised(ms_ssim_levels(*sides))
    a, b = map(np.concatenate, zip(*pairs(*sides, channels).values(), strict=True))
    expected = tf.image.ssim(a, b, 1.0)
    np.testing.assert_allclose(ssim(a, b), expected, rtol=0, atol=TOLERANCE)
    expected = tf.image.ssim_multiscale(a, b, 1.0, power_factors=powers)
    np.testing.assert_allclose(ms_ssim(a, b), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("side", [128, 161])
def test_equals_tensorflow_on_large_images(side):
    a, b = pairs(side, side, 1)["reconstruction"]
    powers = renormalised(ms_ssim_levels(side, side))
    expected = tf.image.ssim_multiscale(a, b, 1.0, power_factors=powers)
    np.testing.assert_allclose(ms_ssim(a, b), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("sides", [(16, 16), (27, 41), (97, 64), (161, 161)])
def test_the_loss_equals_the_definition_in_float64(sides):
    names, named_pairs = zip(*pairs(*sides, 3).items(), strict=True)
    a, b = map(np.concatenate, zip(*named_pairs, strict=True))
    powers = renormalised(ms_ssim_levels(*sides))
    metric, terms = float64_ms_ssim(a, b, powers)
    # Almost flat images: float32 loses the digits of differences of squares.
    flat = ["constant" in name or name == "reconstruction" for name in names for _ in range(2)]
    tolerance = np.where(flat, 3e-4, TOLERANCE)
    floor = MS_SSIM_LOSS_FLOOR
    mirrored = floor**2 / (2 * floor - np.minimum(terms, floor))
    expected = np.prod(np.where(terms < floor, mirrored, terms) ** powers, axis=-1).mean(-1)
    assert (abs(ms_ssim(a, b, floor=floor).numpy() - expected) < tolerance).all()
    above = (terms > TINY_FLOOR).all((1, 2))
    assert 8 <= above.sum() < len(above)
    assert (abs(ms_ssim(a, b, floor=TINY_FLOOR).numpy() - metric) < tolerance)[above].all()


def test_ssim_equals_scikit_image():
    images, others = pairs(28, 40, 3)["noise against image"]
    for image, other, similarity in zip(images, others, ssim(images, others), strict=True):
        _, places = structural_similarity(
            image.astype(np.float64),
            other.astype(np.float64),
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )
        assert float(similarity) == pytest.approx(places[5:-5, 5:-5].mean(), abs=1e-5)


def oracle_images(side, channels, count=4):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    base = 0.5 + 0.25 * np.sin(6 * np.pi * x) * np.cos(4 * np.pi * y)
    shape = (count, side, side, channels)
    images = base[None, :, :, None] + 0.05 * rng.standard_normal(shape)
    images = np.clip(images, 0, 1).astype(np.float32)
    return images, np.clip(images + 0.1 * rng.standard_normal(shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", ORACLE["images"])
def test_equals_the_reference_packages(name):
    case = ORACLE["images"][name]
    side, channels = map(int, name[1:].split("_C"))
    a, b = oracle_images(side, channels)
    checksums = [images.astype(np.float64).sum() for images in (a, b)]
    np.testing.assert_allclose(checksums, case["checksum"], rtol=1e-6)
    assert ms_ssim_levels(side, side) == case["levels"]
    single = ssim(a, b)
    for package in ("tf", "piq", "skimage_gaussian_wang"):
        np.testing.assert_allclose(single, case["ssim"][package], rtol=0, atol=TOLERANCE)
    multiple, loss = ms_ssim(a, b), ms_ssim(a, b, floor=MS_SSIM_LOSS_FLOOR)
    np.testing.assert_allclose(multiple, case["ms_ssim"]["tf_renorm"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(loss, case["ms_ssim"]["tf_renorm"], rtol=0, atol=TOLERANCE)
    if side % 2 == 0:  # piq treats odd sides in another way
        np.testing.assert_allclose(multiple, case["ms_ssim"]["piq_renorm"], rtol=0, atol=TOLERANCE)
    if channels == 1:  # of more channels the mean of the powers is not the power of the mean
        raw = multiple.numpy() ** sum(POWERS[: case["levels"]])
        np.testing.assert_allclose(raw, case["ms_ssim"]["tf_raw"], rtol=0, atol=TOLERANCE)


def test_anticorrelated_oracle():
    case = ORACLE["anticorrelated"]
    a = np.random.default_rng(0).random((2, 256, 256, 1)).astype(np.float32)
    np.testing.assert_allclose(ssim(a, 1 - a), case["ssim_tf"], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(ms_ssim(a, 1 - a), case["ms_ssim_tf"])


def torch_randn(seed, count):
    """torch's normal numbers on a CPU; `count` is a multiple of 16."""
    bits = np.random.RandomState(seed).randint(0, 2**32, count, dtype=np.uint32)
    uniform = ((bits & 0xFFFFFF) / np.float32(2**24)).reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log(1 - uniform[:, 0]))
    angle = 2 * np.pi * uniform[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def monai_images(shape):
    """MONAI's test inputs, channels last."""
    values = np.abs(torch_randn(0, 2 * np.prod(shape))).reshape(2, *shape)
    images = values / values.max(axis=(1, 2, 3, 4), keepdims=True)
    return np.moveaxis(images, 2, -1).astype(np.float32)


def test_monai_cases():
    first = torch_randn(42, 16)[:4]
    np.testing.assert_allclose(first, ORACLE["torch_seed42_first16"], atol=1e-6)
    cases = ORACLE["cases"]
    similarity = ssim(*monai_images((2, 3, 16, 16))).numpy()
    case = cases["ssim2d_gaussian"]
    np.testing.assert_allclose(similarity, case["verified_here"]["per_sample"], atol=TOLERANCE)
    assert similarity.mean() == pytest.approx(case["expected"], abs=1e-5)
    expected = cases["ssim_loss2d"]["expected"]
    np.testing.assert_allclose(1 - similarity[:, None], expected["none"], atol=1e-4)
    assert (1 - similarity).mean() == pytest.approx(expected["mean"], abs=1e-4)

    case = cases["msssim2d_gaussian"]
    terms = case["verified_here"]["cs_level0_and_ssim_level1"]
    assert np.sqrt(np.prod(terms)) == pytest.approx(case["expected"], abs=1e-6)
    images = monai_images((1, 1, 64, 64))
    powers = renormalised(2)
    for floor in (0.0, TINY_FLOOR):
        similarity = float(ms_ssim(*images, levels=2, floor=floor)[0])
        assert similarity == pytest.approx(np.prod(np.power(terms, powers)), abs=TOLERANCE)
    # With MONAI's weights of a half each: the first term by leaving out the second.
    coarse = images.reshape(2, 1, 32, 2, 32, 2, 1).mean((3, 5))
    coarse = float(ms_ssim(*coarse, levels=1)[0])
    fine = (similarity / coarse ** powers[1]) ** (1 / powers[0])
    assert np.sqrt(fine * coarse) == pytest.approx(case["expected"], abs=1e-5)


def test_differs_from_the_faulty_formulas_of_other_packages():
    expected = ORACLE["cases"]["msssim_fault_demo"]["expected"]
    y, x = np.mgrid[:192, :192] / 192
    image = 0.5 + 0.25 * np.sin(8 * np.pi * x) * np.cos(6 * np.pi * y)
    image += 0.15 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.02)
    other = np.clip(image + 0.1 * np.random.RandomState(0).randn(192, 192), 0, 1)
    image, other = (a[None, :, :, None] for a in (image, other))
    assert float(ssim(image, other)[0]) == pytest.approx(expected["tf.image.ssim"], abs=TOLERANCE)
    raw = float(ms_ssim(image, other)[0]) ** sum(POWERS)
    assert raw == pytest.approx(expected["tf.image.ssim_multiscale"], abs=TOLERANCE)
    wrong = [value for name, value in expected.items() if "formula" in name]
    assert len(wrong) == 2
    assert min(wrong) > raw + 0.09


def test_levels():
    for levels, smallest in ORACLE["smallest_sides"].items():
        assert ms_ssim_levels(smallest, 300) == ms_ssim_levels(300, smallest) == int(levels)
        if levels != "1":
            assert ms_ssim_levels(smallest - 1, 300) == int(levels) - 1
    assert [ms_ssim_levels(side, side) for side in (16, 20, 28, 64, 128)] == [1, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="height=10, width=30"):
        ms_ssim_levels(10, 30)


@tf.function
def loss_gradients(a, b, floor):
    with tf.GradientTape() as tape:
        tape.watch(b)
        loss = 1 - ms_ssim(a, b, floor=floor)
    return tape.gradient(loss, b)


def assert_gradients_are_sound(images, count):
    """Of pairs of images and noise, many of which tf.image has no gradient for at 28 pixels."""
    rng = np.random.default_rng(0)
    norms = {0.0: [], MS_SSIM_LOSS_FLOOR: []}
    for batch in images[rng.integers(len(images), size=count)].reshape(-1, 50, *images.shape[1:]):
        noise = tf.constant(rng.random(batch.shape), tf.float32)
        for floor in norms:
            gradients = loss_gradients(tf.constant(batch), noise, floor).numpy()
            assert np.isfinite(gradients).all()
            norms[floor].extend(np.sqrt((gradients**2).sum((1, 2, 3))))
    clipped = np.mean(np.array(norms[0.0]) == 0)
    assert (0.1 if images.shape[1] == 28 else 0) <= clipped < 0.9
    assert min(norms[MS_SSIM_LOSS_FLOOR]) > 0
    assert max(norms[MS_SSIM_LOSS_FLOOR]) < 1


@pytest.mark.parametrize(("side", "count"), [(28, 500), (64, 200), (128, 50)])
def test_gradients_are_finite_on_patches(side, count):
    assert_gradients_are_sound(patches(100, side), count)


@pytest.mark.parametrize(
    "name", ["pneumoniamnist.npz", "brain_tumor_mri_64.npz", "brats6_slices_128.npz"]
)
def test_gradients_are_finite_on_real_images(test_data, name):
    with np.load(test_data / name) as file:
        images = file["test_images"].astype(np.float32) / 255
    images = images[..., None] if images.ndim == 3 else images[..., :1]
    assert_gradients_are_sound(images, count=1000)


@pytest.mark.parametrize("floor", [0.0, MS_SSIM_LOSS_FLOOR])
def test_gradients_are_finite_in_special_cases(floor):
    a, b = map(np.concatenate, zip(*pairs(28, 28, 1).values(), strict=True))
    b[0] = 0
    b[0, 14, 14] = 1  # a single bright pixel
    for pair in ((a, b), (b, a)):
        assert np.isfinite(loss_gradients(*map(tf.constant, pair), floor)).all()


def test_tensorflow_needs_this():
    """If it were mended, ours could be as simple as it."""
    image, noise = patches(1, 28), tf.constant(1 - patches(1, 28))
    with tf.GradientTape() as tape:
        tape.watch(noise)
        value = tf.image.ssim_multiscale(image, noise, 1.0, power_factors=renormalised(2))
    assert np.isnan(tape.gradient(value, noise)).any()


@pytest.mark.parametrize("floor", [0.0, MS_SSIM_LOSS_FLOOR])
def test_gradient_equals_finite_differences(floor):
    a, b = pairs(33, 21, 2)["reconstruction"]
    b = b.astype(np.float64)
    powers = renormalised(2)
    directions = np.random.default_rng(2).normal(size=(5, *b.shape))
    gradients = -loss_gradients(a, tf.constant(b, tf.float32), floor).numpy()
    for direction in directions:
        step = 1e-5 * direction
        ahead, behind = (float64_ms_ssim(a, b + sign * step, powers)[0] for sign in (1, -1))
        slope = (gradients * direction).sum((1, 2, 3))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-2, atol=1e-4)


def test_descent_leaves_inverted_structures():
    """Where MS-SSIM itself is zero, with a zero gradient, the loss leads to the image."""
    image = oracle_images(28, 1, count=8)[0]
    noise = np.random.default_rng(0).normal(0, 0.05, image.shape)
    reconstruction = tf.constant(0.5 - 0.4 * (image - 0.5) + noise, tf.float32)
    assert (ms_ssim(image, reconstruction).numpy() == 0).all()
    for _ in range(60):
        gradients = loss_gradients(image, reconstruction, MS_SSIM_LOSS_FLOOR)
        steps = 0.5 * tf.math.l2_normalize(gradients, axis=(1, 2, 3))
        reconstruction = tf.clip_by_value(reconstruction - steps, 0, 1)
    assert ms_ssim(image, reconstruction).numpy().min() > 0.5


def test_floor_is_smooth_and_rising():
    image = patches(1, 28)
    contrasts = np.linspace(-1, 1, 201, dtype=np.float32)[:, None, None, None]
    mean = image.mean()
    others = np.clip(mean + contrasts * (image - mean), 0, 1)
    images = np.repeat(image, len(others), axis=0)
    similarity = ms_ssim(images, others, floor=MS_SSIM_LOSS_FLOOR).numpy()
    assert (np.diff(similarity)[contrasts[1:, 0, 0, 0] < 0.9] > 0).all()
    metric = ms_ssim(images, others).numpy()
    assert (metric[contrasts[:, 0, 0, 0] < -0.2] == 0).all()
    unfloored = metric > 0.5
    np.testing.assert_allclose(similarity[unfloored], metric[unfloored], atol=1e-3)


def test_l1_mix_equals_the_gaussian_weighted_differences():
    a, b = pairs(28, 40, 3)["reconstruction"]
    sigma = 1.5 * 2 ** (ms_ssim_levels(28, 40) - 1)
    weighted = scipy.ndimage.gaussian_filter(
        np.abs(np.float64(a) - b), (0, sigma, sigma, 0), mode="reflect"
    )
    expected = 0.84 * (1 - ms_ssim(a, b).numpy()) + 0.16 * weighted.mean((1, 2, 3))
    loss = ms_ssim_l1(a, b)
    assert loss.dtype == tf.float32
    assert loss.shape == (2,)
    np.testing.assert_allclose(loss, expected, atol=3e-4)
    np.testing.assert_allclose(ms_ssim_l1(a, b, alpha=0.0), weighted.mean((1, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(ms_ssim_l1(a, a), 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        ms_ssim_l1(a, b, alpha=1.5)


@pytest.mark.parametrize("function", [ssim, ms_ssim, ms_ssim_l1])
def test_eager_graph_and_xla_agree(function):
    a, b = pairs(27, 28, 3)["noise against image"]
    eager = function(a, b).numpy()
    batches = [tf.TensorSpec((None, 27, 28, 3))] * 2
    np.testing.assert_allclose(tf.function(function, batches)(a, b), eager, atol=TOLERANCE)
    compiled = tf.function(function, jit_compile=True)
    np.testing.assert_allclose(compiled(a, b), eager, atol=1e-5)


@pytest.mark.parametrize("floor", [0.0, MS_SSIM_LOSS_FLOOR])
def test_training_compiles(floor):
    a, b = map(tf.constant, pairs(21, 22, 1)["noise against image"])
    compiled = tf.function(loss_gradients.python_function, jit_compile=True)(a, b, floor)
    np.testing.assert_allclose(compiled, loss_gradients(a, b, floor), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_computes_in_float32(dtype):
    a, b = (tf.cast(images, dtype) for images in pairs(28, 28, 1)["reconstruction"])
    for function in (ssim, ms_ssim, ms_ssim_l1):
        value = function(a, b)
        assert value.dtype == tf.float32
        expected = function(tf.cast(a, tf.float32), tf.cast(b, tf.float32))
        np.testing.assert_allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize("floor", [0.0, MS_SSIM_LOSS_FLOOR])
def test_nan_is_passed_on(floor):
    a, b = patches(2, 28), patches(2, 28)
    b[0, 3, 3] = np.nan
    assert np.isnan(ms_ssim(a, b, floor=floor)).tolist() == [True, False]


def test_bad_arguments():
    images = np.zeros((2, 28, 28, 1), np.float32)
    with pytest.raises(ValueError, match="uint8"):
        ssim(images.astype(np.uint8), images)
    for a, b in [(images, images[:1]), (images[0], images[0]), (images[:, :10], images[:, :10])]:
        with pytest.raises(ValueError, match="one shape"):
            ms_ssim(a, b)
    with pytest.raises(ValueError, match=r"levels must be from 1 to 2 .* levels=3"):
        ms_ssim(images, images, levels=3)
    with pytest.raises(ValueError, match=r"floor=-0\.1"):
        ms_ssim(images, images, floor=-0.1)
