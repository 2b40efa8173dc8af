import numpy as np
import pytest

from keras_medgen.networks import dense_decoder, dense_encoder


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 20, 3), (28, 28, 5)])
def test_shapes(shape):
    outputs = dense_encoder(shape)(np.zeros((2, *shape), np.float32))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "mean": (2, 100),
        "log_var": (2, 100),
    }
    assert dense_decoder(shape, 3)(np.zeros((2, 3), np.float32)).shape == (2, *shape)


@pytest.mark.parametrize("classes", [None, 4])
def test_parameters_of_the_studies(classes):
    pixels, hidden, latents, given = 64 * 64 * 3, 256, 100, classes or 0
    encoder = (pixels + given) * hidden + hidden + 2 * (hidden * latents + latents)
    decoder = (latents + given) * hidden + hidden + hidden * pixels + pixels
    assert dense_encoder((64, 64, 3), num_classes=classes).count_params() == encoder
    assert dense_decoder((64, 64, 3), num_classes=classes).count_params() == decoder


def test_conditional_pair_equals_numpy(rng):
    images, latents = rng.random((5, 3, 4, 2), np.float32), rng.standard_normal((5, 3), np.float32)
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], np.float32)
    encoder = dense_encoder((3, 4, 2), 3, hidden_units=6, num_classes=2)
    decoder = dense_decoder((3, 4, 2), 3, hidden_units=6, num_classes=2)
    for network in (encoder, decoder):
        network.set_weights([rng.normal(size=w.shape) for w in network.weights])

    by_shape = {tuple(w.shape): np.asarray(w) for w in encoder.weights}
    hidden = np.concatenate([images.reshape(5, 24), labels], 1) @ by_shape[26, 6] + by_shape[6,]
    outputs = encoder({"images": images, "labels": labels})
    for name in ("mean", "log_var"):
        kernel, bias = encoder.get_layer(name).get_weights()
        expected = np.maximum(hidden, 0) @ kernel + bias
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-4)

    first, first_bias, last, last_bias = decoder.get_weights()
    hidden = np.maximum(np.concatenate([latents, labels], 1) @ first + first_bias, 0)
    expected = 1 / (1 + np.exp(-(hidden @ last + last_bias)))
    decoded = decoder({"latents": latents, "labels": labels})
    np.testing.assert_allclose(decoded, expected.reshape(5, 3, 4, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 1), (4, 4), (4, 4, -1)])
@pytest.mark.parametrize("build", [dense_encoder, dense_decoder])
def test_other_shapes_are_refused(build, shape):
    with pytest.raises(ValueError, match=r"image_shape must be .* at least 1 each\. Received"):
        build(shape)
