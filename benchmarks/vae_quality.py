"""Reconstructions of our VAE beside those of pythae's VAE and MSSSIM_VAE.

    pip install -e '.[bench]'
    python benchmarks/vae_quality.py --data-dir FOLDER

FOLDER holds pneumoniamnist.npz, brain_tumor_mri_64.npz, prostate_gleason_64.npz and fundus_64.npz,
with MedMNIST's keys. All models train on the whole of `train_images` for the same number of
epochs, with batches of 64 and 64 latents, and are measured by one code on the whole of
`test_images`. Ours are as the command line trains them, and reconstruct from the means of the
posteriors. pythae's are trained by its own pipeline: with all of its defaults (dense networks,
Adam at 1e-4), and again at our learning rate and, for MSSSIM_VAE, with a KL weight that keeps its
latents in use; `--models` also knows pythae's residual networks, which take several times as long
(it has none for one channel at 64x64). Its decoder may do worse at a posterior's mean than at
latents drawn from it, as its `reconstruct` does: each figure is the better of the two.

Each model runs in a process of its own and leaves in --out a JSON, a log and pictures of samples
and reconstructions; what is there already is not run again. The tables go to the console and into
docs/results.md, our samples to docs/vae_samples.png.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

DATA_SETS = ("pneumoniamnist", "brain_tumor_mri_64", "prostate_gleason_64", "fundus_64")
BATCH, LATENT_DIM, LEARNING_RATE = 64, 64, 1e-3
STEPS_PER_EXECUTION = 8  # as the command line sets it
SAMPLES, COLUMNS = 32, 8
RESULTS = Path(__file__).parents[1] / "docs" / "results.md"
PICTURE = RESULTS.with_name("vae_samples.png")
SHOWN_SAMPLES = 4  # a side of each square
MARKERS = ("<!-- vae_quality -->", "<!-- end of vae_quality -->")
SIMILARITIES = {"ms_ssim": 4, "ssim": 4, "psnr": 2}  # and the digits to show
COLUMN_NAMES = ("model", "MS-SSIM", "SSIM", "PSNR, dB", "-ELBO, nats", "parameters", "seconds")


@dataclasses.dataclass(frozen=True)
class Peer:
    """A model of pythae's, and how it is trained. The defaults are pythae's."""

    label: str
    perceptual: bool = False  # MSSSIM_VAE, or VAE
    residual: bool = False
    learning_rate: float = 1e-4
    beta: float = 1.0


OURS = ("mse", "gaussian", "ms_ssim", "ms_ssim_l1")
LIKELIHOODS = ("mse", "gaussian")
PEERS = {
    "pythae_vae": Peer("pythae VAE"),
    "pythae_vae_lr": Peer("pythae VAE, Adam at 1e-3", learning_rate=LEARNING_RATE),
    "pythae_msssim": Peer("pythae MSSSIM_VAE", perceptual=True),
    "pythae_msssim_lr": Peer(
        "pythae MSSSIM_VAE, Adam at 1e-3, beta 1e-4",
        perceptual=True,
        learning_rate=LEARNING_RATE,
        beta=1e-4,
    ),
    "pythae_vae_residual": Peer(
        "pythae VAE, its residual networks, Adam at 1e-3",
        residual=True,
        learning_rate=LEARNING_RATE,
    ),
    "pythae_msssim_residual": Peer(
        "pythae MSSSIM_VAE, its residual networks, Adam at 1e-3, beta 1e-4",
        perceptual=True,
        residual=True,
        learning_rate=LEARNING_RATE,
        beta=1e-4,
    ),
}
DEFAULT_MODELS = (*OURS, *(name for name, peer in PEERS.items() if not peer.residual))


def read_images(path: Path, split: str) -> np.ndarray:
    """Float32 (n, height, width, channels) in [0, 1]."""
    with np.load(path, allow_pickle=False) as arrays:
        images = arrays[f"{split}_images"].astype(np.float32) / 255
    return images if images.ndim == 4 else images[..., None]


def run_ours(name, train, test, epochs, seed):
    import keras

    import keras_medgen as kmg

    keras.utils.set_random_seed(seed)  # of the order of the images
    model = kmg.models.VAE(train.shape[1:], latent_dim=LATENT_DIM, reconstruction=name, seed=seed)
    schedule = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE, decay_steps=epochs * math.ceil(len(train) / BATCH)
    )
    model.compile(
        model.default_optimizer("optimizer", schedule), steps_per_execution=STEPS_PER_EXECUTION
    )
    started = time.perf_counter()
    model.fit(train, batch_size=BATCH, epochs=epochs, verbose=2)
    seconds = time.perf_counter() - started
    losses = model.evaluate(test, batch_size=BATCH, return_dict=True, verbose=0)
    bound = losses["reconstruction_loss"] + losses["kl_loss"]
    return {
        "seconds": seconds,
        "parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
        "kl": losses["kl_loss"],
        "negative_elbo": bound if name in LIKELIHOODS else None,
        "reconstructions": {"mean": model.reconstruct(test)},
        "samples": model.generate(SAMPLES, seed=seed),
    }


def run_peer(peer, train, test, epochs, seed):
    import torch
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    torch.manual_seed(seed)
    shape = (train.shape[3], *train.shape[1:3])
    model = peer_model(peer, shape)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=peer.learning_rate,
            seed=seed,
        )
        started = time.perf_counter()
        TrainingPipeline(model, config)(channels_first(train))
        seconds = time.perf_counter() - started
    model = model.cpu().eval()
    torch.manual_seed(seed)
    outputs = []
    with torch.no_grad():
        for part in torch.split(torch.from_numpy(channels_first(test)), BATCH):
            mean = model.predict(part).recon_x
            drawn = model({"data": part})  # with latents drawn from the posterior
            losses = drawn.recon_loss.item(), drawn.reg_loss.item()
            outputs.append((len(part), *losses, mean, drawn.recon_x))
        samples = model.decoder(torch.randn(SAMPLES, LATENT_DIM)).reconstruction
    sizes, losses, divergences, means, draws = zip(*outputs, strict=True)
    kl = float(np.average(divergences, weights=sizes))
    # pythae leaves the constant of its Gaussian of unit variance out.
    constant = 0.5 * math.prod(shape) * math.log(2 * math.pi)
    bound = float(np.average(losses, weights=sizes)) + constant + kl
    return {
        "seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "kl": kl,
        "negative_elbo": None if peer.perceptual else bound,
        "reconstructions": {
            "mean": channels_last(torch.cat(means)),
            "draw": channels_last(torch.cat(draws)),
        },
        "samples": channels_last(samples),
    }


def peer_model(peer, shape):
    from pythae.models import MSSSIM_VAE, VAE, MSSSIM_VAEConfig, VAEConfig
    from pythae.models.nn.benchmarks import celeba, mnist

    size = {"input_dim": shape, "latent_dim": LATENT_DIM}
    config = MSSSIM_VAEConfig(**size, beta=peer.beta) if peer.perceptual else VAEConfig(**size)
    networks = ()  # its default: dense, of one hidden layer of 512
    if peer.residual:
        if shape == (1, 28, 28):
            kinds = mnist.Encoder_ResNet_VAE_MNIST, mnist.Decoder_ResNet_AE_MNIST
        else:
            kinds = celeba.Encoder_ResNet_VAE_CELEBA, celeba.Decoder_ResNet_AE_CELEBA
        networks = [kind(config) for kind in kinds]
    return (MSSSIM_VAE if peer.perceptual else VAE)(config, *networks)


def fits(model, shape):
    """Whether there are such networks for images of (height, width, channels)."""
    return model in OURS or not PEERS[model].residual or shape != (64, 64, 1)


def channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def channels_last(tensor):
    return np.clip(tensor.numpy().transpose(0, 2, 3, 1), 0, 1)


def run_one(path, model, folder, settings):
    """Trains and measures one model, and leaves its files in the folder of its data set."""
    from keras_medgen.evaluation import reconstruction_quality
    from keras_medgen.pictures import save_grid, save_reconstructions

    train, test = read_images(path, "train"), read_images(path, "test")
    if model in OURS:
        result = run_ours(model, train, test, **settings)
    else:
        result = run_peer(PEERS[model], train, test, **settings)
    reconstructions, samples = result.pop("reconstructions"), result.pop("samples")
    quality = {kind: reconstruction_quality(test, made) for kind, made in reconstructions.items()}
    for name in SIMILARITIES:
        result[name] = max(figures[name] for figures in quality.values())
    best = reconstructions[max(quality, key=lambda kind: quality[kind]["ms_ssim"])]
    shown = np.linspace(0, len(test) - 1, SAMPLES).astype(int)
    pictures = str(folder / model)
    save_reconstructions(f"{pictures}_reconstructions.png", test[shown], best[shown], COLUMNS)
    save_grid(f"{pictures}_samples.png", samples, COLUMNS, synthetic=True)
    result |= {
        "quality": quality,
        "images": [len(train), len(test)],
        "shape": test.shape[1:],
        "settings": settings,
    }
    (folder / f"{model}.json").write_text(json.dumps(result, indent=2) + "\n")


def outcome(arguments, data_set, model, settings):
    """What `run_one` found, in a process of its own unless it is there already."""
    folder = arguments.out / data_set
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{model}.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    if result.get("settings") == settings:
        return result
    print(f"{data_set}: {model}", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--data-dir", arguments.data_dir, "--out", arguments.out]
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    log = folder / f"{model}.log"
    with log.open("w") as stream:
        done = subprocess.run(
            [*command, "--one", data_set, model], stdout=stream, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SystemExit(f"{data_set}, {model}: failed; see {log}.")
    return json.loads(file.read_text())


def table(data_set, results):
    """One data set's results in Markdown, the best of each similarity in bold."""
    first = next(iter(results.values()))
    height, width, channels = first["shape"]
    train, test = first["images"]
    lines = [
        f"### {data_set}: {height}x{width}x{channels}, {train} to train on, {test} to test",
        "",
        "| " + " | ".join(COLUMN_NAMES) + " |",
        "|---" + "|---:" * (len(COLUMN_NAMES) - 1) + "|",
    ]
    best = {key: max(result[key] for result in results.values()) for key in SIMILARITIES}
    for model, result in results.items():
        cells = [f"ours, `{model}`" if model in OURS else PEERS[model].label]
        for key, places in SIMILARITIES.items():
            figure = f"{result[key]:.{places}f}"
            cells.append(f"**{figure}**" if result[key] == best[key] else figure)
        bound = result["negative_elbo"]
        cells.append("-" if bound is None else f"{bound:,.1f}")
        cells += [f"{result['parameters']:,}", f"{result['seconds']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(data_set, results):
    """Sentences on who is ahead of whom in MS-SSIM and SSIM."""
    perceptual = [name for name in results if name in PEERS and PEERS[name].perceptual]
    plain = [name for name in results if name in PEERS and not PEERS[name].perceptual]
    pairs = {
        "our best and pythae's": (OURS, perceptual + plain),
        "our ms_ssim and pythae's MSSSIM_VAE": (("ms_ssim",), perceptual),
        "our mse and pythae's VAE": (("mse",), plain),
    }
    for title, (ours, theirs) in pairs.items():
        sides = [[results[name] for name in side if name in results] for side in (ours, theirs)]
        if not all(sides):
            continue
        for key, name in (("ms_ssim", "MS-SSIM"), ("ssim", "SSIM")):
            a, b = (max(result[key] for result in side) for side in sides)
            yield f"{data_set}, {name}: {title}: {a:.4f}, {b:.4f}: {'ahead' if a > b else 'BEHIND'}"


def write_results(text):
    """Puts text between the markers of docs/results.md, which is made where it is missing."""
    begin, end = MARKERS
    page = RESULTS.read_text() if RESULTS.exists() else f"# Results\n\n{begin}\n{end}\n"
    if begin not in page or end not in page:
        raise SystemExit(f"{RESULTS} has not both of {begin} and {end}.")
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def draw_samples(folder, data_sets):
    """One picture of our samples: a row for each data set, a square for each model."""
    from matplotlib import pyplot as plt

    from keras_medgen._marks import synthetic_mark

    figure, axes = plt.subplots(
        len(data_sets), len(OURS), figsize=(8, 2.1 * len(data_sets)), layout="constrained"
    )
    for row, data_set in zip(axes, data_sets, strict=True):
        for axis, model in zip(row, OURS, strict=True):
            grid = plt.imread(folder / data_set / f"{model}_samples.png")
            side = grid.shape[1] * SHOWN_SAMPLES // COLUMNS
            axis.imshow(grid[:side, :side], cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if data_set == data_sets[0]:
                axis.set_title(model)
        row[0].set_ylabel(data_set)
    figure.savefig(PICTURE, dpi=60, pil_kwargs={"pnginfo": synthetic_mark(True)})


def introduction(settings):
    return f"""\
## Reconstruction by the VAE, beside pythae

`python benchmarks/vae_quality.py --data-dir FOLDER` wrote this: {settings["epochs"]} epochs, seed
{settings["seed"]}, batches of {BATCH}, {LATENT_DIM} latents, trained on the whole of `train_images`
and measured on the whole of `test_images`; {os.cpu_count()} processor cores. Ours reconstruct from
the means of the posteriors; of pythae's each figure is the better of that and of latents drawn from
them, as its `reconstruct` does. MS-SSIM has two levels at 28 pixels, MS-SSIM(L2,w11), and three
at 64, MS-SSIM(L3,w11), its weights made to sum to 1. pythae's models are trained by its pipeline,
with its dense networks and its defaults (Adam at 1e-4, a KL weight of 1) where nothing else is
said. The seconds are of training alone; other work shared the processor for some of them.

The negative ELBO is the mean over test images of -log p(x | z) with z drawn from the posterior,
plus its KL divergence from the prior, in nats and for pixels in [0, 1]. For `mse` and pythae's VAE
-log p(x | z) is (|x - decoder(z)|^2 + n log 2 pi) / 2 with n values in an image; `gaussian` has
fitted its variance where these have 1, so compare it with theirs as a likelihood, not as a loss."""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/vae_quality"))
    parser.add_argument("--data-sets", nargs="+", choices=DATA_SETS, default=DATA_SETS)
    parser.add_argument("--models", nargs="+", choices=(*OURS, *PEERS), default=DEFAULT_MODELS)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", nargs=2, metavar=("DATA_SET", "MODEL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = {"epochs": arguments.epochs, "seed": arguments.seed}
    if arguments.one:
        data_set, model = arguments.one
        folder = arguments.out / data_set
        run_one(arguments.data_dir / f"{data_set}.npz", model, folder, settings)
        return

    tables, sentences = [], []
    for data_set in arguments.data_sets:
        shape = read_images(arguments.data_dir / f"{data_set}.npz", "test").shape[1:]
        results = {
            model: outcome(arguments, data_set, model, settings)
            for model in arguments.models
            if fits(model, shape)
        }
        tables.append(table(data_set, results))
        sentences += verdicts(data_set, results)
        print(f"\n{tables[-1]}", flush=True)
    print("\n" + "\n".join(sentences))
    everything = set(DEFAULT_MODELS) <= set(arguments.models)
    if everything and len(arguments.data_sets) == len(DATA_SETS):
        write_results("\n\n".join([introduction(settings), *tables]))
        draw_samples(arguments.out, arguments.data_sets)


if __name__ == "__main__":
    main()
