"""Sets of features, by the recipes of the oracles."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "metrics.json").read_text())


def recipe(rows, width, shift=0.1, scale=0.9, generated_rows=None):
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((width, width)) / np.sqrt(width)
    real = rng.standard_normal((rows, width)) @ mixing
    generated = rng.standard_normal((generated_rows or rows, width)) @ mixing
    return real, scale * generated + shift


def features_of_case(name):
    """Real and generated features of a case such as "N500_M300_d64"."""
    numbers = {letter: int(number) for letter, number in re.findall(r"([NMd])(\d+)", name)}
    rest = {"shift": 0, "scale": 1} if name.endswith("same_dist") else {}
    rest = {"shift": 0.5, "scale": 0.8} if name == "N500_d8" else rest
    real, generated = recipe(numbers["N"], numbers["d"], generated_rows=numbers.get("M"), **rest)
    return (real, real) if name.endswith("self") else (real, generated)


@pytest.fixture(scope="session")
def memorised():
    """Training, held-out and three sets of generated rows: new, copied, and half of each."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((64, 64)) / 8
    train, held_out, new = (rng.standard_normal((n, 64)) @ mixing for n in (500, 300, 400))
    copies = train[:400] + 1e-3 * np.random.default_rng(1).standard_normal((400, 64))
    mixture = np.concatenate([new[:200], copies[:200]])
    return train, held_out, {"gen": new, "copy": copies, "mix": mixture}
