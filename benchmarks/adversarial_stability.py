"""Long trainings of small adversarial models: none may diverge.

    python benchmarks/adversarial_stability.py --data pneumoniamnist.npz

20,000 steps each of a VAEGAN and of a GAN with each adversarial loss, on small residual networks
with every default. Each training leaves a JSON in --out; one that is there is not run again. The
losses, accuracies and gradient norms go as curves to docs/adversarial_stability.png; the script
fails if a value was not finite, and prints the gauge of mode collapse at the end of each.
"""

import argparse
import json
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_medgen as kmg

WIDTH, LATENT_DIM, BATCH, SEED = 8, 32, 16, 0
STEPS, EVERY = 20_000, 200  # between two points of the curves
STEPS_PER_EXECUTION = 50
PICTURE = Path(__file__).parents[1] / "docs" / "adversarial_stability.png"
NAMES = ("vaegan", *kmg.losses.ADVERSARIAL_LOSSES)


def compiled(name, shape):
    networks = kmg.networks
    decoder = networks.convolutional_decoder(
        shape, LATENT_DIM, WIDTH, output_activation="tanh", seed=SEED
    )
    discriminator = networks.convolutional_discriminator(shape, WIDTH, seed=SEED + 1)
    if name == "vaegan":
        model = kmg.models.VAEGAN(
            shape,
            LATENT_DIM,
            encoder=networks.convolutional_encoder(shape, LATENT_DIM, WIDTH, seed=SEED + 2),
            decoder=decoder,
            discriminator=discriminator,
        )
        model.compile(steps_per_execution=STEPS_PER_EXECUTION)
    else:
        model = kmg.models.GAN(shape, LATENT_DIM, generator=decoder, discriminator=discriminator)
        model.compile(loss=name, steps_per_execution=STEPS_PER_EXECUTION)
    return model


def train(name, data, steps):
    keras.utils.set_random_seed(SEED)
    model = compiled(name, data.image_shape)
    images = data.arrays("val", limit=64)["images"]
    epochs = steps // EVERY
    gauge = kmg.callbacks.CollapseGauge(images, every=max(1, epochs // 10))
    stop = kmg.callbacks.StopAtNaN()
    history = model.fit(
        data.train.repeat(),
        epochs=epochs,
        steps_per_epoch=EVERY,
        verbose=2,
        callbacks=[gauge, stop],
    ).history
    return {"steps": steps, "message": stop.message, "history": history}


def draw(results):
    from matplotlib import pyplot as plt

    panels = {
        "loss": ("discriminator_loss", "generator_loss", "reconstruction_loss"),
        "accuracy": ("real_accuracy", "fake_accuracy"),
        "gradient norm": (
            "discriminator_gradient_norm",
            "generator_gradient_norm",
            "encoder_gradient_norm",
            "decoder_gradient_norm",
        ),
    }
    figure, axes = plt.subplots(
        len(results), len(panels), figsize=(10, 1.7 * len(results)), layout="constrained"
    )
    for row, (name, result) in zip(axes, results.items(), strict=True):
        for axis, (title, terms) in zip(row, panels.items(), strict=True):
            for term in terms:
                values = result["history"].get(term)
                if values:
                    steps = np.arange(1, len(values) + 1) * EVERY
                    axis.plot(steps, values, label=term.removesuffix("_gradient_norm"), lw=0.8)
            axis.set_yscale("log" if title == "gradient norm" else "linear")
            axis.legend(fontsize=5)
            axis.tick_params(which="both", labelsize=6)
        row[0].set_ylabel(name, fontsize=8)
    for axis, title in zip(axes[0], panels, strict=True):
        axis.set_title(title)
    figure.savefig(PICTURE, dpi=75)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="what kmg.data.load takes")
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/adversarial_stability"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = kmg.data.load(arguments.data, batch_size=BATCH, seed=SEED)
    results = {}
    for name in arguments.names:
        file = arguments.out / f"{name}.json"
        result = json.loads(file.read_text()) if file.exists() else {}
        if result.get("steps") != arguments.steps:
            result = train(name, data, arguments.steps)
            file.write_text(json.dumps(result) + "\n")
        results[name] = result
        history = result["history"]
        print(
            f"{name}: {result['message'] or 'finite throughout'}; MS-SSIM between samples "
            f"{history['sample_ms_ssim'][-1]:.3f}, between images "
            f"{history['image_ms_ssim'][-1]:.3f}",
            flush=True,
        )
    if len(results) == len(NAMES):
        draw(results)
    finite = all(
        math.isfinite(value)
        for result in results.values()
        for values in result["history"].values()
        for value in values
    )
    if not finite:
        raise SystemExit("a training diverged")


if __name__ == "__main__":
    main()
