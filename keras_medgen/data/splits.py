"""Cutting validation and test splits off the training images."""

import numpy as np

SPLITS = ("train", "val", "test")


def cut_splits(
    splits: np.ndarray,
    fractions: dict[str, float],
    seed: int,
    *,
    groups: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Gives every image a split; "val" and "test", where missing, are cut off the others.

    An image that has none goes where others of its group are: test before validation before
    training. What is cut shares no group with the splits that the source has.

    Args:
        splits: (n,) of "train", "val", "test", or "" for images that have none yet.
        fractions: share of "val" and of "test" in what is cut.
        seed: of the choice.
        groups: (n,) integers: images of one group (a patient, a slide) stay together.
        classes: (n,) integers: each class is cut by the same shares.

    Returns:
        (n,) of "train", "val", "test"; and the names of the splits that were cut.

    Raises:
        ValueError: if there are too few groups.
    """
    splits = splits.copy()
    missing = [name for name in ("test", "val") if not (splits == name).any()]
    groups = np.arange(len(splits)) if groups is None else groups
    for name in ("test", "val", "train"):
        splits[(splits == "") & np.isin(groups, groups[splits == name])] = name
    elsewhere = groups[(splits == "val") | (splits == "test")]
    splits[splits == ""] = "train"
    pool = np.flatnonzero((splits == "train") & ~np.isin(groups, elsewhere))
    number = len(np.unique(groups[pool]))
    if missing and number <= len(missing):
        raise ValueError(
            f"{len(missing) + 1} patients (or slides, or images that show different pictures) "
            f"are needed for {' and '.join(['train', *missing])}. Received: {number}"
        )
    rng = np.random.default_rng(seed)
    whole = len(pool)
    for name in missing:
        rows = pool[splits[pool] == "train"]
        chosen = split_off(
            len(rows),
            fractions[name] * whole / max(1, len(rows)),
            rng,
            groups[rows],
            None if classes is None else classes[rows],
        )
        splits[rows[chosen]] = name
    return splits, missing


def split_off(
    count: int,
    fraction: float,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses about `fraction` of `count` examples, whole groups at a time, class by class.

    Args:
        count: number of examples.
        fraction: share to choose, in (0, 1).
        rng: source of randomness.
        groups: (count,), of any type: examples of one group stay together.
        classes: (count,) integers; a group counts for the class that most of its examples have.

    Returns:
        bool (count,), True for the chosen: at least one example, and one of each class that has
        three groups.

    Raises:
        ValueError: if all examples belong to one group.
    """
    members = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(members)
    if len(sizes) < 2:
        raise ValueError(
            "a split needs at least two groups (images, patients or slides that share no "
            f"picture). Received: {len(sizes)}."
        )
    if classes is None:
        strata = np.zeros(len(sizes), int)
    else:
        votes = np.zeros((len(sizes), int(classes.max()) + 1), int)
        np.add.at(votes, (members, classes), 1)
        strata = votes.argmax(axis=1)
    order = rng.permutation(len(sizes))
    chosen, owed = [], 0.0  # what rounding took from one class goes to the next
    for stratum in np.unique(strata):
        candidates = order[strata[order] == stratum]
        # Groups in random order until the next would overshoot by more than it would bring near.
        reached = np.concatenate([[0], np.cumsum(sizes[candidates])])
        wanted = fraction * reached[-1] + owed
        number = int(np.argmin(np.abs(reached - wanted)))
        if number == 0 and len(candidates) >= 3:
            number = 1
        number = min(number, len(candidates) - 1)
        owed = wanted - reached[number]
        chosen += list(candidates[:number])
    if not chosen:
        chosen = [order[0]]
    return np.isin(members, chosen)
