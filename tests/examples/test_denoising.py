"""The example denoises, and says how well beside the filters."""

import ast
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.examples.conftest import EXAMPLES


@pytest.mark.slow
def test_every_method_is_measured_beside_the_noised_images(run_example):
    out = run_example("denoising", "--seed", "1")
    report = json.loads((out / "denoising.json").read_text())
    assert report["seed"] == 1
    assert report["seconds"] > 0
    assert 1 <= report["vae_epochs"]["0.2"] <= 3
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


@pytest.mark.parametrize("steps", [1, 10])
def test_the_steps_back_end_at_the_clean_image(rng, steps):
    """A denoiser that knows it is asked for the right timesteps, and what it says is kept."""
    clean, sigma, asked = rng.random((3, 4, 4, 1)), 0.2, []
    alpha_bars = np.cos(np.linspace(0.01, 1.5, 1000)) ** 2

    def predict(inputs, verbose):
        x, (t, *_) = inputs["images"], inputs["timesteps"]
        signal, rest = np.sqrt(alpha_bars[t]), np.sqrt(1 - alpha_bars[t])
        noise = (x - signal * (2 * clean - 1)) / rest
        asked.append((rest / signal, noise.std()))
        return signal * noise - rest * (2 * clean - 1)

    tree = ast.parse((EXAMPLES / "denoising.py").read_text(encoding="utf-8"))
    (code,) = [one for one in tree.body if getattr(one, "name", None) == "by_diffusion"]
    denoiser = SimpleNamespace(predict=predict)
    diffusion = SimpleNamespace(alpha_bars=alpha_bars, average_denoiser=denoiser)
    known = {"np": np, "diffusion": diffusion}
    exec(compile(ast.Module([code], []), "denoising.py", "exec"), known)
    noised = clean + rng.normal(0, sigma, clean.shape)
    np.testing.assert_allclose(known["by_diffusion"](noised, sigma, 1.0, steps), clean, atol=1e-5)
    assert len(asked) == steps
    assert asked[0][0] == pytest.approx(2 * sigma, rel=0.02)  # of pixels in [-1, 1]
    if steps > 1:  # the same noise all the way, and ever less of it
        assert asked[-1][0] < 0.3 * asked[0][0]
        assert asked[-1][1] == pytest.approx(asked[1][1], rel=0.01)
