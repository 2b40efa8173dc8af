"""What `import keras_medgen` adds to the imports of TensorFlow and Keras, in wall time.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 9
SIDES = {"tensorflow and keras": "import tensorflow, keras", "keras_medgen": "import keras_medgen"}


def seconds(code):
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main():
    for code in SIDES.values():  # fills the file cache
        seconds(code)
    pairs = [[seconds(code) for code in SIDES.values()] for _ in range(ROUNDS)]
    for side, times in zip(SIDES, zip(*pairs, strict=True), strict=True):
        print(f"{side:22}median {statistics.median(times):.2f} s")
    ratios = [ours / theirs for theirs, ours in pairs]
    print(f"ratio median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
