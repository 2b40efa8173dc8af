"""VAE, MS-SSIM VAE, VAE-GAN and diffusion beside pythae's models, after the same time of training.

    pip install -e '.[bench]'
    python benchmarks/comparison.py --data-dir FOLDER

FOLDER holds pneumoniamnist.npz, brain_tumor_mri_64.npz, prostate_gleason_64.npz and fundus_64.npz,
with MedMNIST's keys. Each model trains for --minutes by the clock, alone on the machine, in a
process of its own, on the training split that `keras_medgen.data.load` makes; the time to compile
counts. The learning rate of all falls to 0 along a cosine of the time. Ours are conditional;
pythae has no conditional models, and trains one for each class, which share the minutes by their
numbers of images. Latents are drawn from mixtures of 10 Gaussians for each class that are fitted
after the training: ours by `fit_prior`, theirs by pythae's GaussianMixtureSampler. pythae's models
run with its dense default networks (its VAEGAN compares what its discriminator decides, by default,
or what its hidden layer sees) and with small convolutional ones handed in, its MSSSIM_VAE with two
sizes of batches; the table shows the best of them by Fréchet distance, the JSON file all.

1,000 images of each, with the labels of the training split, are judged by
`keras_medgen.evaluation.evaluate`, and by three small classifiers trained on them and tested on
real ones (TSTR), beside three trained on the real training images (TRTR). Ours compute in bfloat16
where the machine does, else in float32 as theirs do. Each model leaves its images in --out and its
figures in benchmarks/comparison.json; what is there already is not done again, so that the table
can be made in parts, all of a data set on one machine. The table goes into docs/results.md.
"""

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

DATA_SETS = ("pneumoniamnist", "brain_tumor_mri_64", "prostate_gleason_64", "fundus_64")
LATENT_DIM, COMPONENTS, SEED, NUM = 64, 10, 0, 1000
SHOWN, COLUMNS = 32, 8
RESULTS = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
PICTURES = PAGE.parent / "pictures"
STAGES = ("train", "judge")
SPLIT, REAL_ONES = "train.npz", "real.json"
TRAININGS = 3  # of classifiers
MARKERS = ("<!-- comparison -->", "<!-- end of comparison -->")


@dataclasses.dataclass(frozen=True)
class Ours:
    """One of our models, with what differs from its defaults."""

    label: str
    kind: str
    batch: int = 64
    model: dict = dataclasses.field(default_factory=dict)
    compiled: dict = dataclasses.field(default_factory=lambda: {"learning_rate": 1e-3})
    optimizers: tuple[str, ...] = ("optimizer",)


@dataclasses.dataclass(frozen=True)
class Peer:
    """One of pythae's models, with what differs from its defaults."""

    label: str
    kind: str
    convolutional: bool
    config: dict = dataclasses.field(default_factory=dict)
    learning_rate: float = 1e-3
    optimizers: tuple[str, ...] = ("optimizer",)
    batch: int = 64


