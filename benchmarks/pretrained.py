"""Trains, judges and publishes a model of saved_models/.

    python benchmarks/pretrained.py pneumonia_vae_28 --data pneumoniamnist

trains it anew by the settings in saved_models/pneumonia_vae_28/run.json, into --runs;

    python benchmarks/pretrained.py pneumonia_vae_28 --data pneumoniamnist --run runs/mine --publish

puts a run of `keras-medgen train` (without --run the new training) in the place of the published
model. saved_models/NAME then holds model.keras (without optimizers, its weights rounded to
float16, and an average in the place of what it is taken of), run.json, samples.png, the evaluation
report of that very model and its SavedModel; keras_medgen/models/pretrained.json its SHA-256 and
saved_models/models.config its entry. The same seed gives the same model on the same machine, and
one much like it on another; but for a training that the clock ended (`max_minutes` in run.json),
which comes to other epochs at another speed.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_medgen as kmg
from keras_medgen._files import file_digest, folder_written_whole, written_whole
from keras_medgen.cli.runs import MODEL, RUN, RunDirectory
from keras_medgen.cli.settings import Settings
from keras_medgen.cli.training import run_training
from keras_medgen.models import pretrained

ROOT = Path(__file__).resolve().parents[1]
MODELS, REGISTRY = ROOT / "saved_models", ROOT / "keras_medgen" / "models" / "pretrained.json"
CONFIG = MODELS / "models.config"
SHOWN, COLUMNS, SEED = 32, 8, 0
LARGEST = 4 * 2**20  # bytes of a model's folder
CHESTS = "of chest radiographs of children, normal or pneumonia"
SUMMARIES = {
    "pneumonia_vae_28": f"conditional VAE {CHESTS}",
    "pneumonia_vaegan_28": f"conditional VAE-GAN {CHESTS}",
    "pneumonia_diffusion_28": f"conditional diffusion model {CHESTS}",
    "breast_vaegan_28": "conditional VAE-GAN of breast ultrasound images, malignant or not",
    "retina_patches_vae_64": "VAE of patches of one fundus photograph",
}
# Of what may be trained on, as the readers of those sources put it.
LICENCES = ("CC BY 4.0", "CC0")


def train(name, source, data_dir, folder):
    """A run with the settings of the model that is published now."""
    if name not in pretrained.PRETRAINED:
        raise SystemExit(f"{name} has no run.json yet: give a run of it as --run.")
    settings = json.loads((MODELS / name / RUN).read_text())["settings"]
    known = {field.name for field in dataclasses.fields(Settings)}
    settings = Settings(**{k: v for k, v in settings.items() if k in known} | {"data": source})
    run = RunDirectory(folder / name)
    if not (run.out / RUN).exists():
        run_training(settings, run, overwrite=False, data_dir=data_dir)
    there = json.loads((run.out / RUN).read_text())["settings"]
    if any(there.get(k) != v for k, v in dataclasses.asdict(settings).items() if k != "data"):
        raise SystemExit(f"{run.out} was trained with other settings: delete it, or give another.")
    return run.out


def save_bare(run, path):
    """The model of a run, without its optimizers, in weights that a zip makes small."""
    model = keras.saving.load_model(run / MODEL, compile=False)
    for name in ("denoiser", "generator"):  # where images are made by an average: that, twice
        average = getattr(model, f"average_{name}", None)
        if average is not None:
            getattr(model, name).set_weights(average.get_weights())
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(keras.ops.cast(keras.ops.cast(variable, "float16"), "float32"))
    model.save(path)
    with zipfile.ZipFile(path) as stored:
        files = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as smaller:
        for name, content in files.items():
            smaller.writestr(name, content)


def command(*arguments):
    program = "import sys; from keras_medgen.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True)


def publish(name, run, source, data_dir, folder):
    """Makes the folder of saved_models/ and puts it in the place of the older one."""
    record = json.loads((run / RUN).read_text())
    licence = record["data"]["licence"]
    if not licence.startswith(LICENCES):
        raise SystemExit(f"{name} was trained on images whose licence is {licence!r}.")
    made = folder / "published" / name  # the name that the SavedModel's warm-up asks for
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    save_bare(run, made / MODEL)
    shutil.copy(run / RUN, made)
    where = () if data_dir is None else ("--data-dir", data_dir)
    command("evaluate", made, "--data", source, *where)
    command("export", made, made, "--version", 1)
    model = keras.saving.load_model(made / MODEL)
    classes = model.num_classes
    labels = None if classes is None else np.repeat(np.arange(classes), SHOWN // classes)
    samples = model.generate(SHOWN, labels=labels, seed=SEED)
    kmg.pictures.save_grid(made / "samples.png", samples, COLUMNS, synthetic=True)
    place(name, made, model, record)


def place(name, made, model, record):
    """Puts what was made into saved_models/, and writes down what it is."""
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    print(f"{name}: {size / 1e6:.2f} MB")
    if size > LARGEST:
        raise SystemExit(f"{made} is too large to publish.")
    shutil.rmtree(MODELS / name, ignore_errors=True)
    with folder_written_whole(MODELS / name) as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)
    facts = pretrained.Pretrained(
        summary=SUMMARIES[name],
        image_shape=model.image_shape,
        source=record["data"]["source"],
        licence=record["data"]["licence"],
        sha256=file_digest(made / MODEL),
    )
    registry = json.loads(REGISTRY.read_text()) | {name: dataclasses.asdict(facts)}
    with written_whole(REGISTRY) as file:
        file.write_text(json.dumps(registry, indent=2, sort_keys=True) + "\n")
    write_config(sorted(registry))


def write_config(names):
    """The entries of TensorFlow Serving's list, below its comment."""
    comment = [line for line in CONFIG.read_text().splitlines() if line.startswith("#")]
    entries = [
        f'  config {{\n    name: "{name}"\n    base_path: "/models/{name}"\n'
        '    model_platform: "tensorflow"\n  }'
        for name in names
    ]
    with written_whole(CONFIG) as file:
        file.write_text("\n".join([*comment, "model_config_list {", *entries, "}"]) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=SUMMARIES)
    parser.add_argument("--data", required=True, help="what it is trained on")
    parser.add_argument("--data-dir", type=Path, help="where downloaded data sets are")
    parser.add_argument("--run", type=Path, help="a run to take, instead of training anew")
    parser.add_argument("--publish", action="store_true", help="replace the one in saved_models/")
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"))
    arguments = parser.parse_args()
    name, source, data_dir = arguments.name, arguments.data, arguments.data_dir
    run = arguments.run or train(name, source, data_dir, arguments.runs)
    if arguments.publish:
        publish(name, run, source, data_dir, arguments.runs)


if __name__ == "__main__":
    main()
