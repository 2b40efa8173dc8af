import pytest

from tests.examples.comparisons import check_comparison


@pytest.mark.slow
def test_three_models_of_built_in_patches(run_example):
    out = run_example("prostate_gleason")
    content = check_comparison(out, ("vae", "ms_ssim_vae", "vae_gan"), side=16)
    assert content["data"]["counts"]["train"] > 1000
