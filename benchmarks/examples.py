"""Runs every example in full, on data that stand for its own.

    pip install -e '.[bench,serve,tune]'
    python benchmarks/examples.py --data-dir FOLDER --out runs/examples --together 2

FOLDER holds pneumoniamnist.npz, breastmnist.npz, prostate_gleason_64.npz, fundus_64.npz,
brain_tumor_mri_64.npz and brats6_slices_64.npz, with MedMNIST's keys. Each example leaves its files
in a folder of its own in --out, with log.txt and run.json: the command, the seconds and the
processor. One that has a run.json already is not run again. --together divides the cores among
examples that run at the same time: they keep to limits of time, and train for fewer steps then.
"""

import argparse
import concurrent.futures
import os
import queue
import shlex
import subprocess
import sys
import time
from pathlib import Path

from comparison import processor, write_json

EXAMPLES = Path(__file__).parents[1] / "examples"
COMMANDS = {
    "prostate_gleason": "prostate_gleason.py --data prostate_gleason_64.npz",
    "retinamnist": "retinamnist.py --data fundus_64.npz",
    "chestmnist": "chestmnist.py --data pneumoniamnist.npz",
    "brain_tumor_mri_vae_gan": "brain_tumor_mri_vae_gan.py --data brain_tumor_mri_64.npz",
    "brain_stroke_anomaly": "brain_stroke_anomaly.py --data brats6_slices_64.npz --sign brighter",
    "denoising": "denoising.py --data pneumoniamnist.npz",
    "augmentation_classifier": "generative_augmentation.py --data breastmnist.npz",
    "augmentation_segmenter": "generative_augmentation.py --task segmenter "
    "--data brats6_slices_64.npz",
    "transfer_to_new_modality": "transfer_to_new_modality.py --source pneumoniamnist.npz "
    "--data breastmnist.npz",
    "tune_hyperparameters": "tune_hyperparameters.py --data pneumoniamnist.npz",
    "custom_training_loop": "custom_training_loop.py --data pneumoniamnist.npz",
    "serve_and_call": "serve_and_call.py --data pneumoniamnist.npz",
}


def run(name, data_dir, out, cores):
    """Runs an example on these cores, unless it is done."""
    folder = out / name
    if (folder / "run.json").exists():
        return f"{name}: done already"
    folder.mkdir(parents=True, exist_ok=True)
    words = [
        str((data_dir / word).resolve()) if word.endswith(".npz") else word
        for word in shlex.split(COMMANDS[name])
    ]
    command = [sys.executable, EXAMPLES / words[0], *words[1:], "--out", folder]
    threads = {"TF_NUM_INTRAOP_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores))}
    os.sched_setaffinity(0, cores)  # of this thread, and of what it starts
    begun = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [*map(str, command)], stdout=log, stderr=log, env=os.environ | threads
        )
    seconds = round(time.monotonic() - begun)
    if done.returncode:
        return f"{name}: FAILED after {seconds} s; see {folder / 'log.txt'}"
    known = {"command": f"python examples/{COMMANDS[name]}", "seconds": seconds}
    write_json(folder / "run.json", {**known, "cores": len(cores), "processor": processor()})
    return f"{name}: {seconds} s"


def main():
    """Runs what is asked for, and says how long each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/examples"))
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=tuple(COMMANDS))
    parser.add_argument("--together", type=int, default=1, help="examples at the same time")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    free = queue.SimpleQueue()
    for number in range(arguments.together):
        free.put(cores[number :: arguments.together])

    def one(name):
        mine = free.get()
        try:
            return run(name, arguments.data_dir, arguments.out.resolve(), mine)
        finally:
            free.put(mine)

    with concurrent.futures.ThreadPoolExecutor(arguments.together) as pool:
        said = []
        for line in pool.map(one, arguments.only):
            print(line, flush=True)
            said.append(line)
    if any("FAILED" in line for line in said):
        sys.exit(1)


if __name__ == "__main__":
    main()
