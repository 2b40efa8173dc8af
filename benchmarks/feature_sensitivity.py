"""What each feature extractor sees: distances over their floor for images that are spoiled.

Images of one half of the training images stand for what a perfect generator makes. They are
blurred, given noise, replaced by copies of 50 of them, drawn from all classes but the largest,
mirrored. The figure is their Fréchet distance to as many of the other half over the floor, which is
that of the images as they are: means over five divisions into halves.

    python benchmarks/feature_sensitivity.py --data brain_tumor_mri_64.npz

The last line is all figures as JSON.
"""

import argparse
import json

import numpy as np
from scipy.ndimage import gaussian_filter

import keras_medgen as kmg
from keras_medgen.evaluation.evaluate import default_extractors

REPEATS = 5
COPIED = 50


def spoiled(images, without, random):
    """From what was done to images to what became of them, as many as are `without` a class."""
    images = images[random.permutation(len(images))[: len(without)]]
    return {
        "as they are": images,
        "blurred, sigma 0.5": gaussian_filter(images, (0, 0.5, 0.5, 0)),
        "blurred, sigma 1": gaussian_filter(images, (0, 1, 1, 0)),
        "noise of 0.02": np.clip(images + random.normal(0, 0.02, images.shape), 0, 1),
        "noise of 0.05": np.clip(images + random.normal(0, 0.05, images.shape), 0, 1),
        f"copies of {COPIED} images": images[np.arange(len(images)) % COPIED],
        "largest class dropped": without,
        "mirrored": images[:, :, ::-1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    arguments = parser.parse_args()
    data = kmg.data.load(arguments.data)
    splits = {name: data.arrays(name) for name in ("train", "val", "test")}
    images, labels = splits["train"]["images"], splits["train"]["labels"]
    extractors = default_extractors(splits, data)
    found, sizes = {}, []
    for extractor in extractors:
        extractor.fit(images)
    for repeat in range(REPEATS):
        random = np.random.default_rng(repeat)
        half, other = np.array_split(random.permutation(len(images)), 2)
        without = images[other][labels[other] != np.bincount(labels).argmax()]
        real = {e.label: e(images[half[: len(without)]]) for e in extractors}
        sizes.append(len(without))
        for what, changed in spoiled(images[other], without, random).items():
            for extractor in extractors:
                label, features = extractor.label, extractor(changed.astype(np.float32))
                distance = kmg.metrics.frechet_distance(real[label], features)
                found.setdefault(what, {}).setdefault(label, []).append(distance)
    names = [extractor.label for extractor in extractors]
    means = {
        what: {name: float(np.mean(row[name])) for name in names} for what, row in found.items()
    }
    floors = means["as they are"]
    num = f"{min(sizes)} to {max(sizes)}"
    print(f"| Fréchet distance over its floor, N={num} | {' | '.join(names)} |")
    print("|---|" + "---:|" * len(names))
    for what, row in means.items():
        print(f"| {what} | " + " | ".join(f"{row[n] / floors[n]:.1f}" for n in names) + " |")
    print(json.dumps({"num": num, "means": means}))


if __name__ == "__main__":
    main()
