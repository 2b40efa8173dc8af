"""What every network promises."""

import math

import keras
import numpy as np
import pytest

from keras_medgen import networks

SHAPE, LATENT_DIM, CLASSES = (16, 16, 1), 4, 3
NETWORKS = {
    "convolutional_encoder": {"width": 8},
    "convolutional_decoder": {"width": 8},
    "convolutional_discriminator": {"width": 8},
    "convolutional_discriminator, spectral": {"width": 8, "spectral_normalization": True},
    "dcgan_generator": {"width": 8},
    "dcgan_discriminator": {"width": 8},
    "dcgan_discriminator, spectral": {"width": 8, "spectral_normalization": True},
    "dense_encoder": {"hidden_units": 16},
    "dense_decoder": {"hidden_units": 16},
    "dense_generator": {"hidden_units": 16},
    "dense_discriminator": {"hidden_units": 16},
    "larsen_encoder": {"width": 8},
    "larsen_decoder": {"width": 8},
    "larsen_discriminator": {"width": 8},
    "spatial_encoder": {"latent_grid": (8, 8, 1), "width": 8},
    "spatial_decoder": {"latent_grid": (8, 8, 1), "width": 8},
}
OF_IMAGES = ("encoder", "discriminator")
LOWEST = {"decoder": 0, "generator": -1}  # of the images


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture
def kind(name):
    return name.split(",")[0].split("_")[1]


@pytest.fixture
def build(name, kind):
    builder = getattr(networks, name.split(",")[0])
    arguments = NETWORKS[name]
    if kind != "discriminator" and "latent_grid" not in arguments:
        arguments = {"latent_dim": LATENT_DIM, **arguments}
    return lambda **given: builder(SHAPE, **arguments, **given)


@pytest.fixture
def inputs(rng, name, kind):
    if kind in OF_IMAGES:
        return rng.random((CLASSES, *SHAPE), np.float32)
    latent_dim = math.prod(NETWORKS[name].get("latent_grid", (LATENT_DIM,)))
    return rng.standard_normal((CLASSES, latent_dim), np.float32)


@pytest.fixture
def conditional_inputs(inputs, kind):
    return {
        "images" if kind in OF_IMAGES else "latents": inputs,
        "labels": np.eye(CLASSES, dtype=np.float32),
    }


def joined(outputs):
    """The tensors of a network's outputs, in one row for each input."""
    tensors = [np.asarray(t) for t in keras.tree.flatten(outputs)]
    return np.concatenate([t.reshape(len(t), -1) for t in tensors], axis=1)


def kernels(network):
    """The weights that are drawn at random: all but scales, offsets and power iterations."""
    return [np.asarray(w) for w in network.weights if w.ndim > 1 and w.name != "vector_u"]


def test_initial_weights_follow_from_the_seed(build):
    for first, again, other in zip(
        kernels(build(num_classes=CLASSES, seed=1)),
        kernels(build(num_classes=CLASSES, seed=1)),
        kernels(build(num_classes=CLASSES, seed=2)),
        strict=True,
    ):
        np.testing.assert_array_equal(first, again)
        assert (first != other).mean() > 0.99


def test_kernels_of_one_network_differ(build):
    # The same seed would give the same numbers, but for their scale.
    starts = [kernel.ravel()[:3] for kernel in kernels(build(num_classes=CLASSES))]
    assert len({tuple(np.round(start / start[0], 3)) for start in starts}) == len(starts)


def test_labels_move_the_seed_of_no_other_layer(build, kind):
    plain, conditional = kernels(build(seed=1)), kernels(build(seed=1, num_classes=CLASSES))
    if len(conditional) > len(plain):  # one kernel more, that of the labels
        (of_labels,) = [
            i for i, kernel in enumerate(conditional) if kernel.shape[:-1] == (CLASSES,)
        ]
        del conditional[of_labels]
    else:  # the first kernel is longer: the labels stand beside its inputs
        plain, conditional = plain[1:], conditional[1:]
    for ours, theirs in zip(conditional, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_each_label_changes_the_outputs(build, conditional_inputs):
    network = build(num_classes=CLASSES)
    rolled = {**conditional_inputs, "labels": np.roll(conditional_inputs["labels"], 1, axis=1)}
    outputs, others = joined(network(conditional_inputs)), joined(network(rolled))
    spread = outputs.std(axis=0).mean()
    assert (np.abs(outputs - others).mean(axis=1) > 0.05 * spread).all()


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_saved_and_loaded_it_gives_the_same(build, inputs, conditional_inputs, classes, tmp_path):
    network, given = build(num_classes=classes), conditional_inputs if classes else inputs
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(joined(loaded(given)), joined(network(given)))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_and_images_in_range(build, kind, conditional_inputs, policy):
    full = joined(build(num_classes=CLASSES)(conditional_inputs))
    keras.config.set_dtype_policy(policy)
    network = build(num_classes=CLASSES)
    outputs = network(conditional_inputs)
    assert all(t.dtype == "float32" for t in keras.tree.flatten(outputs))
    assert {layer.compute_dtype for layer in network.layers} >= {policy.removeprefix("mixed_")}
    np.testing.assert_allclose(joined(outputs), full, atol=0.05 * np.abs(full).max())
    if kind in LOWEST:
        assert joined(outputs).min() >= LOWEST[kind]
        assert joined(outputs).max() <= 1


@pytest.mark.parametrize("classes", [0, -1])
def test_no_classes_are_refused(build, classes):
    with pytest.raises(ValueError, match=f"num_classes must be .* Received: num_classes={classes}"):
        build(num_classes=classes)
