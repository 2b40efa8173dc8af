"""VAE-GANs and GANs from the command line."""

import json

import keras
import numpy as np
import pytest

from keras_medgen import callbacks
from tests.cli.conftest import RUN_FILES, small
from tests.cli.test_resume import assert_same
from tests.conftest import blobs

OF_AN_ENCODER = {"reconstructions.png", "latents.png"}


@pytest.mark.usefixtures("unexported")
@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("--model", "vaegan", "--gamma", 0.1), RUN_FILES),
        (("--model", "gan", "--loss", "relativistic"), RUN_FILES - OF_AN_ENCODER),
    ],
)
def test_stopped_and_resumed_it_ends_as_an_unbroken_run(call, scans, monkeypatch, arguments, files):
    assert call(*small(scans, "whole", *arguments))[0] == 0
    whole = call.folder / "whole"
    assert {path.name for path in whole.iterdir()} == files
    history = callbacks.read_history(whole / "history.csv")
    assert {"discriminator_gradient_norm", "real_accuracy", "sample_ms_ssim"} <= set(history)
    assert "test_discriminator_loss" in json.loads((whole / "metrics.json").read_text())

    def stop(grid, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.SampleGrid, "on_epoch_end", stop)
        assert call(*small(scans, "broken", *arguments))[0] == 130
    assert call("train", "--resume", "broken")[0] == 0
    assert_same(whole, call.folder / "broken")


@pytest.mark.usefixtures("untrained")
def test_every_option_reaches_the_model(call, rng, write_npz):
    images, labels = blobs(rng, 60)[..., 0], np.arange(60)[:, None] % 2
    parts = {"train": slice(40), "val": slice(40, 50), "test": slice(50, 60)}
    data = write_npz(
        **{f"{name}_images": images[rows] for name, rows in parts.items()},
        **{f"{name}_labels": labels[rows] for name, rows in parts.items()},
    )
    common = ("--conditional", "--network", "dcgan", "--width", 8, "--epochs", 1)
    common += ("--spectral-normalization", "--schedule", "constant", "--discriminator-rate", 2)
    options = ("--loss", "wasserstein", "--r1", 0.5, "--critic-steps", 2)
    augmentation = ("--discriminator-augmentation", "translation,cutout")
    arguments = ("--model", "gan", *common, *options, "--gradient-penalty", 3, *augmentation)
    assert call(*small(data, "gan", *arguments))[0] == 0
    model = keras.saving.load_model(call.folder / "gan/model.keras")
    assert model.num_classes == 2
    assert (model.gradient_penalty, model.r1, model.critic_steps) == (3, 0.5, 2)
    assert model.augmentation == ("translation", "cutout")
    rates = [
        float(getattr(model, f"{n}_optimizer").learning_rate)
        for n in ("generator", "discriminator")
    ]
    assert rates == pytest.approx([2e-4, 4e-4])
    assert model.discriminator.layers[1].output.shape[-1] == 8
    kernels = [v.shape for v in model.generator.trainable_variables if len(v.shape) == 4]
    assert kernels[-1][-2:] == (1, 8)  # a transposed convolution's: to one channel, from eight
    kinds = {type(layer) for layer in model.discriminator.layers}
    assert keras.layers.SpectralNormalization in kinds
    assert call("generate", "gan", "--num", 4, "--labels", "1", "--out", "images")[0] == 0

    options = ("--adversarial", "non_saturating", "--fakes", "samples", "--gamma", 0.2)
    more = ("--conditional", "--network", "larsen", "--dropout", 0.3, "--epochs", 1)
    arguments = ("--model", "vaegan", *options, *more, "--kl-weight", 0.5, "--fit-prior", 2)
    assert call(*small(data, "vaegan", *arguments))[0] == 0
    model = keras.saving.load_model(call.folder / "vaegan/model.keras")
    assert (model.adversarial, model.fakes) == ("non_saturating", "samples")
    assert (model.gamma, model.kl_weight) == (0.2, 0.5)
    assert model.fitted_prior.sizes == {"components": 2, "classes": 2}
    record = json.loads((call.folder / "vaegan/run.json").read_text())
    assert (record["gamma"], record["kl_weight"]) == (0.2, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "gan", "--prior", "vamp"), "--prior is for vae. Received: --model gan"),
        (("--model", "vae", "--gamma", 1), "--gamma is for vaegan"),
        (("--model", "vae", "--loss", "hinge"), "--loss is for gan"),
        (("--model", "vaegan", "--loss", "minimax"), "--loss is for gan"),
        (("--model", "gan", "--fit-prior", 3), "--fit-prior is for vae, vaegan"),
        (("--model", "vae", "--network", "dcgan"), "--network dcgan has no encoder"),
        (
            ("--model", "gan", "--network", "dense", "--spectral-normalization"),
            "needs --network convolutional or dcgan",
        ),
        (("--model", "gan", "--discriminator-augmentation", "blur"), "augmentation must be"),
        (("--model", "vae", "--discriminator-rate", 2), "--discriminator-rate is for vaegan, gan"),
        (
            ("--network", "dense", "--width", 8),
            "--width needs --network convolutional, dcgan or larsen",
        ),
        (
            ("--network", "convolutional", "--width", 9),
            "--width must be divisible by 8",
        ),
    ],
)
def test_options_that_do_not_go_together(call, scans, arguments, message):
    code, _, err = call(*small(scans, "a", *arguments))
    assert code == 2
    assert message in err
    assert not (call.folder / "a.partial").exists()
