import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf

from keras_medgen.models.guidance import check_classifier, guided_latents

SHAPE = (4, 4, 1)
DIM = 8


def standard_normal(z):
    return -0.5 * tf.reduce_sum(z**2, axis=1)


def identity(z):
    return z[:, None, None, :]  # "images" of one pixel, a channel for each latent dimension


def logistic_classifier(slope, head="sigmoid", dim=DIM):
    """p(1 | z) = sigmoid(slope * z_0 + 0.5)."""
    images = keras.Input((1, 1, dim))
    dense = keras.layers.Dense(1 if head == "sigmoid" else 2, activation=head)
    model = keras.Model(images, dense(keras.layers.Flatten()(images)))
    kernel, bias = np.zeros((dim, dense.units)), np.zeros(dense.units)
    kernel[0, -1], bias[-1] = slope, 0.5
    dense.set_weights([kernel, bias])
    return model


def draw(rng, count, steps=60, dim=DIM):
    latents = rng.standard_normal((count, dim), np.float32)
    return tf.constant(latents), tf.constant(rng.standard_normal((steps, count, dim), np.float32))


@tf.function
def guided(latents, noise, target, classifier, scale=1.0, step_size=0.1, log_prior=standard_normal):
    return guided_latents(latents, noise, log_prior, identity, classifier, target, scale, step_size)


class TestGuidedLatents:
    @pytest.mark.parametrize(
        ("head", "target", "scale"),
        [("sigmoid", 0, 1.0), ("sigmoid", 1, 3.0), ("softmax", 1, 1.0), ("softmax", 0, 3.0)],
    )
    def test_moments_are_those_of_numeric_integration(self, rng, head, target, scale):
        z = guided(*draw(rng, 10_000), target, logistic_classifier(2.0, head), scale).numpy()
        sign = 1 if target else -1

        def density(x):
            log_probability = scipy.special.log_expit(sign * (2.0 * x + 0.5))
            return np.exp(scale * log_probability) * scipy.stats.norm.pdf(x)

        mass, first, second = (
            scipy.integrate.quad(lambda x, power=p: x**power * density(x), -10, 10)[0]
            for p in range(3)
        )
        mean = first / mass
        deviation = np.sqrt(second / mass - mean**2)
        assert abs(mean) > 0.4  # well away from the prior's
        assert z[:, 0].mean() == pytest.approx(mean, abs=0.03)
        assert z[:, 0].std() == pytest.approx(deviation, abs=0.02)
        assert z[:, 1].mean() == pytest.approx(0, abs=0.03)
        assert z[:, 1].std() == pytest.approx(1, abs=0.02)

    def test_large_steps_leave_a_gaussian_prior_as_it_is(self, rng):
        scales = np.linspace(1, 1.5, DIM, dtype=np.float32)

        def log_prior(z):
            return -0.5 * tf.reduce_sum((z / scales) ** 2, axis=1)

        latents, noise = draw(rng, 10_000, steps=30)
        z = guided(latents * scales, noise, 1, logistic_classifier(2.0), 0.0, 1.0, log_prior)
        # The usual discretisation would have standard deviations of 1.41 to 1.70.
        np.testing.assert_allclose(z.numpy().std(axis=0), scales, rtol=0.02)

    def test_steps_shorten_where_the_prior_is_narrow(self, rng):
        # A variance of 0.02, of which half is the step size: steps unbounded reach 1e6 and more.
        scales = np.ones(DIM, np.float32)
        scales[-1] = 0.02**0.5

        def log_prior(z):
            return -0.5 * tf.reduce_sum((z / scales) ** 2, axis=1)

        latents, noise = draw(rng, 1000, steps=200)
        z = guided(latents * scales, noise, 1, logistic_classifier(2.0), 1.0, 0.1, log_prior)
        assert z.numpy()[:, -1].std() < 0.7
        assert z.numpy()[:, 0].mean() > 0.4

    def test_each_row_has_a_target_of_its_own(self, rng):
        targets = np.arange(2000) % 2
        z = guided(*draw(rng, 2000), tf.constant(targets), logistic_classifier(4.0)).numpy()[:, 0]
        assert z[targets == 1].mean() > 0.5
        assert z[targets == 0].mean() < -0.5

    def test_rows_do_not_depend_on_each_other(self, rng):
        latents, noise = draw(rng, 6)
        targets = tf.constant([0, 1, 1, 0, 1, 0])
        classifier = logistic_classifier(3.0)
        together = guided(latents, noise, targets, classifier).numpy()
        for i in range(6):
            part = slice(i, i + 1)
            alone = guided(latents[part], noise[:, part], targets[part], classifier).numpy()
            np.testing.assert_allclose(alone[0], together[i], atol=1e-5)

    def test_eager_and_graph_agree(self, rng):
        latents, noise = draw(rng, 8, steps=10)
        classifier = logistic_classifier(3.0)
        arguments = (standard_normal, identity, classifier, 1, 1.0, 0.1)
        np.testing.assert_allclose(
            guided(latents, noise, 1, classifier),
            guided_latents(latents, noise, *arguments),
            atol=1e-6,
        )

    @pytest.mark.parametrize("head", ["sigmoid", "softmax"])
    def test_a_classifier_sure_of_the_other_class_still_guides(self, head):
        # Logits of 60 and of -60: the probability of the target rounds to 0.
        latents = np.zeros((2, 200), np.float32)
        latents[:, 0] = [2, -2]
        classifier = logistic_classifier(30.0, head, dim=200)
        noise = np.zeros((1, 2, 200), np.float32)
        z = guided(latents, noise, tf.constant([0, 1]), classifier, 0.8, 0.01)
        # One step of the prior's gradient, -z, and of the classifier's, 0.8 * 30 to the target.
        np.testing.assert_allclose(z[:, 0], [2 - 0.02 - 0.24, -2 + 0.02 + 0.24], atol=1e-4)

    def test_leaves_the_classifier_as_it_is(self, rng):
        images = keras.Input((1, 1, DIM))
        x = keras.layers.BatchNormalization()(images)
        x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
        classifier = keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))
        before = [w.copy() for w in classifier.get_weights()]
        latents, noise = draw(rng, 16)
        first = guided(latents, noise, 1, classifier)
        assert np.abs(first - latents).max() > 0.1
        for was, is_now in zip(before, classifier.get_weights(), strict=True):
            np.testing.assert_array_equal(was, is_now)
        np.testing.assert_array_equal(first, guided(latents, noise, 1, classifier))


