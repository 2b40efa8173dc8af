"""Lesions in brain slices: every model that reconstructs, beside the mere intensity.

    python benchmarks/brain_anomaly.py --data brats6_slices_64.npz --out runs/brain_anomaly

BraTS slices of six patients, FLAIR alone. Models are trained on the slices without a lesion of
three patients (each slice and its mirror image); thresholds and the weights of the intensity come
from a fourth, with and without lesions; the table is of the two others. Trained models and figures
are kept in `--out`, so that the table can be made in parts.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

import keras_medgen as kmg
from keras_medgen.anomaly.sweep import validation_arguments

TRAIN, VALIDATION = (3, 4, 5), 6
TIMESTEPS = (300, 200, 100, 50, 25)
WIDTH = 16
SEED = 0
PROCESSING = {"brain_mask": 0.02, "median": 3, "sign": "brighter", "channel": 0}
SAMPLING = {"num_draws": 2, "restoration": {"num_steps": 10, "spacing": "even", "verbose": 0}}
EPOCHS = {"vae": 60, "vaegan": 60, "diffusion": 150, "diffusion, simplex noise": 150}


def splits(path):
    with np.load(path, allow_pickle=False) as content:
        train, test = (
            {
                "images": content[f"{name}_images"][..., :1],
                "labels": content[f"{name}_labels"][:, 0],
                "masks": content[f"{name}_masks"],
                "patients": content[f"{name}_patient"],
            }
            for name in ("train", "test")
        )
    rows = {
        "train": np.isin(train["patients"], TRAIN) & (train["labels"] == 0),
        "val": train["patients"] == VALIDATION,
    }
    chosen = {
        name: {key: value[of_split] for key, value in train.items()}
        for name, of_split in rows.items()
    }
    return chosen | {"test": test}


def made(name, shape):
    if name == "vae":
        model = kmg.models.VAE(shape, latent_dim=32, kl_weight=1.0, seed=SEED)
    elif name == "vaegan":
        model = kmg.models.VAEGAN(shape, latent_dim=32, adversarial="non_saturating", seed=SEED)
    else:
        model = kmg.models.Diffusion(
            shape,
            schedule="linear",
            noise="simplex" if "simplex" in name else "gaussian",
            denoiser=kmg.networks.unet(shape, width=WIDTH, seed=SEED),
            seed=SEED,
        )
    model.compile(learning_rate=3e-4 if name == "vaegan" else 1e-3, clip_norm=1.0)
    return model


def in_a_path(name):
    return name.replace(", ", "-").replace(" ", "-")


def trained(name, images, folder):
    path = folder / f"{in_a_path(name)}.keras"
    if not path.is_file():
        model = made(name, images.shape[1:])
        images = np.concatenate([images, images[:, :, ::-1]])
        keras.utils.set_random_seed(SEED)  # the order of the images
        model.fit(images, batch_size=16, epochs=EPOCHS[name], verbose=2)
        model.save(path)
    return keras.saving.load_model(path)


class Remembered:
    """A model whose restorations are kept: several detectors ask for the same."""

    def __init__(self, model):
        self._model, self._kept = model, {}

    def __getattr__(self, name):
        return getattr(self._model, name)

    def __call__(self, *arguments, **more):
        """As the model does."""
        return self._model(*arguments, **more)

    def reconstruct(self, images, **arguments):
        """As the model does, once for the same arguments."""
        key = (len(images), float(np.sum(images)), repr(sorted(arguments.items())))
        if key not in self._kept:
            self._kept[key] = self._model.reconstruct(images, **arguments)
        return self._kept[key]


def detectors(name, model):
    """From the name of a row to a detector, not fitted."""
    kinds = {"": {}, " and intensity": {"intensity": "auto"}}
    if not hasattr(model, "num_timesteps"):
        methods = ["reconstruction", "kl", "reconstruction+kl"]
        methods += ["features"] if name == "vaegan" else []
        return {
            f"{name}, {method}{kind}": kmg.anomaly.AnomalyDetector(
                model,
                method,
                **PROCESSING | ({} if method == "reconstruction" else {"sign": "absolute"}),
                **arguments,
            )
            for method in methods
            for kind, arguments in kinds.items()
            if not kind or method in ("reconstruction", "features")
        }
    return {
        f"{name}, t = {timestep}{kind}": kmg.anomaly.AnomalyDetector(
            model, timestep=timestep, **PROCESSING, **SAMPLING, **arguments
        )
        for timestep in TIMESTEPS
        for kind, arguments in kinds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--only", choices=EPOCHS, nargs="*", default=list(EPOCHS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = splits(arguments.data)
    validation = validation_arguments(data["val"])
    test = data["test"]
    known = {name: test[name] for name in ("labels", "masks", "patients")}
    print({name: len(split["images"]) for name, split in data.items()}, flush=True)

    plain = kmg.anomaly.AnomalyDetector(None, "intensity", channel=0).fit(**validation)
    tables = {
        "baselines": kmg.anomaly.evaluate({"plain intensity": plain}, test["images"], **known)
    }
    for name in arguments.only:
        model = Remembered(trained(name, data["train"]["images"], arguments.out))
        rows = {row: one.fit(**validation) for row, one in detectors(name, model).items()}
        tables[name] = kmg.anomaly.evaluate(rows, test["images"], **known)
        # The weight and the timestep that the validation patient would choose.
        chosen = {
            row: kmg.anomaly.evaluate(
                one, data["val"]["images"], data["val"]["labels"], data["val"]["masks"]
            ).rows["detector"]["pixel_ap"]
            for row, one in rows.items()
        }
        print({row: round(value, 3) for row, value in chosen.items()}, flush=True)
        if hasattr(model, "num_timesteps"):
            picture = arguments.out / f"{in_a_path(name)}.png"
            kmg.anomaly.sweep_timesteps(
                model, data, TIMESTEPS, out=picture, **PROCESSING, **SAMPLING
            )
        content = tables[name].as_dict() | {"validation_pixel_ap": chosen}
        (arguments.out / f"{in_a_path(name)}.json").write_text(json.dumps(content, indent=1) + "\n")
    for table in tables.values():
        print(table.to_markdown(), flush=True)


if __name__ == "__main__":
    main()
