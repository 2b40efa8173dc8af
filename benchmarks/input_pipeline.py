"""JPEGs of 256x256 to batches of 64x64: `load` against a PyTorch DataLoader, and peak memory.

    pip install -e '.[bench]'
    python benchmarks/input_pipeline.py

Prints images/s of one epoch, round by round in one run (the machine may be noisy: look at the
ratios), the mean difference to Pillow's LANCZOS in grey levels, and the peak memory of a streaming
epoch with 5,000 and with 20,000 images, each in a process of its own.
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import skimage
from PIL import Image

SIDE, TARGET, BATCH, QUALITY = 256, 64, 64, 90


def write_jpegs(folder: Path, count: int) -> None:
    """Random parts of scikit-image's fundus photograph and histology, of 256 to 400 pixels."""
    rng = np.random.default_rng(0)
    pictures = [skimage.data.retina(), skimage.data.immunohistochemistry()]
    for i in range(count):
        picture = pictures[i % 2]
        side = int(rng.integers(SIDE, 400))
        y, x = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        part = Image.fromarray(picture[y : y + side, x : x + side])
        part = part.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        part.save(folder / f"{i:05d}.jpg", quality=QUALITY)


def pillow(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((TARGET, TARGET), Image.LANCZOS))


def dataloader_rate(paths: list[Path]) -> float:
    import torch

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, i):
            return torch.from_numpy(pillow(paths[i]).astype(np.float32) / 255)

    loader = torch.utils.data.DataLoader(Files(), batch_size=BATCH, shuffle=True, num_workers=2)
    started = time.perf_counter()
    count = sum(len(batch) for batch in loader)
    return count / (time.perf_counter() - started)


def epoch_rate(dataset) -> float:
    started = time.perf_counter()
    count = sum(len(batch["images"]) for batch in dataset)
    return count / (time.perf_counter() - started)


def peak_memory(folder: Path) -> float:
    """MiB at the peak of loading and one epoch, in a process of its own (Linux)."""
    code = (
        "import re, sys, keras_medgen as kmg\n"
        f"data = kmg.data.load(sys.argv[1], image_size={TARGET}, cache='none')\n"
        "for batch in data.train: pass\n"
        # Not getrusage: its peak goes on from that of the process that started this one.
        "status = open('/proc/self/status').read()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--more", type=int, default=20_000, help="for the peak memory; 0 for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    import keras_medgen as kmg

    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        few.mkdir()
        write_jpegs(few, arguments.images)
        paths = sorted(few.glob("*.jpg"))
        data, loading = {}, {}
        for name, options in {
            "exact": {"cache": "none"},
            "fast": {"cache": "none", "decoding": "fast"},
            "cached": {"cache": "memory"},
        }.items():
            started = time.perf_counter()
            data[name] = kmg.data.load(few, image_size=TARGET, batch_size=BATCH, **options)
            loading[name] = time.perf_counter() - started
        rates = {name: [] for name in ("PyTorch DataLoader", *data)}
        for _ in range(arguments.rounds):
            rates["PyTorch DataLoader"].append(dataloader_rate(paths))
            for name, loaded in data.items():
                rates[name].append(epoch_rate(loaded.train))
        figures = {"images_per_second": rates, "load_seconds": loading}
        for name, values in rates.items():
            ratios = [a / b for a, b in zip(values, rates["PyTorch DataLoader"], strict=True)]
            print(
                f"{name:20} {statistics.median(values):10,.0f} images/s, "
                f"{statistics.median(ratios):.2f} times the DataLoader "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )
        for name, seconds in loading.items():
            print(f"{name:20} {seconds:10.1f} s to load (every file read, copies looked for)")
        for name in ("exact", "fast"):
            rows = data[name].rows("val")[:500]
            ours = data[name].examples(rows)["images"] * 255
            theirs = np.stack([pillow(data[name].store.examples[row].path) for row in rows])
            figures[f"{name}_difference"] = float(np.abs(ours - theirs).mean())
            print(f"{name:20} {figures[f'{name}_difference']:10.3f} grey levels from Pillow")
        if arguments.more:
            many.mkdir()
            write_jpegs(many, arguments.more)
            memory = [peak_memory(few), peak_memory(many)]
            figures["peak_mib"] = memory
            print(
                f"peak memory, streaming: {memory[0]:,.0f} MiB with {arguments.images} images, "
                f"{memory[1]:,.0f} MiB with {arguments.more} ({memory[1] / memory[0] - 1:+.1%})"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
