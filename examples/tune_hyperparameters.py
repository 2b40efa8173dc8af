"""Search the latent dimensions, KL weight and learning rate of a VAE with keras-tuner.

A reconstruction error would always prefer the smallest KL weight, whose samples are worst, and so
may a distance (docs/results.md): trials are judged by coverage (Naeem et al. 2020), the share of
validation images that have a sample among their neighbours. At the end the best setting and the
default one are trained for longer, and measured once on test images, which no trial has seen.

Data: PneumoniaMNIST (MedMNIST v2, https://medmnist.com, CC BY 4.0), downloaded by its name; or what
else `kmg.data.load` takes. Needs the extra `tune`: pip install '.[tune]'.

    python examples/tune_hyperparameters.py --out runs/tune_hyperparameters
"""

import argparse
import json
import time
from pathlib import Path

try:
    import keras_tuner
except ImportError:
    raise SystemExit(
        "tune_hyperparameters.py needs the extra 'tune': pip install '.[tune]'."
    ) from None
import keras
import numpy as np
from matplotlib.figure import Figure

import keras_medgen as kmg

TRIALS, RANDOM_TRIALS = 12, 6  # after the random ones a Gaussian process says where to look
IMAGE_SIZE = None  # pixels a side, where images differ in it; None leaves them as they are
EPOCHS, FINAL_EPOCHS = 5, 15  # of a trial; of the best setting, and of the default ones
MEASURED = ("coverage", "precision", "recall", "fd_over_floor", "psnr")  # the first is the aim
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", help="what kmg.data.load takes; default pneumoniamnist")
parser.add_argument("--out", type=Path, default=Path("runs/tune_hyperparameters"))
parser.add_argument("--fast", action="store_true", help="two short trials, on built-in images")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
source = options.data or ("histology_patches" if options.fast else "pneumoniamnist")
trials, epochs, final_epochs = (2, 1, 1) if options.fast else (TRIALS, EPOCHS, FINAL_EPOCHS)
limit, size = (128, 16) if options.fast else (None, IMAGE_SIZE)
data = kmg.data.load(source, image_size=size, deduplicate="drop", seed=options.seed)
train, val, test = (data.arrays(split, limit)["images"] for split in ("train", "val", "test"))
components = min(64, len(val) // 4, len(test) // 4)  # a distance of fewer images is bias
features = kmg.metrics.RandomConvolutions(components).fit(train)


def measured(model, images):
    """Coverage, precision and recall of samples; FD over that of halves of images; PSNR in dB."""
    order, half = np.random.default_rng(0).permutation(len(images)), len(images) // 2
    real = features(images).values[order]
    made = features(model.generate(len(images), seed=options.seed)).values
    found = kmg.metrics.precision_recall_density_coverage(real, made)
    floor = kmg.metrics.frechet_distance(real[:half], real[half:])
    found["fd_over_floor"] = float(kmg.metrics.frechet_distance(real[:half], made[:half]) / floor)
    found["psnr"] = kmg.evaluation.reconstruction_quality(images, model.reconstruct(images))["psnr"]
    return {name: found[name] for name in MEASURED}


def trained(hp, epochs):
    """A model of these settings; the defaults are those of `kmg.models.VAE`."""
    latent_dim = hp.Choice("latent_dim", [16, 32, 64, 128], default=64)
    kl_weight = hp.Float("kl_weight", 0.5, 20.0, sampling="log", default=5.0)
    rate = hp.Float("learning_rate", 3e-4, 3e-3, sampling="log", default=1e-3)
    model = kmg.models.VAE(data.image_shape, latent_dim, kl_weight=kl_weight, seed=options.seed)
    model.compile(learning_rate=rate)
    keras.utils.set_random_seed(options.seed)  # the order of the images
    model.fit(train, epochs=epochs, batch_size=64, verbose=0)
    return model


class Search(keras_tuner.BayesianOptimization):
    """What a trial is, and what it is worth."""

    def run_trial(self, trial):
        """Figures of one trial; that under the objective's name is compared."""
        return measured(trained(trial.hyperparameters, epochs), val)


kept = f"{data.provenance['sha256'][:8]}-{size}-{trials}x{epochs}-{options.seed}"
tuner = Search(
    objective=keras_tuner.Objective("coverage", "max"),
    max_trials=trials,
    num_initial_points=RANDOM_TRIALS,
    seed=options.seed,
    directory=options.out,
    project_name=f"search-{kept}",  # started again with the same settings and data, it goes on
)
before, started = len(tuner.oracle.trials), time.monotonic()
tuner.search()
found = [
    {**trial.hyperparameters.values}
    | {name: trial.metrics.get_best_value(name) for name in MEASURED}
    for trial in tuner.oracle.get_best_trials(trials)
]
final, samples = {}, []
best = tuner.get_best_hyperparameters()[0]
for name, hp in {"default": keras_tuner.HyperParameters(), "best": best}.items():
    model = trained(hp, final_epochs)
    final[name] = {**hp.values, "val": measured(model, val), "test": measured(model, test)}
    samples.append(model.generate(16, seed=options.seed))
    print(name, json.dumps(final[name]))

kmg.pictures.save_grid(options.out / "samples.png", np.concatenate(samples), 8, synthetic=True)
figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
axes.set(xlabel="PSNR of validation images, dB", ylabel="coverage")
columns = {name: [trial[name] for trial in found] for name in found[0]}
points = axes.scatter(columns["psnr"], columns["coverage"], c=np.log10(columns["kl_weight"]))
figure.colorbar(points, label="log10 of the KL weight")
figure.savefig(options.out / "trials.png", dpi=120)
report = {"data": data.provenance, "seed": options.seed, "trials_of_earlier_starts": before}
report["seconds_of_this_start"] = time.monotonic() - started
report |= {"epochs": epochs, "final_epochs": final_epochs, "trials": found, "final": final}
(options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
print(f"samples.png (default above best), trials.png, report.json: {options.out}")
