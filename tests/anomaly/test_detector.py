import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

import keras_medgen as kmg
from keras_medgen.anomaly import AnomalyDetector, detect
from tests.models.contract import MODELS, SHAPE


@pytest.fixture
def healthy(splits):
    return splits["val"]["images"][1::2]


@pytest.fixture
def lesions(splits):
    return splits["val"]["images"][::2], splits["val"]["masks"][::2]


def validation_pixels(detector, healthy, images, masks):
    """Targets and maps of both kinds of images, each detected by itself: the noise is by number."""
    maps = [detector.detect(part)["maps"].ravel() for part in (healthy, images)]
    targets = [np.zeros(maps[0].size, bool), masks.ravel() != 0]
    return np.concatenate(targets), np.concatenate(maps)


def test_thresholds_are_quantiles_of_the_healthy(blurring, healthy, splits):
    detector = AnomalyDetector(blurring, brain_mask=0.2, image_quantile=0.8, pixel_quantile=0.9)
    assert set(detector.detect(healthy)) == {"maps", "scores", "restored"}
    assert detector.fit(healthy) is detector
    raw = detect(blurring, healthy)["maps"]
    brain = healthy[..., 0] > 0.2
    maps = np.where(brain, raw, 0)
    pixel = np.quantile(raw[brain], 0.9)
    assert detector.fitted["pixel_threshold"] == pytest.approx(pixel)
    scores = np.percentile(maps.reshape(len(maps), -1), 99.5, axis=1)
    assert detector.fitted["image_threshold"] == pytest.approx(np.quantile(scores, 0.8), rel=1e-5)
    found = detector.detect(healthy)
    np.testing.assert_array_equal(found["maps"], maps)
    np.testing.assert_array_equal(found["masks"], maps > pixel)
    assert found["flags"].mean() == pytest.approx(0.2, abs=1 / len(healthy))


def test_lesions_set_the_pixel_threshold(blurring, healthy, lesions):
    detector = AnomalyDetector(blurring, median=3).fit(healthy, *lesions)
    targets, maps = validation_pixels(detector, healthy, *lesions)
    value = f1_score(targets, maps > detector.fitted["pixel_threshold"])
    for threshold in np.quantile(maps, np.linspace(0.8, 0.999, 50)):
        assert value >= f1_score(targets, maps > threshold)
    by_quantile = AnomalyDetector(blurring, median=3).fit(healthy)
    assert by_quantile.fitted["image_threshold"] == detector.fitted["image_threshold"]


def test_min_region_is_of_masks_only(blurring, healthy, splits):
    images = splits["test"]["images"]
    every, large = (
        AnomalyDetector(blurring, min_region=n).fit(healthy).detect(images) for n in (0, 8)
    )
    np.testing.assert_array_equal(every["maps"], large["maps"])
    assert (large["masks"] <= every["masks"]).all()
    assert 0 < large["masks"].sum() < every["masks"].sum()


class TestIntensity:
    def test_is_a_weighted_sum(self, blurring, healthy):
        detector = AnomalyDetector(blurring, intensity=0.3, brain_mask=0.2)
        with pytest.raises(ValueError, match="must be fitted"):
            detector.detect(healthy)
        detector.fit(healthy)
        maps, grey = detect(blurring, healthy)["maps"], healthy[..., 0]
        brain = grey > 0.2
        expected = 0.7 * maps / maps[brain].std() + 0.3 * grey / grey[brain].std()
        found = detector.detect(healthy)["maps"]
        np.testing.assert_allclose(found, np.where(brain, expected, 0), rtol=1e-4)

    def test_of_dark_lesions_is_what_is_lacking(self, blurring, healthy):
        dark = healthy * 0.5 + 0.5
        dark[:, 4:7, 4:7] = 0.1
        arguments = {"sign": "darker", "intensity": 0.3}
        detector = AnomalyDetector(blurring, **arguments).fit(healthy * 0.5 + 0.5)
        for found in (detector, detector.baselines["intensity"]):
            maps = found.detect(dark)["maps"]
            assert maps[:, 4:7, 4:7].min() > maps[:, 9:].max()
        (scale, share), raw = detector.fitted["scales"], detect(blurring, dark, sign="darker")
        expected = 0.7 * raw["maps"] / scale + 0.3 * (1 - dark[..., 0]) / share
        np.testing.assert_allclose(detector.detect(dark)["maps"], expected, rtol=1e-4)

    def test_the_weight_with_the_best_average_precision(self, blurring, healthy, lesions):
        detector = AnomalyDetector(blurring, intensity="auto")
        with pytest.raises(ValueError, match="needs validation images with lesions"):
            detector.fit(healthy)
        detector.fit(healthy, *lesions)
        precisions = {}
        for weight in np.linspace(0, 1, 11):
            one = AnomalyDetector(blurring, intensity=float(weight)).fit(healthy, *lesions)
            pixels = validation_pixels(one, healthy, *lesions)
            precisions[round(float(weight), 1)] = average_precision_score(*pixels)
        assert detector.fitted["weight"] == max(precisions, key=precisions.get)
        assert len(set(precisions.values())) > 5

    def test_channels(self, rng):
        images = rng.random((4, 8, 8, 2)).astype(np.float32)
        for arguments, expected in (
            ({}, images[..., 0]),
            ({"channel": 1}, images[..., 1]),
            ({"channel": 0, "intensity_channel": 1}, images[..., 1]),
        ):
            detector = AnomalyDetector(None, "intensity", **arguments)
            np.testing.assert_array_equal(detector.detect(images)["maps"], expected)
        with pytest.raises(ValueError, match="intensity_channel must be None or from 0 to 1"):
            AnomalyDetector(None, "intensity", intensity_channel=2).detect(images)
        rgb = images[..., [0, 1, 0]]
        found = AnomalyDetector(None, "intensity").detect(rgb)["maps"]
        np.testing.assert_allclose(found, rgb.mean(axis=-1), rtol=1e-6)


