"""Images per second of the 28x28 VAE in training, through `fit` and in a plain PyTorch loop.

Both sides have the same architecture, loss, optimizer, precision (float32), batches and number of
parameters, and read the same random images from memory. Each runs in a process of its own, in
turn, several times over; what counts is the median ratio of neighbouring runs.

    pip install '.[bench]'   # on a machine without a GPU: torch==2.13.0, the CPU build
    python benchmarks/train_throughput.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES, SIDE, BATCH, LATENT_DIM, KL_WEIGHT = 3200, 28, 64, 64, 5.0
STEPS_PER_EXECUTION = 8  # as the command line sets it
WIDTHS = (32, 64)
WARM_UP_EPOCHS, EPOCHS = 1, 3


def images():
    return np.random.default_rng(0).random((IMAGES, SIDE, SIDE, 1), dtype=np.float32)


def run_keras():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras_medgen as kmg

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npz"
        pixels = images()
        np.savez(file, train_images=pixels, val_images=pixels[:1], test_images=pixels[:1])
        data = kmg.data.load(file, batch_size=BATCH)
    model = kmg.models.VAE((SIDE, SIDE, 1), latent_dim=LATENT_DIM, kl_weight=KL_WEIGHT, seed=0)
    model.compile(steps_per_execution=STEPS_PER_EXECUTION)
    model.fit(data.train, epochs=WARM_UP_EPOCHS, verbose=0)
    started = time.perf_counter()
    model.fit(data.train, epochs=EPOCHS, verbose=0)
    seconds = time.perf_counter() - started
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return {"images_per_second": EPOCHS * IMAGES / seconds, "parameters": parameters}


def run_torch():
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Residual(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.change = nn.Sequential(
                nn.GroupNorm(8, width), nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, padding=1)
            )

        def forward(self, x):
            return x + self.change(x)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layers, channels = [], 1
            for width, blocks in zip(WIDTHS, (2, 0), strict=True):
                layers.append(nn.Conv2d(channels, width, 4, stride=2, padding=1))
                layers += [Residual(width) for _ in range(blocks)]
                channels = width
            layers += [nn.GroupNorm(8, channels), nn.LeakyReLU(0.2), nn.Flatten()]
            self.body = nn.Sequential(*layers)
            self.mean = nn.Linear(49 * channels, LATENT_DIM)
            self.log_var = nn.Linear(49 * channels, LATENT_DIM)

        def forward(self, x):
            x = self.body(x)
            return self.mean(x), self.log_var(x).clamp(-20, 10)

    first, last = WIDTHS
    decoder = nn.Sequential(
        nn.Linear(LATENT_DIM, 49 * last),
        nn.Unflatten(1, (last, 7, 7)),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(last, first, 4, stride=2, padding=1),
        Residual(first),
        Residual(first),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(first, first, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(first, 1, 3, padding=1),
        nn.Sigmoid(),
    )
    encoder = Encoder()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, betas=(0.9, 0.95))
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(images()).permute(0, 3, 1, 2))
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)

    def epoch():
        for (x,) in loader:
            optimizer.zero_grad()
            mean, log_var = encoder(x)
            latents = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            squared = (x - decoder(latents)).square().sum((1, 2, 3))
            variance = squared.detach().mean() / x[0].numel()
            likelihood = 0.5 * x[0].numel() * torch.log(2 * torch.pi * variance) + squared / (
                2 * variance
            )
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
            (likelihood + KL_WEIGHT * kl).mean().backward()
            optimizer.step()

    for _ in range(WARM_UP_EPOCHS):
        epoch()
    started = time.perf_counter()
    for _ in range(EPOCHS):
        epoch()
    seconds = time.perf_counter() - started
    return {
        "images_per_second": EPOCHS * IMAGES / seconds,
        "parameters": sum(p.numel() for p in parameters),
    }


SIDES = {"keras_medgen": run_keras, "torch": run_torch}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES, help="run one side and print its figures")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side]()))
        return

    rates = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        parameters = set()
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side]
            finished = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            result = json.loads(finished.stdout.splitlines()[-1])
            rates[side].append(result["images_per_second"])
            parameters.add(result["parameters"])
            print(f"{side:14}{result['images_per_second']:8.0f} images/s", flush=True)
        if len(parameters) > 1:
            raise SystemExit(f"the two sides differ in their number of parameters: {parameters}")
    ratios = [a / b for a, b in zip(rates["keras_medgen"], rates["torch"], strict=True)]
    medians = {side: statistics.median(values) for side, values in rates.items()}
    print(f"\n{parameters.pop():,} parameters on each side, {os.cpu_count()} cores")
    print("median images/s: " + ", ".join(f"{side} {rate:.0f}" for side, rate in medians.items()))
    print(
        f"keras_medgen / torch: median {statistics.median(ratios):.2f}, "
        f"{min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} pairs"
    )


if __name__ == "__main__":
    main()