NETWORKS = ("encoder_optimizer", "decoder_optimizer", "discriminator_optimizer")
OURS = {
    "vae": Ours("VAE", "VAE"),
    "ms_ssim": Ours("MS-SSIM VAE, batches of 64", "VAE", model={"reconstruction": "ms_ssim"}),
    "ms_ssim_16": Ours("MS-SSIM VAE", "VAE", 16, {"reconstruction": "ms_ssim"}),
    "ms_ssim_l1": Ours("MS-SSIM and L1 VAE", "VAE", model={"reconstruction": "ms_ssim_l1"}),
    "vaegan": Ours(
        "VAE-GAN",
        "VAEGAN",
        16,
        {"adversarial": "non_saturating", "gamma": 0.1, "kl_weight": 10.0},
        {"learning_rate": 3e-4, "discriminator_rate": 1.0},
        NETWORKS,
    ),
    "diffusion": Ours(
        "diffusion", "Diffusion", 32, compiled={"learning_rate": 1e-3, "clip_norm": 1.0}
    ),
}
# Of the layers of the discriminator pythae compares the last by default, its decision; the dense
# one has two.
HIDDEN_LAYER, MIDDLE_LAYER = {"reconstruction_layer": 1}, {"reconstruction_layer": 2}
PEERS = {
    "pythae_vae": Peer("pythae VAE", "VAE", False),
    "pythae_vae_conv": Peer("pythae VAE", "VAE", True),
    "pythae_ms_ssim": Peer("pythae MSSSIM_VAE", "MSSSIM_VAE", False, {"beta": 1e-3}),
    "pythae_ms_ssim_16": Peer("pythae MSSSIM_VAE", "MSSSIM_VAE", False, {"beta": 1e-3}, batch=16),
    "pythae_ms_ssim_conv": Peer("pythae MSSSIM_VAE", "MSSSIM_VAE", True, {"beta": 1e-3}),
    "pythae_vaegan": Peer("pythae VAEGAN", "VAEGAN", False, {}, 3e-4, NETWORKS),
    "pythae_vaegan_hidden": Peer(
        "pythae VAEGAN of its hidden layer", "VAEGAN", False, HIDDEN_LAYER, 3e-4, NETWORKS
    ),
    "pythae_vaegan_conv": Peer("pythae VAEGAN", "VAEGAN", True, MIDDLE_LAYER, 3e-4, NETWORKS),
}
MODELS = OURS | PEERS
COLUMN_NAMES = ("FD / floor", "precision", "recall", "coverage", "AuthPct", "TSTR accuracy")
FORMS = ("{:.1f}", "{:.2f}", "{:.2f}", "{:.2f}", "{:.0f}", "{:.3f}")
GENERATED = (
    "fidelity/test/ratio",
    "diversity/precision",
    "diversity/recall",
    "diversity/coverage",
    "authenticity/auth_pct[randconv-v1/64]",
    "utility/tstr_accuracy",
)
REAL = (
    "fidelity/test/real_train_ratio",
    "diversity/precision_real",
    "diversity/recall_real",
    "diversity/coverage_real",
    "authenticity/auth_pct_held_out[randconv-v1/64]",
    "utility/trtr_accuracy",
)
KEPT = (
    *GENERATED,
    *REAL,
    "fidelity/test/floor",
    "fidelity/train/ratio",
    "utility/tstr_accuracy_low",
    "utility/tstr_accuracy_high",
    "utility/trtr_accuracy_low",
    "utility/trtr_accuracy_high",
    "utility/tstr_accuracy_val",
    "utility/trtr_accuracy_val",
    "authenticity/flagged",
    "diversity/vendi",
    "diversity/vendi_real",
)
ROWS = (  # of the table: ours, and the peers of which the better one is shown
    ("vae", ("pythae_vae", "pythae_vae_conv")),
    ("ms_ssim_16", ("pythae_ms_ssim", "pythae_ms_ssim_16", "pythae_ms_ssim_conv")),
    ("ms_ssim_l1", ()),
    ("vaegan", ("pythae_vaegan", "pythae_vaegan_hidden", "pythae_vaegan_conv")),
    ("diffusion", ()),
)


def load(path, batch=64):
    import keras_medgen as kmg

    return kmg.data.load(path, batch_size=batch, seed=SEED)


def wanted_labels(labels):
    """Those of the images to generate, drawn from the training split's."""
    return np.random.default_rng(SEED).choice(labels, NUM)


class Clock:
    """What is left of the time, and the learning rate that belongs to it."""

    def __init__(self, seconds, rate):
        self.seconds, self.rate, self.started = seconds, rate, time.perf_counter()

    def decayed(self):
        """The learning rate by now."""
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(self.share(), 1)))

    def share(self):
        """The part of the time that has passed."""
        return (time.perf_counter() - self.started) / self.seconds


def train_ours(ours, path, seconds):
    """Images (NUM, height, width, channels), their labels, and figures of the training."""
    import keras

    import keras_medgen as kmg

    data = load(path, ours.batch)
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(kmg.precision.dtype_policy("auto"))
    clock, before = Clock(seconds, ours.compiled["learning_rate"]), time.process_time()

    def after_steps(batch, logs):
        for name in ours.optimizers:
            getattr(model, name).learning_rate = clock.decayed()
        model.stop_training = clock.share() >= 1

    options = {} if ours.kind == "Diffusion" else {"latent_dim": LATENT_DIM}
    model = getattr(kmg.models, ours.kind)(
        data.image_shape, num_classes=data.num_classes, seed=SEED, **options, **ours.model
    )
    model.compile(**ours.compiled, steps_per_execution=8)
    stop = keras.callbacks.LambdaCallback(on_train_batch_end=after_steps)
    model.fit(data.train, epochs=100_000, verbose=0, callbacks=[stop])
    figures = {
        "seconds": time.perf_counter() - clock.started,
        "processor_seconds": time.process_time() - before,
        "steps": int(model.optimizer.iterations.numpy()),
        "parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
        "dtype_policy": keras.config.dtype_policy().name,
    }
    train = data.arrays("train")
    labels = wanted_labels(train["labels"])
    options = {"verbose": 0} if ours.kind == "Diffusion" else {}
    if ours.kind != "Diffusion":
        model.fit_prior((train["images"], train["labels"]), COMPONENTS, SEED)
    return model.generate(NUM, labels=labels, seed=SEED, **options), labels, figures


