"""Autoencoders whose latents are a grid, and vectors to all who use them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.conftest import blobs
from tests.models.contract import SHAPE

GRID, SIZE = (8, 8, 2), 128
MODELS = {"VAE": kmg.models.VAE, "VAEGAN": kmg.models.VAEGAN}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


def small_vae(**arguments):
    encoder = kmg.networks.spatial_encoder(SHAPE, GRID, width=8)
    decoder = kmg.networks.spatial_decoder(SHAPE, GRID, width=8)
    return kmg.models.VAE(SHAPE, GRID, encoder=encoder, decoder=decoder, **arguments)


def test_latents_are_vectors_outside(make, rng):
    model = make(SHAPE, latent_dim=GRID)
    assert (model.latent_dim, model.latent_grid, model.latent_shape) == (SIZE, GRID, (SIZE,))
    assert model.get_config()["latent_dim"] == GRID
    images = rng.random((3, *SHAPE), np.float32)
    encoded = model.encode(images)
    assert encoded["mean"].shape == encoded["log_var"].shape == (3, SIZE)
    np.testing.assert_allclose(
        model.decode(encoded["mean"]), model.reconstruct(images), rtol=1e-4, atol=1e-5
    )
    assert make(SHAPE, latent_dim=4).latent_grid is None


def test_the_default_networks_follow_the_seed(make):
    weights = [make(SHAPE, GRID, seed=seed).encoder.get_weights()[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).all()


def test_saved_and_loaded_it_is_the_same(make, rng, tmp_path):
    model = make(SHAPE, GRID, num_classes=2)
    model.compile()
    model.fit(rng.random((4, *SHAPE), np.float32), np.arange(4) % 2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.latent_grid == GRID
    assert loaded.get_config()["latent_dim"] == GRID
    images = model.generate(4, seed=1)
    assert images.std() > 0
    np.testing.assert_array_equal(loaded.generate(4, seed=1), images)


def test_training_lowers_the_loss_and_the_reconstructions_follow(rng):
    images = blobs(rng, 32)
    model = small_vae(kl_weight=1.0)
    model.compile(learning_rate=1e-2)
    before = model.evaluate(images, verbose=0, return_dict=True)["loss"]
    model.fit(images, batch_size=8, epochs=10, verbose=0)
    after = model.evaluate(images, verbose=0, return_dict=True)["loss"]
    assert after < before - 200
    error = np.mean((model.reconstruct(images) - images / 255) ** 2)
    assert error < 0.25 * np.var(images / 255, axis=0).mean()  # that of the mean image


def test_the_divergence_is_summed_over_all_places_and_channels(rng):
    images = rng.random((5, *SHAPE), np.float32)
    model = small_vae(kl_weight=3.0)
    model.compile()
    encoded = {name: value.astype(np.float64) for name, value in model.encode(images).items()}
    mean, log_var = encoded["mean"], encoded["log_var"]
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(axis=1).mean()
    losses = model.evaluate(images, verbose=0, return_dict=True)
    assert losses["kl_loss"] == pytest.approx(kl, rel=1e-4)
    assert losses["loss"] == pytest.approx(losses["reconstruction_loss"] + 3 * kl, rel=1e-4)


def test_a_prior_that_is_not_factorised(rng):
    model = small_vae(prior="mixture", prior_components=2)
    model.compile()
    history = model.fit(rng.random((4, *SHAPE), np.float32), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert model.generate(2).shape == (2, *SHAPE)


def test_exported_latents_are_vectors(rng, tmp_path):
    model = small_vae()
    signatures = tf.saved_model.load(str(kmg.serving.export(model, tmp_path / "export"))).signatures
    decode, encode = signatures["serving_default"], signatures["encode"]
    (latents,) = decode.structured_input_signature[1].values()
    assert tuple(latents.shape) == (None, SIZE)
    images = rng.random((3, *SHAPE), np.float32)
    mean = encode(images=images)["mean"]
    np.testing.assert_allclose(mean, model.encode(images)["mean"], atol=1e-5)
    np.testing.assert_allclose(decode(latents=mean)["images"], model.reconstruct(images), atol=1e-5)


@pytest.mark.parametrize("latent_dim", [(8, 8), (8, 8, 0), (8, 8, 1.5), (), "8x8x2", 0])
def test_other_latent_dimensions_are_refused(make, latent_dim):
    with pytest.raises(ValueError, match=r"latent_dim must be .* Received: latent_dim="):
        make(SHAPE, latent_dim)


def test_a_grid_of_other_sides_is_refused(make):
    with pytest.raises(ValueError, match=r"of 8x8 places .* Received: latent_grid=\(4, 4, 2\)"):
        make(SHAPE, (4, 4, 2))
