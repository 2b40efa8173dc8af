"""A vanilla VAE, an MS-SSIM VAE and a VAE-GAN side by side on chest radiographs.

All have the same minutes, conditioned on the 14 findings of ChestMNIST, of which an image may
have several or none; then come samples of early and late epochs, reconstructions of test images,
and reports on the samples, all on one page. The data, CC BY 4.0, are downloaded by their name
(https://medmnist.com); for a smaller set of two classes give --data pneumoniamnist.

    python examples/chestmnist.py --out runs/chestmnist
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np

import keras_medgen as kmg

IMAGE_SIZE = 28  # pixels a side; ChestMNIST has 64, 128 and 224 too
LATENTS, BATCH = 64, 32  # a small batch, for many steps in few minutes
EPOCHS, MINUTES = 200, 5  # of each model: whichever ends first
STEPS = 500  # of an epoch at most: one of ChestMNIST's 2,452 would last longer than that
PRECISION = "auto"  # bfloat16 where this machine is faster in it, else "off"
PRIOR = 10  # Gaussians that are fitted to the latents of each class or, of several labels, of all
GRIDS = (1, 2, 5, 10, 20, 50, 100)  # epochs with a grid of samples; the last has one too
COLUMNS, GENERATED = 8, 500  # images in a row of a picture, and images that a report measures
PRINTED = (  # each figure before that of real images; all others are in the JSON
    *("psnr", "ssim", "fidelity/test/ratio", "fidelity/test/real_train_ratio", "diversity/recall"),
    *("diversity/recall_real", "utility/tstr_accuracy", "utility/trtr_accuracy"),
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
    parser.add_argument("--data", help="what kmg.data.load takes; default chestmnist")
    parser.add_argument("--out", type=Path, default=Path("runs/chestmnist"))
    parser.add_argument("--fast", action="store_true", help="a few steps, on a built-in photograph")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fast, out, seed, started = arguments.fast, arguments.out, arguments.seed, time.monotonic()
    size, latents, epochs, steps = (16, 8, 2, 4) if fast else (IMAGE_SIZE, LATENTS, EPOCHS, STEPS)
    source = arguments.data or ("histology_patches" if fast else "chestmnist")
    keras.config.set_dtype_policy(kmg.precision.dtype_policy("off" if fast else PRECISION))
    data = kmg.data.load(source, size, BATCH, channels=1, deduplicate="drop", seed=seed)
    train, test = data.arrays("train"), data.arrays("test", limit=64 if fast else None)
    images, labels = test["images"], test.get("labels")  # a source may have no labels
    shown = np.linspace(0, len(images) - 1, COLUMNS).astype(int)
    asked = None if labels is None else labels[shown]
    quality = kmg.evaluation.reconstruction_quality  # PSNR, SSIM and MS-SSIM, means over images
    results = {"mean image": quality(images, 0 * images + train["images"].mean(axis=0))}
    rows = {"test images": images[shown]}
    models = build(data.image_shape, latents, data.num_classes, seed)

    for name, model in models.items():
        print(f"{name}:", flush=True)
        model.compile(**({"discriminator_rate": 1.0} if name == "vae_gan" else {}))

        def after_epoch(epoch, logs, name=name, model=model):
            if epoch == 0:
                rows[f"{name},\nepoch 1"] = model.generate(COLUMNS, asked, seed)

        callbacks = [
            kmg.callbacks.SampleGrid(out / name, epochs=GRIDS, seed=seed),
            keras.callbacks.LambdaCallback(on_epoch_end=after_epoch),
            kmg.callbacks.TimeLimit(60 * MINUTES),
        ]
        folder, begun = out / name, time.monotonic()
        rounds = {"steps_per_epoch": min(steps, len(data.train)), "epochs": epochs}
        history = model.fit(data.train.repeat(), **rounds, callbacks=callbacks, verbose=2)
        seconds, last = round(time.monotonic() - begun, 1), len(history.epoch)
        kmg.pictures.save_curves(folder / "loss.png", history.history)
        grid, made = model.generate(32, seed=seed), model.reconstruct(images, labels)
        kmg.pictures.save_grid(folder / f"samples_epoch_{last:04d}.png", grid, COLUMNS, True)
        kmg.pictures.save_reconstructions(folder / "test.png", images[:32], made[:32])
        rows[f"{name},\nepoch {last}"] = model.generate(COLUMNS, asked, seed)
        model.fit_prior(train, 2 if fast else PRIOR, seed)  # of the VAEs too: each at its best
        rows[f"{name},\nfitted prior"] = model.generate(COLUMNS, asked, seed)
        results[name] = {"epochs": last, "seconds": seconds} | quality(images, made)
        if not fast:
            model.save(folder / "model.keras")
            report = kmg.evaluation.evaluate(model, data, GENERATED, seed, training_seconds=seconds)
            report.save(folder / "report")
            results[name] |= report.metrics

    titles = [""] * COLUMNS
    if labels is not None:
        flags = asked if data.task == "multi-label" else np.eye(data.num_classes)[asked]
        titles = ["\n".join(np.array(data.class_names)[flag > 0]) or "none" for flag in flags]
    picture = out / "side_by_side.png"
    kmg.pictures.save_panels(picture, [*rows.values()], [*rows], titles, synthetic="partly")
    if not fast:
        kmg.evaluation.write_comparison([out / name for name in models], out / "comparison.html")
    content = {"seed": seed, "seconds": round(time.monotonic() - started, 1), "models": results}
    content |= {"data": data.provenance, "precision": keras.config.dtype_policy().name}
    content["settings"] = {"image_size": size, "latents": latents, "batch": BATCH, "epochs": epochs}
    (out / "comparison.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    for name, figures in results.items():
        print(name, *(f"{key} {figures[key]:.4g}" for key in PRINTED if key in figures), sep="\n  ")
    print(f"Wrote {picture}, comparison.json and a folder for each model beside it.")


if __name__ == "__main__":
    main()
