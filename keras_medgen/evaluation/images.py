"""The images that an evaluation is of: generated ones, by seed, and the real splits."""

import dataclasses
import sys
import time

import numpy as np

from keras_medgen.metrics.features import checked_images, pixel_hash


@dataclasses.dataclass
class Generated:
    """Generated images, in one pool for each seed of the generator.

    Attributes:
        pools: list of float32 (n, height, width, channels) in [0, 1].
        labels: list of their labels, or None.
        masks: list of their masks, or None.
        seconds: what generating them took, or None.
        peak_mebibytes: the most memory that the process had taken by then, or None.
    """

    pools: list[np.ndarray]
    labels: list[np.ndarray] | None = None
    masks: list[np.ndarray] | None = None
    seconds: float | None = None
    peak_mebibytes: float | None = None

    @property
    def images(self) -> np.ndarray:
        """Of all pools."""
        return np.concatenate(self.pools)

    def examples(self) -> dict[str, np.ndarray]:
        """All images, with what is known of them: a dict of `images`, `labels`, `masks`."""
        found = {"images": self.images}
        for name, parts in (("labels", self.labels), ("masks", self.masks)):
            if parts is not None:
                found[name] = np.concatenate(parts)
        return found


def generated_by(model, num, seeds, labels, verbose) -> Generated:
    """Images of a model, `num` for each seed, of a conditional one with the labels of real images.

    Args:
        model: a `GenerativeModel`.
        num: how many for each seed.
        seeds: list of int.
        labels: labels of the real training images, whose classes are drawn from as they come; or
            None.
        verbose: whether to say what is going on.

    Raises:
        ValueError: for a conditional model, if there are no labels.
    """
    conditional = model.num_classes is not None
    if conditional and labels is None:
        raise ValueError(
            "data must have labels, for the model makes images of classes. Received: none."
        )
    options = {} if verbose else quiet(model)
    model.generate(1, labels=labels[:1] if conditional else None, **options)  # compiled by now
    pools, given = [], [] if conditional else None
    started = time.perf_counter()
    for seed in seeds:
        chosen = None
        if conditional:
            chosen = np.random.default_rng(seed).choice(labels, num)
            given.append(chosen)
        say(verbose, f"generating {num} images, seed {seed}")
        pools.append(model.generate(num, labels=chosen, seed=seed, **options))
    seconds = time.perf_counter() - started
    return Generated(pools, given, seconds=seconds, peak_mebibytes=_peak_mebibytes())


def quiet(model) -> dict:
    """What keeps a model from showing progress, if it is one that does: of diffusion."""
    return {"verbose": 0} if hasattr(model, "num_timesteps") else {}


def _peak_mebibytes():
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # there in bytes, else in KiB


def given_images(images, labels, masks) -> Generated:
    """Images that were generated elsewhere, as one pool.

    Raises:
        ValueError: for images that are not (n, height, width, channels) in [0, 1], or other
            numbers of labels or masks.
    """
    images = checked_images(images, "model_or_images")
    parts = {}
    for name, column in (("labels", labels), ("masks", masks)):
        parts[name] = None
        if column is not None:
            parts[name] = [np.asarray(column)]
            if len(column) != len(images):
                raise ValueError(
                    f"{name} must be as many as the images, {len(images)}. Received: {len(column)}."
                )
    return Generated([images], **parts)


def split_hashes(splits) -> dict[str, str]:
    """The hash of each split's pixels."""
    return {name: pixel_hash(split["images"]) for name, split in splits.items()}


def classes_of(labels, num_classes):
    """For each class, the numbers of its examples: of findings that come together, of several."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return [np.flatnonzero(labels[:, number]) for number in range(num_classes)]
    return [np.flatnonzero(labels == number) for number in range(num_classes)]


def say(verbose, message) -> None:
    """Prints a line of progress, if it is wanted."""
    if verbose:
        print(message, flush=True)