class TestCheckClassifier:
    def classifier(self, units, activation, shape=SHAPE):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(units, activation=activation)]
        return keras.Sequential([keras.Input(shape), *layers])

    @pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
    @pytest.mark.parametrize(("units", "head", "largest"), [(1, "sigmoid", 1), (3, "softmax", 2)])
    def test_gives_a_target_for_each_image(self, dtype, units, head, largest):
        keras.config.set_dtype_policy(dtype)
        classifier = self.classifier(units, head)
        targets = check_classifier(classifier, SHAPE, largest, 4)
        np.testing.assert_array_equal(targets, [largest] * 4)
        assert targets.dtype == np.int32
        given = [0, largest, 0, 1]
        np.testing.assert_array_equal(check_classifier(classifier, SHAPE, given, 4), given)

    @pytest.mark.parametrize(
        ("units", "activation"),
        [(1, "linear"), (1, "tanh"), (3, "linear"), (3, "log_softmax"), (3, "relu")],
    )
    def test_logits_are_refused(self, units, activation):
        with pytest.raises(ValueError, match=r"add a softmax.*Received: outputs from"):
            check_classifier(self.classifier(units, activation), SHAPE, 0, 4)

    @pytest.mark.parametrize("target", [2, -1, 0.5, [0, 1], [0, 1, 1, 2], [[0, 1, 1, 1]]])
    def test_other_targets_are_refused(self, target):
        with pytest.raises(ValueError, match=r"0 to 1.*4 images.*Received: target="):
            check_classifier(self.classifier(1, "sigmoid"), SHAPE, target, 4)

    def test_several_independent_probabilities_are_refused(self):
        with pytest.raises(ValueError, match="add a softmax"):
            check_classifier(self.classifier(3, "sigmoid"), SHAPE, 0, 4)

    def test_classifiers_of_other_images_are_refused(self):
        with pytest.raises(ValueError, match=r"\(None, 4, 4, 1\).*\(None, 5, 4, 1\)"):
            check_classifier(self.classifier(2, "softmax", (5, 4, 1)), SHAPE, 0, 4)

    def test_outputs_that_are_no_rows_are_refused(self):
        with pytest.raises(ValueError, match=r"\(n, classes\)"):
            check_classifier(
                keras.Sequential([keras.Input(SHAPE), keras.layers.ReLU()]), SHAPE, 0, 4
            )
