"""What discriminators promise beside what every network does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.layers import GroupNormalization
from keras_medgen.networks import (
    convolutional_discriminator,
    dcgan_discriminator,
    dense_discriminator,
    larsen_discriminator,
)

SHAPE, CLASSES = (16, 16, 1), 3
BUILDERS = {
    "convolutional": lambda **given: convolutional_discriminator(SHAPE, width=8, **given),
    "dcgan": lambda **given: dcgan_discriminator((20, 17, 2), width=8, **given),
    "dense": lambda **given: dense_discriminator(SHAPE, hidden_units=16, **given),
    "larsen": lambda **given: larsen_discriminator(SHAPE, **given),
    "convolutional, spectral": lambda **given: convolutional_discriminator(
        SHAPE, width=8, spectral_normalization=True, **given
    ),
    "dcgan, spectral": lambda **given: dcgan_discriminator(
        (20, 17, 2), width=8, spectral_normalization=True, **given
    ),
}


@pytest.fixture(params=BUILDERS)
def build(request):
    return BUILDERS[request.param]


@pytest.fixture(params=["convolutional, spectral", "dcgan, spectral"])
def build_spectral(request):
    return BUILDERS[request.param]


@pytest.fixture
def draw_images(rng):
    def draw(network, count=4):
        return rng.uniform(-1, 1, (count, *network.inputs[0].shape[1:])).astype(np.float32)

    return draw


def penultimate(network):
    """The network up to what the logit is a linear function of."""
    return keras.Model(network.input, network.get_layer("logits").input)


def as_matrix(kernel):
    """A kernel as a matrix, with a column for each output."""
    return np.asarray(kernel).reshape(-1, kernel.shape[-1])


def largest_singular_values(network):
    kernels = [w for w in network.weights if w.name == "kernel"]
    return np.array([np.linalg.svd(as_matrix(kernel), compute_uv=False)[0] for kernel in kernels])


def input_gradient_penalty(network, images, training):
    """R1: the squared norm of each logit's gradient by its image, averaged, and the tape."""
    images = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        with tf.GradientTape() as inner:
            inner.watch(images)
            logits = tf.reduce_sum(network(images, training=training))
        gradients = inner.gradient(logits, images)
        penalty = tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=(1, 2, 3)))
    by_weight = tape.gradient(penalty, [w.value for w in network.trainable_variables])
    return gradients, penalty, by_weight


@pytest.mark.parametrize(
    ("network", "features"),
    [
        (lambda: convolutional_discriminator((16, 16, 1), width=8), (8, 8, 8)),
        (lambda: convolutional_discriminator((31, 57, 4), width=8), (4, 8, 32)),
        (lambda: convolutional_discriminator((256, 256, 1), width=8), (8, 8, 32)),
        (lambda: dcgan_discriminator((16, 16, 1), width=4), (8, 8, 4)),
        (lambda: dcgan_discriminator((31, 57, 4), width=4), (4, 8, 16)),
        (lambda: dcgan_discriminator((256, 256, 1), width=4), (8, 8, 32)),
        (lambda: dense_discriminator((1, 1, 1), hidden_units=7), (7,)),
        (lambda: dense_discriminator((7, 20, 3)), (128,)),
        (lambda: larsen_discriminator((8, 8, 1)), (1, 1, 256)),
        (lambda: larsen_discriminator((16, 40, 3)), (2, 5, 256)),
    ],
)
def test_shapes(network, features):
    network = network()
    images = np.zeros((2, *network.input.shape[1:]), np.float32)
    both = keras.Model(network.input, [network.get_layer("features").output, network.output])
    compared, logits = both(images)
    assert compared.shape == (2, *features)
    assert logits.shape == (2, 1)


@pytest.mark.parametrize("builder", [convolutional_discriminator, dcgan_discriminator])
@pytest.mark.parametrize("shape", [(15, 28, 1), (28, 257, 1), (28, 28, 5), (28, 28)])
def test_sides_out_of_range_are_refused(builder, shape):
    with pytest.raises(ValueError, match="16 to 256"):
        builder(shape)


def test_shapes_of_the_others_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        larsen_discriminator((12, 16, 1))
    with pytest.raises(ValueError, match="at least 1 each"):
        dense_discriminator((0, 4, 1))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_other_rates_of_dropout_are_refused(build, rate):
    with pytest.raises(ValueError, match=f"dropout must be .* Received: dropout={rate}"):
        build(dropout=rate)


