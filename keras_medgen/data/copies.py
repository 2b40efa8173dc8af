"""Splits that do not leak: copies of one picture stay on one side, or are reported."""

import itertools

import numpy as np

from keras_medgen.data.duplicates import clusters, find_duplicates
from keras_medgen.data.found import Found
from keras_medgen.data.image_data import LoadReport
from keras_medgen.data.settings import Settings
from keras_medgen.data.splits import SPLITS, cut_splits

MOST_PAIRS = 1e9  # compared unless asked for: about 35 s on two cores
LARGEST_CLUSTER = 0.5  # of all images: beyond it, likeness tells no copies in this source


def settle_splits(
    found: Found,
    digests: list[bytes | None],
    thumbnails: np.ndarray,
    settings: Settings,
    name: str,
) -> LoadReport:
    """Cuts the splits that are missing and looks for copies; changes `found.splits`.

    Args:
        found: the images.
        digests: n, of each image's pixels; None for a constant image.
        thumbnails: as `find_duplicates` takes them.
        settings: of `load`.
        name: of the source, for errors.

    Returns:
        `LoadReport`.
    """
    notes = list(found.notes)
    near = np.zeros((0, 2), int)
    if not settings.split:
        found.splits[found.splits == ""] = "train"
    cut = settings.split and (
        not all((found.splits == split).any() for split in SPLITS) or (found.splits == "").any()
    )
    used = np.flatnonzero(found.splits != "out")
    keys = [digest or b"constant %d" % row for row, digest in enumerate(digests)]
    copies = np.unique(keys, return_inverse=True)[1]  # numbers of pictures: equal for exact copies
    if settings.deduplicate == "drop":
        _drop_copies(found, copies)
        used = np.flatnonzero(found.splits != "out")
    rows = np.array([row for row in used if digests[row] is not None], int)
    if not cut:
        sides = np.array([SPLITS.index(split) for split in found.splits[rows]], int)
    else:  # images of one group stay together anyway
        sides = None if found.groups is None else found.groups[rows]
    compared = found.compared and _few_enough(len(rows), sides, settings, notes)
    if compared:
        pairs = find_duplicates([digests[row] for row in rows], thumbnails[rows], sides=sides)
        near = rows[pairs.near]
    if cut:
        groups = _groups(found, copies, near, used, notes)
        classes = found.labels if found.task in ("multi-class", "ordinal") else None
        fractions = {"val": settings.validation_fraction, "test": settings.test_fraction}
        try:
            found.splits[used], missing = cut_splits(
                found.splits[used],
                fractions,
                settings.seed,
                groups=groups[used],
                classes=None if classes is None else classes[used],
            )
        except ValueError as error:
            raise ValueError(f"{name} lacks a split and cannot be cut: {error}.") from None
        how = "image" if found.groups is None else "group"
        if missing:
            found.preprocessing.append(f"{', '.join(missing)} cut off by {how}, seeded")
    if settings.deduplicate == "drop":
        _drop_near(found, near)
    notes += _shared_groups(found) + _contradictions(found, copies, near)
    if settings.split:
        notes += _unlearnable(found)
    used = np.flatnonzero(found.splits != "out")
    return LoadReport(
        found=len(used) + len(found.left_out),
        used=len(used),
        left_out=found.left_out,
        exact_copies=len(used) - len(np.unique(copies[used])),
        near_duplicates=int((found.splits[near] != "out").all(axis=1).sum()) if compared else None,
        leaks=_leaks(found.splits, copies, near),
        notes=notes,
    )


def _few_enough(count, sides, settings, notes) -> bool:
    pairs = count**2 - (0 if sides is None else (np.bincount(sides).astype(float) ** 2).sum())
    if pairs <= MOST_PAIRS or settings.deduplicate == "drop":
        return True
    notes.append(
        "near duplicates were not looked for, there are too many pairs of images "
        '(deduplicate="drop" does)'
    )
    return False