def test_own_scores_stand_unless_the_intensity_is_mixed_in(healthy):
    model = MODELS["VAE"].make(0)
    nats = detect(model, healthy, "kl")["scores"]
    detector = AnomalyDetector(model, "kl", median=3).fit(healthy)
    np.testing.assert_array_equal(detector.detect(healthy)["scores"], nats)
    mixed = AnomalyDetector(model, "kl", intensity=0.5).fit(healthy).detect(healthy)
    expected = np.percentile(mixed["maps"].reshape(len(healthy), -1), 99.5, axis=1)
    np.testing.assert_allclose(mixed["scores"], expected, rtol=1e-5)


def test_a_conditional_model_is_asked_for_the_healthy_class(healthy):
    model = kmg.models.VAE(SHAPE, latent_dim=4, num_classes=3)
    maps = AnomalyDetector(model, condition=1).fit(healthy).detect(healthy)["maps"]
    expected = detect(model, healthy, labels=np.ones(len(healthy), int))["maps"]
    np.testing.assert_array_equal(maps, expected)


def test_8_bits_are_scaled(blurring, healthy):
    detector = AnomalyDetector(blurring, intensity=0.5, brain_mask=0.2).fit(healthy)
    eight = (healthy * 255).round().astype(np.uint8)
    found = (detector.detect(images) for images in (eight, eight.astype(np.float32) / 255))
    for one, other in zip(*(part.values() for part in found), strict=True):
        np.testing.assert_array_equal(one, other)


def test_config(blurring, healthy, lesions, splits):
    detector = AnomalyDetector(
        blurring, sign="brighter", timestep=40, num_draws=2, median=3, intensity="auto"
    ).fit(healthy, *lesions)
    config = json.loads(json.dumps(detector.get_config()))
    again = AnomalyDetector.from_config(config, blurring)
    pairs = [(detector, again)]
    pairs += [(detector.baselines[name], again.baselines[name]) for name in detector.baselines]
    assert len(pairs) == 3
    for one, other in pairs:
        found = (each.detect(splits["test"]["images"]) for each in (one, other))
        for a, b in zip(*(part.values() for part in found), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="cannot be saved"):
        AnomalyDetector(blurring, score=np.max).get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"median": 4}, "median must be None or odd"),
        ({"intensity": 1.5}, r"intensity must lie in \[0, 1\]"),
        ({"intensity": "much"}, "or be auto. Received: intensity='much'"),
        ({"pixel_quantile": 2}, "pixel_quantile must lie"),
        ({"erosion": 1}, "erosion needs a brain_mask"),
        ({"method": "kl"}, "method must be one that the model has"),
    ],
)
def test_arguments_are_checked(blurring, arguments, message):
    with pytest.raises(ValueError, match=message):
        AnomalyDetector(blurring, **arguments)


def test_validation_images_are_checked(blurring, healthy, lesions):
    detector = AnomalyDetector(blurring)
    with pytest.raises(ValueError, match="needs healthy validation images"):
        detector.fit(healthy[:0])
    with pytest.raises(ValueError, match="go together"):
        detector.fit(healthy, lesions[0])
    with pytest.raises(ValueError, match="not all 0"):
        detector.fit(healthy, lesions[0], 0 * lesions[1])
    with pytest.raises(ValueError, match="leaves no pixel"):
        AnomalyDetector(blurring, brain_mask=1.0).fit(healthy)
