"""Images per second of the VAE-GAN in training, ours and in a plain PyTorch loop.

Both sides have the networks of Larsen et al. 2015 (`kmg.networks.larsen_*`), 64x64 images of one
channel, batches of 64, and take the same step: the three losses of Algorithm 1, the gradients of
each for its own network at the weights before the step, RMSprop. The PyTorch loop is written as it
usually is, eager: one forward pass, then `backward` of each loss. The "frugal" one asks
`torch.autograd.grad` for each network's own gradients instead. Each runs in a process of its own,
in turn, several times over; what counts is the median ratio to the usual loop of the same round.

    pip install '.[bench]'   # on a machine without a GPU: torch==2.13.0, the CPU build
    python benchmarks/vae_gan_step.py

Beside the rates it prints the multiply-adds that the step cannot do without, and which share they
are of what this processor reaches in float32 in the product of two large matrices.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

SIDE, CHANNELS, BATCH, LATENT_DIM, GAMMA = 64, 1, 64, 128, 1e-3
WARM_UP, STEPS = 3, 12
MATRIX = 4096


def images():
    return np.random.default_rng(0).random((BATCH, SIDE, SIDE, CHANNELS), dtype=np.float32)


def run_keras(policy):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow as tf

    import keras_medgen as kmg

    keras.config.set_dtype_policy(policy)
    shape = (SIDE, SIDE, CHANNELS)
    networks = kmg.networks
    model = kmg.models.VAEGAN(
        shape,
        latent_dim=LATENT_DIM,
        gamma=GAMMA,
        encoder=networks.larsen_encoder(shape, LATENT_DIM),
        decoder=networks.larsen_decoder(shape, LATENT_DIM, output_activation="tanh"),
        discriminator=networks.larsen_discriminator(shape),
    )
    model.compile()
    data = tf.data.Dataset.from_tensors({"images": images()}).cache().repeat()
    model.fit(data, steps_per_epoch=WARM_UP, verbose=0)
    started = time.perf_counter()
    model.fit(data, steps_per_epoch=STEPS, verbose=0)
    seconds = time.perf_counter() - started
    return {
        "images_per_second": STEPS * BATCH / seconds,
        "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
    }


def run_torch(half=False, frugal=False):
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    torch.manual_seed(0)

    def normalised(layer, channels):
        kind = nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d
        return [layer, kind(channels, momentum=0.1), nn.ReLU()]

    def convolution(before, after, stride=2):
        return nn.Conv2d(before, after, 5, stride, padding=2, bias=False)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                *normalised(convolution(CHANNELS, 64), 64),
                *normalised(convolution(64, 128), 128),
                *normalised(convolution(128, 256), 256),
                nn.Flatten(),
                *normalised(nn.Linear(256 * 8 * 8, 2048, bias=False), 2048),
            )
            self.mean = nn.Linear(2048, LATENT_DIM)
            self.log_var = nn.Linear(2048, LATENT_DIM)

        def forward(self, x):
            x = self.body(x)
            return self.mean(x), self.log_var(x)

    def upsampling(before, after):
        return nn.ConvTranspose2d(before, after, 6, 2, padding=2, bias=False)

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(CHANNELS, 32, 5, padding=2),
                nn.ReLU(),
                *normalised(convolution(32, 128), 128),
                *normalised(convolution(128, 256), 256),
                convolution(256, 256),
            )
            self.head = nn.Sequential(
                nn.BatchNorm2d(256),
                nn.ReLU(),
                nn.Flatten(),
                *normalised(nn.Linear(256 * 8 * 8, 512, bias=False), 512),
                nn.Linear(512, 1),
            )

        def forward(self, x):
            features = self.features(x)
            return self.head(features)[:, 0], features

    encoder, discriminator = Encoder(), Discriminator()
    decoder = nn.Sequential(
        *normalised(nn.Linear(LATENT_DIM, 256 * 8 * 8, bias=False), 256 * 8 * 8),
        nn.Unflatten(1, (256, 8, 8)),
        *normalised(upsampling(256, 256), 256),
        *normalised(upsampling(256, 128), 128),
        *normalised(upsampling(128, 32), 32),
        nn.Conv2d(32, CHANNELS, 5, padding=2),
        nn.Tanh(),
    )
    networks = (encoder, decoder, discriminator)
    optimizers = [
        torch.optim.RMSprop(network.parameters(), lr=rate, alpha=0.9)
        for network, rate in zip(networks, (3e-4, 3e-4, 3e-5), strict=True)
    ]
    x = 2 * torch.from_numpy(images()).permute(0, 3, 1, 2).contiguous() - 1

    def losses():
        mean, log_var = encoder(x)
        latents = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        made = decoder(latents)
        samples = decoder(torch.randn_like(mean))
        (real, observed), (made, compared), (samples, _) = map(discriminator, (x, made, samples))
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        likelihood = 0.5 * (observed.detach() - compared).square().sum((1, 2, 3)).mean()
        adversarial = (softplus(-real) + softplus(made) + softplus(samples)).mean()
        return kl + likelihood, GAMMA * likelihood - adversarial, adversarial

    def gradients(loss, network, keep):
        if frugal:
            return torch.autograd.grad(loss, list(network.parameters()), retain_graph=keep)
        for each in networks:
            each.zero_grad()
        loss.backward(retain_graph=keep)
        return [parameter.grad for parameter in network.parameters()]

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            three = losses()
        found = [
            gradients(loss, network, keep=loss is not three[-1])
            for network, loss in zip(networks, three, strict=True)
        ]
        for network, optimizer, own in zip(networks, optimizers, found, strict=True):
            for parameter, gradient in zip(network.parameters(), own, strict=True):
                parameter.grad = gradient
            optimizer.step()

    for _ in range(WARM_UP):
        step()
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    seconds = time.perf_counter() - started
    return {
        "images_per_second": STEPS * BATCH / seconds,
        "parameters": sum(p.numel() for network in networks for p in network.parameters()),
    }


def run_peak():
    """Multiply-adds per second of a large matrix product in float32."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    a = tf.random.stateless_uniform((MATRIX, MATRIX), (0, 0))
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)))
    product().numpy()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - started)
    return {"multiply_adds_per_second": MATRIX**3 / min(seconds)}