def _groups(found, copies, near, used, notes) -> np.ndarray:
    """Numbers of groups, in which patients and copies of one picture stay together."""
    count = len(found.splits)
    of_picture = np.zeros(copies.max(initial=0) + 1, int)
    of_picture[copies[used[::-1]]] = used[::-1]
    links = [np.stack([used, of_picture[copies[used]]], axis=1)]
    if found.groups is not None:
        of_group = np.zeros(found.groups.max(initial=0) + 1, int)
        of_group[found.groups[used]] = used
        links.append(np.stack([used, of_group[found.groups[used]]], axis=1))
    with_near = clusters(count, np.concatenate([*links, near]))
    if np.bincount(with_near[used]).max() <= max(2, LARGEST_CLUSTER * len(used)):
        return with_near
    without = clusters(count, np.concatenate(links))
    if len(np.unique(with_near[used])) == len(np.unique(without[used])):
        return without
    notes.append(
        "near duplicates join more than half of the images: the splits keep exact copies and "
        "groups together, not near duplicates"
    )
    return without


def _drop_copies(found: Found, copies: np.ndarray):
    """Keeps one image of each picture: of test before val before train."""
    rank = {"test": 0, "val": 1, "train": 2, "": 2}
    order = sorted(
        np.flatnonzero(found.splits != "out"), key=lambda row: (rank[found.splits[row]], row)
    )
    kept = {}
    for row in order:
        first = kept.setdefault(copies[row], row)
        if first != row:
            found.leave_out(row, f"the same pixels as {_called(found, first)}")


def _drop_near(found: Found, near: np.ndarray):
    for pair in near:
        splits = [str(found.splits[row]) for row in pair]
        if "out" in splits or splits[0] == splits[1]:
            continue
        less, more = sorted(pair, key=lambda row: SPLITS.index(str(found.splits[row])))
        found.leave_out(less, f"the same picture as {_called(found, more)}")


def _called(found: Found, row: int) -> str:
    split = str(found.splits[row])
    name = str(found.names[row])
    return name if not split or name.startswith(split) else f"{name} of {split}"


def _shared_groups(found: Found) -> list[str]:
    """Says which splits of the source share patients; what `load` cuts itself never does."""
    if found.groups is None:
        return []
    notes = []
    for first, second in itertools.combinations(SPLITS, 2):
        shared = np.intersect1d(
            found.groups[found.splits == first], found.groups[found.splits == second]
        )
        if len(shared):
            notes.append(f"{len(shared)} patients or groups stand in both {first} and {second}")
    return notes


def _unlearnable(found: Found) -> list[str]:
    """Says which classes no training image is of."""
    if found.labels is None or found.class_names is None:
        return []
    labels = found.labels[found.splits == "train"]
    of_each = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(found.class_names))
    absent = ", ".join(np.asarray(found.class_names)[~of_each.any(axis=0)])
    return [f"no training image is of the class {absent}: no model learns it"] if absent else []


def _contradictions(found: Found, copies: np.ndarray, near: np.ndarray) -> list[str]:
    """Says how many pictures stand under different labels."""
    if found.labels is None:
        return []
    order = np.flatnonzero(found.splits != "out")
    order = order[np.argsort(copies[order], kind="stable")]
    chain = np.stack([order[:-1], order[1:]], axis=1)
    pairs = np.concatenate([chain[copies[chain[:, 0]] == copies[chain[:, 1]]], near])
    pairs = pairs[(found.splits[pairs] != "out").all(axis=1)]
    labels = found.labels.reshape(len(found.labels), -1)
    number = int((labels[pairs[:, 0]] != labels[pairs[:, 1]]).any(axis=1).sum())
    return [f"{number} pairs of copies stand under different labels"] if number else []


def _leaks(splits, copies, near) -> dict[str, dict[str, int]]:
    leaks = {}
    for first, second in itertools.combinations(SPLITS, 2):
        rows = np.flatnonzero(splits == second)
        exact = np.isin(copies[rows], copies[splits == first])
        partners = set()
        for a, b in near:
            if splits[a] == first and splits[b] == second:
                partners.add(b)
            elif splits[a] == second and splits[b] == first:
                partners.add(a)
        alike = np.isin(rows, list(partners)) & ~exact
        if exact.any() or alike.any():
            leaks[f"{first}/{second}"] = {"exact": int(exact.sum()), "near": int(alike.sum())}
    return leaks
