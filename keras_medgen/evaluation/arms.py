"""What comparisons of training on real and on generated images have in common."""

import numpy as np

HELD_OUT = 0.2  # of the training images, where there are none to validate on
NO_VALIDATION = (
    "there is no validation split: {count} of the training images, drawn at random, were held out "
    "to choose the checkpoints. The generator has seen them, and they may show patients who are "
    "among the other training images too."
)


def with_validation(
    train: dict[str, np.ndarray], val: dict[str, np.ndarray] | None, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], str | None]:
    """Training and validation images, the latter held out of the former where there are none.

    Args:
        train: dict of arrays of one length, `images` among them.
        val: likewise; None or empty where there is none.
        seed: of what is held out.

    Returns:
        Both, and a sentence that says so where something was held out.
    """
    if val is not None and len(val["images"]):
        return train, val, None
    order = np.random.default_rng(seed).permutation(len(train["images"]))
    held_out, kept = np.split(order, [max(1, round(HELD_OUT * len(order)))])
    known = {name: np.asarray(array) for name, array in train.items() if array is not None}
    return (
        {name: array[np.sort(kept)] for name, array in known.items()},
        {name: array[np.sort(held_out)] for name, array in known.items()},
        NO_VALIDATION.format(count=len(held_out)),
    )


def combined_rows(real: int, generated: int, ratio: float, seed: int) -> np.ndarray:
    """Which images to train on, of real ones with generated ones behind them.

    Args:
        real: number of the real images: all of them, once.
        generated: number of the generated images.
        ratio: generated images for one real one: drawn without replacement, or where there are
            fewer each of them more often.
        seed: of the draw.

    Returns:
        int (real + round(ratio * real),).
    """
    drawn = np.random.default_rng(seed).permutation(generated)
    return np.concatenate([np.arange(real), real + np.resize(drawn, round(ratio * real))])


def mean_and_range(values) -> tuple[float, float, float] | None:
    """The mean, lowest and highest of one figure over the seeds; None where it is undefined."""
    values = np.asarray(values, np.float64)
    if not values.size or np.isnan(values).any():
        return None
    return float(values.mean()), float(values.min()), float(values.max())


def beyond_spread(alone, both) -> int:
    """Whether generated images changed a figure by more than another seed would.

    Args:
        alone: the figure with real images alone, for each seed.
        both: with real and generated images.

    Returns:
        1 where the lowest of `both` exceeds the highest of `alone`, -1 the other way round, else 0.
        Of one seed always 0: it has no spread.
    """
    if min(len(alone), len(both)) < 2:
        return 0
    return int(min(both) > max(alone)) - int(max(both) < min(alone))