def multiply_adds():
    """Of one image in one step, in millions, by what they are for; and their sum.

    Convolutions and dense layers alone. A pass through a network costs once its forward
    multiply-adds, and a gradient to its weights or to its input once more each; the gradient to
    the input of a network's first layer, where nobody wants it, is left out.
    """
    sixteenth, eighth = (SIDE // 4) ** 2, (SIDE // 8) ** 2
    half, whole = (SIDE // 2) ** 2, SIDE**2
    encoder_first = half * 25 * CHANNELS * 64
    encoder = encoder_first + sixteenth * 25 * 64 * 128 + eighth * 25 * 128 * 256
    encoder += eighth * 256 * 2048 + 2048 * 2 * LATENT_DIM
    decoder = LATENT_DIM * eighth * 256 + eighth * 36 * 256 * 256 + sixteenth * 36 * 256 * 128
    decoder += half * 36 * 128 * 32 + whole * 25 * 32 * CHANNELS
    first = whole * 25 * CHANNELS * 32
    to_features = first + half * 25 * 32 * 128 + sixteenth * 25 * 128 * 256
    to_features += eighth * 25 * 256 * 256
    discriminator = to_features + eighth * 256 * 512 + 512
    parts = {
        "forward": encoder + 2 * decoder + 3 * discriminator,
        "the discriminator's weights, and through it": 3 * 2 * discriminator - first,
        "the likelihood through the discriminator": to_features,
        "the decoder's weights, and through it": 2 * (2 * decoder - LATENT_DIM * eighth * 256),
        "the likelihood through the decoder": decoder,
        "the encoder's weights, and through it": 2 * encoder - encoder_first,
    }
    return {name: count / 1e6 for name, count in parts.items()}


SIDES = {
    "torch": run_torch,
    "keras_medgen": lambda: run_keras("float32"),
    "keras_medgen bfloat16": lambda: run_keras("mixed_bfloat16"),
    "torch, frugal": lambda: run_torch(frugal=True),
    "torch bfloat16": lambda: run_torch(half=True),
    "peak": run_peak,
}


def run(side):
    command = [sys.executable, __file__, "--side", side]
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES, help="run one side and print its figures")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side]()))
        return

    names = [side for side in SIDES if side != "peak"]
    rates = {side: [] for side in names}
    peaks = []
    for _ in range(arguments.rounds):
        peaks.append(run("peak")["multiply_adds_per_second"])
        parameters = set()
        for side in names:
            result = run(side)
            rates[side].append(result["images_per_second"])
            parameters.add(result["parameters"])
        assert len(parameters) == 1, f"the two sides differ: {parameters} parameters"
        print("  ".join(f"{side}: {rates[side][-1]:.1f}" for side in names), flush=True)

    parts = multiply_adds()
    total = sum(parts.values())
    print("\nMillions of multiply-adds for an image and a step:")
    for name, count in parts.items():
        print(f"  {count:8,.0f}  {name}")
    print(f"  {total:8,.0f}  in all")
    peak = statistics.median(peaks)
    print(f"\nA product of matrices in float32: {peak / 1e9:,.0f} billion a second.")
    for side in names:
        ratios = [a / b for a, b in zip(rates[side], rates["torch"], strict=True)]
        rate = statistics.median(rates[side])
        print(
            f"{side}: {rate:.1f} images/s, {statistics.median(ratios):.2f} times torch in float32 "
            f"({min(ratios):.2f} to {max(ratios):.2f}), {rate * total * 1e6 / peak:.0%} of the "
            "matrix product"
        )


if __name__ == "__main__":
    main()
