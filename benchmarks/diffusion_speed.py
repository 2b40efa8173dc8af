"""Images per second of a diffusion model, ours and diffusers', in sampling and in training.

Both sides have the same U-Net: `kmg.networks.unet` with its defaults for grey images of 28x28 and
colour images of 64x64, and `diffusers.UNet2DModel` with the same layers. Our weights, moved off
their initial values at random, are carried over. Before anything is timed, the numbers of
parameters must be equal, and in float32 the outputs for random images and timesteps within 1e-4 of
their largest value, and so the images that 25 steps of DDIM make of the same noise.

- Sampling: 32 images by 25 steps of DDIM, from drawing the noise to a NumPy array. Ours is
  `model.generate(32)`; theirs is the loop of `DDIMPipeline`, a call of the network and one of
  `DDIMScheduler.step` for each step. In bfloat16 ours has the policy "mixed_bfloat16", theirs is
  loaded as its users do it, `model.to(torch.bfloat16)`.
- Training: steps of Adam on the velocity, with min-SNR weights and a moving average of the weights
  (`EMAModel`), on batches of 64 images of 28x28 and of 16 of 64x64. Ours is `model.fit` on an
  array; theirs a plain loop, under autocast in bfloat16. Ours has its average in the graph and
  always on; theirs is timed once more without one.

"diffusers" is as its users run it: eager, in the default layout. "diffusers, best" is its fastest
setting: channels last, `torch.compile` with inductor (a C++ compiler is needed), in training also
the fused Adam. "keras_medgen" is as its users run it; "keras_medgen, best", of sampling alone, has
one thread for each operation, as with TF_NUM_INTRAOP_THREADS=1 in the environment: a batch is
sampled in two halves side by side. Compilation and the first calls are not timed. Each side lives
in a process of its own with two threads, and they take turns, one timed call each: what counts is
the median ratio of such a round, which a machine that is slower at one moment than at another
spoils least.

    pip install '.[bench]'   # on a machine without a GPU: torch==2.13.0, the CPU build
    python benchmarks/diffusion_speed.py
    python benchmarks/diffusion_speed.py --only sampling --side 28 --precision float32 --rounds 15

The last line is all figures as JSON.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPES = {28: (28, 28, 1), 64: (64, 64, 2)}  # channels as in the data sets of docs/results.md
SAMPLES, SAMPLING_STEPS = 32, 25
TRAINING_BATCH = {28: 64, 64: 16}
TASKS, PRECISIONS = ("sampling", "training"), ("float32", "bfloat16")
OURS = ("keras_medgen", "keras_medgen, best")
SIDES = {
    "sampling": (*OURS, "diffusers", "diffusers, best"),
    "training": (OURS[0], "diffusers", "diffusers, best"),
}
WARM_UP_STEPS = 3
LEARNING_RATE, EMA_DECAY, MIN_SNR = 5e-4, 0.999, 5.0  # our defaults
TOLERANCE = 1e-4


def training_images(side, steps):
    shape = (steps * TRAINING_BATCH[side], *SHAPES[side])
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def probes(side):
    """Random images and timesteps on which the two networks are compared."""
    random = np.random.default_rng(1)
    return (
        random.standard_normal((4, *SHAPES[side])).astype(np.float32),
        np.array([0, 39, 500, 999], np.int32),
    )


def difference(given, expected):
    """The largest, relative to the largest expected value."""
    return float(np.abs(given - expected).max() / np.abs(expected).max())


def check_equal(what, given, expected):
    found = difference(given, expected)
    assert found <= TOLERANCE, f"{what} differ by {found:.1e}, more than {TOLERANCE:.0e}"


def timed(function):
    """Seconds of a call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


# Ours.


def import_keras(settings):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow as tf

    each = 1 if settings.runner == "keras_medgen, best" else settings.threads
    tf.config.threading.set_intra_op_parallelism_threads(each)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    if settings.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    import keras_medgen as kmg

    return kmg


def our_model(settings):
    """A model whose biases, scales and gains all matter: all are moved off their initial values."""
    kmg = import_keras(settings)
    model = kmg.models.Diffusion(SHAPES[settings.side], seed=0)
    random = np.random.default_rng(2)
    weights = [
        weight + random.normal(0, 0.02, weight.shape) for weight in model.denoiser.get_weights()
    ]
    for network in (model.denoiser, model.average_denoiser):
        network.set_weights(weights)
    return model


