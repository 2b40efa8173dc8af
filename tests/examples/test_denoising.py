"""The example denoises, and says how well beside the filters."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.mark.slow
def test_every_method_is_measured_beside_the_noised_images(run_example):
    out = run_example("denoising", "--seed", "1")
    report = json.loads((out / "denoising.json").read_text())
    assert report["seed"] == 1
    assert report["seconds"] > 0
    rows = {row["method"]: row for row in report["rows"]}
    expected = {"noised", "non-local means", "total variation", "VAE"}
    assert expected < rows.keys()
    assert sum("diffusion" in name for name in rows) == 2
    for row in rows.values():
        assert 5 < row["psnr"] < 60
        assert 0 <= row["ssim"] <= 1
    # Noise of 0.2, a part of it clipped away, and what any filter takes from it.
    assert rows["noised"]["psnr"] == pytest.approx(-20 * np.log10(0.2), abs=0.6)
    for name in ("non-local means", "total variation", "VAE"):
        assert rows[name]["psnr"] > rows["noised"]["psnr"] + 5
    with Image.open(out / "noise_0.2.png") as picture:
        assert picture.info["Synthetic"] == "partly"
        assert picture.height > 6 * 90  # a row for each method, and one of the originals
    assert (out / "denoising.png").is_file()
