"""Train a VAE, a GAN and a diffusion model on healthy brain slices, and look for lesions with them.

By epoch: how far generated images are from held-out healthy slices, and from the others. Then maps
of what a model does not expect. Data: folders Normal and Stroke (no masks, no patients, terms at
kaggle.com/datasets/afridirahman/brain-stroke-ct-image-dataset), or better with both: docs/data.md.

    python examples/brain_stroke_anomaly.py --data data/brain_stroke --out runs/brain_stroke_anomaly
"""

import argparse
import json
from pathlib import Path
from time import perf_counter as clock

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_medgen as kmg

SIZE, PARTS = 64, 10  # of images; of a training: the distance is taken after each, and epoch 1
EPOCHS = {"VAE": 60, "GAN": 80, "diffusion": 90}
MINUTES = {"VAE": 3, "GAN": 6, "diffusion": 10}  # after which no part begins
COMPILED = {"VAE": {}, "GAN": {"r1": 1.0}, "diffusion": {"learning_rate": 1e-3, "clip_norm": 1.0}}
DRAWS = {"num_draws": 2, "restoration": {"num_steps": 10, "spacing": "even", "verbose": 0}}
SWEEP = {"timesteps": (300, 200, 100, 50, 25), **DRAWS}  # of a linear schedule
DETECTION = {"VAE": {}, "GAN": {"steps": 100}, "diffusion": DRAWS}  # the default timestep, 100
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", help="what kmg.data.load takes; default data/brain_stroke")
parser.add_argument("--out", type=Path, default=Path("runs/brain_stroke_anomaly"))
parser.add_argument("--fast", action="store_true", help="a minute's run, on built-in images")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--healthy", type=int, default=0, help="number of the healthy class")
parser.add_argument("--sign", default="absolute", choices=("absolute", "brighter", "darker"))
options = parser.parse_args()
started, out, seed, fast = clock(), options.out, options.seed, options.fast
if fast:
    SIZE, PARTS, EPOCHS = 16, 1, dict.fromkeys(EPOCHS, 2)
    DRAWS = {"num_draws": 1, "restoration": {"num_steps": 1, "verbose": 0}}
    SWEEP, DETECTION = {"timesteps": (300, 100), **DRAWS}, {"VAE": {}, "diffusion": DRAWS}
source = options.data or ("retina_patches" if fast else "data/brain_stroke")
data = kmg.data.load(source, SIZE, channels=1 if fast else None, seed=seed)
print(f"classes from 0: {data.class_names}; healthy: {options.healthy}")
train, val, test = (data.arrays(name, 96 if fast else None) for name in ("train", "val", "test"))
for split in (train, val, test):
    split["images"] = split["images"][..., :1]  # one modality; of BraTS, FLAIR
    if fast and options.data is None:  # bright discs on every other one stand for lesions
        chosen = np.arange(len(split["images"])) % 2 * (split is not train)
        disc = np.hypot(*np.indices((SIZE, SIZE)) - 0.4 * SIZE) < 0.2 * SIZE
        split["masks"] = chosen[:, None, None] * disc
        split["images"] = np.clip(split["images"] + 0.3 * split["masks"][..., None], 0, 1)
    masks = split.get("masks", np.zeros(split["images"].shape[:3])).any(axis=(1, 2))
    split["labels"] = 1 * (masks | (split.get("labels", options.healthy) != options.healthy))