def batch_normalised(channels):
    """Parameters: scale, offset, moving mean and moving variance."""
    return 4 * channels


@pytest.mark.parametrize("classes", [None, 4])
def test_parameters_of_the_brain_tumour_report(classes):
    expected = 5 * 5 * 1 * 32 + 32
    expected += 5 * 5 * 32 * 128 + batch_normalised(128)
    expected += 5 * 5 * 128 * 256 + batch_normalised(256)
    expected += 5 * 5 * 256 * 256 + batch_normalised(256)
    expected += 8 * 8 * 256 * 512 + batch_normalised(512)
    expected += 512 + 1
    expected += (classes or 0) * 512
    assert larsen_discriminator((64, 64, 1), num_classes=classes).count_params() == expected


@pytest.mark.parametrize("classes", [None, 4])
def test_parameters_of_the_dense_one(classes):
    expected = 64 * 64 * 3 * 128 + 128 + 128 + 1 + (classes or 0) * 128
    assert dense_discriminator((64, 64, 3), num_classes=classes).count_params() == expected


@pytest.mark.parametrize("classes", [None, 4])
@pytest.mark.parametrize("spectral", [False, True])
def test_parameters_of_dcgan(classes, spectral):
    # 64 -> 32 -> 16 -> 8
    convolutions = 16 * 3 * 64 + 16 * 64 * 128 + 16 * 128 * 256
    places, given = 8 * 8 * 256, classes or 0
    expected = convolutions + places + 1 + given * places
    if spectral:  # biases, and a vector of the power iteration for each kernel
        expected += 2 * (64 + 128 + 256) + 1 + (places if classes else 0)
    else:
        expected += 64 + batch_normalised(128) + batch_normalised(256)
    network = dcgan_discriminator((64, 64, 3), num_classes=classes, spectral_normalization=spectral)
    assert network.count_params() == expected


@pytest.mark.parametrize("classes", [None, 4])
@pytest.mark.parametrize("spectral", [False, True])
def test_parameters_of_the_residual_one(classes, spectral):
    # 28 -> 14 -> 7, two residual blocks in between
    def convolution(size, before, after):
        return size * size * before * after + after + (after if spectral else 0)

    block = convolution(3, 32, 32) + (0 if spectral else 2 * 32)
    expected = convolution(4, 1, 32) + 2 * block + convolution(4, 32, 64) + convolution(3, 64, 64)
    places, given = 7 * 7 * 64, classes or 0
    expected += places + 1 + given * places
    if spectral:
        expected += 1 + (places if classes else 0)
    network = convolutional_discriminator(
        (28, 28, 1), num_classes=classes, spectral_normalization=spectral
    )
    assert network.count_params() == expected


def test_channels_of_dcgan_double_up_to_eight_times_the_width():
    network = dcgan_discriminator((256, 256, 1), width=4)
    assert [layer.filters for layer in network.layers if hasattr(layer, "filters")] == [
        *(4, 8, 16, 32, 32)
    ]


def test_features_are_the_last_hidden_layer_with_a_kernel(build):
    with_kernel = [layer.name for layer in build().layers if hasattr(layer, "kernel")]
    *_, last, logits = [name for name in with_kernel if not name.startswith("dense")]
    assert (last, logits) == ("features", "logits")


def test_features_of_larsen_are_those_before_batch_normalisation(rng):
    network = larsen_discriminator((16, 16, 1))
    layer = network.get_layer("features")
    both = keras.Model(network.input, [layer.input, layer.output])
    before, after = both(rng.uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32))
    expected = tf.nn.conv2d(before, layer.kernel.value, 2, "SAME")
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_labels_add_the_inner_product_of_their_embedding_and_the_features(build, draw_images):
    network = build(num_classes=CLASSES)
    images = draw_images(network)
    labels = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]], np.float32)
    features = np.asarray(penultimate(network)({"images": images, "labels": labels}), np.float64)
    last = {w.name: np.asarray(w, np.float64) for w in network.get_layer("logits").weights}
    kernel, bias = last["kernel"], last["bias"]
    (embedding,) = (
        np.asarray(w, np.float64)
        for w in network.weights
        if w.name == "kernel" and tuple(w.shape) == (CLASSES, features.shape[1])
    )
    expected = features @ kernel + bias + np.sum((labels @ embedding) * features, 1, keepdims=True)
    logits = network({"images": images, "labels": labels})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    unconditional = features[2] @ kernel + bias
    np.testing.assert_allclose(logits[2], unconditional, rtol=1e-4, atol=1e-5)


