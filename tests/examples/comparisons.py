"""What the examples that compare models leave, checked."""

import json
import math

import numpy as np
from PIL import Image


def check_comparison(out, models, side):
    """Checks pictures and comparison.json of a fast run, and returns the latter.

    Args:
        out: the folder.
        models: names of the models.
        side: of an image, in pixels.
    """
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert content["seed"] == 0
    assert content["seconds"] > 0
    assert content["settings"]["image_size"] == side
    assert content["precision"] == "float32"
    assert content["data"]["licence"]
    assert list(content["models"]) == ["mean image", *models]
    for figures in content["models"].values():
        assert all(math.isfinite(value) for value in figures.values())
        assert 5 < figures["psnr"] < 40
        assert -0.2 < figures["ssim"] < 1
        assert -0.2 < figures["ms_ssim"] < 1
    for name in models:
        assert content["models"][name]["epochs"] == 2
        assert 0 < content["models"][name]["seconds"] < content["seconds"]
        assert_synthetic(out / name / "samples_epoch_0001.png", "true")
        assert_synthetic(out / name / "samples_epoch_0002.png", "true")
        assert_synthetic(out / name / "test.png", "partly")
        assert (out / name / "loss.png").is_file()
    assert_synthetic(out / "side_by_side.png", "partly")
    return content


def assert_synthetic(path, expected):
    with Image.open(path) as picture:
        assert picture.text["Synthetic"] == expected
        pixels = np.asarray(picture.convert("L"))
    assert np.ptp(pixels[pixels < 255]) > 5  # there is more than the gaps to see
