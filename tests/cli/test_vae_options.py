import json
import re

import keras
import numpy as np
import pytest

from tests.cli.conftest import small
from tests.conftest import blobs


@pytest.fixture
def labelled(rng, write_npz):
    images, labels = blobs(rng, 60)[..., 0], np.arange(60) % 2
    parts = {"train": slice(40), "val": slice(40, 50), "test": slice(50, 60)}
    return write_npz(
        **{f"{name}_images": images[rows] for name, rows in parts.items()},
        **{f"{name}_labels": labels[rows, None] for name, rows in parts.items()},
        class_names=np.array(["left", "right"]),
    )


@pytest.mark.usefixtures("untrained")
def test_every_option_reaches_the_model(call, labelled):
    options = {
        "--reconstruction": "ms_ssim",
        "--prior": "vamp",
        "--prior-components": 3,
        "--kl-weight": 2.5,
        "--free-bits": 0.1,
        "--capacity": 3,
        "--input-noise": 0.05,
        "--fit-prior": 2,
    }
    words = [word for option in options.items() for word in option]
    code, out, _ = call(*small(labelled, "a", "--conditional", *words))
    assert code == 0
    assert "test_ms_ssim" in out
    run = call.folder / "a"
    model = keras.saving.load_model(run / "model.keras")
    assert model.num_classes == 2
    assert model.reconstruction.name == "ms_ssim"
    assert model.prior.pseudo_images.shape == (3, 16, 16, 1)
    assert (model.kl_weight, model.free_bits, model.capacity) == (2.5, 0.1, 3)
    assert model.input_noise == 0.05
    assert model.fitted_prior.sizes == {"components": 2, "classes": 2}
    assert model.encoder.count_params() == (16 * 16 + 2 + 1) * 256 + 2 * (256 + 1) * 4
    assert float(model.kl_scale) == 1.0
    metrics = json.loads((run / "metrics.json").read_text())
    assert len(metrics["test_kl_per_dimension"]) == 4
    assert 0 <= metrics["test_active_units"] <= 4

    assert call("generate", "a", "--num", 4, "--labels", "1,0", "--out", "images")[0] == 0
    with np.load(call.folder / "images/images.npz") as file:
        np.testing.assert_array_equal(file["images"], model.generate(4, labels=[1, 0, 1, 0]))
    for labels, message in (("2", "0 to 1"), ("left", "--labels left")):
        code, _, err = call("generate", "a", "--labels", labels, "--out", "other")
        assert code == 2
        assert message in err


@pytest.mark.usefixtures("unexported")
def test_the_same_options_give_the_same_model(call, labelled):
    for out in ("a", "b"):
        options = ("--prior", "vamp", "--fit-prior", 2, "--epochs", 1)
        assert call(*small(labelled, out, *options))[0] == 0
    first, again = (
        keras.saving.load_model(call.folder / out / "model.keras").generate(3) for out in ("a", "b")
    )
    np.testing.assert_array_equal(first, again)


@pytest.mark.usefixtures("untrained")
def test_a_grid_of_latents(call, scans):
    arguments = [
        word for word in small(scans, "a", "--epochs", 1) if word not in ("--latent-dim", 4)
    ]
    grid = ("--latent-grid", "8x8x2", "--network", "convolutional", "--width", 8)
    assert call(*arguments, *grid)[0] == 0
    model = keras.saving.load_model(call.folder / "a" / "model.keras")
    assert model.latent_grid == (8, 8, 2)
    assert model.encoder.get_layer("mean").kernel.shape == (1, 1, 8, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("8x8",), "--latent-grid must be ROWSxCOLUMNSxCHANNELS"),
        (("3x3x1",), r"of 8x8 places .* Received: latent_grid=\(3, 3, 1\)"),
        (("8x8x2", "--network", "dense"), "--latent-grid needs --network convolutional"),
        (("8x8x2", "--model", "gan"), "--latent-grid is for vae, vaegan"),
        (("8x8x2", "--latent-dim", 4), "--latent-grid stands in the place of --latent-dim"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(call, scans, options, message):
    code, _, err = call("train", "--data", scans, "--out", "a", "--latent-grid", *options)
    assert code == 2
    assert re.search(message, " ".join(err.split()))


def test_conditional_wants_labels(call, scans):
    code, _, err = call(*small(scans, "a", "--conditional"))
    assert code == 2
    assert "--conditional needs labels" in err
    assert not (call.folder / "a.partial").exists()


def test_mask_weight_wants_masks_and_a_reconstruction_of_pixels(call, scans, write_npz):
    arguments = ("--mask-weight", 3, "--reconstruction", "ms_ssim")
    code, _, err = call(*small(scans, "a", *arguments))
    assert code == 2
    assert "--mask-weight needs masks" in err
    with np.load(scans) as file:
        arrays = dict(file)
    masks = {name.replace("images", "masks"): images > 128 for name, images in arrays.items()}
    masked = write_npz("masked.npz", **arrays, **masks)
    code, _, err = call(*small(masked, "a", *arguments))
    assert code == 2
    assert "mask_weight=3" in err


def test_a_prior_for_each_class_wants_images_of_each(call, labelled, write_npz):
    with np.load(labelled) as file:
        arrays = dict(file)
    arrays["train_labels"] = 0 * arrays["train_labels"]
    one_sided = write_npz("one_sided.npz", **arrays)
    code, _, err = call(*small(one_sided, "a", "--conditional", "--fit-prior", 2))
    assert code == 2
    assert "there are none of right" in err
