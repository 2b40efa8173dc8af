import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from keras_medgen.layers import priors


def mixture_log_density(weights, means, covariances, points):
    """By SciPy, in float64."""
    parts = [
        np.log(w) + scipy.stats.multivariate_normal(m, c).logpdf(points)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return scipy.special.logsumexp(parts, axis=0)


@pytest.fixture
def points(rng):
    return rng.normal(0, 2, (50, 2)).astype(np.float32)


@pytest.fixture
def mixture(rng):
    prior = priors.GaussianMixture(2, components=3)
    prior.logits.assign([0.0, 1.0, -1.0])
    prior.means.assign([[2, 0], [-2, 1], [0, -3]])
    prior.log_scales.assign(np.log([[0.5, 1], [1, 0.3], [0.7, 0.7]]))
    return prior


WEIGHTS = scipy.special.softmax([0.0, 1.0, -1.0])
MEANS = np.array([[2.0, 0], [-2, 1], [0, -3]])
SCALES = np.array([[0.5, 1], [1, 0.3], [0.7, 0.7]])


def test_standard_normal(points):
    prior = priors.StandardNormal(2)
    expected = scipy.stats.norm.logpdf(points).sum(1)
    np.testing.assert_allclose(prior.distribution().log_prob(points), expected, rtol=1e-5)
    np.testing.assert_array_equal(prior.latents(points), points)


def test_mixture_density(mixture, points):
    covariances = [np.diag(s**2) for s in SCALES]
    expected = mixture_log_density(WEIGHTS, MEANS, covariances, points)
    np.testing.assert_allclose(mixture.distribution().log_prob(points), expected, rtol=1e-4)


def check_moments(latents, weights, means, covariances):
    mean = weights @ means
    second = sum(
        w * (c + np.outer(m, m)) for w, m, c in zip(weights, means, covariances, strict=True)
    )
    np.testing.assert_allclose(latents.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(latents.T), second - np.outer(mean, mean), atol=0.12)


def test_mixture_samples(mixture, rng):
    noise = rng.standard_normal((40000, 3)).astype(np.float32)
    latents = mixture.latents(noise).numpy()
    check_moments(latents, WEIGHTS, MEANS, [np.diag(s**2) for s in SCALES])
    np.testing.assert_array_equal(mixture.latents(noise[:7]), latents[:7])


def test_vamp_is_the_mixture_of_the_posteriors_of_its_images(points, rng):
    prior = priors.VampPrior(2, components=3, image_shape=(4, 4, 1), num_classes=2)
    images = rng.random((3, 4, 4, 1)).astype(np.float32)
    prior.start_from(images)
    np.testing.assert_allclose(prior.pseudo_images, images.clip(0.01, 0.99), atol=1e-5)
    seen = {}

    def encode(images, labels):
        seen.update(images=images, labels=labels)
        return {"mean": tf.constant(MEANS, tf.float32), "log_var": tf.math.log(SCALES**2)}

    def as_float32(images, labels):
        return {k: tf.cast(v, tf.float32) for k, v in encode(images, labels).items()}

    density = prior.distribution(None, as_float32).log_prob(points)
    expected = mixture_log_density(np.ones(3) / 3, MEANS, [np.diag(s**2) for s in SCALES], points)
    np.testing.assert_allclose(density, expected, rtol=1e-4)
    np.testing.assert_array_equal(np.argmax(seen["labels"], 1), [0, 1, 0])
    with pytest.raises(ValueError, match=r"\(3, 4, 4, 1\).*\(2, 4, 4, 1\)"):
        prior.start_from(images[:2])


class TestFittedMixture:
    covariances = np.array([[[1, 0.8], [0.8, 1]], [[0.5, -0.2], [-0.2, 0.3]]])
    weights, means = np.array([0.3, 0.7]), np.array([[2.0, 2], [-1, 0]])

    @pytest.fixture
    def prior(self):
        prior = priors.FittedMixture(2, components=4, classes=2)
        prior.set_mixture(0, self.weights, self.means, self.covariances)
        prior.set_mixture(1, np.ones(1), np.array([[5.0, 5]]), np.eye(2)[None])
        return prior

    def test_density_of_each_class(self, prior, points):
        labels = np.eye(2, dtype=np.float32)[np.arange(50) % 2]
        expected = np.where(
            labels[:, 0] == 1,
            mixture_log_density(self.weights, self.means, self.covariances, points),
            scipy.stats.multivariate_normal([5, 5], np.eye(2)).logpdf(points),
        )
        density = prior.distribution(labels).log_prob(points)
        np.testing.assert_allclose(density, expected, rtol=1e-4)

    def test_samples_of_each_class(self, prior, rng):
        noise = rng.standard_normal((40000, 3)).astype(np.float32)
        labels = np.eye(2, dtype=np.float32)[np.arange(40000) % 2]
        latents = prior.latents(noise, labels).numpy()
        check_moments(latents[::2], self.weights, self.means, self.covariances)
        check_moments(latents[1::2], [1.0], np.array([[5.0, 5]]), [np.eye(2)])

    def test_one_mixture_looks_at_no_labels(self, rng):
        prior = priors.FittedMixture(2, components=2)
        prior.set_mixture(0, self.weights, self.means, self.covariances)
        noise = rng.standard_normal((40000, 3)).astype(np.float32)
        latents = prior.latents(noise).numpy()
        check_moments(latents, self.weights, self.means, self.covariances)
        assert prior.distribution().batch_shape == ()


def test_what_has_no_probability_is_never_chosen(rng):
    probabilities = np.array([[0.0, 0.5, 0.0, 0.5, 0.0]], np.float32)
    noise = np.concatenate([rng.standard_normal(1000), [-40, 40]]).astype(np.float32)
    chosen = priors.choose(probabilities, noise).numpy()
    assert set(chosen) == {1, 3}
    assert np.mean(chosen == 1) == pytest.approx(0.5, abs=0.05)
