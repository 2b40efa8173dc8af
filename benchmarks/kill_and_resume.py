"""One training killed by SIGKILL ten times over and resumed, against the same one unbroken.

Each process is killed at a moment drawn uniformly from its share of the training: between steps
and within them, and while pictures and checkpoints are written; the last one from its last epoch
to its end, where the model is measured and exported. The final weights must be equal to the bit,
the histories to the letter.

    python benchmarks/kill_and_resume.py
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES, SIDE = 400, 16
SETTINGS = {"latent-dim": 4, "batch-size": 16, "epochs": 60, "warmup-steps": 50, "clip-norm": 5}
COMMAND = [Path(sys.executable).with_name("keras-medgen"), "train"]
ENVIRONMENT = os.environ | {"PYTHONUNBUFFERED": "1"}  # each line as it is printed


def write_images(path):
    """Bright spots on noise, whose place and size vary."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = rng.uniform(0.25, 0.75, (2, IMAGES, 1, 1)) * SIDE
    widths = rng.uniform(2, 4, (IMAGES, 1, 1))
    spots = np.exp(-((y - centres[0]) ** 2 + (x - centres[1]) ** 2) / (2 * widths**2))
    pixels = (30 + 200 * spots + rng.normal(0, 3, spots.shape)).clip(0, 255).astype(np.uint8)
    np.savez(path, train_images=pixels[80:], val_images=pixels[:40], test_images=pixels[40:80])


def start(*arguments):
    """A training, and the time, once it has read its images."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(" pixels; ", process)
    return process, time.monotonic()


def wait_for(text, process):
    """Reads on to the line that holds a text."""
    if not any(text in line for line in process.stdout):
        raise RuntimeError(process.stderr.read())


def kill(process, seconds):
    """Kills a process after so long.

    Raises:
        RuntimeError: if it ended before.
    """
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError("the training ended before it was killed: give more --epochs.")


def compare(whole, broken):
    """The largest difference of two runs' weights, and whether their histories are the same."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras

    import keras_medgen  # noqa: F401

    models = [keras.saving.load_model(run / "model.keras") for run in (whole, broken)]
    weights = [model.get_weights() for model in models]
    largest = max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True))
    histories = [(run / "history.csv").read_bytes() for run in (whole, broken)]
    return largest, histories[0] == histories[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--epochs", type=int, default=SETTINGS["epochs"])
    parser.add_argument("--mixed-precision", default="off")
    given = parser.parse_args()
    settings = SETTINGS | {"epochs": given.epochs, "mixed-precision": given.mixed_precision}
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    moments = random.Random(given.seed)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        images, whole, broken = folder / "images.npz", folder / "whole", folder / "broken"
        write_images(images)
        last = f"Epoch {given.epochs}/{given.epochs}"
        process, began = start("--data", images, "--out", whole, *arguments)
        wait_for(last, process)
        trained = time.monotonic() - began
        process.communicate()
        rest = time.monotonic() - began - trained
        print(f"unbroken: {trained:.1f} s, and {rest:.1f} s from the last epoch on", flush=True)
        print(f"seed {given.seed}", flush=True)

        # A fifth of the whole, on average half used: ten kills cover the training, and each
        # process, which traces its first step anew, gets some epochs done.
        for number in range(1, given.kills + 1):
            if (folder / "broken.partial/run.json").exists():
                process, _ = start("--resume", broken)
            else:
                process, _ = start("--data", images, "--out", broken, *arguments)
            where, longest = "its start", trained / 5
            if number == given.kills:
                wait_for(last, process)
                where, longest = "its last epoch began", rest
            seconds = moments.uniform(0, longest)
            kill(process, seconds)
            print(f"kill {number:2}: {seconds:5.2f} s after {where}", flush=True)
        subprocess.run([*COMMAND, "--resume", broken], check=True, capture_output=True)

        largest, same = compare(whole, broken)
        print(f"largest difference of a weight: {largest:g}; histories equal: {same}")
        if largest or not same:
            sys.exit(1)


if __name__ == "__main__":
    main()
