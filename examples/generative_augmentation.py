"""Does a classifier, or a segmenter, get better with synthetic images?

Trained as long: on real images alone, with classical augmentation, oversampling, latent SMOTE, or
images of a conditional VAE-GAN or diffusion model, which even out the classes of twice as many.
Data: BreastMNIST (MedMNIST v2, https://medmnist.com, CC BY 4.0), downloaded by its name; for the
segmenter images with masks, such as BraTS (x.nii.gz, x_seg.nii.gz): a mask is a generated channel.

    python examples/generative_augmentation.py [--task segmenter --data brats] --out runs/augmented
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np

import keras_medgen as kmg

MINUTES = {"VAE-GAN": 6, "diffusion": 8}  # of training
SIZE = {"classifier": None, "segmenter": 64}  # pixels a side; None leaves images as they are
COPIES, CHANGES = 5, {"flip_horizontal": True, "rotation": 10, "translation": 0.05, "zoom": 0.1}
SEEDS, STEPS = 5, {"classifier": 300, "segmenter": 200}  # of what is trained on the images
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--task", default="classifier", choices=STEPS)
parser.add_argument("--data", help="what kmg.data.load takes; default breastmnist")
parser.add_argument("--out", type=Path, default=Path("runs/generative_augmentation"))
parser.add_argument("--fast", action="store_true", help="a minute's run, on built-in images")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
started, task, seed, fast = time.perf_counter(), options.task, options.seed, options.fast
out, source = options.out, options.data or ("histology_patches" if fast else "breastmnist")
if fast:
    MINUTES = {"VAE-GAN": 0.01} if task == "classifier" else {"diffusion": 0.01}
    COPIES, SEEDS, STEPS, SIZE = 1, 2, dict.fromkeys(STEPS, 10), dict.fromkeys(STEPS, 16)
data = kmg.data.load(source, SIZE[task], channels=int(fast) or None, deduplicate="drop", seed=seed)
channels = data.image_shape[-1]


def loaded(split):
    """Images, with their masks as the last channel where these are to be learned, and classes."""
    found = data.arrays(split, 128 if fast else None)
    images, labels, masks = found["images"], found.get("labels"), found.get("masks")
    if fast and options.data is None:  # of the tissue: what is dark, and whether that is much
        masks = images.mean(axis=-1) < 0.45
        labels = (masks.mean(axis=(1, 2)) > 0.25).astype(int)
    elif masks is None if task == "segmenter" else data.task not in ("multi-class", "ordinal"):
        parser.error("--data must have masks for a segmenter, one class an image for a classifier")
    if task == "segmenter":
        masks = np.float32(masks != 0)[..., None]
        images, labels = np.append(images, masks, -1), masks.any((1, 2, 3)).astype(int)
    needed = {1} if task == "segmenter" else {0, 1, *range(data.num_classes or 0)}
    if missing := needed - set(labels):
        parser.error(f"{split} has no image of class {min(missing)} (of masks: 1, with a lesion)")
    return images, np.unique(labels, return_inverse=True)[1]


def learned(images, labels):
    """What a network is shown, and what it is to say: classes, or masks."""
    return images[..., :channels], labels if task == "classifier" else images[..., channels].round()


def figures(wanted, logits):
    """The area under the ROC curve, or Dice of all pixels, and what each image adds to it."""
    if task == "classifier":
        probabilities = keras.ops.softmax(logits).numpy()
        return kmg.evaluation.classification_figures(wanted, probabilities, "multi-class")
    return kmg.evaluation.segmentation_figures(wanted, logits > 0)


(images, labels), val, test = (loaded(split) for split in ("train", "val", "test"))
shape, counts, classes, steps = images.shape[1:], np.bincount(labels), len(set(labels)), STEPS[task]
copies = {"images": np.tile(images, (COPIES, 1, 1, 1))}
seeds = np.random.default_rng(seed).integers(2**62, size=COPIES * len(images))
copies = kmg.data.augment(**CHANGES, fill="reflect")(copies, seeds)["images"]
again = [np.resize(np.flatnonzero(labels == c), max(counts) - counts[c]) for c in range(classes)]
added = {"real": (images[:0], labels[:0]), "classical": (copies, np.tile(labels, COPIES))}
added["oversampled"] = images[np.concatenate(again)], labels[np.concatenate(again)]
wanted = np.repeat(np.arange(classes), np.maximum(2 * len(images) // classes - counts, 0))
keras.config.set_dtype_policy(policy := kmg.precision.dtype_policy("off" if fast else "auto"))
for kind, minutes in MINUTES.items():
    if kind == "VAE-GAN":
        weights = {"adversarial": "non_saturating", "gamma": 0.1, "kl_weight": 10.0}
        model = kmg.models.VAEGAN(shape, 64, classes, **weights, seed=seed)
        model.compile(discriminator_rate=1.0)
    else:
        unet = kmg.networks.unet(shape, width=16, blocks=1, num_classes=classes, seed=seed)
        model = kmg.models.Diffusion(shape, classes, denoiser=unet, seed=seed)
        model.compile(learning_rate=1e-3, clip_norm=1.0)
    keras.utils.set_random_seed(seed)  # of the order of the images
    limit = kmg.callbacks.TimeLimit(60 * minutes)
    model.fit(images, labels, batch_size=16, epochs=1000, callbacks=[limit], verbose=2)
    if kind == "VAE-GAN":
        added["latent SMOTE"] = kmg.latents.smote(model, images, labels, seed=seed).values()
        model.fit_prior((images, labels), 5, seed)  # of 20, each would stand for few images
    added[kind] = model.generate(len(wanted), labels=wanted, seed=seed), wanted
    some = model.generate(8 * classes, labels=np.repeat(np.arange(classes), 8), seed=seed + 1)
    planes = [some[..., :1]] if task == "classifier" else [some[..., :1], some[..., channels:]]
    kmg.pictures.save_grid(out / f"{task}_{kind}.png", np.concatenate(planes, 2), 8, synthetic=True)
names = {"classifier": ("auc", "accuracy"), "segmenter": ("dice", "image_dice")}[task]
training = kmg.evaluation.segmenter_training((*shape[:2], channels), steps)
if task == "classifier":
    training = kmg.evaluation.classifier_training(shape, classes, "multi-class", steps)
rows, tested, (seen, wanted) = [], {arm: [] for arm in added}, learned(*test)
for arm, more in added.items():
    known = learned(*(np.concatenate(both) for both in zip((images, labels), more, strict=True)))
    for number in range(SEEDS * seed, SEEDS * (seed + 1)):
        training.fit(*known, *learned(*val), seed=number)  # val is real, and chooses the checkpoint
        tested[arm].append(figures(wanted, training.network.predict(seen, verbose=0)))
    runs = {name: [float(one[name]) for one in tested[arm]] for name in names}
    rows.append({"arm": arm, "images": len(known[0]), "runs": runs})
    rows[-1] |= {name: float(np.mean(values)) for name, values in runs.items()}
    if arm != "real":  # what it adds, and its 95% interval: too narrow where patients have many
        rows[-1]["gain"] = kmg.evaluation.difference(tested["real"], tested[arm], names[0])
    print(", ".join(f"{key}: {value}" for key, value in rows[-1].items()), flush=True)
report = {"seed": seed, "precision": policy, "minutes": MINUTES, "steps": steps, "changes": CHANGES}
report |= {"data": data.provenance, "rows": rows, "seconds": round(time.perf_counter() - started)}
(out / f"{task}.json").write_text(json.dumps(report, indent=1) + "\n")
print(f"pictures and {task}.json are in {out}")