def train_peer(peer, path, seconds):
    """Images (NUM, height, width, channels), their labels, and figures of the training."""
    import torch

    torch.set_num_threads(os.cpu_count())  # it takes half as many where cores are threads
    with np.load(path) as train:
        images, classes = train["images"], train["labels"]
    labels = wanted_labels(classes)
    made = np.zeros((NUM, *images.shape[1:]), np.float32)
    figures = {"seconds": 0.0, "processor_seconds": 0.0, "steps": 0, "parameters": 0}
    for number in np.unique(classes):
        torch.manual_seed(SEED)
        pixels = np.ascontiguousarray(images[classes == number].transpose(0, 3, 1, 2))
        model = peer_model(peer, pixels.shape[1:])
        found = fit_peer(model, peer, pixels, seconds * len(pixels) / len(images))
        figures["parameters"] += sum(p.numel() for p in model.parameters())
        for key, value in found.items():
            figures[key] += value
        rows = np.flatnonzero(labels == number)
        if len(rows):
            made[rows] = sample_peer(model, pixels, len(rows)).transpose(0, 2, 3, 1)
    return made, labels, figures


def fit_peer(model, peer, pixels, seconds):
    """Trains by pythae's own trainer, which has no clock: it is stopped after a step."""
    from pythae import trainers
    from pythae.data.datasets import BaseDataset
    from pythae.trainers.training_callbacks import TrainingCallback

    class OutOfTimeError(Exception):
        pass

    class Stop(TrainingCallback):
        steps = 0

        def on_train_step_end(self, training_config, **kwargs):
            Stop.steps += 1
            for name in peer.optimizers:
                for group in getattr(trainer, name).param_groups:
                    group["lr"] = clock.decayed()
            if clock.share() >= 1:
                raise OutOfTimeError

    clock, before = Clock(seconds, peer.learning_rate), time.process_time()
    adversarial = peer.kind == "VAEGAN"
    kind = "CoupledOptimizerAdversarialTrainer" if adversarial else "BaseTrainer"
    rates = [name.replace("optimizer", "learning_rate") for name in peer.optimizers]
    with tempfile.TemporaryDirectory() as folder:
        config = getattr(trainers, f"{kind}Config")(
            output_dir=folder,
            num_epochs=1_000_000,
            per_device_train_batch_size=peer.batch,
            seed=SEED,
            **dict.fromkeys(rates, peer.learning_rate),
        )
        dataset = BaseDataset(*map(as_tensor, (pixels, np.ones(len(pixels)))))
        trainer = getattr(trainers, kind)(
            model=model, train_dataset=dataset, training_config=config, callbacks=[Stop()]
        )
        with contextlib.suppress(OutOfTimeError):
            trainer.train()
    model.eval()
    return {
        "seconds": time.perf_counter() - clock.started,
        "processor_seconds": time.process_time() - before,
        "steps": Stop.steps,
    }


def as_tensor(array):
    import torch

    return torch.from_numpy(np.asarray(array, np.float32))


def sample_peer(model, pixels, num):
    from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig

    config = GaussianMixtureSamplerConfig(n_components=min(COMPONENTS, len(pixels)))
    sampler = GaussianMixtureSampler(model, config)
    sampler.fit(np.maximum(pixels, 0))
    return np.clip(sampler.sample(num).cpu().numpy(), 0, 1)


