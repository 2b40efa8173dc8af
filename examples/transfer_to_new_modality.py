"""Fine-tune a model of one modality on a few hundred images of another.

A VAE of chest radiographs (thousands of images) is taken over to breast ultrasound (300) in three
ways, at equal steps: trained from nothing; fine-tuned from the radiographs' weights; and that with
feature matching (Salimans et al. 2016): what the radiographs' encoder sees in samples is to have
the means and spreads of what it sees in images. Measured on test images, over three seeds. Data:
PneumoniaMNIST and BreastMNIST (MedMNIST v2, https://medmnist.com, CC BY 4.0), downloaded by name.

    python examples/transfer_to_new_modality.py --out runs/transfer_to_new_modality
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_medgen as kmg

SIZE = 28  # pixels a side, of both modalities
SOURCE_EPOCHS = 10
TARGET_IMAGES = 300
STEPS = (100, 300, 1000)  # at which the three are measured; the first divides the others
BATCH_SIZE = 32
MATCHING_WEIGHT = 100.0  # nats for statistics that are one standard deviation off
SEEDS = 3  # trainings of each way, on other images and with other noise
SPLITS = 10  # random halves of the test images, whose distances are averaged
WAYS = ("from nothing", "fine-tuned", "matched")
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--source", help="the modality that is known; default pneumoniamnist")
parser.add_argument("--data", help="the new one; default breastmnist")
parser.add_argument("--out", type=Path, default=Path("runs/transfer_to_new_modality"))
parser.add_argument("--fast", action="store_true", help="a few steps, on built-in images")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
full = (STEPS, SEEDS, SOURCE_EPOCHS, None, SIZE)
steps, seeds, epochs, limit, size = ((2, 4), 1, 1, 128, 16) if options.fast else full
source = options.source or ("retina_patches" if options.fast else "pneumoniamnist")
target = options.data or ("histology_patches" if options.fast else "breastmnist")
# BreastMNIST comes with pictures that stand in its test and in its training split: "drop".
shared = {"image_size": size, "channels": 1, "deduplicate": "drop", "seed": options.seed}
source_data, data = kmg.data.load(source, **shared), kmg.data.load(target, **shared)
images, test = (data.arrays(split, limit)["images"] for split in ("train", "test"))
half, some = len(test) // 2, np.random.default_rng(options.seed).permutation(images)
features = kmg.metrics.RandomConvolutions(min(32, half // 2)).fit(images)
real = features(test).values
halves = [np.random.default_rng(split).permutation(len(test)) for split in range(SPLITS)]


def distance(rows):
    """The mean Fréchet distance to random halves of the test images, in features (n, d)."""
    return np.mean([kmg.metrics.frechet_distance(real[order[:half]], rows) for order in halves])


floor = np.mean([kmg.metrics.frechet_distance(*np.split(real[o[: 2 * half]], 2)) for o in halves])
started = time.monotonic()
keras.utils.set_random_seed(options.seed)  # of the order of an array's images
teacher = kmg.models.VAE(data.image_shape, seed=options.seed)
teacher.compile()
teacher.fit(source_data.arrays("train", limit)["images"], epochs=epochs, batch_size=64, verbose=2)
known = keras.Model(teacher.encoder.input, teacher.encoder.output["mean"])


class MatchingVAE(kmg.models.VAE):
    """A VAE whose samples are to have the statistics of its images, in what is known."""

    def compute_losses(self, batch, training):
        """Those of the VAE, and the term: one number of the batch, for each image alike."""
        losses, terms = super().compute_losses(batch, training)
        shape = (tf.shape(batch["images"])[0], *self.noise_shape)
        samples = self.images_from_noise(self.noise(shape, training, stream=2))
        (mean, variance), made = (tf.nn.moments(known(x), 0) for x in (batch["images"], samples))
        spread = tf.sqrt(variance + 1e-6)
        gaps = ((mean - made[0]) / spread) ** 2 + (1 - tf.sqrt(made[1] + 1e-6) / spread) ** 2
        return {"optimizer": losses["optimizer"] + MATCHING_WEIGHT * tf.reduce_mean(gaps)}, terms


def trained(way, seed):
    """Trains in one of the ways; returns what is measured, by the number of steps."""
    model = (MatchingVAE if way == "matched" else kmg.models.VAE)(data.image_shape, seed=seed)
    if way != "from nothing":
        model.encoder.set_weights(teacher.encoder.get_weights())
        model.decoder.set_weights(teacher.decoder.get_weights())
    model.compile()
    chosen = np.random.default_rng(seed).permutation(images)[:TARGET_IMAGES]
    dataset = tf.data.Dataset.from_tensor_slices(chosen).shuffle(TARGET_IMAGES, seed=seed)
    found = {}

    def measure(epoch, logs=None):
        number = (epoch + 1) * steps[0]
        if number in steps:
            samples, made = model.generate(half, seed=seed), model.reconstruct(test)
            psnr = kmg.evaluation.reconstruction_quality(test, made)["psnr"]
            ratio = float(distance(features(samples).values) / floor)
            found[number] = {"fd_over_floor": ratio, "psnr": psnr}
            pictures.setdefault(number, []).extend([made[:8], samples[:8]])
            print(f"{way}, seed {seed}, {number} steps: FD/floor {ratio:.2f}, {psnr:.2f} dB")

    after = keras.callbacks.LambdaCallback(on_epoch_end=measure)
    rounds = {"steps_per_epoch": steps[0], "epochs": steps[-1] // steps[0], "verbose": 0}
    model.fit(dataset.repeat().batch(BATCH_SIZE), callbacks=[after], **rounds)
    return found


pictures = {}
figures = {way: [trained(way, options.seed + n) for n in range(seeds)] for way in WAYS}
for number, rows in pictures.items():
    first = [rows[2 * seeds * way + part] for part in (0, 1) for way in range(len(WAYS))]
    path = options.out / f"after_{number}_steps.png"  # test images, reconstructions, samples
    kmg.pictures.save_grid(path, np.concatenate([test[:8], *first]), 8, "partly")
    for way, runs in figures.items():
        print(number, way, "mean FD/floor", np.mean([run[number]["fd_over_floor"] for run in runs]))
report = {"source": source_data.provenance, "data": data.provenance, "seed": options.seed}
report |= {"real_training_images": float(distance(features(some[:half]).values) / floor)}
report |= {"ways": figures, "in": features.label, "seconds": time.monotonic() - started}
(options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
print(f"Pictures (test images, reconstructions, samples) and report.json: {options.out}")
