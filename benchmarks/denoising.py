"""A denoising VAE beside a median and a non-local-means filter, on noised test images.

    python benchmarks/denoising.py --data pneumoniamnist.npz

Gaussian noise is added to the test images and clipped to [0, 1]. The filters get what they need
chosen on the validation images, for each level of noise: the median's width, the strength of
non-local means, which is told the noise's standard deviation. One VAE is trained for each level.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import scipy.ndimage
from skimage.restoration import denoise_nl_means

import keras_medgen as kmg

NOISE = (0.05, 0.1, 0.2, 0.4)
MEDIANS = (3, 5, 7, 9)
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
SEED = 0


def noised(images, sigma, seed):
    noise = np.random.default_rng(seed).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def median(images, width):
    return scipy.ndimage.median_filter(images, (1, width, width, 1), mode="reflect")


def non_local_means(images, strength, sigma):
    settings = {"patch_size": 5, "patch_distance": 6, "fast_mode": False, "channel_axis": -1}
    filtered = [denoise_nl_means(x, h=strength * sigma, sigma=sigma, **settings) for x in images]
    return np.clip(filtered, 0, 1).reshape(images.shape)  # one channel is dropped


def best(filtered, originals):
    """Of several results the one with the highest PSNR, and its quality."""
    scored = [
        (kmg.evaluation.reconstruction_quality(originals, images)["psnr"], setting)
        for setting, images in filtered
    ]
    return max(scored)[1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="what kmg.data.load takes")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--limit", type=int, default=200, help="test images")
    parser.add_argument("--out", type=Path, default=Path("runs/denoising"))
    options = parser.parse_args()
    data = kmg.data.load(options.data, batch_size=64, seed=SEED)
    test = data.arrays("test", limit=options.limit)["images"]
    val = data.arrays("val", limit=50)["images"]
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for sigma in NOISE:
        model = kmg.models.VAE(
            data.image_shape, latent_dim=64, kl_weight=1, input_noise=sigma, seed=SEED
        )
        model.compile()
        model.fit(data.train, epochs=options.epochs, verbose=2)
        noisy, noisy_val = noised(test, sigma, SEED), noised(val, sigma, SEED + 1)
        width = best([(w, median(noisy_val, w)) for w in MEDIANS], val)
        strength = best([(h, non_local_means(noisy_val, h, sigma)) for h in STRENGTHS], val)
        results = {
            "noised": noisy,
            f"median {width}x{width}": median(noisy, width),
            f"non-local means, h = {strength} sigma": non_local_means(noisy, strength, sigma),
            "VAE": model.denoise(noisy),
        }
        for name, images in results.items():
            quality = kmg.evaluation.reconstruction_quality(test, images)
            rows.append({"noise": sigma, "method": name, **quality})
            print("| {noise} | {method} | {psnr:.2f} | {ssim:.3f} |".format(**rows[-1]))
        pictures = np.concatenate([test[:8], *(images[:8] for images in results.values())])
        kmg.latents.save_rows(
            options.out / f"noise_{sigma}.png", pictures.reshape(-1, 8, *pictures.shape[1:])
        )
    (options.out / "denoising.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
