"""What a trained VAE-GAN makes of its prior, and of a density fitted to its latents.

    python benchmarks/vae_gan_samples.py runs/brain --data brain_tumor_mri_64.npz

Prints the mean MS-SSIM between two samples, beside that between two images, and the distances of
samples and of validation images to their nearest training images; writes a grid of samples of the
fitted density to docs/vaegan_brain_fitted.png.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_medgen as kmg
from keras_medgen.pictures import save_grid

NUM, COMPONENTS, SHOWN, SEED = 64, 20, 32, 0
PICTURE = Path(__file__).parents[1] / "docs" / "vaegan_brain_fitted.png"


def similarity(images):
    first, second = np.triu_indices(len(images), k=1)
    return np.mean(kmg.ops.ms_ssim(images[first], images[second]))


def nearest(images, others):
    """The root mean square difference of each image from the nearest of the others."""
    images, others = (x.reshape(len(x), -1).astype(np.float64) for x in (images, others))
    squared = (images**2).sum(1)[:, None] + (others**2).sum(1) - 2 * images @ others.T
    return np.sqrt(np.maximum(squared.min(axis=1), 0) / images.shape[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of keras-medgen train")
    parser.add_argument("--data", required=True, help="what the run was trained on")
    arguments = parser.parse_args()
    data = kmg.data.load(arguments.data, seed=SEED)
    train, val = (np.asarray(data.arrays(name)["images"]) for name in ("train", "val"))
    train, val = (x / np.float32(255) if x.dtype == np.uint8 else x for x in (train, val))
    model = keras.saving.load_model(arguments.run / "model.keras")
    places = np.linspace(0, len(val) - 1, NUM).astype(int)
    print(f"MS-SSIM between two images: {similarity(val[places]):.3f}")
    print(f"between two samples of the prior: {similarity(model.generate(NUM, seed=SEED)):.3f}")
    model.fit_prior(train, COMPONENTS, SEED)
    samples = model.generate(NUM, seed=SEED)
    print(f"between two samples of the fitted density: {similarity(samples):.3f}")
    for name, images in (("samples", samples), ("validation images", val)):
        distances = nearest(images, train)
        print(
            f"{name} to the nearest training image: median {np.median(distances):.3f}, "
            f"least {distances.min():.3f}"
        )
    save_grid(PICTURE, samples[:SHOWN], columns=8, synthetic=True)


if __name__ == "__main__":
    main()