def peer_model(peer, shape):
    from pythae import models

    config = getattr(models, f"{peer.kind}Config")(
        input_dim=shape, latent_dim=LATENT_DIM, **peer.config
    )
    networks = ()
    if peer.convolutional:
        config.discriminator_input_dim = shape
        networks = convolutional_networks(shape, with_discriminator=peer.kind == "VAEGAN")
    return getattr(models, peer.kind)(config, *networks)


def convolutional_networks(shape, with_discriminator):
    """Networks to hand to pythae: its own of 64x64 pixels, at a quarter of their width.

    At their full width a step of 64 images takes seconds on two cores.
    """
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
    from torch import nn

    channels, side = shape[0], shape[1]
    stages = 4 if side % 16 == 0 else 2  # 64 or 28 pixels, to 4 or 7
    widths = [channels, *(32 * 2**stage for stage in range(stages))]
    pairs = list(itertools.pairwise(widths))
    coarse = side // 2**stages
    flat = widths[-1] * coarse**2

    def down(before, after):
        layers = nn.Conv2d(before, after, 4, 2, padding=1), nn.BatchNorm2d(after), nn.ReLU()
        return nn.Sequential(*layers)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*(down(*pair) for pair in pairs), nn.Flatten())
            self.mean, self.log_variance = nn.Linear(flat, LATENT_DIM), nn.Linear(flat, LATENT_DIM)

        def forward(self, x):
            x = self.layers(x)
            return ModelOutput(embedding=self.mean(x), log_covariance=self.log_variance(x))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            layers = [nn.Linear(LATENT_DIM, flat), nn.Unflatten(1, (widths[-1], coarse, coarse))]
            for after, before in reversed(pairs[1:]):
                layers += [nn.ConvTranspose2d(before, after, 4, 2, padding=1)]
                layers += [nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.ConvTranspose2d(widths[1], channels, 4, 2, padding=1), nn.Sigmoid()]
            self.layers = nn.Sequential(*layers)

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z))

    class Discriminator(BaseDiscriminator):
        def __init__(self):
            super().__init__()
            last = nn.Sequential(nn.Flatten(), nn.Linear(flat, 1), nn.Sigmoid())
            self.layers = nn.ModuleList([*(down(*pair) for pair in pairs), last])
            self.depth = len(self.layers)

        def forward(self, x, output_layer_levels=None):
            output = ModelOutput()
            for level, layer in enumerate(self.layers, start=1):
                x = layer(x)
                if output_layer_levels is not None and level in output_layer_levels:
                    output[f"embedding_layer_{level}"] = x
                    if level == max(output_layer_levels):
                        return output
            output["embedding"] = x
            return output

    return Encoder(), Decoder(), *([Discriminator()] if with_discriminator else [])


def train_one(path, name, folder, minutes):
    """Leaves in the folder images.npz and training.json."""
    if name in OURS:
        images, labels, figures = train_ours(OURS[name], path, 60 * minutes)
    else:  # without TensorFlow, which some releases of PyTorch do not meet in one process
        split = folder.parent / SPLIT
        images, labels, figures = train_peer(PEERS[name], split, 60 * minutes)
    pixels = (images * 255).round().astype(np.uint8)
    np.savez_compressed(folder / "images.npz", images=pixels, labels=labels)
    known = {"minutes": minutes, "processor": processor(), "settings": settings(name)}
    write_json(folder / "training.json", {**figures, **known})


