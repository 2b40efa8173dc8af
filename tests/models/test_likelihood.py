import keras
import numpy as np
import pytest
from sklearn.decomposition import PCA

import keras_medgen as kmg
from tests.models.contract import SHAPE

LATENTS = 3
PIXELS = 16 * 16


@pytest.fixture
def images(rng):
    """Images of three directions and a little noise, well inside [0, 1]."""
    directions = rng.normal(0, 1, (LATENTS, PIXELS))
    values = 0.5 + 0.03 * rng.normal(0, 1, (400, LATENTS)) @ directions
    return np.clip(values + 0.02 * rng.normal(0, 1, (400, PIXELS)), 0, 1).astype(np.float32)


def pca_vae(pca, posterior_scale=1.0, **arguments):
    """The VAE of one affine layer each way that is the probabilistic PCA of scikit-learn.

    Tipping and Bishop 1999: x = W z + mean + noise, W = U (L - s)^1/2, whose posterior has the
    mean (L - s)^1/2 / L U'(x - mean) and the variance s / L, for eigenvalues L and noise s.
    """
    noise, eigenvalues = pca.noise_variance_, pca.explained_variance_
    shrunk = np.sqrt(eigenvalues - noise)
    images, latents = keras.Input(SHAPE), keras.Input((LATENTS,))
    flat = keras.layers.Flatten()(images)
    mean, log_var, decode = (keras.layers.Dense(n) for n in (LATENTS, LATENTS, PIXELS))
    encoder = keras.Model(images, {"mean": mean(flat), "log_var": log_var(flat)})
    decoder = keras.Model(latents, keras.layers.Reshape(SHAPE)(decode(latents)))
    inverse = pca.components_.T * shrunk / eigenvalues
    mean.set_weights([inverse, -pca.mean_ @ inverse])
    variance = posterior_scale**2 * noise / eigenvalues
    log_var.set_weights([np.zeros((PIXELS, LATENTS)), np.log(variance)])
    decode.set_weights([shrunk[:, None] * pca.components_, pca.mean_])
    model = kmg.models.VAE(SHAPE, LATENTS, encoder=encoder, decoder=decoder, **arguments)
    if hasattr(model.reconstruction, "scale"):
        model.reconstruction.scale.assign(noise)
    return model


@pytest.fixture
def pca(images):
    return PCA(LATENTS, svd_solver="full").fit(images.astype(np.float64))


def test_with_the_true_posterior_it_is_the_exact_likelihood(images, pca):
    model = pca_vae(pca)
    exact = pca.score_samples(images[:20].astype(np.float64))
    for num_samples in (1, 20, 200):
        ours = model.log_likelihood(images[:20].reshape(-1, *SHAPE), num_samples=num_samples)
        assert ours.shape == (20,)
        np.testing.assert_allclose(ours, exact, rtol=2e-4)


def test_with_another_posterior_it_is_a_bound_that_rises_to_it(images, pca):
    model = pca_vae(pca, posterior_scale=1.6)
    exact = pca.score_samples(images[:64].astype(np.float64))
    gaps = []
    for num_samples in (1, 10, 200):
        ours = model.log_likelihood(images[:64].reshape(-1, *SHAPE), num_samples=num_samples)
        gaps.append((exact - ours).mean())
    # With one sample the gap is the KL divergence of the posteriors, in closed form.
    expected = LATENTS * (0.5 * (1.6**2 - 1) - np.log(1.6))
    assert gaps[0] == pytest.approx(expected, abs=0.5)
    assert gaps[0] > gaps[1] > gaps[2]
    assert abs(gaps[2]) < 0.1


def test_one_sample_is_the_evidence_lower_bound(images, pca):
    model = pca_vae(pca, posterior_scale=1.6, kl_weight=1)
    model.compile()
    batch = images.reshape(-1, *SHAPE)
    bound = model.evaluate(batch, batch_size=400, verbose=0, return_dict=True)["loss"]
    assert -model.log_likelihood(batch, num_samples=1).mean() == pytest.approx(bound, abs=0.45)


def test_bits_per_dimension_of_dequantised_images(images, pca):
    model = pca_vae(pca)
    eight_bit = (images[:20] * 255).round().astype(np.uint8)
    random = np.random.default_rng(1)
    nats = [
        pca.score_samples((eight_bit + random.random(eight_bit.shape)) / 256) for _ in range(20)
    ]
    expected = 8 - np.mean(nats, axis=0) / (PIXELS * np.log(2))
    ours = model.bits_per_dimension(eight_bit.reshape(-1, *SHAPE), num_samples=20)
    np.testing.assert_allclose(ours, expected, atol=0.02)
    floats = model.bits_per_dimension(eight_bit.reshape(-1, *SHAPE) / 255.0, num_samples=20)
    np.testing.assert_array_equal(ours, floats)


def test_discrete_likelihoods_need_no_dequantisation(images, pca):
    model = pca_vae(pca, reconstruction="quantized_logistic")
    model.reconstruction.scale.assign(0.02)
    batch = (images[:5].reshape(-1, *SHAPE) * 255).round() / np.float32(255)
    bits = model.bits_per_dimension(batch, num_samples=50)
    nats = model.log_likelihood(batch, num_samples=50)
    np.testing.assert_allclose(bits, -nats / (PIXELS * np.log(2)), rtol=1e-5)
    assert (bits < pca_vae(pca).bits_per_dimension(batch) + 0.5).all()
    assert (bits > 0).all()


def test_it_repeats_by_the_seed_and_knows_each_image_by_its_number(images, pca):
    model = pca_vae(pca, posterior_scale=1.6)
    batch = images[:40].reshape(-1, *SHAPE)
    first = model.log_likelihood(batch, num_samples=5, seed=3)
    np.testing.assert_array_equal(first, model.log_likelihood(batch, num_samples=5, seed=3))
    assert (first != model.log_likelihood(batch, num_samples=5, seed=4)).all()
    assert model.log_likelihood(batch[:0]).shape == (0,)


def test_labels_condition_it(rng):
    model = kmg.models.VAE(SHAPE, 2, num_classes=2)
    images = rng.random((3, *SHAPE), np.float32)
    first, second = (model.log_likelihood(images, [label] * 3, 10) for label in (0, 1))
    assert (first != second).all()
    with pytest.raises(ValueError, match="needs labels"):
        model.log_likelihood(images)


@pytest.mark.parametrize(
    ("reconstruction", "message"),
    [("ms_ssim_l1", "no likelihood"), ("bernoulli", "images of 0 and 1")],
)
def test_what_is_no_likelihood_has_none(rng, reconstruction, message):
    model = kmg.models.VAE(SHAPE, 2, reconstruction=reconstruction)
    images = rng.random((3, *SHAPE), np.float32)
    with pytest.raises(ValueError, match=message):
        model.log_likelihood(images)
    with pytest.raises(ValueError, match="no likelihood of 8-bit images"):
        model.bits_per_dimension(images)


def test_binary_images_have_a_bernoulli_likelihood(rng):
    model = kmg.models.VAE(SHAPE, 2, reconstruction="bernoulli")
    images = rng.integers(0, 2, (3, *SHAPE)).astype(np.float32)
    nats = model.log_likelihood(images, num_samples=20)
    np.testing.assert_allclose(nats, -PIXELS * np.log(2), rtol=0.05)  # it knows nothing yet


def test_bad_numbers_of_samples(images, pca):
    with pytest.raises(ValueError, match="num_samples=0"):
        pca_vae(pca).log_likelihood(images[:1].reshape(-1, *SHAPE), num_samples=0)
