import numpy as np
import pytest
import skimage

from tests.examples.comparisons import check_comparison

FINDINGS = 14


@pytest.mark.slow
def test_three_models_of_images_with_several_labels(run_example, tmp_path):
    random = np.random.default_rng(0)
    photograph = skimage.data.retina()[400:1000, 400:1000, 1]
    arrays = {}
    for split, count in (("train", 48), ("val", 16), ("test", 24)):
        corners = random.integers(0, 570, (count, 2))
        arrays[f"{split}_images"] = np.stack(
            [photograph[y : y + 28, x : x + 28] for y, x in corners]
        )
        arrays[f"{split}_labels"] = random.integers(0, 2, (count, FINDINGS)).astype(np.uint8)
    arrays["test_labels"][0] = 0  # no finding at all
    np.savez(tmp_path / "findings.npz", **arrays)
    out = run_example("chestmnist", "--data", tmp_path / "findings.npz")
    content = check_comparison(out, ("vae", "ms_ssim_vae", "vae_gan"), side=16)
    assert content["data"]["source"] == "findings.npz"
