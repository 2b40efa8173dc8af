"""A model, how its maps are processed, and the thresholds that make decisions of them."""

import inspect
from collections.abc import Callable

import numpy as np

from keras_medgen.anomaly import processing
from keras_medgen.anomaly.detection import (
    BASELINES,
    OWN_SCORES,
    checked_method,
    detect,
    image_scores,
)
from keras_medgen.anomaly.differences import check_channel, intensity_map
from keras_medgen.anomaly.metrics import best_dice, ranking

WEIGHTS = tuple(tenths / 10 for tenths in range(11))  # of the intensity, that "auto" tries


class AnomalyDetector:
    """Detects with a model, and decides by thresholds from validation images.

    A map goes through: the model's method; a share of the intensity, where asked for; the median
    filter; the brain mask, outside of which it is 0. Image scores are taken after that.

    Args:
        model: one of `keras_medgen.models` trained on healthy images; None for a baseline.
        method: see `keras_medgen.anomaly.detect`.
        channel: which the map is made of. Default: the mean over all.
        sign: of a difference: "absolute", "brighter" or "darker". With "darker" 1 less the
            intensity counts wherever the intensity does.
        score: of an image; see `detect`. A method's own score is of the model alone: with a
            share of the intensity "auto" is "p99.5".
        brain_mask: intensity that pixels of the brain exceed in some channel (see
            `processing.brain_masks`). Default None: the whole image.
        erosion: pixels that are taken off the edge of the brain mask.
        median: side in pixels of the median filter, odd; None for none.
        min_region: pixels that a region of `masks` must have at least.
        intensity: w in the map (1 - w) map / s + w intensity / t, where s and t are the standard
            deviations of both in healthy validation pixels. "auto": of 0, 0.1, ..., 1 the weight
            with the highest average precision on the validation images that `fit` is given with
            masks; 1 is the intensity baseline.
        intensity_channel: of the intensity and of the baselines. Default: `channel`, or where it
            is None the mean over grey or RGB and the first of 2 or 4 channels.
        image_quantile: of the healthy validation images' scores: the threshold of `flags`.
        pixel_quantile: of the healthy validation pixels in the brain mask: the threshold of
            `masks`, where `fit` gets no lesions.
        condition: what a conditional model is asked for: the healthy class, an int, or a row of
            0 and 1 for each class: zeros where healthy is to have none of them.
        **arguments: for `detect`, such as `timestep`, `num_draws` and `seed`.

    Attributes:
        fitted: None, or a dict of `image_threshold`, `pixel_threshold`, `weight` (of the
            intensity) and `scales` (s and t).
        baselines: once fitted, the intensity and the blurred image as detectors of the same
            processing, fitted on the same images.

    Raises:
        ValueError: for a method that the model does not have, or arguments out of their range.

    Example:
    ```python
    detector = kmg.anomaly.AnomalyDetector(model, timestep=100, channel=0, brain_mask=0.02)
    detector.fit(healthy_validation)
    found = detector.detect(images)  # maps, scores, masks, flags
    ```
    """

    def __init__(
        self,
        model,
        method: str = "auto",
        *,
        channel: int | None = None,
        sign: str = "absolute",
        score: str | Callable = "auto",
        brain_mask: float | None = None,
        erosion: int = 0,
        median: int | None = None,
        min_region: int = 0,
        intensity: float | str = 0.0,
        intensity_channel: int | None = None,
        image_quantile: float = 0.95,
        pixel_quantile: float = 0.99,
        condition: int | list[int] | None = None,
        **arguments,
    ):
        if median is not None and (median < 1 or median % 2 == 0):
            raise ValueError(f"median must be None or odd. Received: median={median}.")
        if intensity != "auto" and (isinstance(intensity, str) or not 0 <= intensity <= 1):
            raise ValueError(
                f"intensity must lie in [0, 1] or be auto. Received: intensity={intensity!r}."
            )
        quantiles = {"image_quantile": image_quantile, "pixel_quantile": pixel_quantile}
        for name, value in quantiles.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1]. Received: {name}={value}.")
        unknown = arguments.keys() - inspect.signature(detect).parameters.keys()
        if unknown:
            raise ValueError(f"detect knows no {', '.join(sorted(unknown))}.")
        if erosion < 0 or min_region < 0:
            raise ValueError(
                "erosion and min_region must not be negative. "
                f"Received: erosion={erosion}, min_region={min_region}."
            )
        if erosion and brain_mask is None:
            raise ValueError(f"erosion needs a brain_mask. Received: erosion={erosion}.")
        self.model = model
        self.method = checked_method(model, method)
        self.channel = channel
        self.sign = sign
        self.score = score
        self.brain_mask = brain_mask
        self.erosion = erosion
        self.median = median
        self.min_region = min_region
        self.intensity = intensity
        self.intensity_channel = intensity_channel
        self.image_quantile = image_quantile
        self.pixel_quantile = pixel_quantile
        self.condition = condition
        self.arguments = arguments
        self.fitted = None
        self.baselines = {}

    def _make_baselines(self):
        config = self._arguments()
        for name in ("method", "intensity", "condition", *self.arguments):
            del config[name]
        return {name: AnomalyDetector(None, name, **config) for name in BASELINES}

    # From images to processed maps.

    def _raw(self, images):
        """Maps and scores of the model, the intensity, and the brain masks."""
        images = np.asarray(images)
        if images.ndim == 3:
            images = images[..., None]
        check_channel("intensity_channel", self.intensity_channel, images.shape[-1])
        is_baseline = self.method in BASELINES
        found = detect(
            self.model,
            images,
            self.method,
            labels=self.labels(len(images)),
            channel=self.shown_channel(images) if is_baseline else self.channel,
            sign=self.sign,
            score=self.score,
            **self.arguments,
        )
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / np.float32(255)
        found["intensity"] = intensity_map(images, self.shown_channel(images), self.sign)
        found["brain"] = None
        if self.brain_mask is not None:
            found["brain"] = processing.brain_masks(images, self.brain_mask, self.erosion)
        return found

    def labels(self, count: int) -> np.ndarray | None:
        """The condition, once for each of so many images; or None."""
        if self.condition is None:
            return None
        return np.repeat(np.asarray(self.condition)[None], count, axis=0)

    def shown_channel(self, images: np.ndarray) -> int | None:
        """The channel whose intensity counts, and that a picture shows; None for the mean."""
        if self.intensity_channel is not None:
            return self.intensity_channel
        if self.channel is not None:
            return self.channel
        return 0 if images.shape[-1] in (2, 4) else None

    def _processed(self, raw, weight, scales):
        maps = raw["maps"]
        if weight:
            maps = (1 - weight) * maps / scales[0] + weight * raw["intensity"] / scales[1]
        if self.median is not None:
            maps = processing.median_filtered(maps, self.median)
        if raw["brain"] is not None:
            maps = np.where(raw["brain"], maps, 0)
        return maps.astype(np.float32)

    def _scores(self, raw, maps, weight):
        own = self.method in OWN_SCORES and self.score == "auto" and not weight
        # Else `raw` has the scores of maps that were not processed yet.
        return raw["scores"] if own else image_scores(maps, self.score)

    # Validation.

    def fit(
        self,
        healthy: np.ndarray,
        images: np.ndarray | None = None,
        masks: np.ndarray | None = None,
    ) -> "AnomalyDetector":
        """Sets the thresholds, of `baselines` too, on validation images alone.

        Args:
            healthy: (n, height, width, channels), validation images without a lesion. Their
                quantiles are the thresholds of images and of pixels.
            images: validation images with lesions, where there are any. Then the pixel threshold
                is the one with the highest Dice coefficient over all pixels of both kinds.
            masks: (m, height, width) of `images`, 0 where healthy.

        Returns:
            The detector.

        Raises:
            ValueError: without healthy images, for `images` without `masks` or the reverse, or
                for `intensity="auto"` without them.
        """
        if not len(healthy):
            raise ValueError("fit needs healthy validation images. Received: none.")
        if (images is None) != (masks is None):
            raise ValueError("images and masks, of validation images with lesions, go together.")
        masks = None if masks is None else np.asarray(masks) != 0
        if masks is not None and (masks.shape != np.shape(images)[:3] or not masks.any()):
            raise ValueError(
                "masks must be of shape (m, height, width), as many as images, and not all 0. "
                f"Received: shape {masks.shape} for images of shape {np.shape(images)}."
            )
        if self.intensity == "auto" and masks is None:
            raise ValueError("intensity='auto' needs validation images with lesions and masks.")
        self._fit(healthy, images, masks)
        self.baselines = self._make_baselines()
        for baseline in self.baselines.values():
            baseline._fit(healthy, images, masks)
        return self

    def _fit(self, healthy, images, masks):
        raw = self._raw(healthy)
        inside = np.s_[:] if raw["brain"] is None else raw["brain"]
        scales = [_deviation(raw[name][inside]) for name in ("maps", "intensity")]
        with_lesions = None if masks is None else self._raw(images)
        weight = self.intensity
        if masks is not None:
            targets = np.concatenate([np.zeros(raw["maps"].shape, bool), masks]).ravel()

            def both(weight):
                parts = [self._processed(part, weight, scales) for part in (raw, with_lesions)]
                return np.concatenate(parts).ravel()

            if weight == "auto":
                weight = max(WEIGHTS, key=lambda w: ranking(targets, both(w))["ap"])
        maps = self._processed(raw, weight, scales)
        if masks is None:
            pixels = maps[inside]
            if not pixels.size:
                raise ValueError(
                    f"brain_mask={self.brain_mask} leaves no pixel of the healthy images."
                )
            pixel_threshold = np.quantile(pixels, self.pixel_quantile)
        else:
            _, pixel_threshold = best_dice(targets, both(weight))
        scores = self._scores(raw, maps, weight)
        self.fitted = {
            "image_threshold": float(np.quantile(scores, self.image_quantile)),
            "pixel_threshold": float(pixel_threshold),
            "weight": float(weight),
            "scales": [float(scale) for scale in scales],
        }

    def detect(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Finds what does not look healthy.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.

        Returns:
            A dict of `maps`, float32 (n, height, width), `scores`, float32 (n,), and where the
            method makes it `restored`; see `keras_medgen.anomaly.detect`. Of a fitted detector
            also `masks`, bool (n, height, width), and `flags`, bool (n,): what exceeds the
            thresholds.

        Raises:
            ValueError: before `fit`, where the map has a share of the intensity.
        """
        if self.fitted is None and self.intensity:
            raise ValueError("a detector with intensity must be fitted before it can detect.")
        weight, scales = 0.0, None
        if self.fitted is not None:
            weight, scales = self.fitted["weight"], self.fitted["scales"]
        raw = self._raw(images)
        maps = self._processed(raw, weight, scales)
        found = {"maps": maps, "scores": self._scores(raw, maps, weight)}
        if "restored" in raw:
            found["restored"] = raw["restored"]
        if self.fitted is not None:
            # As float64: a threshold between two float32 numbers must not be rounded to one.
            masks = maps > np.float64(self.fitted["pixel_threshold"])
            found["masks"] = processing.without_small_regions(masks, self.min_region)
            found["flags"] = found["scores"] > np.float64(self.fitted["image_threshold"])
        return found

    # Config.

    def _arguments(self):
        names = (
            "method",
            "channel",
            "sign",
            "score",
            "brain_mask",
            "erosion",
            "median",
            "min_region",
            "intensity",
            "intensity_channel",
            "image_quantile",
            "pixel_quantile",
            "condition",
        )
        return {name: getattr(self, name) for name in names} | self.arguments

    def get_config(self) -> dict:
        """The arguments but the model, and what `fit` found, of the baselines too: for JSON.

        Raises:
            ValueError: for a `score` that is a function.
        """
        if callable(self.score):
            raise ValueError(f"a score that is a function cannot be saved. Received: {self.score}.")
        fitted = {name: baseline.fitted for name, baseline in self.baselines.items()}
        return {"arguments": self._arguments(), "fitted": self.fitted, "baselines": fitted}

    @classmethod
    def from_config(cls, config: dict, model) -> "AnomalyDetector":
        """The detector of `get_config`, with its model."""
        detector = cls(model, **config["arguments"])
        detector.fitted = config["fitted"]
        if detector.fitted is not None:
            detector.baselines = detector._make_baselines()
            for name, baseline in detector.baselines.items():
                baseline.fitted = config["baselines"][name]
        return detector


def _deviation(values):
    return max(float(np.std(values, dtype=np.float64)), 1e-12) if values.size else 1.0
