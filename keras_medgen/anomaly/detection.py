"""Maps and scores of every model, by the method that it can."""

import numbers
from collections.abc import Callable

import numpy as np
import scipy.ndimage

from keras_medgen.anomaly.differences import SIGNS, check_channel, difference, intensity_map
from keras_medgen.anomaly.divergence import divergence
from keras_medgen.anomaly.features import feature_distance
from keras_medgen.anomaly.latent_search import latent_search
from keras_medgen.models.arguments import check_at_least
from keras_medgen.models.batches import checked_images, checked_labels

# What a model must have for a method. A model that knows timesteps is one of diffusion.
METHODS = {
    "reconstruction": ("reconstruct",),
    "kl": ("posterior", "kl_divergence"),
    "reconstruction+kl": ("posterior", "kl_divergence"),
    "features": ("posterior", "feature_layer"),
    "latent_search": ("decoded", "generator", "discriminator"),
    "diffusion": ("reconstruct", "num_timesteps"),
}
BASELINES = ("intensity", "blurred")  # need no model
DEFAULTS = ("diffusion", "reconstruction", "latent_search")  # the first that a model can
OWN_SCORES = ("kl", "reconstruction+kl", "features", "latent_search")
SIGNED = ("reconstruction", "latent_search", "diffusion", "blurred", "intensity")
NUM_DRAWS = 4
PERCENT = 99.5  # of a map's pixels lie below its score
BLUR = 1 / 16  # of the shorter side: the blurred baseline's standard deviation


