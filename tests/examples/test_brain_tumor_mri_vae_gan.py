import numpy as np
import pytest
import skimage
from PIL import Image

from tests.examples.comparisons import assert_synthetic, check_comparison

CLASSES = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
FORMS = ("algorithm_1", "short_training")


@pytest.mark.slow
def test_both_forms_on_four_classes_in_folders(run_example, tmp_path):
    random = np.random.default_rng(0)
    photograph = skimage.data.retina()[400:1000, 400:1000]
    for split, count in (("Training", 12), ("Testing", 4)):
        for name in CLASSES:
            folder = tmp_path / "brains" / split / name
            folder.mkdir(parents=True)
            for number, (y, x) in enumerate(random.integers(0, 560, (count, 2))):
                patch = Image.fromarray(photograph[y : y + 40, x : x + 40])
                patch.save(folder / f"{number}.png")
    out = run_example("brain_tumor_mri_vae_gan", "--data", tmp_path / "brains")
    content = check_comparison(out, FORMS, side=16)
    for form in FORMS:
        assert_synthetic(out / form / "samples_fitted_prior.png", "true")
        figures = content["models"][form]
        assert 0 <= figures["real_accuracy"] <= 1
        assert -0.2 < figures["sample_ms_ssim"] <= 1
