import numpy as np
import pytest
import scipy.special

from keras_medgen.layers import DotProductAttention


class TestDotProductAttention:
    @pytest.mark.parametrize("heads", [1, 2])
    def test_against_numpy(self, rng, heads):
        queries, keys, values = rng.standard_normal((3, 2, 3, 4, 6))
        found = DotProductAttention(heads)(
            *(x.astype(np.float32) for x in (queries, keys, values))
        ).numpy()
        expected = np.zeros((2, 12, 6))
        for part in np.split(np.arange(6), heads):
            q, k, v = (x.reshape(2, 12, 6)[..., part] for x in (queries, keys, values))
            scores = np.einsum("npc,nqc->npq", q, k) / np.sqrt(len(part))
            expected[..., part] = scipy.special.softmax(scores, axis=-1) @ v
        np.testing.assert_allclose(found, expected.reshape(2, 3, 4, 6), atol=1e-5)

    def test_channels_that_do_not_divide(self):
        with pytest.raises(ValueError, match="channels=6, heads=4"):
            DotProductAttention(4)(*np.zeros((3, 1, 2, 2, 6), np.float32))