def detect(
    model,
    images: np.ndarray,
    method: str = "auto",
    *,
    labels: np.ndarray | None = None,
    channel: int | None = None,
    sign: str = "absolute",
    score: str | Callable = "auto",
    timestep: int | None = None,
    num_draws: int = NUM_DRAWS,
    restoration: dict | None = None,
    steps: int = 500,
    restarts: int = 1,
    learning_rate: float = 0.05,
    feature_weight: float = 0.1,
    feature_layer: str = "features",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """What in images a model of healthy ones does not expect.

    The methods, and whose they are:

    - "reconstruction" (VAE, VAEGAN, and anything else with `reconstruct`): the difference between
      image and reconstruction.
    - "kl" (VAE, VAEGAN): the KL divergence of the posterior from the prior, in nats. It belongs
      to a whole image: the map is the absolute value of its gradient with respect to the image,
      which says where a change of a pixel would change the divergence most.
    - "reconstruction+kl" (VAE, VAEGAN): the negative evidence lower bound in nats, the model's
      own reconstruction loss (which must be a likelihood for that) plus the divergence; its
      absolute gradient is the map. Of the maps
      that Zimmerer et al. compare, this one has no weight to choose: both parts are derivatives
      of nats, and map and score say the same. (Their product of residual and gradient of the
      divergence is no sum, and has no score.)
    - "features" (VAEGAN): the squared difference of the discriminator's features of image and
      reconstruction, the mean over channels enlarged to the image; score: half its sum. It knows
      no `channel`.
    - "latent_search" (GAN): the difference between the image and the nearest that the generator
      can make; see `keras_medgen.anomaly.latent_search`. Score: what is left of its loss.
    - "diffusion" (Diffusion): the difference between the image and the mean of `num_draws`
      restorations from `timestep`, each from noise of its own. The mean of the restorations and
      not of the differences: E|x - r| >= |x - E r|, so what merely varies from draw to draw would
      count as abnormal, and does not lessen with more draws.
    - "intensity", "blurred" (no model: None): the baselines. The intensity itself, or 1 less it
      with `sign="darker"`; the difference between the image and itself blurred, the standard
      deviation a 16th of the shorter side.

    Args:
        model: one of `keras_medgen.models`, or None for a baseline.
        images: (n, height, width, channels), float in [0, 1] or uint8.
        method: see above. Default "auto": "diffusion", "reconstruction" or "latent_search", the
            first of them that the model can.
        labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1.
        channel: which the map is made of. Default: the mean over all.
        sign: of a difference: "absolute"; "brighter", where the image is brighter than expected,
            as lesions are in FLAIR; or "darker".
        score: of an image: "auto", the method's own where one is named above, else "p99.5";
            "pN" for the map's Nth percentile; "mean"; "max"; or a function from maps
            (n, height, width) to (n,).
        timestep: of "diffusion": how far images are noised, from 0 to below `num_timesteps`.
            Default: a tenth of these.
        num_draws: of "diffusion": restorations of each image; draw k is of the seed
            `num_draws * seed + k`. Of a KL divergence without a closed form: samples.
        restoration: other arguments of `Diffusion.reconstruct`, by name.
        steps: of "latent_search".
        restarts: of "latent_search": searches from other latents, of which the best counts.
        learning_rate: of "latent_search".
        feature_weight: of "latent_search": that of the discriminator's features.
        feature_layer: of "latent_search": their layer in the discriminator.
        seed: int.

    Returns:
        A dict of `maps`, float32 (n, height, width), at least 0, and `scores`, float32 (n,): the
        higher, the less expected; where the map is a difference also `restored`, what it is the
        difference to, float32 (n, height, width, channels).

    Raises:
        ValueError: for a method that the model does not have, or arguments out of their range.

    Reference:
        Baur et al., Autoencoders for unsupervised anomaly segmentation in brain MR images: A
        comparative study, 2021, https://arxiv.org/abs/2004.03271;
        Zimmerer et al., Unsupervised Anomaly Localization using Variational Auto-Encoders, 2019,
        https://arxiv.org/abs/1907.02796;
        Wyatt et al., AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models
        using Simplex Noise, 2022.
    """
    method = checked_method(model, method)
    images = _checked_images(model, images)
    labels = _checked_labels(model, labels, len(images))
    _check_map_arguments(method, channel, sign, images.shape[-1])
    check_at_least(1, numbers.Integral, num_draws=num_draws)
    check_at_least(1, numbers.Integral, restarts=restarts)
    own, restored = None, None
    if not len(images):
        maps = np.zeros(images.shape[:3])
    elif method in ("kl", "reconstruction+kl"):
        maps, own = divergence(
            model,
            images,
            labels,
            with_reconstruction=method != "kl",
            channel=channel,
            num_draws=num_draws,
            seed=seed,
        )
    elif method == "features":
        maps, own = feature_distance(model, images, labels)
    elif method == "intensity":
        maps = intensity_map(images, channel, sign)
    else:
        if method == "latent_search":
            restored, own = latent_search(
                model,
                images,
                labels,
                steps=steps,
                restarts=restarts,
                learning_rate=learning_rate,
                feature_weight=feature_weight,
                feature_layer=feature_layer,
                seed=seed,
            )
        elif method == "diffusion":
            arguments = {"labels": labels, **(restoration or {})}
            if timestep is not None:
                arguments["timestep"] = timestep
            restored = _mean_restoration(model, images, num_draws, seed, **arguments)
        elif method == "blurred":
            deviation = BLUR * min(images.shape[1:3])
            restored = scipy.ndimage.gaussian_filter(images, (0, deviation, deviation, 0))
        else:
            restored = model.reconstruct(images, *([] if labels is None else [labels]))
        maps = difference(images, restored, channel, sign)
    maps = np.asarray(maps, np.float32)
    if own is None or callable(score) or score != "auto":
        own = image_scores(maps, score)
    found = {"maps": maps, "scores": own}
    return found if restored is None else found | {"restored": restored}


def _mean_restoration(model, images, num_draws, seed, **arguments):
    total = np.zeros(images.shape, np.float64)
    for draw in range(num_draws):
        total += model.reconstruct(images, seed=num_draws * seed + draw, **arguments)
    return (total / num_draws).astype(np.float32)


def image_scores(maps: np.ndarray, score: str | Callable = "auto") -> np.ndarray:
    """One number for each map.

    Args:
        maps: (n, height, width).
        score: "auto" or "p99.5", "pN", "mean", "max" or a function; see `detect`.

    Returns:
        float32 (n,).
    """
    if callable(score):
        return np.asarray(score(maps), np.float32)
    reduce = _reduction(score)
    return np.array([reduce(one) for one in maps], np.float32)


def _reduction(score):
    if score in ("mean", "max"):
        return getattr(np, score)
    try:
        percent = PERCENT if score == "auto" else float(score.removeprefix("p"))
        known = score == "auto" or (score.startswith("p") and 0 <= percent <= 100)
    except (AttributeError, ValueError):
        known = False
    if not known:
        raise ValueError(
            f"score must be auto, mean, max, pN of a percentile, or a function. "
            f"Received: score={score!r}."
        )
    return lambda one: np.percentile(one, percent)


def checked_method(model, method: str) -> str:
    """The method that is meant, or a ValueError that says what the model can."""
    can = [
        name
        for name, needed in METHODS.items()
        if all(hasattr(model, part) for part in needed)
        and not (name == "reconstruction" and hasattr(model, "num_timesteps"))
    ]
    if method == "auto":
        method = next((name for name in DEFAULTS if name in can), "auto")
    if method not in (*can, *BASELINES):
        raise ValueError(
            f"method must be one that the model has: {', '.join([*can, *BASELINES])}. "
            f"Received: method={method!r}, model={type(model).__name__}."
        )
    return method


def _checked_images(model, images):
    images = np.asarray(images)
    if hasattr(model, "image_shape"):
        return checked_images(images, model.image_shape)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise ValueError(
            f"images must be of shape (n, height, width, channels). Received: {images.shape}."
        )
    return checked_images(images, images.shape[1:])


def _checked_labels(model, labels, count):
    if model is None:
        return None  # of a baseline: as good as any
    if not hasattr(model, "num_classes") or hasattr(model, "num_timesteps"):
        return labels  # a diffusion model has a token for none
    return checked_labels(labels, count, model.num_classes)


def _check_map_arguments(method, channel, sign, channels):
    check_channel("channel", channel, channels)
    if sign not in SIGNS:
        raise ValueError(f"sign must be one of {', '.join(SIGNS)}. Received: sign={sign!r}.")
    if sign != "absolute" and method not in SIGNED:
        raise ValueError(f"sign={sign!r} is for {', '.join(SIGNED)}. Received: method={method!r}.")
