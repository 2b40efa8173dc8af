"""Diffusion models from the command line."""

import functools
import json

import keras
import numpy as np
import pytest

from keras_medgen import models, networks
from tests.cli.conftest import RUN_FILES


def arguments(data, out, *more):
    sizes = ("--batch-size", 8, "--epochs", 1, "--width", 8)
    return ("train", "--data", data, "--model", "diffusion", "--out", out, *sizes, *more)


@pytest.mark.usefixtures("unexported")
@pytest.mark.slow
def test_every_option_reaches_the_model(call, scans, monkeypatch):
    # The least that is still a U-Net: graphs of the default one take long to trace.
    least = functools.partial(networks.unet, attention_side=0)
    monkeypatch.setattr(networks, "unet", least)
    autoencoder = models.VAE((16, 16, 1), latent_dim=(8, 8, 2))
    autoencoder.save(call.folder / "autoencoder.keras")
    options = ("--noise-schedule", "scaled_linear", "--prediction", "noise", "--noise", "simplex")
    options += ("--min-snr", 3, "--autoencoder", "autoencoder.keras", "--schedule", "constant")
    options += ("--blocks", 1)
    assert call(*arguments(scans, "run", *options))[0] == 0
    run = call.folder / "run"
    assert {path.name for path in run.iterdir()} == RUN_FILES - {"latents.png"}
    assert "test_loss" in json.loads((run / "metrics.json").read_text())
    model = keras.saving.load_model(run / "model.keras")
    assert (model.schedule, model.prediction, model.noise_kind) == (
        "scaled_linear",
        "noise",
        "simplex",
    )
    assert model.min_snr == 3
    assert float(model.optimizer.learning_rate) == pytest.approx(5e-4)
    np.testing.assert_array_equal(model.autoencoder.get_weights()[0], autoencoder.get_weights()[0])
    kernels = [v.shape for v in model.denoiser.trainable_variables if len(v.shape) == 4]
    assert kernels[0] == (3, 3, 2, 8)
    least = networks.unet((8, 8, 2), width=8, blocks=1, attention_side=0)
    assert len(model.denoiser.weights) == len(least.weights)
    options = ("--num", 2, "--sampler", "dpm_solver++", "--num-steps", 3, "--out", "images")
    options += ("--spacing", "even")
    assert call("generate", "run", *options)[0] == 0
    with np.load(call.folder / "images/images.npz") as made:
        expected = model.generate(2, sampler="dpm_solver++", num_steps=3, spacing="even")
        np.testing.assert_array_equal(made["images"], expected)


def test_samplers_are_of_diffusion_models(call):
    models.VAE((16, 16, 1), latent_dim=2).save(call.folder / "vae.keras")
    code, _, err = call("generate", "vae.keras", "--num-steps", 3, "--sampler", "ddim")
    assert code == 2
    assert "--sampler, --num-steps: for diffusion models. Received: a VAE." in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--latent-dim", 4), "--latent-dim is for vae, vaegan, gan"),
        (("--network", "dense"), "--network is for vae, vaegan, gan"),
        (("--autoencoder", "nowhere"), "nowhere"),
        (("--width", 12), "--width must be divisible by 8"),
    ],
)
def test_options_that_do_not_go_together(call, scans, options, message):
    code, _, err = call(*arguments(scans, "run", *options))
    assert code == 2
    assert message in err
