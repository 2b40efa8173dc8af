import keras
import numpy as np
import pytest

from keras_medgen.layers import TimestepEmbedding


class TestTimestepEmbedding:
    def test_against_the_formula(self):
        timesteps = np.array([0, 1, 437, 999], np.int32)
        frequencies = 10_000 ** -(np.arange(4) / 4)
        angles = timesteps[:, None] * frequencies
        expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        np.testing.assert_allclose(TimestepEmbedding(8)(timesteps), expected, atol=1e-4)

    def test_half_precision_tells_neighbours_apart(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        inputs = keras.Input((), dtype="int32")
        model = keras.Model(inputs, TimestepEmbedding(32)(inputs))
        first, second = np.asarray(model(np.array([998, 999], np.int32)), np.float32)
        assert np.abs(first - second).max() > 0.3

    def test_units(self):
        with pytest.raises(ValueError, match="units=3"):
            TimestepEmbedding(3)