def test_dropout_follows_from_the_seed_and_ends_with_training(build, draw_images):
    network, again, other = build(dropout=0.4, seed=1), build(dropout=0.4, seed=1), build(seed=1)
    images = draw_images(network, 16)
    np.testing.assert_array_equal(network(images), other(images))
    dropped = [np.asarray(penultimate(each)(images, training=True)) for each in (network, again)]
    np.testing.assert_array_equal(*dropped)
    kept = np.asarray(penultimate(build(seed=1))(images, training=True))
    share = (dropped[0][kept != 0] == 0).mean()
    assert abs(share - 0.4) < 4 * np.sqrt(0.24 / (kept != 0).sum())


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_one(build, draw_images, training):
    network = build(dropout=0.2)
    logits = network(draw_images(network, 1), training=training)
    assert logits.shape == (1, 1)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["convolutional", "convolutional, spectral", "dcgan, spectral"])
def test_without_batch_statistics_a_logit_depends_on_its_image_alone(name, draw_images):
    network = BUILDERS[name]()
    images = draw_images(network)
    if "spectral" in name:
        step = tf.function(lambda: network(images, training=True))
        for _ in range(100):  # until a call changes the kernels no more
            step()
    together = network(images, training=True)
    alone = np.concatenate([network(images[i : i + 1], training=True) for i in range(len(images))])
    np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_gradient_penalty_are_finite(build, draw_images, training, batch):
    network = build()
    images = draw_images(network, batch)
    gradients, penalty, by_weight = input_gradient_penalty(network, images, training)
    assert np.isfinite(gradients).all()
    of_kernels = []
    for weight, gradient in zip(network.trainable_variables, by_weight, strict=True):
        if gradient is None:  # an offset that only the logit, not its slope, depends on
            assert weight.name in ("bias", "beta")
            continue
        gradient = np.asarray(tf.convert_to_tensor(gradient))
        assert np.isfinite(gradient).all()
        if weight.name == "kernel":
            of_kernels.append(np.abs(gradient).max())
    assert len(of_kernels) == sum(w.name == "kernel" for w in network.trainable_variables)
    if batch > 1 or not training or penalty > 0:  # of one image, batch statistics leave nothing
        assert penalty > 0
        assert min(of_kernels) > 0