healthy = train["images"][train["labels"] == 0]
ill = np.concatenate([val["labels"], test["labels"]]) > 0
number = int(min(100, (~ill).sum() // 2, ill.sum() // 2))  # of images on each side
if number < 8 or len(healthy) < 20:
    parser.error("train must have 20 healthy slices, val and test together 16, and 16 others")
healthy = np.concatenate([healthy, healthy[:, :, ::-1]])  # and mirror images
shape, random = healthy.shape[1:], np.random.default_rng(seed)
extractor, distance = kmg.metrics.RandomConvolutions(components=32), kmg.metrics.frechet_distance
found = extractor.fit(healthy)(np.concatenate([val["images"], test["images"]])).values
halves = {
    name: random.permutation(found[rows])[: 2 * number].reshape(2, number, -1)
    for name, rows in {"healthy": ~ill, "with a lesion": ill}.items()
}


def in_floors(images):
    """From each group to the distance of images from its two halves, over that between these."""
    features = extractor(images).values
    to = {name: np.mean([distance(half, features) for half in two]) for name, two in halves.items()}
    return {name: float(to[name] / distance(*two)) for name, two in halves.items()}


unet = kmg.networks.unet(shape, width=16, blocks=1, seed=seed)
models = {
    "VAE": kmg.models.VAE(shape, latent_dim=32, kl_weight=1, seed=seed),
    "GAN": kmg.models.GAN(shape, 64, augmentation=("translation", "cutout"), seed=seed),
    "diffusion": kmg.models.Diffusion(shape, schedule="linear", denoiser=unet, seed=seed),
}
report = {"data": data.provenance, "seed": seed, "minutes": MINUTES, "distance_by_epoch": {}}
report["distance_of_training_slices"] = in_floors(random.permutation(healthy)[:number])
figure = Figure(figsize=(11, 3.5), layout="constrained")
for axes, (name, model) in zip(figure.subplots(1, 3), models.items(), strict=True):
    model.compile(**COMPILED[name])
    keras.utils.set_random_seed(seed)  # of the order of the images
    curve, begun, done, part = {}, clock(), 0, EPOCHS[name] // PARTS
    for until in sorted({1, *range(part, EPOCHS[name] + 1, part)}):
        if clock() - begun < 60 * MINUTES[name]:
            model.fit(healthy, batch_size=16, initial_epoch=done, epochs=until, verbose=2)
            samples, done = model.generate(max(32, number), seed=seed), until
            curve[done] = in_floors(samples[:number])
    report["distance_by_epoch"][name] = curve
    kmg.pictures.save_grid(out / f"samples_{name}.png", samples[:32], 8, synthetic=True)
    model.save(out / f"{name}.keras")
    for group in halves:
        axes.plot(list(curve), [one[group] for one in curve.values()], ".-", label=group)
    axes.set(title=name, xlabel="epoch", ylabel="distance, in floors", yscale="log")
axes.legend()
figure.savefig(out / "distance_by_epoch.png", dpi=120)
known = {"sign": options.sign, "channel": 0, "median": 3, "brain_mask": 0.02, "seed": seed}
sweep = kmg.anomaly.sweep_timesteps(  # to choose by it would be to choose on the test slices
    models["diffusion"], {"val": val, "test": test}, out=out / "sweep.png", **SWEEP, **known
)
shown = np.flatnonzero(test["labels"])[(test["labels"] > 0).sum() * np.arange(1, 4) // 4]
detectors, rows, fitting = {}, [], kmg.anomaly.validation_arguments(val)
for name, more in DETECTION.items():
    detectors[name] = kmg.anomaly.AnomalyDetector(models[name], **more, **known).fit(**fitting)
    found = detectors[name].detect(test["images"][shown])
    truth = test["masks"][shown] if "masks" in test else np.full_like(found["maps"], np.nan)
    planes = [test["images"][shown, ..., 0], found["restored"][..., 0], found["maps"]]
    rows += zip(*planes, found["masks"].astype(float), truth, strict=True)
table = kmg.anomaly.evaluate(detectors, test["images"], test["labels"], test.get("masks"))
names, titles = np.repeat([*DETECTION], 3), ("input", "restored", "map", "mask", "true mask")
kmg.pictures.save_panels(out / "maps.png", rows, names, titles, synthetic="partly")
report |= {"settings": known, "healthy": options.healthy, "images": number}
report |= {"sweep": sweep.as_dict(), "test": table.as_dict(), "seconds": round(clock() - started)}
(out / "brain_stroke_anomaly.json").write_text(json.dumps(report, indent=1) + "\n")
print(f"{table.to_markdown()}\npictures and brain_stroke_anomaly.json are in {out}")
