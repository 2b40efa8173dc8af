"""Whether generated images are copies of training images."""

import dataclasses

import numpy as np

from keras_medgen import metrics
from keras_medgen.evaluation.report import Picture, Section, Table

NEAR = 0.5  # times as far as training images are from their nearest neighbours, or less
SIGNIFICANT = 1e-3  # p-value of the exact test between generated and held-out images
FEWEST = 0.01  # share of near copies that is flagged
TOO_CLOSE = -3  # Z of the C_T test
PLANTED = 200  # copies of each kind
RARELY = 0.5  # share of planted copies of a kind: where fewer are found, that is said
PAIRS_SHOWN = 16
LONGEST_SIDE = 64  # of what is compared pixel by pixel

READING = [
    "Each generated image is compared with the training image nearest to it: how far, beside how "
    "far that training image is from its own nearest neighbour. A ratio under 1 is closer than "
    "real images are to each other. AuthPct is the share above 1 (Alaa et al. 2022).",
    "A near copy is less than half as far from a training image as that is from its neighbour, or "
    "as the median training image is; an exact copy has the pixels of one. Where held-out real "
    "images have near copies too, the data shows some things twice: the copied share is what "
    "generated images have beyond that. Z of the C_T test (Meehan et al. 2020) is below -3 where "
    "generated images are systematically closer to training images than held-out ones are, be it "
    "for copies or for being blurred. Exact copies of training images that another split holds as "
    "well are counted, and prove nothing.",
    "The planted copies say what this can find: training images, slightly changed, offered as if "
    "generated.",
]


@dataclasses.dataclass
class Space:
    """Where nearness is measured.

    Attributes:
        name: of the space.
        of: function from images to vectors, np.ndarray float64 (n, d).
        train: vectors of the training images, each once.
        own: distance of each to its nearest neighbour.
    """

    name: str
    of: callable
    train: np.ndarray
    own: np.ndarray

    def compared(self, images):
        """Distances to the nearest training image, their ratios to its own, and which are near.

        The own distance of an image that has a near copy among the training images is short: that
        of the median image stands for it where copies are looked for.
        """
        distances, numbers = metrics.nearest(self.of(images), self.train)
        own = self.own[numbers]
        return distances, distances / own, distances < NEAR * np.maximum(own, np.median(self.own))


def authenticity(
    train, held_out, generated, extractor, seed, held_out_name, elsewhere=None
) -> Section:
    """Nearest training images, AuthPct, the C_T test, copies, and what planted copies it finds.

    Args:
        train: float32 images (n, height, width, channels) of the training split.
        held_out: images that the model never saw, of the same distribution; None where there are
            too few, and near copies are not judged.
        generated: `Generated`.
        extractor: fitted `FeatureExtractor`, the second space beside the pixels.
        seed: of the planted copies.
        held_out_name: where the held-out images are from: "val".
        elsewhere: images of the other splits, among which copies of training images may stand.
    """
    section = Section("authenticity", reading=list(READING))
    images = generated.images
    spaces = [
        _space("pixels", pixel_vectors, train),
        _space(extractor.label, lambda given: extractor(given).values, train),
    ]
    table = Table(
        "Nearness to training images, generated and held-out real images",
        ["space", "AuthPct", "held out", "C_T Z", "near copies", "held out", "copied share"],
        [],
    )
    flagged, closeness = False, {}
    for space in spaces:
        distances, ratios, is_near = space.compared(images)
        closeness[space.name] = ratios
        near, auth_pct = float(is_near.mean()), 100 * float(np.mean(ratios > 1))
        if held_out is None:
            section.metrics[f"auth_pct[{space.name}]"] = auth_pct
            section.metrics[f"near_copies[{space.name}]"] = near
            table.rows.append([space.name, auth_pct, None, None, near, None, None])
            continue
        distances_held_out, ratios_held_out, is_near_held_out = space.compared(held_out)
        near_held_out = is_near_held_out.mean()
        copied = max(0.0, (near - near_held_out) / (1 - near_held_out))
        flagged |= bool(copied > FEWEST and _chance(is_near, is_near_held_out) < SIGNIFICANT)
        figures = {
            "auth_pct": auth_pct,
            "auth_pct_held_out": 100 * float(np.mean(ratios_held_out > 1)),
            "c_t": metrics.copying_statistic_of_distances(distances_held_out, distances),
            "near_copies": near,
            "near_copies_held_out": float(near_held_out),
            "copied_share": float(copied),
        }
        section.metrics |= {f"{name}[{space.name}]": value for name, value in figures.items()}
        table.rows.append([space.name, *figures.values()])
    section.metrics["exact_copies"] = exact_copies(images, train)
    if held_out is not None:
        section.metrics["exact_copies_held_out"] = exact_copies(held_out, train)
    given_away = exact_copies(images, train, elsewhere)
    section.metrics["flagged"] = int(flagged or given_away > 0)
    if held_out is not None:
        section.metrics["copied_share"] = max(
            section.metrics[f"copied_share[{space.name}]"] for space in spaces
        )
        section.summary.append(f"Held-out real images: {len(held_out)} of {held_out_name}.")
    section.tables += [table, _planted(section, spaces, train, seed)]
    section.pictures.append(_closest_pairs(images, train, closeness["pixels"]))
    section.summary.insert(0, _verdict(section.metrics, flagged, given_away))
    return section


