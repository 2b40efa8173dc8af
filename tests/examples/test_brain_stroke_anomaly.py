"""The example trains on healthy images alone, and measures beside what needs no model."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.mark.slow
def test_distances_by_epoch_and_lesions_beside_the_baselines(run_example):
    out = run_example("brain_stroke_anomaly", "--sign", "brighter")
    report = json.loads((out / "brain_stroke_anomaly.json").read_text())
    groups = {"healthy", "with a lesion"}
    assert report["distance_by_epoch"].keys() == {"VAE", "GAN", "diffusion"}
    for curve in report["distance_by_epoch"].values():
        assert curve.keys() == {"1", "2"}
        assert all(one.keys() == groups for one in curve.values())
        assert min(distance for one in curve.values() for distance in one.values()) > 0
    # Real training images are nearer to the healthy ones than to those with a disc.
    training = report["distance_of_training_slices"]
    assert 0 < training["healthy"] < training["with a lesion"]

    rows = report["test"]["rows"]
    assert rows.keys() == {"VAE", "diffusion", "intensity threshold", "blurred image"}
    swept = report["sweep"]["rows"].keys()
    assert swept == {"t = 300", "t = 100", "intensity threshold", "blurred image"}
    for row in (*rows.values(), *report["sweep"]["rows"].values()):
        assert len(row) == 6
        assert all(0 <= value <= 1 for value in row.values())
    # A bright disc on a dim fundus: what a threshold cannot miss.
    assert rows["intensity threshold"]["image_auroc"] > 0.9
    assert np.isfinite(report["seconds"])
    for name, mark in (("samples_GAN", "true"), ("maps", "partly"), ("sweep", "partly")):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.info["Synthetic"] == mark
    assert (out / "distance_by_epoch.png").is_file()
