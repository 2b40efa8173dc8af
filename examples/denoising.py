"""Denoise radiographs: a denoising VAE and a diffusion model, beside two classical filters.

Gaussian noise is added to test images and clipped to [0, 1]. A VAE is trained for each strength of
it; one diffusion model serves all, in one step (the image that it expects) or in several (one that
it deems likely). All but the VAE have a setting, chosen by PSNR on validation images. A filter
cannot invent anatomy, a model can.

Data: PneumoniaMNIST (MedMNIST v2, https://medmnist.com, CC BY 4.0), downloaded by its name.

    python examples/denoising.py --out runs/denoising
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

import keras_medgen as kmg

NOISE = (0.05, 0.1, 0.2, 0.4)  # standard deviations, of pixels in [0, 1]
VAE_EPOCHS, MINUTES = 20, {"VAE": 2.5, "diffusion": 14}  # a VAE's at most, one for each strength
SIZE, STEPS = None, 10  # of images, None as they are; of the diffusion model, where it takes some
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)  # of non-local means, times the noise
WEIGHTS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)  # of total variation, times the noise
SHARES = (0.5, 0.7, 0.85, 1.0)  # of the noise that the diffusion model is told: clipped is less
LIMITS = {"train": None, "val": 50, "test": 200}  # images

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", help="what kmg.data.load takes; default pneumoniamnist")
parser.add_argument("--out", type=Path, default=Path("runs/denoising"))
parser.add_argument("--fast", action="store_true", help="a minute's run, on built-in images")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
source = options.data or ("retina_patches" if options.fast else "pneumoniamnist")
if options.fast:
    NOISE, VAE_EPOCHS, MINUTES, STEPS = (0.2,), 3, {"VAE": 1, "diffusion": 0.05}, 2
    STRENGTHS, WEIGHTS, SHARES = STRENGTHS[1:3], WEIGHTS[1:3], SHARES[2:]
    LIMITS = {"train": 192, "val": 8, "test": 16}
size, channels, unet = (16, 1, {"width": 8, "blocks": 1}) if options.fast else (SIZE, None, {})
data = kmg.data.load(source, size, channels=channels, deduplicate="drop", seed=options.seed)
train, val, test = (data.arrays(name, limit)["images"] for name, limit in LIMITS.items())


def by_diffusion(images, sigma, share, steps):
    """Noised images, taken for those of the timestep that has as much noise, step by step back."""
    # A timestep's image is signal * clean + rest * noise, of pixels in [-1, 1]: there, noise is
    # twice as strong. Where rest / signal is that strength, ours is such an image over its signal.
    signals, rests = np.sqrt(diffusion.alpha_bars), np.sqrt(1 - diffusion.alpha_bars)
    start = np.abs(rests / signals - 2 * share * sigma).argmin()
    clean, noise = 2 * images - 1, 0
    for t in np.linspace(start, 0, steps + 1)[:-1].astype(int):
        x = signals[t] * clean + rests[t] * noise  # without new noise: Song et al. 2021, "ddim"
        inputs = {"images": x.astype(np.float32), "timesteps": np.full(len(x), t)}
        velocity = diffusion.average_denoiser.predict(inputs, verbose=0)  # Salimans and Ho 2022
        clean, noise = signals[t] * x - rests[t] * velocity, rests[t] * x + signals[t] * velocity
    return (clean + 1) / 2


def non_local_means(images, sigma, strength):
    """Means over pixels whose surroundings are alike (Buades et al. 2005)."""
    known = {"sigma": sigma, "patch_size": 5, "patch_distance": 6, "fast_mode": False}
    means = [denoise_nl_means(x, h=strength * sigma, channel_axis=-1, **known) for x in images]
    return np.reshape(means, images.shape)  # a single channel was dropped


def total_variation(images, sigma, weight):
    """Near the image, with small differences between neighbours (Chambolle 2004)."""
    return np.stack([denoise_tv_chambolle(x, weight * sigma, channel_axis=-1) for x in images])


options.out.mkdir(parents=True, exist_ok=True)
started, quality = time.perf_counter(), kmg.evaluation.reconstruction_quality
keras.utils.set_random_seed(options.seed)  # of the order of the training images
unet = kmg.networks.unet(data.image_shape, **unet, seed=options.seed)
diffusion = kmg.models.Diffusion(data.image_shape, denoiser=unet, seed=options.seed)
diffusion.compile(learning_rate=1e-3, clip_norm=1.0)
limit = {name: [kmg.callbacks.TimeLimit(60 * minutes)] for name, minutes in MINUTES.items()}
diffusion.fit(train, batch_size=32, epochs=1000, callbacks=limit["diffusion"], verbose=2)
rows, vae_epochs, random = [], {}, np.random.default_rng(options.seed)
for sigma in NOISE:
    # A kl_weight of 5, the default, is for samples; 1 is for reconstructions.
    vae = kmg.models.VAE(data.image_shape, kl_weight=1, input_noise=sigma, seed=options.seed)
    vae.compile()
    done = vae.fit(train, batch_size=64, epochs=VAE_EPOCHS, callbacks=limit["VAE"], verbose=2)
    vae_epochs[sigma] = len(done.epoch)
    methods = {  # from a name to a function of images, strength and setting, and its settings
        "noised": (lambda images, *_: images, [None]),
        "non-local means": (non_local_means, STRENGTHS),
        "total variation": (total_variation, WEIGHTS),
        "VAE": (lambda images, *_, vae=vae: vae.denoise(images), [None]),
        "diffusion, 1 step": (lambda *known: by_diffusion(*known, steps=1), SHARES),
        f"diffusion, {STEPS} steps": (lambda *known: by_diffusion(*known, steps=STEPS), SHARES),
    }
    noisy_val, noisy = (np.clip(x + random.normal(0, sigma, x.shape), 0, 1) for x in (val, test))
    shown, picture = [test[:8]], options.out / f"noise_{sigma}.png"
    for name, (restore, settings) in methods.items():
        tried = [quality(val, restore(noisy_val, sigma, one).clip(0, 1)) for one in settings]
        setting = settings[np.argmax([one["psnr"] for one in tried])]
        restored = restore(noisy, sigma, setting).clip(0, 1)
        rows.append({"noise": sigma, "method": name, "setting": setting, **quality(test, restored)})
        shown.append(restored[:8])
        print("| {noise} | {method} | {psnr:.2f} dB | {ssim:.3f} |".format(**rows[-1]), flush=True)
    kmg.pictures.save_grid(picture, np.concatenate(shown), 8, synthetic="partly")  # row by row

figure = Figure(figsize=(9, 3.5), layout="constrained")
for axes, key in zip(figure.subplots(1, 2), ("psnr", "ssim"), strict=True):
    for name in methods:
        axes.plot(NOISE, [row[key] for row in rows if row["method"] == name], "o-", label=name)
    axes.set(xlabel="standard deviation of the noise", title=key.upper())
figure.legend(methods, loc="outside right upper")
figure.savefig(options.out / "denoising.png", dpi=120)
report = {"data": data.provenance, "vae_epochs": vae_epochs, "minutes": MINUTES}
report |= {"seed": options.seed, "seconds": round(time.perf_counter() - started), "rows": rows}
(options.out / "denoising.json").write_text(json.dumps(report, indent=1) + "\n")
print(f"pictures and denoising.json are in {options.out}")