def layers_in_order(network, kind):
    """The layers of a class as they were made: Keras numbers them in their names."""
    layers = [layer for layer in network.layers if type(layer).__name__ == kind]
    return sorted(layers, key=lambda layer: (len(layer.name), layer.name))


def write_reference(settings):
    """Our weights as PyTorch has them, and what our float32 network makes of some inputs."""
    model = our_model(settings)
    from keras_medgen.ops.random import normal_rows

    arrays = {}
    for kind in ("Dense", "Conv2D", "GroupNormalization"):
        for number, layer in enumerate(layers_in_order(model.denoiser, kind)):
            scale, offset = layer.get_weights()
            axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[scale.ndim]
            arrays[f"{kind}/{number}/weight"] = scale.transpose(axes)
            arrays[f"{kind}/{number}/bias"] = offset
    images, timesteps = probes(settings.side)
    arrays["outputs"] = model.denoiser({"images": images, "timesteps": timesteps}).numpy()
    arrays["noise"] = normal_rows(0, np.arange(4), SHAPES[settings.side]).numpy()
    arrays["samples"] = model.generate(
        4, seed=0, num_steps=SAMPLING_STEPS, spacing="even", verbose=0
    )
    arrays["alpha_bars"] = model.alpha_bars
    np.savez(settings.reference, **arrays)
    return {"parameters": int(sum(np.prod(v.shape) for v in model.denoiser.trainable_variables))}


def sample_keras(settings):
    model = our_model(settings)

    def generate():
        return model.generate(SAMPLES, num_steps=SAMPLING_STEPS, sampler="ddim", verbose=0)

    generate()
    return lambda: {"rate": SAMPLES / timed(generate)}


def train_keras(settings):
    model = our_model(settings)
    model.compile()
    batch = TRAINING_BATCH[settings.side]
    model.fit(training_images(settings.side, WARM_UP_STEPS), batch_size=batch, verbose=0)
    images = training_images(settings.side, settings.steps)
    return lambda: {
        "rate": len(images) / timed(lambda: model.fit(images, batch_size=batch, verbose=0))
    }


# Theirs.


def their_model(settings):
    """`UNet2DModel` with the layers of `kmg.networks.unet`, and our weights."""
    import torch
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    torch.set_num_threads(settings.threads)
    *sides, channels = SHAPES[settings.side]
    stages = 3 if settings.side == 28 else 4  # halved until no side is more than 8
    plain = stages - 1  # stages without attention
    model = UNet2DModel(
        sample_size=tuple(sides),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(32, *[64] * (stages - 1)),
        layers_per_block=2 if settings.side == 28 else 1,
        down_block_types=(*["DownBlock2D"] * plain, "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", *["UpBlock2D"] * plain),
        attention_head_dim=32,
        norm_num_groups=8,
        norm_eps=1e-5,
        downsample_padding=0,  # pads after, as TensorFlow does
        freq_shift=0,
        flip_sin_to_cos=True,
    ).eval()
    reference = np.load(settings.reference)
    for kind, modules in their_layers(model).items():
        count = sum(name.startswith(kind) for name in reference.files) // 2
        assert count == len(modules), f"ours has {count} layers {kind}, theirs {len(modules)}"
        for number, module in enumerate(modules):
            for name, parameter in module.named_parameters():
                value = torch.from_numpy(reference[f"{kind}/{number}/{name}"])
                assert parameter.shape == value.shape, f"{kind} {number}"
                parameter.data.copy_(value)
    check_network(model, settings)
    return model