def processor():
    """The machine's name of its processor and how many it has, for times depend on them."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{next(iter(names), platform.machine())}, {os.cpu_count()} cores"


def split_one(path, folder):
    """Leaves in the folder the training split, float32 in [0, 1], and what it is worth."""
    data = load(path)
    train = data.arrays("train")
    images, labels = train["images"], train["labels"].reshape(-1)
    images = images / np.float32(255) if images.dtype == np.uint8 else images
    write_json(folder / REAL_ONES, useful(images, labels, data, "trtr"))
    beside = folder / "part.npz"  # the split stands for all that was done here
    np.savez(beside, images=images, labels=labels)
    beside.rename(folder / SPLIT)


def judge_one(path, folder):
    """Leaves in the folder judged.json, what `evaluate` measured, its report, and a picture."""
    import keras_medgen as kmg

    data = load(path)
    with np.load(folder / "images.npz") as made:
        images, labels = made["images"], made["labels"]
    shown = images[:SHOWN] / np.float32(255)
    kmg.pictures.save_grid(folder / "samples.png", shown, COLUMNS, synthetic=True)
    extractors = [kmg.metrics.RandomConvolutions(64)]
    report = kmg.evaluation.evaluate(images, data, NUM, SEED, extractors=extractors, verbose=False)
    report.save(folder / "report")
    figures = {**report.metrics, **useful(images / np.float32(255), labels, data, "tstr")}
    write_json(folder / "judged.json", {**figures, **read_json(folder.parent / REAL_ONES)})


def useful(images, labels, data, arm):
    """Accuracies on real test images of classifiers trained on these: mean, lowest, highest."""
    import keras_medgen as kmg

    train = kmg.evaluation.classifier_training(images.shape[1:], data.num_classes, data.task)
    val, test = (data.arrays(split) for split in ("val", "test"))
    figures, found = {}, {"": [], "_val": []}
    for seed in range(TRAININGS):
        train.fit(images, labels, val["images"], val["labels"].reshape(-1), seed=seed)
        for suffix, split in (("", test), ("_val", val)):
            predicted = train.network.predict(split["images"], verbose=0).argmax(axis=-1)
            found[suffix].append(float(np.mean(predicted == split["labels"].reshape(-1))))
    for suffix, values in found.items():
        key = f"utility/{arm}_accuracy{suffix}"
        figures |= {key: np.mean(values), f"{key}_low": min(values), f"{key}_high": max(values)}
    return figures


def write_json(path, content):
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    beside.rename(path)


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def settings(name):
    """Those of a model, as JSON gives them back: tuples are lists."""
    return json.loads(json.dumps(dataclasses.asdict(MODELS[name])))


def check_alike(found):
    """Figures of one data set stand side by side: of other minutes or machines they may not."""
    for key in ("minutes", "processor"):
        if len({one[key] for one in found.values()}) > 1:
            raise SystemExit(
                f"models of one data set must be trained alike. Received: {key} "
                + ", ".join(f"{name} {one[key]}" for name, one in found.items())
            )


def outcome(arguments, data_set, name):
    """The figures of a model, each stage in a process of its own unless it is done already."""
    folder = arguments.out / data_set / name
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"minutes": arguments.minutes, "settings": settings(name)}
    before = read_json(folder / "training.json")
    if any(before.get(key, value) != value for key, value in wanted.items()):
        raise SystemExit(
            f"{data_set}, {name}: was trained with other settings or for other minutes before. "
            "Give another folder as --out, or the same --minutes."
        )
    files = {"split": f"../{SPLIT}", "train": "training.json", "judge": "judged.json"}
    for stage, file in files.items():
        if (stage != "split" and stage not in arguments.stages) or (folder / file).exists():
            continue
        print(f"{data_set}: {name}, {stage}", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--data-dir", arguments.data_dir]
        command += ["--out", arguments.out, "--minutes", str(arguments.minutes)]
        with (folder / f"{stage}.log").open("w") as log:
            one = subprocess.run([*command, "--one", data_set, name, stage], stdout=log, stderr=log)
        if one.returncode:
            raise SystemExit(f"{data_set}, {name}: {stage} failed; see {log.name}.")
    if not (folder / "judged.json").exists():
        return {}
    figures = read_json(folder / "judged.json")
    kept = {key: figures[key] for key in KEPT if key in figures}
    return {**read_json(folder / "training.json"), "figures": kept}


def table(results):
    """What is known, in Markdown: of each data set, real images, ours and theirs."""
    lines = ["| | " + " | ".join(COLUMN_NAMES) + " |", "|---" + "|---:" * len(COLUMN_NAMES) + "|"]
    for data_set in DATA_SETS:
        found = results.get(data_set, {})
        if not found:
            continue
        first = next(iter(found.values()))["figures"]
        lines.append(f"| **{data_set}** |" + " |" * len(COLUMN_NAMES))
        lines.append(row("real training images", first, REAL))
        for name in itertools.chain(*shown_rows(found)):
            lines.append(row(", ".join(label(name)), found[name]["figures"], GENERATED))
    return "\n".join(lines)


def shown_rows(found):
    """Of each row those that are known: ours, and the best of its peers."""
    for ours, peers in ROWS:
        known = [name for name in peers if name in found]
        best = min(
            known, key=lambda name: found[name]["figures"]["fidelity/test/ratio"], default=None
        )
        yield [name for name in (ours, best) if name in found]


def label(name):
    """What a model is called: its kind, and of a peer also that of its networks."""
    if name in OURS:
        return [OURS[name].label]
    return [PEERS[name].label, "convolutional" if PEERS[name].convolutional else "dense"]


def row(title, figures, keys):
    cells = []
    for key, form in zip(keys, FORMS, strict=True):
        cells.append(form.format(figures[key]) if key in figures else "-")
        if f"{key}_low" in figures:
            cells[-1] += f" ({figures[f'{key}_low']:.2f} to {figures[f'{key}_high']:.2f})"
    return f"| {title} | " + " | ".join(cells) + " |"


def verdicts(results):
    """A sentence for each row in which both sides are known."""
    for data_set, found in results.items():
        for ours, peers in ROWS:
            known = [name for name in peers if name in found]
            if ours not in found or not known:
                continue
            ratios = [found[name]["figures"]["fidelity/test/ratio"] for name in (ours, *known)]
            verdict = "ahead" if ratios[0] < min(ratios[1:]) else "BEHIND"
            theirs = ", ".join(
                f"{name} {ratio:.2f}" for name, ratio in zip(known, ratios[1:], strict=True)
            )
            yield f"{data_set}: {ours} {ratios[0]:.2f}; {theirs}: {verdict}"


def write_page(text):
    """Puts text between the markers of docs/results.md."""
    page = PAGE.read_text()
    begin, end = MARKERS
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE} has not both of {begin} and {end}.")
    before, rest = page.split(begin)
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}")


def pictures(results):
    """The pictures that there are, in Markdown, each with its caption."""
    for data_set in filter(results.get, DATA_SETS):
        file = PICTURES / f"comparison_{data_set}.png"
        if file.exists():
            yield f"![Generated images by each model]({PICTURES.name}/{file.name})"
            processor = next(iter(results[data_set].values()))["processor"]
            yield f"*{data_set}: the first samples of each, generated. {processor}.*"


def draw(folder, data_set, found):
    """A picture of a data set: samples of each model that is known, of the same classes."""
    from matplotlib.figure import Figure
    from PIL import Image

    from keras_medgen._marks import synthetic_mark

    shown = [*itertools.chain(*shown_rows(found))]
    names = [name for name in MODELS if name in shown]
    paths = [folder / data_set / name / "images.npz" for name in names]
    if not names or not all(path.exists() for path in paths):
        return  # some were trained elsewhere, and are in the picture already
    figure = Figure(figsize=(COLUMNS + 1.5, len(names)), layout="constrained")
    axes = figure.subplots(len(names), COLUMNS, squeeze=False)
    for line, name, path in zip(axes, names, paths, strict=True):
        with np.load(path) as made:
            for axis, image in zip(line, made["images"][:COLUMNS], strict=True):
                axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axis.set(xticks=[], yticks=[])
        line[0].set_ylabel("\n".join(label(name)), rotation=0, ha="right", va="center", fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=60)
    picture = Image.open(drawn).convert("RGB").quantize(256)  # a small file, of noise too
    picture.save(PICTURES / f"comparison_{data_set}.png", pnginfo=synthetic_mark(True))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--data-sets", nargs="+", choices=DATA_SETS, default=DATA_SETS)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=tuple(MODELS))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where figures are kept")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        data_set, name, stage = arguments.one
        path, folder = arguments.data_dir / f"{data_set}.npz", arguments.out / data_set / name
        if stage == "split":
            split_one(path, folder.parent)
        elif stage == "train":
            train_one(path, name, folder, arguments.minutes)
        else:
            judge_one(path, folder)
        return
    for data_set in arguments.data_sets:
        for name in arguments.models:
            found = outcome(arguments, data_set, name)
            if found:
                results = read_json(arguments.results)
                results.setdefault(data_set, {})[name] = found
                check_alike(results[data_set])
                write_json(arguments.results, results)
    results = read_json(arguments.results)
    print(table(results), *verdicts(results), sep="\n")
    if arguments.results == RESULTS:
        for data_set in arguments.data_sets:
            draw(arguments.out, data_set, results.get(data_set, {}))
        write_page("\n\n".join([table(results), *pictures(results)]))


if __name__ == "__main__":
    main()
