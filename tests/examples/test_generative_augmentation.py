"""The example compares what is learned from real images, and from more of several kinds."""

import json

import pytest
from PIL import Image

# What the fast run adds to the real images, and how many of them there are to train on.
ADDED = {
    "classifier": {"classical", "oversampled", "latent SMOTE", "VAE-GAN"},
    "segmenter": {"classical", "oversampled", "diffusion"},
}
REAL = 128


@pytest.mark.slow
@pytest.mark.parametrize("task", ADDED)
def test_every_arm_is_measured_beside_real_images_alone(run_example, task):
    out = run_example("generative_augmentation", "--task", task)
    report = json.loads((out / f"{task}.json").read_text())
    assert report["seconds"] > 0
    rows = {row["arm"]: row for row in report["rows"]}
    assert rows.keys() == {"real"} | ADDED[task]
    name = {"classifier": "auc", "segmenter": "dice"}[task]
    for arm, row in rows.items():
        runs = row["runs"][name]
        assert len(runs) == 2
        assert 0 <= min(runs) <= row[name] <= max(runs) <= 1
        if arm != "real":
            gain, low, high = row["gain"]
            assert gain == pytest.approx(row[name] - rows["real"][name], abs=1e-6)
            assert low <= gain <= high
    counts = {arm: row["images"] for arm, row in rows.items()}
    assert counts["real"] == REAL
    assert counts["classical"] == 2 * REAL
    generated = ADDED[task] & {"VAE-GAN", "diffusion"}
    assert all(counts[arm] == 2 * REAL for arm in generated)
    assert REAL < counts["oversampled"] < 2 * REAL
    for kind in generated:
        with Image.open(out / f"{task}_{kind}.png") as picture:
            assert picture.info["Synthetic"] == "true"