def their_layers(model):
    """Their modules of each kind in the order in which ours are made."""
    found = {"Dense": [], "Conv2D": [], "GroupNormalization": []}

    def residual(block):
        found["GroupNormalization"] += [block.norm1, block.norm2]
        found["Dense"].append(block.time_emb_proj)
        found["Conv2D"] += [block.conv1, block.conv2]
        if block.conv_shortcut is not None:
            found["Conv2D"].append(block.conv_shortcut)

    def blocks(stage):
        for block, attention in itertools.zip_longest(
            stage.resnets, getattr(stage, "attentions", ())
        ):
            residual(block)
            if attention is not None:
                found["GroupNormalization"].append(attention.group_norm)
                found["Dense"] += [attention.to_q, attention.to_k, attention.to_v]
                found["Dense"].append(attention.to_out[0])

    found["Dense"] += [model.time_embedding.linear_1, model.time_embedding.linear_2]
    found["Conv2D"].append(model.conv_in)
    for stage in model.down_blocks:
        blocks(stage)
        for layer in stage.downsamplers or ():
            found["Conv2D"].append(layer.conv)
    blocks(model.mid_block)
    for stage in model.up_blocks:
        blocks(stage)
        for layer in stage.upsamplers or ():
            found["Conv2D"].append(layer.conv)
    found["GroupNormalization"].append(model.conv_norm_out)
    found["Conv2D"].append(model.conv_out)
    return found


def check_network(model, settings):
    """Raises AssertionError for another number of parameters, or other outputs, than ours."""
    import torch

    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == settings.parameters, f"{settings.parameters} and {parameters} parameters"
    images, timesteps = probes(settings.side)
    with torch.no_grad():
        found = model(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(timesteps))
    reference = np.load(settings.reference)
    check_equal("outputs", found.sample.permute(0, 2, 3, 1).numpy(), reference["outputs"])


def their_scheduler(settings):
    """Our schedule: the betas of a schedule are what the ratios of its products leave of 1."""
    from diffusers import DDIMScheduler

    bars = np.load(settings.reference)["alpha_bars"]
    return DDIMScheduler(
        num_train_timesteps=len(bars),
        trained_betas=(1 - bars / np.append(1.0, bars[:-1])).tolist(),
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=True,
        set_alpha_to_one=True,
    )


def at_best(model, settings):
    import torch

    if settings.runner != "diffusers, best":
        return model
    return torch.compile(model.to(memory_format=torch.channels_last))


def sample_diffusers(settings):
    import torch

    network, scheduler = their_model(settings), their_scheduler(settings)
    half = settings.precision == "bfloat16"
    if half:
        network = network.to(torch.bfloat16)
    model = at_best(network, settings)
    is_best = settings.runner == "diffusers, best"
    layout = torch.channels_last if is_best else torch.contiguous_format
    rows, columns, channels = SHAPES[settings.side]

    @torch.no_grad()
    def denoised(noise):
        images = noise.to(network.dtype, memory_format=layout)
        scheduler.set_timesteps(SAMPLING_STEPS)
        for timestep in scheduler.timesteps:
            output = model(images, timestep).sample
            images = scheduler.step(output, timestep, images, eta=0.0).prev_sample
        return (images / 2 + 0.5).clamp(0, 1).float().permute(0, 2, 3, 1).numpy()

    def generate():
        return denoised(torch.randn(SAMPLES, channels, rows, columns))

    reference = np.load(settings.reference)
    if not half:
        # In a whole batch, the rest of it other noise: compiled for no other shape.
        noise = torch.randn(SAMPLES, channels, rows, columns)
        noise[:4] = torch.from_numpy(reference["noise"]).permute(0, 3, 1, 2)
        check_equal("samples", denoised(noise)[:4], reference["samples"])
    generate()
    return lambda: {"rate": SAMPLES / timed(generate)}


def train_diffusers(settings):
    import torch
    from diffusers.training_utils import EMAModel

    network, scheduler = their_model(settings).train(), their_scheduler(settings)
    model = at_best(network, settings)
    is_best = settings.runner == "diffusers, best"
    layout = torch.channels_last if is_best else torch.contiguous_format
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=is_best or None)
    average = EMAModel(network.parameters(), decay=EMA_DECAY)
    half = settings.precision == "bfloat16"
    batch = TRAINING_BATCH[settings.side]

    def epoch(steps, with_average):
        images = torch.from_numpy(training_images(settings.side, steps)).permute(0, 3, 1, 2)
        for rows in torch.randperm(len(images)).split(batch):
            clean = (2 * images[rows] - 1).contiguous(memory_format=layout)
            noise = torch.randn_like(clean)
            timesteps = torch.randint(scheduler.config.num_train_timesteps, (batch,))
            noised = scheduler.add_noise(clean, noise, timesteps)
            velocity = scheduler.get_velocity(clean, noise, timesteps)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                output = model(noised, timesteps).sample
            bars = scheduler.alphas_cumprod[timesteps]
            ratio = bars / (1 - bars)
            weight = ratio.clamp(max=MIN_SNR) / (ratio + 1)
            loss = (weight * (output.float() - velocity).square().mean((1, 2, 3))).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            if with_average:
                average.step(network.parameters())

    epoch(WARM_UP_STEPS, with_average=True)
    images = settings.steps * batch
    return lambda: {
        "rate": images / timed(lambda: epoch(settings.steps, with_average=True)),
        "rate without average": images / timed(lambda: epoch(settings.steps, with_average=False)),
    }


