"""The samplers of a trained diffusion model beside 1,000 steps of ancestral sampling.

    keras-medgen train --data pneumoniamnist.npz --model diffusion ... --out runs/pneumonia
    python benchmarks/diffusion_samplers.py runs/pneumonia --data pneumoniamnist.npz

Prints the Fréchet distance of each sampler's images to the training images, its ratio to that of
"ddpm" with all timesteps, and the distance of as many real images to the other real ones. All
samples are of the same seeds and one precision (bfloat16 by default, for speed). Two feature
extractors, fixed before any sample is seen: the first 64 principal components of the training
images' pixels, and histograms of oriented gradients (Dalal and Triggs 2005, scikit-image), which
see edges and noise. What was sampled is kept beside the run, so that the table can be made in
parts. For runs with the default network, without labels.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import keras
import numpy as np
import scipy.linalg
from skimage.feature import hog

import keras_medgen as kmg
from keras_medgen.pictures import save_grid

SAMPLERS = (
    ("ddim", 25, "quadratic"),
    ("dpm_solver++", 15, "quadratic"),
    ("ddim", 25, "even"),
    ("dpm_solver++", 15, "even"),
    ("ddpm", 1000, "even"),
)
COMPONENTS = 64
PARTS = 8  # of each sampler's images, a seed each


def frechet_distance(first, second):
    means = [features.mean(axis=0) for features in (first, second)]
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    roots = np.sqrt(np.maximum(scipy.linalg.eigvals(covariances[0] @ covariances[1]).real, 0))
    difference = np.sum((means[0] - means[1]) ** 2)
    return float(difference + np.trace(covariances[0] + covariances[1]) - 2 * roots.sum())


def extractors(train):
    flat = train.reshape(len(train), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    components = np.linalg.svd(flat - mean, full_matrices=False)[2][:COMPONENTS]

    def pixels(images):
        return (images.reshape(len(images), -1) - mean) @ components.T

    def gradients(images):
        arguments = {"orientations": 8, "pixels_per_cell": (7, 7), "cells_per_block": (2, 2)}
        return np.array([hog(image[..., 0].astype(np.float64), **arguments) for image in images])

    return {f"pixels/{COMPONENTS}": pixels, "gradients": gradients}


def sampled(model, path, steps, seed, num):
    """Images and seconds of one part, from its file where it is there."""
    if not path.is_file():
        arguments = dict(zip(("sampler", "num_steps", "spacing"), steps, strict=True))
        model.generate(1, verbose=0, **arguments)  # to compile
        start = time.perf_counter()
        images = model.generate(num, seed=seed, verbose=0, **arguments)
        seconds = time.perf_counter() - start
        np.savez(path, images=np.round(images * 255).astype(np.uint8), seconds=seconds)
    with np.load(path) as content:
        return content["images"].astype(np.float64) / 255, float(content["seconds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--policy", default="mixed_bfloat16")
    arguments = parser.parse_args()
    saved = keras.saving.load_model(arguments.run / "model.keras")
    keras.config.set_dtype_policy(arguments.policy)
    # Again, under the policy: that of a saved model is in its layers.
    model = kmg.models.Diffusion(
        saved.image_shape,
        schedule=saved.schedule,
        prediction=saved.prediction,
        noise=saved.noise_kind,
    )
    model.set_weights(saved.get_weights())
    data = kmg.data.load(arguments.data)
    train = data.arrays("train")["images"]
    digest = hashlib.sha256(b"".join(w.tobytes() for w in saved.get_weights())).hexdigest()
    folder = arguments.run / "samplers" / f"{arguments.policy}-{digest[:8]}"
    folder.mkdir(parents=True, exist_ok=True)

    order = np.random.default_rng(0).permutation(len(train))
    parts_of_real = train[order[: arguments.num]], train[order[arguments.num :]]
    known = extractors(train)
    floors = {
        name: frechet_distance(*map(extract, parts_of_real)) for name, extract in known.items()
    }
    rows = []
    for steps in SAMPLERS:
        name = "-".join(map(str, steps)).replace("+", "p")
        num = arguments.num // PARTS
        parts = [
            sampled(model, folder / f"{name}-{num}-{seed}.npz", steps, seed, num)
            for seed in range(PARTS)
        ]
        images = np.concatenate([part for part, _ in parts])
        seconds = sum(seconds for _, seconds in parts)
        save_grid(folder / f"{name}.png", images[:32], columns=8, synthetic=True)
        row = dict(zip(("sampler", "steps", "spacing"), steps, strict=True))
        row["images/s"] = len(images) / seconds
        for name, extract in known.items():
            row[name] = frechet_distance(extract(train), extract(images))
        rows.append(row)
        print(row, flush=True)
    result = {"num": arguments.num, "policy": arguments.policy, "floors": floors, "rows": rows}
    (folder / "samplers.json").write_text(json.dumps(result, indent=2) + "\n")

    titles = [f"FD[{name},N={arguments.num}]" for name in known]
    print(
        "| sampler | steps | spacing | images/s | "
        + " | ".join(f"{t} | ratio" for t in titles)
        + " |"
    )
    print("|---|---:|---|" + "---:|" * (1 + 2 * len(titles)))
    for row in rows:
        cells = [f"{row[name]:.4g} | {row[name] / rows[-1][name]:.2f}" for name in known]
        print(
            f"| {row['sampler']} | {row['steps']} | {row['spacing']} | {row['images/s']:.2f} "
            f"| {' | '.join(cells)} |"
        )
    print(
        "| real images, others | | | | " + " | ".join(f"{v:.4g} | " for v in floors.values()) + " |"
    )


if __name__ == "__main__":
    main()