def pixel_vectors(images):
    """Images as vectors, those of sides over 64 pixels averaged over blocks first."""
    factor = -(-max(images.shape[1:3]) // LONGEST_SIDE)
    if factor > 1:
        rows, columns = (side // factor * factor for side in images.shape[1:3])
        count, channels = len(images), images.shape[-1]
        images = images[:, :rows, :columns]
        images = images.reshape(
            count, rows // factor, factor, columns // factor, factor, channels
        ).mean(axis=(2, 4))
    return images.reshape(len(images), -1).astype(np.float64)


def exact_copies(images, train, elsewhere=None) -> int:
    """How many images have, in 8 bits, the pixels of a training image that is not `elsewhere`."""
    known = {row.tobytes() for row in _eight_bits(train)}
    if elsewhere is not None:
        known -= {row.tobytes() for row in _eight_bits(elsewhere)}
    return sum(row.tobytes() in known for row in _eight_bits(images))


def _eight_bits(images):
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _space(name, of, train):
    distinct = np.unique(of(train), axis=0)  # the neighbour of a copy is not its double
    own, _ = metrics.nearest(distinct, distinct, exclude_self=True)
    return Space(name, of, distinct, own)


def _chance(generated, held_out):
    """The p-value of so many more near copies among the generated images."""
    from scipy.stats import fisher_exact

    counts = [[part.sum(), len(part) - part.sum()] for part in (generated, held_out)]
    return fisher_exact(counts, alternative="greater").pvalue


def _planted(section, spaces, train, seed):
    """How many slightly changed training images are found to be near copies."""
    random = np.random.default_rng(seed)
    chosen = train[random.permutation(len(train))[:PLANTED]]
    changed = {
        "noise of 0.02": chosen + random.normal(0, 0.02, chosen.shape),
        "brighter by 5 %": chosen * 1.05,
        "contrast of 90 %": chosen.mean(axis=(1, 2, 3), keepdims=True) * 0.1 + chosen * 0.9,
        "moved by a pixel": np.roll(chosen, 1, axis=2),
        "mirrored": chosen[:, :, ::-1],
    }
    table = Table(
        f"Share of {len(chosen)} planted copies that are found",
        ["training images, changed", *(space.name for space in spaces), "either"],
        [],
    )
    for name, images in changed.items():
        images = np.clip(images, 0, 1).astype(np.float32)
        found = [space.compared(images)[2] for space in spaces]
        shares = [float(np.mean(hits)) for hits in (*found, np.any(found, axis=0))]
        table.rows.append([name, *shares])
        section.metrics[f"planted/{name}"] = shares[-1]
    return table


def _closest_pairs(images, train, ratios):
    closest = np.argsort(ratios, kind="stable")[:PAIRS_SHOWN]
    # Which training images these are is looked up again: copies among them stand once there.
    numbers = metrics.nearest(pixel_vectors(images[closest]), pixel_vectors(train))[1]
    pairs = np.stack([images[closest], train[numbers]], axis=1)
    return Picture(
        "The generated images closest to training images, in pairs: on the left the generated "
        "one, on the right the training image.",
        pairs.reshape(-1, *images.shape[1:]),
        columns=8,
    )


def _verdict(figures, near_copies, given_away):
    if near_copies:
        share = 100 * figures["copied_share"]
        return (
            f"COPIES: about {share:.2g} % of the generated images are near copies of training "
            f"images, {figures['exact_copies']} of them exact."
        )
    if given_away:
        return f"COPIES: {given_away} generated images have the very pixels of training images."
    if "copied_share" not in figures:
        return "No exact copies of training images; near copies could not be judged."
    said = "No near copies of training images beyond those among held-out real images."
    closest = min(value for name, value in figures.items() if name.startswith("c_t["))
    if closest < TOO_CLOSE:
        said += (
            " Yet generated images lie systematically closer to training images than held-out "
            f"ones do (C_T Z={closest:.1f}): blurred, or drawn from them."
        )
    missed = {
        name.removeprefix("planted/"): value
        for name, value in figures.items()
        if name.startswith("planted/") and value < RARELY
    }
    if missed:
        kinds = ", ".join(f"{kind} ({share:.0%})" for kind, share in missed.items())
        said += f" Of copies of some kinds this finds few, as planted ones show: {kinds}."
    return said