# Each gets ready, and returns a function that takes the figures of one timed call.
RUNNERS = {
    ("sampling", "keras_medgen"): sample_keras,
    ("training", "keras_medgen"): train_keras,
    ("sampling", "diffusers"): sample_diffusers,
    ("training", "diffusers"): train_diffusers,
}


# All of it, in turn.


def started(task, runner, side, precision, settings, **more):
    """A process of one side."""
    command = [sys.executable, __file__, "--task", task, "--runner", runner]
    given = {"side": side, "precision": precision, "threads": settings.threads}
    given |= {"steps": settings.steps} | more
    command += [part for name, value in given.items() for part in (f"--{name}", str(value))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes)


def answer(process):
    """The next line of JSON that a process prints."""
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"a side ended with exit status {process.wait()}")


def compared(task, side, precision, settings, **reference):
    """Rates of every round."""
    rates = {}
    with contextlib.ExitStack() as stack:
        processes = {}
        for runner in SIDES[task]:  # one after the other: none compiles while another runs
            process = started(task, runner, side, precision, settings, **reference)
            stack.callback(process.kill)
            processes[runner] = process
            answer(process)
        for _ in range(settings.rounds):
            for runner, process in processes.items():
                print("go", file=process.stdin, flush=True)
                for name, rate in answer(process).items():
                    name = runner + name.removeprefix("rate").replace(" without", ", without")
                    rates.setdefault(name, []).append(rate)
            line = "  ".join(f"{name}: {values[-1]:.1f}" for name, values in rates.items())
            print(f"{task} {side} {precision}: {line}", flush=True)
    return {"task": task, "side": side, "precision": precision, "rates": rates}


def ratio(result, ours, theirs):
    """The median over rounds of a ratio of rates, the lowest and the highest, as text."""
    rates = result["rates"]
    if ours not in rates or theirs in OURS:
        return ""
    ratios = [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def print_table(results):
    print("\n| | side | precision | images/s | ours, times as fast | our best, times as fast |")
    print("|---|---:|---|---:|---:|---:|")
    for result in results:
        for name, rates in result["rates"].items():
            print(
                f"| {result['task']}, {name} | {result['side']} | {result['precision']} "
                f"| {statistics.median(rates):.1f} "
                f"| {' | '.join(ratio(result, ours, name) for ours in OURS)} |"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TASKS, help="default: both")
    parser.add_argument("--side", type=int, choices=SHAPES, help="default: both")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="of training, timed together")
    parser.add_argument("--threads", type=int, default=2)
    for name in ("task", "runner", "reference"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)  # one side
    parser.add_argument("--parameters", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.task:
        if settings.task == "reference":
            print(json.dumps(write_reference(settings)))
            return
        measure = RUNNERS[settings.task, settings.runner.removesuffix(", best")](settings)
        print("{}", flush=True)  # ready
        for _ in sys.stdin:
            print(json.dumps(measure()), flush=True)
        return

    results = []
    with tempfile.TemporaryDirectory() as folder:
        for side in [settings.side] if settings.side else SHAPES:
            reference = Path(folder) / f"{side}.npz"
            given = {"reference": reference}
            given |= answer(
                started("reference", "keras_medgen", side, "float32", settings, **given)
            )
            for task in [settings.only] if settings.only else TASKS:
                for precision in [settings.precision] if settings.precision else PRECISIONS:
                    results.append(compared(task, side, precision, settings, **given))
    print_table(results)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
