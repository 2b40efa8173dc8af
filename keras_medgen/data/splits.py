"""Cutting a validation or a test split off the training images."""

import numpy as np


def split_off(
    count: int, fraction: float, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """Chooses about `fraction` of `count` examples, whole groups at a time.

    Args:
        count: number of examples.
        fraction: share to choose, in (0, 1).
        rng: source of randomness.
        groups: (count,), of any type: examples of one group (a patient, a slide) stay together.

    Returns:
        bool (count,), True for the chosen: at least one example.

    Raises:
        ValueError: if all examples belong to one group.
    """
    members = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(members)
    if len(sizes) < 2:
        raise ValueError(
            "a split needs at least two groups (images, patients or slides). "
            f"Received: {len(sizes)}."
        )
    order = rng.permutation(len(sizes))
    # Groups in random order until the next one would overshoot by more than it would bring near.
    reached = np.cumsum(sizes[order])
    number = int(np.argmin(np.abs(reached - fraction * count))) + 1
    return np.isin(members, order[: min(number, len(sizes) - 1)])
