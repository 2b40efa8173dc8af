"""Two trials, the best of which is compared with the defaults."""

import json
import math
import subprocess
import sys

import pytest

from tests.examples.conftest import EXAMPLES


@pytest.mark.slow
def test_it_searches_and_measures(run_example):
    pytest.importorskip("keras_tuner")
    out = run_example("tune_hyperparameters")
    report = json.loads((out / "report.json").read_text())
    assert report["seed"] == 0
    assert report["seconds_of_this_start"] > 0
    assert report["trials_of_earlier_starts"] == 0
    trials = report["trials"]
    assert len(trials) == 2
    coverages = [trial["coverage"] for trial in trials]
    assert coverages == sorted(coverages, reverse=True)
    settings = ("latent_dim", "kl_weight", "learning_rate")
    final = report["final"]
    assert [final["best"][name] for name in settings] == [trials[0][name] for name in settings]
    assert [final["default"][name] for name in settings] == [64, 5.0, 1e-3]
    for figures in (*trials, *(final[name][split] for name in final for split in ("val", "test"))):
        assert 0 < figures["fd_over_floor"] < math.inf
        for name in ("coverage", "precision", "recall"):
            assert 0 <= figures[name] <= 1
        assert 3 < figures["psnr"] < 50
    assert {"samples.png", "trials.png"} <= {path.name for path in out.iterdir()}


def test_it_names_the_extra_that_is_missing():
    script = (
        "import runpy, sys; sys.modules['keras_tuner'] = None; "
        f"runpy.run_path({str(EXAMPLES / 'tune_hyperparameters.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "'.[tune]'" in done.stderr
    assert "Traceback" not in done.stderr
