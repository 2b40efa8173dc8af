import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from keras_medgen.layers import DotProductAttention
from keras_medgen.networks import unet


def inputs(rng, shape, count=2):
    return {
        "images": rng.standard_normal((count, *shape)).astype(np.float32),
        "timesteps": np.arange(count, dtype=np.int32) * 400,
    }


class TestUNet:
    @pytest.mark.parametrize(
        ("shape", "stages"), [((28, 28, 1), 3), ((64, 64, 2), 4), ((20, 33, 3), 4), ((7, 7, 4), 1)]
    )
    def test_shapes(self, shape, stages):
        network = unet(shape, width=8, blocks=1)
        assert network.output_shape == (None, *shape)
        given = {name: tuple(tensor.shape) for name, tensor in network.input.items()}
        assert given == {"images": (None, *shape), "timesteps": (None,)}
        strides = [x.strides for x in network.layers if isinstance(x, keras.layers.Conv2D)]
        assert strides.count((2, 2)) == stages - 1

    def test_defaults_scale_with_the_image(self):
        blocks = [
            sum(isinstance(x, kmg.layers.GroupNormalization) for x in unet(shape).layers)
            for shape in ((32, 32, 1), (33, 33, 1))
        ]
        assert blocks[0] > blocks[1]  # though it has a stage less
        assert 1e6 < unet((28, 28, 1)).count_params() < 3e6

    @pytest.mark.parametrize(("side", "count"), [(0, 0), (8, 6), (16, 11)])
    def test_attention_where_it_is_asked_for(self, side, count):
        network = unet((16, 16, 1), width=8, attention_side=side)
        found = [layer for layer in network.layers if isinstance(layer, DotProductAttention)]
        assert len(found) == count

    def test_everything_in_it_counts(self, rng):
        network = unet((16, 16, 1), width=8, num_classes=2)
        given = inputs(rng, (16, 16, 1)) | {"labels": np.eye(3, dtype=np.float32)[:2]}
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(given) - 1.0))
        for variable, gradient in zip(
            network.trainable_variables,
            tape.gradient(loss, network.trainable_variables),
            strict=True,
        ):
            # A softmax does not see what is added to all keys.
            if "dense" in variable.path and variable.path.endswith("bias"):
                continue
            assert np.abs(gradient).max() > 0, variable.path
        output = network(given)
        for name, other in (
            ("timesteps", np.array([10, 900], np.int32)),
            ("labels", np.eye(3, dtype=np.float32)[1:]),
        ):
            assert np.abs(network(given | {name: other}) - output).max() > 1e-4

    def test_a_width_that_heads_of_32_channels_do_not_divide(self):
        assert unet((8, 8, 1), width=104, blocks=1).output_shape == (None, 8, 8, 1)

    def test_names_do_not_depend_on_what_was_built_before(self):
        first, second = (unet((8, 8, 1), width=8, seed=3) for _ in range(2))
        assert [v.path for v in first.variables] == [v.path for v in second.variables]
        for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_images_do_not_see_each_other(self, rng):
        network = unet((16, 16, 1), width=8)
        given = inputs(rng, (16, 16, 1), 4)
        part = {name: value[2:] for name, value in given.items()}
        np.testing.assert_allclose(network(given)[2:], network(part), atol=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"image_shape": (3, 16, 1)}, "sides of 4 to 256"),
            ({"blocks": 0}, "blocks=0"),
            ({"width": 12}, "width=12"),
            ({"num_classes": 0}, "num_classes=0"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            unet(**{"image_shape": (16, 16, 1), **arguments})

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_in_half_precision(self, rng, policy):
        expected = unet((16, 16, 1), width=8, blocks=1, seed=0)
        keras.config.set_dtype_policy(policy)
        network = unet((16, 16, 1), width=8, blocks=1, seed=0)
        network.set_weights([w + 0.1 for w in expected.get_weights()])  # the last are zeros
        expected.set_weights(network.get_weights())
        given = inputs(rng, (16, 16, 1))
        with tf.GradientTape() as tape:
            output = network(given)
            loss = tf.reduce_mean(tf.square(output))
        scale = np.abs(expected(given)).max()
        np.testing.assert_allclose(output, expected(given), atol=0.05 * scale)
        for gradient in tape.gradient(loss, network.trainable_variables):
            assert gradient.dtype == tf.float32
            assert np.isfinite(gradient).all()

    @pytest.mark.slow
    def test_in_a_model(self, rng, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        model = kmg.models.Diffusion((8, 8, 1), denoiser=unet((8, 8, 1), width=8, blocks=1))
        model.compile()
        history = model.fit(rng.random((16, 8, 8, 1), np.float32), batch_size=8, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        images = model.generate(2, seed=0, num_steps=3)
        model.save(tmp_path / "model.keras")
        keras.config.set_dtype_policy("float32")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.generate(2, seed=0, num_steps=3), images)
