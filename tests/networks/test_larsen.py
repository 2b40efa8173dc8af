import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.networks import larsen_decoder, larsen_encoder


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 40, 3)])
def test_shapes(shape):
    outputs = larsen_encoder(shape)(np.zeros((2, *shape), np.float32))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "mean": (2, 128),
        "log_var": (2, 128),
    }
    assert larsen_decoder(shape, 3)(np.zeros((2, 3), np.float32)).shape == (2, *shape)


@pytest.mark.parametrize("classes", [None, 4])
def test_parameters_of_the_brain_tumour_report(classes):
    given = classes or 0
    # Four of batch normalisation for each channel: scale, offset, moving mean and variance.
    encoder = 5 * 5 * 1 * 64 + 4 * 64
    encoder += 5 * 5 * 64 * 128 + 4 * 128
    encoder += 5 * 5 * 128 * 256 + 4 * 256
    encoder += 8 * 8 * 256 * 2048 + 4 * 2048
    encoder += 2 * (2048 * 128 + 128)
    encoder += given * 64  # an offset of each channel for each class
    decoder = (128 + given) * 8 * 8 * 256 + 4 * 8 * 8 * 256
    decoder += 6 * 6 * 256 * 256 + 4 * 256
    decoder += 6 * 6 * 256 * 128 + 4 * 128
    decoder += 6 * 6 * 128 * 32 + 4 * 32
    decoder += 5 * 5 * 32 * 1 + 1
    assert larsen_encoder((64, 64, 1), num_classes=classes).count_params() == encoder
    assert larsen_decoder((64, 64, 1), num_classes=classes).count_params() == decoder


def test_a_quarter_of_the_width_has_a_sixteenth_of_the_kernels_between_layers():
    def between(build, width):
        kernels = [w.shape for w in build((64, 64, 1), 3, width=width).weights if len(w.shape) == 4]
        return sorted(math.prod(shape) for shape in kernels if 1 not in shape[2:])

    for build in (larsen_encoder, larsen_decoder):
        whole, small = between(build, 64), between(build, 16)
        assert whole == [16 * size for size in small]
        assert len(whole) >= 2


@pytest.mark.parametrize("width", [0, 7])
def test_other_widths_are_refused(width):
    with pytest.raises(ValueError, match="width must be an even number"):
        larsen_encoder((8, 8, 1), 3, width=width)


def test_images_can_have_another_range(rng):
    decoder = larsen_decoder((8, 8, 1), 3, output_activation="tanh")
    images = np.asarray(decoder(rng.normal(0, 30, (20, 3)).astype(np.float32)))
    assert -1 <= images.min() < -0.01
    assert 0.01 < images.max() <= 1


def test_each_label_shifts_the_first_activations_alike_everywhere(rng):
    encoder = larsen_encoder((16, 16, 1), 3, num_classes=2)
    shifted = next(layer for layer in encoder.layers if isinstance(layer, keras.layers.Add))
    first = keras.Model(encoder.input, shifted.output)
    images = rng.random((1, 16, 16, 1), np.float32)
    planes = [
        first({"images": images, "labels": np.array([labels], np.float32)})
        for labels in ([0, 0], [1, 0], [0, 1], [1, 1])
    ]
    by_label = next(np.asarray(w) for w in encoder.weights if tuple(w.shape) == (2, 64))
    for plane, offset in zip(planes[1:], (*by_label, by_label.sum(0)), strict=True):
        difference = np.broadcast_to(offset, (1, 8, 8, 64))
        np.testing.assert_allclose(plane - planes[0], difference, atol=1e-6)


def test_statistics_are_those_of_all_replicas(rng, strategy):
    alone = larsen_decoder((8, 8, 1), 3)
    with strategy.scope():
        shared = larsen_decoder((8, 8, 1), 3)
    latents = rng.standard_normal((5, 3), np.float32)
    expected = alone(latents, training=True)
    parts = iter((latents[:3], latents[3:]))
    per_replica = strategy.experimental_distribute_values_from_function(lambda _: next(parts))
    images = strategy.run(tf.function(lambda x: shared(x, training=True)), (per_replica,))
    images = np.concatenate(strategy.experimental_local_results(images))
    np.testing.assert_allclose(images, expected, atol=1e-5)
    for ours, theirs in zip(shared.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_inference_has_the_statistics_of_training_after_a_hundred_steps(rng):
    encoder = larsen_encoder((8, 8, 1), 3)
    images = rng.random((16, 8, 8, 1), np.float32)
    step = tf.function(lambda: encoder(images, training=True)["mean"])
    for _ in range(100):
        trained = step()
    np.testing.assert_allclose(encoder(images)["mean"], trained, atol=0.05 * np.std(trained))


@pytest.mark.parametrize("shape", [(12, 16, 1), (16, 12, 1), (0, 16, 1), (16, 16)])
@pytest.mark.parametrize("build", [larsen_encoder, larsen_decoder])
def test_other_shapes_are_refused(build, shape):
    with pytest.raises(ValueError, match="divisible by 8"):
        build(shape)