class PlainNormalization(keras.layers.Layer):
    """Group or batch normalisation as in its definition, for its second derivatives.

    Those of `tf.nn.moments`, and so of Keras' layers where they call it, are wrong: it stops the
    gradient at the mean inside the variance, which the first derivative alone permits.
    """

    def __init__(self, groups, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.epsilon = groups, epsilon  # groups: None for batch normalisation

    def build(self, input_shape):
        names = ("gamma", "beta") if self.groups else ("gamma", "beta", "mean", "variance")
        for name in names:
            trained = name in ("gamma", "beta")
            weight = self.add_weight(shape=input_shape[-1:], name=name, trainable=trained)
            setattr(self, name, weight)

    def call(self, inputs, mask=None):
        *places, channels = inputs.shape[1:]
        if self.groups:
            x = tf.reshape(inputs, (-1, *places, self.groups, channels // self.groups))
            axes = (1, 2, 4)
        else:
            x, axes = inputs, tuple(range(len(inputs.shape) - 1))
        centred = x - tf.reduce_mean(x, axes, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
        x = tf.reshape(centred * tf.math.rsqrt(variance + self.epsilon), (-1, *places, channels))
        return x * tf.convert_to_tensor(self.gamma) + tf.convert_to_tensor(self.beta)


@pytest.mark.parametrize("name", ["convolutional", "dcgan", "larsen"])
def test_gradient_penalty_through_normalisation_is_that_of_its_definition(rng, draw_images, name):
    network = BUILDERS[name]()
    network.set_weights([w + 0.05 * rng.random(w.shape) for w in network.get_weights()])
    replaced = []

    def replace(layer):
        if isinstance(layer, (GroupNormalization, keras.layers.BatchNormalization)):
            replaced.append(layer)
            return PlainNormalization(getattr(layer, "groups", None), layer.epsilon)
        return layer.__class__.from_config(layer.get_config())

    reference = keras.models.clone_model(network, clone_function=replace)
    assert replaced
    reference.set_weights(network.get_weights())
    images = draw_images(network)
    ours = input_gradient_penalty(network, images, training=True)
    theirs = input_gradient_penalty(reference, images, training=True)
    scale = np.abs(theirs[0]).max()
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4 * scale)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4)
    largest = max(np.abs(their).max() for their in theirs[2] if their is not None)
    for our, their in zip(ours[2], theirs[2], strict=True):
        assert (our is None) == (their is None)
        if our is not None:
            tolerance = max(1e-3 * np.abs(their).max(), 1e-5 * largest)  # where it is 0
            np.testing.assert_allclose(our, their, atol=tolerance)


def test_dense_logits_and_gradient_penalty_equal_numpy(rng):
    network = dense_discriminator((3, 4, 2), hidden_units=6)
    network.set_weights([rng.normal(size=w.shape) for w in network.weights])
    first, first_bias, last, last_bias = (np.float64(w) for w in network.get_weights())
    images = rng.uniform(-1, 1, (5, 3, 4, 2)).astype(np.float32)
    hidden = images.reshape(5, 24) @ first + first_bias
    slopes = np.where(hidden > 0, 1, 0.2)
    np.testing.assert_allclose(network(images), hidden * slopes @ last + last_bias, rtol=1e-4)
    by_image = (slopes * last[:, 0]) @ first.T
    gradients, penalty, by_weight = input_gradient_penalty(network, images, training=True)
    np.testing.assert_allclose(np.reshape(gradients, (5, 24)), by_image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(penalty, np.mean(np.sum(by_image**2, 1)), rtol=1e-4)
    by_last = 2 / 5 * np.sum(slopes * (by_image @ first), 0)
    by_first = 2 / 5 * by_image.T @ (slopes * last[:, 0])
    np.testing.assert_allclose(by_weight[2][:, 0], by_last, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_weight[0], by_first, rtol=1e-4, atol=1e-4)


def test_spectral_normalisation_takes_the_place_of_the_others(build_spectral):
    kinds = {type(layer) for layer in build_spectral().layers}
    assert not kinds & {keras.layers.BatchNormalization, GroupNormalization}
    assert not kinds & {keras.layers.Conv2D, keras.layers.Dense}  # none is left unwrapped


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_training_brings_the_largest_singular_values_to_one(build_spectral, draw_images, policy):
    keras.config.set_dtype_policy(policy)
    network = build_spectral(num_classes=CLASSES)
    images = draw_images(network)
    inputs = {"images": images, "labels": np.eye(CLASSES, dtype=np.float32)[[0, 1, 2, 0]]}
    before = largest_singular_values(network)
    assert np.abs(before - 1).max() > 0.1
    network(inputs)
    np.testing.assert_array_equal(largest_singular_values(network), before)
    step = tf.function(lambda: network(inputs, training=True))
    for _ in range(10):
        step()
    np.testing.assert_allclose(largest_singular_values(network), 1, atol=0.1)
    for _ in range(200):
        step()
    # In half precision kernels would be rounded, and stay 1e-3 off.
    np.testing.assert_allclose(largest_singular_values(network), 1, atol=2e-3)
    for kernel in (w for w in network.weights if w.name == "kernel"):
        exact = np.asarray(kernel)
        assert (exact != np.asarray(tf.cast(tf.cast(exact, "bfloat16"), "float32"))).mean() > 0.9


def test_power_iterations_follow_from_the_seed(build_spectral):
    def starts(seed):
        return [np.asarray(w) for w in build_spectral(seed=seed).weights if w.name == "vector_u"]

    for first, again, other in zip(starts(1), starts(1), starts(2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).all()


def test_replicas_normalise_alike(build_spectral, draw_images, strategy):
    alone = build_spectral()
    with strategy.scope():
        shared = build_spectral()
    images = draw_images(alone, 5)
    parts = iter((images[:3], images[3:]))
    per_replica = strategy.experimental_distribute_values_from_function(lambda _: next(parts))
    expected = alone(images, training=True)
    logits = strategy.run(tf.function(lambda x: shared(x, training=True)), (per_replica,))
    logits = np.concatenate(strategy.experimental_local_results(logits))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(shared.weights, alone.weights, strict=True):
        for copy in strategy.experimental_local_results(ours.value):
            np.testing.assert_allclose(copy, theirs, rtol=1e-4, atol=1e-6)
