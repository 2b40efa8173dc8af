"""The VAE-GAN of Larsen et al. on four classes of brain MRI: glioma, meningioma, none, pituitary.

Algorithm 1 with the paper's layers, a quarter as wide, its optimizers and batch, conditioned on the
class. In trainings of minutes it ends in blobs (docs/results.md): so the same networks also train
with what did better there, another adversarial loss, a heavier divergence, small batches. The data:
https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri, no licence stated;
training images that also stand in the folders of Testing, as many do, are left out.

    python examples/brain_tumor_mri_vae_gan.py --data data/brain_tumor_mri --out runs/brain_tumor
"""

import argparse
import json
import time
from pathlib import Path

import keras

import keras_medgen as kmg

IMAGE_SIZE, LATENTS, RATE = 64, 128, 3e-4  # the last is RMSprop's
WIDTH = 16  # channels of the first layer; the paper has 64, for which take a GPU
EPOCHS, MINUTES = 200, 12  # of each form: whichever ends first
PRECISION = "auto"  # bfloat16 where this machine is faster in it, else "off"
PRIOR = 5  # Gaussians that are fitted to the latents of each class, for generate to draw from
COLUMNS, GENERATED = 8, 500  # images in a row of a picture, and images that a report measures
FORMS = {  # arguments of the model, discriminator's rate as a multiple of the others', batch
    "algorithm_1": ({"adversarial": "saturating", "kl_weight": 1.0}, 1.0, 64),
    "short_training": ({"adversarial": "non_saturating", "kl_weight": 10.0}, 1.0, 16),
}
PRINTED = (  # each figure before that of real images; all others are in the JSON
    *("psnr", "ssim", "sample_ms_ssim", "image_ms_ssim", "fidelity/test/ratio"),
    *("fidelity/test/real_train_ratio", "utility/tstr_accuracy", "utility/trtr_accuracy"),
)


def build(form, shape, latents, **shared):
    """A VAE-GAN with the paper's networks, compiled."""
    arguments, discriminator_rate, _ = FORMS[form]
    like = {"width": WIDTH, **shared}
    networks = {
        "encoder": kmg.networks.larsen_encoder(shape, latents, **like),
        "decoder": kmg.networks.larsen_decoder(shape, latents, output_activation="tanh", **like),
        "discriminator": kmg.networks.larsen_discriminator(shape, **like),
    }
    model = kmg.models.VAEGAN(shape, latents, **shared, **networks, **arguments)
    model.compile(learning_rate=RATE, discriminator_rate=discriminator_rate)  # RMSprop
    return model


def main():
    """Trains both forms, and compares them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="what kmg.data.load takes; default data/brain_tumor_mri")
    parser.add_argument("--out", type=Path, default=Path("runs/brain_tumor_mri_vae_gan"))
    parser.add_argument("--fast", action="store_true", help="a few steps, on a built-in photograph")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fast, out, seed, started = arguments.fast, arguments.out, arguments.seed, time.monotonic()
    size, latents, epochs, steps = (16, 8, 2, 2) if fast else (IMAGE_SIZE, LATENTS, EPOCHS, -1)
    source = arguments.data or ("histology_patches" if fast else "data/brain_tumor_mri")
    keras.config.set_dtype_policy(kmg.precision.dtype_policy("off" if fast else PRECISION))
    data = kmg.data.load(source, size, channels=1, deduplicate="drop", seed=seed)
    train, test = data.arrays("train"), data.arrays("test")
    images, labels = test["images"], test.get("labels")
    names = data.class_names or [""]  # the photograph has none
    quality = kmg.evaluation.reconstruction_quality  # PSNR, SSIM and MS-SSIM, means over images
    results = {"mean image": quality(images, 0 * images + train["images"].mean(axis=0))}
    of_class = [images if labels is None else images[labels == c] for c in range(len(names))]
    of_class = [[*some, *COLUMNS * [0 * images[0]]] for some in of_class]  # or black
    rows = {"test images": [of_class[i % len(names)][i // len(names)] for i in range(COLUMNS)]}
    for form, (_, _, batch) in FORMS.items():
        print(f"{form}:", flush=True)
        model = build(form, data.image_shape, latents, num_classes=data.num_classes, seed=seed)

        def after_epoch(epoch, logs, form=form, model=model):
            if epoch == 0:
                rows[f"{form},\nepoch 1"] = model.generate(COLUMNS, seed=seed)

        folder, begun = out / form, time.monotonic()
        callbacks = [
            kmg.callbacks.SampleGrid(folder, epochs=(1, 2, 5, 10, 20, 50), seed=seed),
            kmg.callbacks.CollapseGauge(images[:: len(images) // 64 or 1], every=5, seed=seed),
            keras.callbacks.LambdaCallback(on_epoch_end=after_epoch),
            kmg.callbacks.TimeLimit(60 * MINUTES),
        ]
        batches = data.train.rebatch(batch).take(steps)
        history = model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=2)
        seconds, last = round(time.monotonic() - begun, 1), len(history.epoch)
        made, samples = model.reconstruct(images, labels), model.generate(32, seed=seed)
        results[form] = {key: values[-1] for key, values in history.history.items()}
        results[form] |= {"epochs": last, "seconds": seconds} | quality(images, made)
        kmg.pictures.save_curves(folder / "loss.png", history.history)
        kmg.pictures.save_reconstructions(folder / "test.png", images[:32], made[:32])
        kmg.pictures.save_grid(folder / f"samples_epoch_{last:04d}.png", samples, COLUMNS, True)
        rows[f"{form},\nepoch {last}"] = samples[:COLUMNS]
        model.fit_prior(train, 2 if fast else PRIOR, seed)
        samples = model.generate(32, seed=seed)
        kmg.pictures.save_grid(folder / "samples_fitted_prior.png", samples, COLUMNS, True)
        rows[f"{form},\nfitted prior"] = samples[:COLUMNS]
        if not fast:
            model.save(folder / "model.keras")
            report = kmg.evaluation.evaluate(model, data, GENERATED, seed, training_seconds=seconds)
            report.save(folder / "report")
            results[form] |= report.metrics
    picture, titles = out / "side_by_side.png", (names * COLUMNS)[:COLUMNS]
    kmg.pictures.save_panels(picture, [*rows.values()], [*rows], titles, synthetic="partly")
    if not fast:
        kmg.evaluation.write_comparison([out / form for form in FORMS], out / "comparison.html")
    content = {"seed": seed, "seconds": round(time.monotonic() - started, 1), "models": results}
    content |= {"data": data.provenance, "precision": keras.config.dtype_policy().name}
    content["settings"] = {"image_size": size, "latents": latents, "width": WIDTH, "forms": FORMS}
    (out / "comparison.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    for name, figures in results.items():
        print(name, *(f"{key} {figures[key]:.4g}" for key in PRINTED if key in figures), sep="\n  ")
    print(f"Wrote {picture}, comparison.json and a folder for each form beside it.")


if __name__ == "__main__":
    main()
