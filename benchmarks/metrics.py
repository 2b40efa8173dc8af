"""The Fréchet distance of 10,000 x 2,048 features, beside torch-fidelity and torchmetrics.

    pip install '.[bench]'   # on a machine without a GPU: the CPU builds of torch and torchvision
    python benchmarks/metrics.py

Each takes the same float32 features, as a network gives them, to the number by its own path: ours
by `kmg.metrics.frechet_distance`; torch-fidelity's by its two functions from features to
statistics and on; torchmetrics' by a metric whose network hands its input on, updated once for
each set. Both have left the matrix square root of the first FID scripts, which stands beside them:
two calls of np.cov and one of scipy.linalg.sqrtm. They take turns for some rounds; what counts is
the median of each round's ratio to ours.

The reference is float64 by another route: QR decompositions of the centred features, and the
singular values of the product of their triangles, so that no covariance is formed. The last line
is all of it as JSON.
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import scipy.linalg
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

import keras_medgen as kmg

OURS = "keras_medgen"
FASTER, CLOSER = 4, 1e-7  # times than the faster peer; relative error


def features(rows, width):
    """Two sets with correlated columns, of other means and scales."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((width, width)) / np.sqrt(width)
    real = rng.standard_normal((rows, width)) @ mixing
    generated = 0.9 * (rng.standard_normal((rows, width)) @ mixing) + 0.1
    return real.astype(np.float32), generated.astype(np.float32)


def by_torch_fidelity(real, generated):
    statistics_of_both = [
        fid_features_to_statistics(torch.from_numpy(x)) for x in (real, generated)
    ]
    found = fid_statistics_to_metric(*statistics_of_both, verbose=False)
    return found["frechet_inception_distance"]


def by_torchmetrics(real, generated):
    network = torch.nn.Identity()
    network.num_features = real.shape[1]
    metric = FrechetInceptionDistance(feature=network)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(generated), real=False)
    return float(metric.compute())


def by_square_root(real, generated):
    """As the scripts did that most published FIDs are from."""
    sets = [x.astype(np.float64) for x in (real, generated)]
    covariances = [np.cov(x, rowvar=False) for x in sets]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = sets[0].mean(axis=0) - sets[1].mean(axis=0)
    traces = sum(np.trace(covariance) for covariance in covariances)
    return float(difference @ difference + traces - 2 * np.trace(root))


def reference(real, generated):
    """The distance in float64, by singular values."""
    sets = [x.astype(np.float64) for x in (real, generated)]
    means = [x.mean(axis=0) for x in sets]
    triangles = [
        scipy.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode="r", overwrite_a=True)[0][
            : x.shape[1]
        ]
        for x, mean in zip(sets, means, strict=True)
    ]
    shared = scipy.linalg.svdvals(triangles[0] @ triangles[1].T).sum()
    variances = sum(np.square(triangle).sum() for triangle in triangles)
    return float(np.square(means[0] - means[1]).sum() + variances - 2 * shared)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = {
        OURS: kmg.metrics.frechet_distance,
        "torch-fidelity": by_torch_fidelity,
        "torchmetrics": by_torchmetrics,
        "square root": by_square_root,
    }
    small = features(300, 100)
    for path in paths.values():  # what is loaded at the first call is not counted
        path(*small)
    pair = features(options.rows, options.width)
    seconds = {name: [] for name in paths}
    distances = {}
    for _ in range(options.rounds):
        for name, path in paths.items():
            started = time.perf_counter()
            distances[name] = path(*pair)
            seconds[name].append(time.perf_counter() - started)
            print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)
    expected = reference(*pair)
    print(f"\n{options.rows:,} x {options.width:,}, float64 by singular values: {expected:.12g}\n")
    print("| | seconds | times ours | distance | relative error |\n|---|---:|---:|---:|---:|")
    results = {"rows": options.rows, "width": options.width, "reference": expected}
    for name in paths:
        ratio = statistics.median(
            theirs / ours for theirs, ours in zip(seconds[name], seconds[OURS], strict=True)
        )
        row = {
            "seconds": statistics.median(seconds[name]),
            "times_ours": ratio,
            "distance": distances[name],
            "relative_error": abs(distances[name] / expected - 1),
        }
        results[name] = row
        print(
            "| {name} | {seconds:.2f} | {times_ours:.1f} | {distance:.10g} | "
            "{relative_error:.1e} |".format(name=name, **row)
        )
    slowest = min(results[name]["times_ours"] for name in ("torch-fidelity", "torchmetrics"))
    met = slowest >= FASTER and results[OURS]["relative_error"] < CLOSER
    print(
        f"\nat least {FASTER} times faster, relative error under {CLOSER}: {'yes' if met else 'NO'}"
    )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
