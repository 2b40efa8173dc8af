"""Reports that were made by hand: every kind of figure, table and picture, on no real data."""

import numpy as np

from keras_medgen.evaluation.report import Picture, Report, Section, Table
from tests.conftest import blobs

FD = "FD[randconv-v1/64,N=312]"


def hand_made(**other) -> Report:
    """A report with everything that a report can hold; `other` replaces its fields."""
    images = blobs(np.random.default_rng(0), 48, (28, 28, 1)) / np.float32(255)
    classes = ["normal", "pneumonia <bacterial & viral>"]
    fidelity = Section(
        "fidelity",
        summary=[
            "Generated images are 3.21 times as far from the test images as these are from each "
            "other (Fréchet distance in randconv-v1/64, 312 images a side).",
            "To the training images it is 3.05 times.",
        ],
        reading=["The floor is the distance between two disjoint halves of the real images."],
        metrics={
            f"test/{FD}": 1.32,
            f"test/{FD}/floor": np.float64(0.411),
            "test/floor": 0.411,
            "test/ratio": 3.21,
            "test/real_train_ratio": 1.047,
            "test/KD[randconv-v1/64,N=312]": -0.00012,
            f"test/{classes[1]}/FD[randconv-v1/64,N=195]": float("nan"),
        },
        tables=[
            Table(
                "Fréchet and kernel distances, and their floors",
                ["features", "split", "N", "distance", "floor", "ratio", "kernel distance"],
                [
                    ["randconv-v1/64", split, 312, (1.32, 1.21, 1.44), 0.411, 3.21, -0.00012]
                    for split in ("train", "test")
                ],
            ),
            Table(
                "Fréchet distances by class",
                ["class", *(f"a long name of column {i}" for i in range(12))],
                [[name, *(float(i) ** 3 for i in range(11)), None] for name in classes],
            ),
        ],
        warnings=["test: with N=312 a distance is mostly its bias: read its ratio to the floor."],
    )
    authenticity = Section(
        "authenticity",
        summary=["COPIES: about 12% of the generated images are near copies, 3 of them exact."],
        metrics={"flagged": 1, "exact_copies": np.int64(3), "copied_share": 0.12}
        | {"auth_pct[pixels]": 43.1, "auth_pct_held_out[pixels]": 70.04},
        pictures=[
            Picture("The closest pairs, each with its training image on its right.", images[:32]),
            Picture("Training images, none of them generated.", images[:5], synthetic=False),
            Picture("Channels of another number.", images[:3].repeat(2, axis=-1)),
            Picture("In colour.", images[:40].repeat(3, axis=-1), columns=20, real=False),
        ],
    )
    cost = Section("cost", metrics={"parameters": 1_623_169, "images_per_second": 184.2})
    limits = Section("limits", summary=["No reader study was done.", "No formal privacy."])
    fields = {
        "title": "VAE on pneumoniamnist.npz <28 x 28>",
        "sections": [fidelity, authenticity, cost, limits],
        "features": {"randconv-v1/64": {"sha256": "ab" * 32, "preprocessing": "to 64 by 64"}},
        "settings": {"num_images": 1000, "seed": 0, "learning_rate": 3e-4},
        "model": {
            "class": "VAE",
            "parameters": 1_623_169,
            "config": {
                "latent_dim": 64,
                "encoder": {"class_name": "Functional", "config": {"layers": [1, 2]}},
            },
        },
        "data": {
            "source": "pneumoniamnist.npz",
            "licence": "CC BY-NC 4.0",
            "sha256": "cd" * 32,
            "counts": {"train": 4708, "test": 624},
            "split_sha256": {"train": "01" * 32, "test": "23" * 32},
            "preprocessing": ["val cut off by image, seeded"],
            "report": {
                "found": 5334,
                "left_out": {
                    "too small": {"images": 1, "first": ["patient_jones.png"]},
                    "the same pixels as patient_smith": {"images": 1, "first": ["jones"]},
                },
            },
        },
        "versions": {"keras_medgen": "0.1.0", "keras": "3.15.1"},
        "date": "2025-01-31",
    }
    return Report(**fields | other)
