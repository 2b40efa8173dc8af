"""A vanilla VAE, an MS-SSIM VAE and a VAE-GAN side by side on patches of prostate biopsies.

All have the same minutes; then come samples of early and late epochs, reconstructions of test
images, and a report on what the samples are worth, with all reports on one page. The data are
patches of stained tissue, in one folder for each Gleason pattern: data/prostate_gleason/benign/,
.../gleason_3/ and so on. PANDA has slides to cut them from, CC BY-NC-SA 4.0,
https://www.kaggle.com/c/prostate-cancer-grade-assessment; a .csv with the columns path, label and
patient (here the slide) keeps the patches of one slide on one side of a split.

    python examples/prostate_gleason.py --data data/prostate_gleason --out runs/prostate_gleason
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np

import keras_medgen as kmg

IMAGE_SIZE = 64  # pixels a side
LATENTS, BATCH = 64, 16  # a small batch, for many steps in few minutes
EPOCHS, MINUTES = 200, 5  # of each model: whichever ends first
PRECISION = "auto"  # bfloat16 where this machine is faster in it, else "off"
PRIOR = 10  # Gaussians that are fitted to the latents, for generate to draw from
GRIDS = (1, 2, 5, 10, 20, 50, 100)  # epochs with a grid of samples; the last has one too
COLUMNS = 8  # images in a row of the pictures
GENERATED = 500  # images that a report measures
PRINTED = (  # each figure before that of real images; all others are in the JSON
    *("psnr", "ssim", "fidelity/test/ratio", "fidelity/test/real_train_ratio", "diversity/recall"),
    *("diversity/recall_real", "authenticity/exact_copies", "authenticity/copied_share"),
)


def build(image_shape, latents, classes, seed):
    """The three models, by name."""
    arguments = (image_shape, latents, classes)
    return {
        # The variance is fitted: with plain squares every sample is nearly the mean image.
        "vae": kmg.models.VAE(*arguments, reconstruction="gaussian", seed=seed),
        "ms_ssim_vae": kmg.models.VAE(*arguments, reconstruction="ms_ssim", seed=seed),
        # With the loss and rates of Larsen et al. minutes ended in blobs: docs/results.md.
        "vae_gan": kmg.models.VAEGAN(
            *arguments, adversarial="non_saturating", gamma=0.1, kl_weight=10.0, seed=seed
        ),
    }


def main():
    """Trains the models one after the other, and compares them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="what kmg.data.load takes; default data/prostate_gleason")
    parser.add_argument("--out", type=Path, default=Path("runs/prostate_gleason"))
    parser.add_argument("--fast", action="store_true", help="a few steps, on a built-in photograph")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fast, out, seed, started = arguments.fast, arguments.out, arguments.seed, time.monotonic()
    size, latents, epochs, steps = (16, 8, 2, 4) if fast else (IMAGE_SIZE, LATENTS, EPOCHS, -1)
    source = arguments.data or ("histology_patches" if fast else "data/prostate_gleason")
    keras.config.set_dtype_policy(kmg.precision.dtype_policy("off" if fast else PRECISION))
    data = kmg.data.load(source, size, BATCH, channels=3, deduplicate="drop", seed=seed)
    train = data.arrays("train")["images"]
    images = data.arrays("test", limit=64 if fast else None)["images"]
    quality = kmg.evaluation.reconstruction_quality  # PSNR, SSIM and MS-SSIM, means over images
    results = {"mean image": quality(images, 0 * images + train.mean(axis=0))}
    shown = np.linspace(0, len(images) - 1, COLUMNS).astype(int)
    rows = {"test images": images[shown]}
    # Not conditioned on the pattern: a rare one has too few patches to be learnt by itself.
    models = build(data.image_shape, latents, None, seed)

    for name, model in models.items():
        print(f"{name}:", flush=True)
        model.compile(**({"discriminator_rate": 1.0} if name == "vae_gan" else {}))

        def after_epoch(epoch, logs, name=name, model=model):
            if epoch == 0:
                rows[f"{name},\nepoch 1"] = model.generate(COLUMNS, seed=seed)

        callbacks = [
            kmg.callbacks.SampleGrid(out / name, epochs=GRIDS, seed=seed),
            keras.callbacks.LambdaCallback(on_epoch_end=after_epoch),
            kmg.callbacks.TimeLimit(60 * MINUTES),
        ]
        folder, begun = out / name, time.monotonic()
        history = model.fit(data.train.take(steps), epochs=epochs, callbacks=callbacks, verbose=2)
        seconds, last = round(time.monotonic() - begun, 1), len(history.epoch)
        kmg.pictures.save_curves(folder / "loss.png", history.history)
        grid, made = model.generate(32, seed=seed), model.reconstruct(images)
        kmg.pictures.save_grid(folder / f"samples_epoch_{last:04d}.png", grid, COLUMNS, True)
        kmg.pictures.save_reconstructions(folder / "test.png", images[:32], made[:32])
        rows[f"{name},\nepoch {last}"] = grid[:COLUMNS]
        model.fit_prior(train, 2 if fast else PRIOR, seed)  # of the VAEs too: each at its best
        rows[f"{name},\nfitted prior"] = model.generate(COLUMNS, seed=seed)
        results[name] = {"epochs": last, "seconds": seconds} | quality(images, made)
        if not fast:
            model.save(folder / "model.keras")
            report = kmg.evaluation.evaluate(model, data, GENERATED, seed, training_seconds=seconds)
            report.save(folder / "report")
            results[name] |= report.metrics

    titles = [""] * COLUMNS
    picture = out / "side_by_side.png"
    kmg.pictures.save_panels(picture, [*rows.values()], [*rows], titles, synthetic="partly")
    if not fast:
        kmg.evaluation.write_comparison([out / name for name in models], out / "comparison.html")
    content = {"seed": seed, "seconds": round(time.monotonic() - started, 1), "models": results}
    content |= {"data": data.provenance, "precision": keras.config.dtype_policy().name}
    content["settings"] = {"image_size": size, "latents": latents, "batch": BATCH, "prior": PRIOR}
    content["settings"] |= {"minutes": MINUTES, "epochs": epochs, "generated": GENERATED}
    (out / "comparison.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    for name, figures in results.items():
        print(name, *(f"{key} {figures[key]:.4g}" for key in PRINTED if key in figures), sep="\n  ")
    print(f"Wrote {picture}, comparison.json and a folder for each model beside it.")


if __name__ == "__main__":
    main()
