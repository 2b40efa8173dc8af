"""What the signatures of an export compute; that they can be loaded is test_loaders' affair."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_medgen as kmg
from keras_medgen._marks import KEY
from keras_medgen.data.readers.pictures import read_picture
from keras_medgen.data.resizing import convert_channels, resize_image
from keras_medgen.pictures import to_uint8
from keras_medgen.serving.detection import map_scores
from keras_medgen.serving.image_codec import LARGEST, MOST, decode_images, encode_pngs
from keras_medgen.serving.signatures import endpoints
from tests.conftest import blobs
from tests.models.contract import SHAPE, small_denoiser
from tests.serving.small_models import CLASSES, NAMES, shaken, small_model

SEEDS = np.array([5, 0, 123456789, -3, 7, 2**31 - 1, 2], np.int32)
LABELS = np.arange(7, dtype=np.int32) % CLASSES
RESTORING = [name for name in NAMES if not name.startswith("GAN")]


class Served:
    """The signatures of a model, each a compiled function of arrays, by keyword."""

    def __init__(self, model, class_names=None):
        self.model = model
        self.names = endpoints(model, class_names)
        self.functions = {}

    def __call__(self, name, *arrays):
        if name not in self.functions:
            function, *specs = self.names[name]
            self.functions[name] = tf.function(function, input_signature=specs, autograph=False)
        given = [tf.constant(array) for array in arrays if array is not None]
        found = self.functions[name](*given)
        return {key: value.numpy() for key, value in found.items()}


@pytest.fixture(scope="module", params=NAMES)
def served(request):
    return Served(small_model(request.param))


def of_priors(name):
    """Models of other latents than standard normal vectors."""
    rng = np.random.default_rng(0)
    images = blobs(rng, 30)
    if name == "fitted":
        model = small_model("VAE")
        model.fit_prior(images, components=2)
    elif name == "fitted, conditional":
        model = small_model("VAE, conditional")
        model.fit_prior((images, np.arange(30) % CLASSES), components=2)
    elif name == "latent diffusion":
        autoencoder = shaken(kmg.models.VAE(SHAPE, latent_dim=(8, 8, 2), seed=1))
        denoiser = small_denoiser(0, shape=(8, 8, 2))
        model = kmg.models.Diffusion(SHAPE, autoencoder=autoencoder, denoiser=denoiser)
        model.latent_deviation.assign([0.5, 2.0])
        shaken(model)
    elif name == "simplex":
        model = kmg.models.Diffusion(SHAPE, noise="simplex", denoiser=small_denoiser(0))
        shaken(model)
    else:
        kind, _, conditional = name.partition(", ")
        classes = {"num_classes": CLASSES} if conditional else {}
        model = shaken(kmg.models.VAE(SHAPE, 4, prior=kind, prior_components=5, **classes))
    return Served(model)


PRIORS = (
    *("mixture", "vamp", "vamp, conditional", "fitted", "fitted, conditional"),
    *("latent diffusion", "simplex"),
)


def check_generate(served):
    """Row s is image 0 of the seed s, at batch 1 and 7, whatever the other rows are."""
    model = served.model
    conditional = model.num_classes is not None
    label = LABELS if conditional else None
    expected = np.concatenate(
        [
            model.generate(1, labels=LABELS[i : i + 1] if conditional else None, seed=int(seed))
            for i, seed in enumerate(SEEDS)
        ]
    )
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    images = served("generate", SEEDS, label)["images"]
    np.testing.assert_allclose(images, expected, atol=1e-4)
    alone = served("generate", SEEDS[4:5], LABELS[4:5] if conditional else None)["images"]
    np.testing.assert_allclose(alone, expected[4:5], atol=1e-4)

    latents = served("sample_latents", SEEDS, label)["latents"]
    assert latents.shape == (7, model.latent_dim)
    again = served("sample_latents", SEEDS[::-1], LABELS[::-1] if conditional else None)
    np.testing.assert_allclose(again["latents"][::-1], latents, atol=1e-6)
    indicators = np.eye(CLASSES, dtype=np.float32)[LABELS] if conditional else None
    decoded = served("serving_default", latents, indicators)["images"]
    np.testing.assert_allclose(decoded, images, atol=1e-5)


class TestGenerate:
    def test_a_row_is_the_image_of_its_seed(self, served):
        check_generate(served)

    @pytest.mark.parametrize("prior", PRIORS)
    def test_of_other_latents(self, prior):
        check_generate(of_priors(prior))

    def test_labels(self, served):
        if served.model.num_classes is None:
            assert all(s.name != "label" for _, *specs in served.names.values() for s in specs)
            return
        none = served("generate", SEEDS[:2], np.array([-1, 1], np.int32))["images"]
        latents = served("sample_latents", SEEDS[:2], LABELS[:2])["latents"]
        rows = np.array([[0, 0, 0], [0, 1, 0]], np.float32)
        np.testing.assert_allclose(none, served.model.decode(latents, rows), atol=1e-4)
        for wrong in (CLASSES, -2):
            with pytest.raises(tf.errors.InvalidArgumentError, match="label must be a class from"):
                served("generate", SEEDS[:2], np.array([0, wrong], np.int32))

    @pytest.mark.parametrize("name", ["VAE", "Diffusion, conditional"])
    def test_png(self, name):
        served = Served(small_model(name))
        label = LABELS if "conditional" in name else None
        files = served("generate_png", SEEDS, label)["image_bytes"]
        images = served("generate", SEEDS, label)["images"]
        for file, image in zip(files, images, strict=True):
            with Image.open(io.BytesIO(file)) as picture:
                assert picture.info[KEY] == "true"
                pixels = np.asarray(picture)
            np.testing.assert_array_equal(pixels, to_uint8(image)[..., 0])

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_half_precision_is_served_in_single(self, policy):
        keras.config.set_dtype_policy(policy)
        served = Served(small_model("VAE"))
        keras.config.set_dtype_policy("float32")
        images = served("generate", SEEDS)["images"]
        assert images.dtype == np.float32
        np.testing.assert_allclose(images[0], served.model.generate(1, seed=5)[0], atol=5e-2)
        given = np.random.default_rng(0).random((2, *SHAPE), np.float32)
        found = served("reconstruct", given)["images"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, served.model.reconstruct(given), atol=5e-2)


class TestOfImages:
    @pytest.fixture
    def given(self, rng):
        return blobs(rng, 7).astype(np.float32) / 255

    def labels(self, served):
        """As the signatures take them, and as the model does."""
        conditional = any(spec.name == "labels" for spec in served.names["detect"][1:])
        return (np.eye(CLASSES, dtype=np.float32)[LABELS], LABELS) if conditional else (None, None)

    def test_only_what_the_model_can(self, served):
        found = {"serving_default", "sample_latents", "generate", "generate_png"}
        if not isinstance(served.model, kmg.models.GAN):
            found |= {"reconstruct", "reconstruct_png", "detect"}
            found |= {"reconstruct_bytes", "reconstruct_png_bytes", "detect_bytes"}
        if hasattr(served.model, "encode"):
            found |= {"encode", "encode_bytes"}
        assert set(served.names) == found

    @pytest.mark.parametrize("served", RESTORING, indirect=True)
    def test_they_are_the_models(self, served, given):
        model = served.model
        labels, label = self.labels(served)
        if hasattr(model, "encode"):
            expected = model.encode(given, label)
            for key, value in served("encode", given, labels).items():
                np.testing.assert_allclose(value, expected[key], atol=1e-5)
            expected = model.reconstruct(given, label)
            detected = kmg.anomaly.detect(model, given, labels=label)
        else:  # the noise of a row is that of the first image
            given = given[:2]
            parts = np.split(given, 2)
            expected = np.concatenate([model.reconstruct(part) for part in parts])
            each = [kmg.anomaly.detect(model, part) for part in parts]
            detected = {key: np.concatenate([one[key] for one in each]) for key in each[0]}
        images = served("reconstruct", given, labels)["images"]
        np.testing.assert_allclose(images, expected, atol=1e-4)
        assert np.abs(images - given).max() > 0.01
        found = served("detect", given, labels)
        np.testing.assert_allclose(found["maps"], detected["maps"], atol=1e-4)
        np.testing.assert_allclose(found["scores"], detected["scores"], atol=1e-4)
        some = None if labels is None else labels[1:2]
        alone = served("detect", given[1:2], some)
        np.testing.assert_allclose(alone["maps"], detected["maps"][1:2], atol=1e-4)
        (file,) = served("reconstruct_png", given[1:2], some)["image_bytes"]
        with Image.open(io.BytesIO(file)) as picture:
            assert picture.info[KEY] == "true"
            difference = np.asarray(picture).astype(int) - to_uint8(images[1])[..., 0]
        assert np.abs(difference).max() <= 1

    def test_files_are_images_too(self, given):
        served = Served(small_model("VAE, conditional"))
        labels, _ = self.labels(served)
        pixels = to_uint8(given)
        files = np.array([png(one[..., 0]) for one in pixels], object)
        for name in ("encode", "reconstruct", "detect"):
            expected = served(name, pixels.astype(np.float32) / 255, labels)
            for key, value in served(f"{name}_bytes", files, labels).items():
                np.testing.assert_allclose(value, expected[key], atol=1e-5)

    @pytest.mark.parametrize("spoil", [lambda x: x * 255, lambda x: np.where(x > 0.5, np.nan, x)])
    def test_images_out_of_range_are_refused(self, given, spoil):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"images must lie in \[0, 1\]"):
            Served(small_model("VAE"))("encode", spoil(given).astype(np.float32))

    @pytest.mark.parametrize("name", ["VAE, conditional", "GAN, conditional"])
    @pytest.mark.parametrize("wrong", [7, -3, np.nan])
    def test_labels_out_of_range_are_refused(self, given, name, wrong):
        served = Served(small_model(name))
        labels = np.array([[1, 0, wrong]], np.float32)
        arrays = {
            "latents": np.zeros((1, 4), np.float32),
            "images": given[:1],
            "image_bytes": np.array([png(to_uint8(given[0])[..., 0])], object),
        }
        taking = {
            signature: specs[0].name
            for signature, (_, *specs) in served.names.items()
            if specs[-1].name == "labels"
        }
        assert len(taking) == (9 if name.startswith("VAE") else 1)
        for signature, first in taking.items():
            with pytest.raises(
                tf.errors.InvalidArgumentError, match=r"labels must lie in \[0, 1\]"
            ):
                served(signature, arrays[first], labels)


def test_class_names():
    served = Served(small_model("VAE, conditional"), ["normal", "tumour", "Blutung, groß"])
    found = served("class_name", np.array([2, 0, -1], np.int32))["name"]
    assert [name.decode() for name in found] == ["Blutung, groß", "normal", ""]
    with pytest.raises(tf.errors.InvalidArgumentError, match="label must be a class from 0 to 2"):
        served("class_name", np.array([3], np.int32))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (16, 16), (33, 20)])
def test_scores_are_numpys_percentile(rng, shape):
    maps = rng.random((5, *shape), np.float32)
    expected = np.percentile(maps, 99.5, axis=(1, 2))
    np.testing.assert_allclose(map_scores(tf.constant(maps)), expected, atol=1e-6)


class TestPNG:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_channels(self, rng, tmp_path, channels):
        images = rng.random((2, 5, 7, channels), np.float32)
        files = encode_pngs(tf.constant(images)).numpy()
        for file, image in zip(files, images, strict=True):
            path = tmp_path / "image.png"
            path.write_bytes(file)
            assert kmg._marks.is_synthetic(path)
            with Image.open(path) as picture:
                picture.verify()  # the checksums
            with Image.open(path) as picture:
                pixels = np.asarray(picture)
            shown = image if channels == 3 else image[..., 0]
            np.testing.assert_array_equal(pixels, to_uint8(shown))


def png(array, mode=None, **options):
    file = io.BytesIO()
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array, mode)
    picture.save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def pictures(rng):
    """Files of many kinds, by name."""
    smooth = blobs(rng, 1, (40, 23, 3))[0]
    smooth[..., 1] //= 2
    colour = Image.fromarray(smooth)
    grey = colour.convert("L")
    deep = (np.asarray(grey).astype(np.uint16) << 8) + rng.integers(0, 256, (40, 23), np.uint16)
    with_alpha = colour.copy()
    with_alpha.putalpha(grey)
    return {
        "grey": png(grey),
        "grey with alpha": png(with_alpha.convert("LA")),
        "black and white": png(grey.convert("1")),
        "grey, 16 bits": png(deep),
        "palette": png(colour.convert("P", palette=Image.Palette.ADAPTIVE)),
        "colour": png(colour),
        "colour with alpha": png(with_alpha),
        "interlaced size": png(colour.resize((9, 50))),
        "smaller": png(colour.resize((3, 5))),
        "wide": png(grey.resize((60, 17))),
        "as it should be": png(colour.resize((16, 16))),
        "grey JPEG": png(grey, format="JPEG"),
        "colour JPEG": png(colour, format="JPEG"),
    }


class TestFiles:
    @pytest.mark.parametrize("shape", [(16, 16, 1), (16, 16, 3), (12, 20, 1)])
    def test_read_as_data_is_loaded(self, rng, tmp_path, shape):
        files = pictures(rng)
        decode = tf.function(lambda files: decode_images(files, shape), autograph=False)
        found = decode(tf.constant(list(files.values()))).numpy()
        assert found.dtype == np.float32
        assert found.shape == (len(files), *shape)
        for name, image in zip(files, found, strict=True):
            path = tmp_path / "image"
            path.write_bytes(files[name])
            pixels = convert_channels(read_picture(path), shape[-1])
            expected = resize_image(tf.constant(pixels), shape[:2], "pad").numpy()
            if expected.dtype == np.uint8:
                expected = expected.astype(np.float32) / np.float32(255)
            # Pillow's grey of a colour JPEG is that of its RGB, rounded in between.
            tolerance = 2 / 255 if "JPEG" in name else 1e-6
            np.testing.assert_allclose(image, expected, atol=tolerance, err_msg=name)

    @pytest.mark.parametrize(
        ("spoilt", "message"),
        [
            (lambda file: b"", "PNG or JPEG"),
            (lambda file: b"not an image", "PNG or JPEG"),
            (lambda file: png(Image.new("L", (4, 4)), format="GIF"), "PNG or JPEG"),
            (lambda file: file[:20], "PNG or JPEG"),
            (lambda file: file[:100], "PNG data"),
            (lambda file: file[:8] + file[40:], r"PNG data|at most"),
            (lambda file: b"\xff\xd8\xff\xe0", "PNG or JPEG"),
            (lambda file: b"\xff\xd8\xff\xe0" + bytes(100), "JPEG"),
            # Claims to be larger than it is: nothing of that size is allocated.
            (lambda file: file[:16] + b"\x00\x01\x86\xa0" * 2 + file[24:], str(LARGEST)),
        ],
    )
    def test_what_is_no_image_is_refused(self, rng, spoilt, message):
        good = pictures(rng)["grey"]
        decode = tf.function(lambda files: decode_images(files, SHAPE), autograph=False)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode(tf.constant([good, spoilt(good)]))

    def test_files_of_too_many_pixels_together_are_refused_before_they_are_decoded(self):
        decode = tf.function(lambda files: decode_images(files, SHAPE), autograph=False)
        largest = Image.new("L", (4096, 4096))
        cut = [png(largest)[:100], png(largest, format="JPEG")[:1000]]
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{MOST} pixels in all"):
            decode(tf.constant([*cut, *cut, cut[0]]))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"PNG|JPEG"):  # as many as may be
            decode(tf.constant([*cut, *cut]))
