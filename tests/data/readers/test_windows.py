import numpy as np
import pytest

from keras_medgen.data.readers.windows import PRESETS, apply_window, resolve_window


@pytest.fixture(autouse=True)
def _clean_keras():
    """Nothing here uses Keras, and clearing its session takes longer than these tests."""


class TestResolveWindow:
    def test_presets_pairs_and_none(self):
        assert resolve_window(None) is None
        assert resolve_window("lung") == (-600, 1500)
        assert resolve_window("brain") == (40, 80)
        assert resolve_window((50, 350)) == (50.0, 350.0)
        assert resolve_window(np.array([50, 350])) == (50.0, 350.0)
        assert all(width >= 1 for _, width in PRESETS.values())

    @pytest.mark.parametrize(
        "window",
        [
            *("lungs", "", 40, (40,), (40, 80, 3), ("40", "80"), (None, 80), (True, 80)),
            *((40, 0.5), (40, 0), (40, -80), (np.nan, 80), (40, np.inf)),
        ],
    )
    def test_others_are_refused(self, window):
        with pytest.raises(ValueError, match=r"`window` must be .*Received: window="):
            resolve_window(window)


def _by_the_standard(x, c, w):
    """The pseudo-code of DICOM PS3.3 C.11.2.1.2.1, output range 0 to 1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    if x > c - 0.5 + (w - 1) / 2:
        return 1
    return (x - (c - 0.5)) / (w - 1) + 0.5


class TestApplyWindow:
    @pytest.mark.parametrize(("centre", "width"), [(40, 80), (-600, 1500), (0.5, 1), (10, 2)])
    def test_linear_is_the_standards(self, centre, width):
        values = np.arange(-1500, 1500)
        image = apply_window(values, centre, width)
        assert image.dtype == np.float32
        expected = [_by_the_standard(x, centre, width) for x in values]
        np.testing.assert_allclose(image, expected, atol=1e-7)

    def test_the_standards_example(self):
        # PS3.3 C.11.2.1.2.1: c=2048, w=4096 maps 0 to 4095 to the whole output.
        np.testing.assert_array_equal(apply_window(np.array([0, 4095]), 2048, 4096), [0, 1])

    def test_exact_and_sigmoid(self):
        values = np.array([-1e6, 0, 25, 50, 100, 1e6])
        exact = apply_window(values, 50, 100, "LINEAR_EXACT")
        np.testing.assert_allclose(exact, [0, 0, 0.25, 0.5, 1, 1])
        sigmoid = apply_window(values, 50, 100, "SIGMOID")
        expected = 1 / (1 + np.exp(-4 * (values[1:-1] - 50) / 100))
        np.testing.assert_allclose(sigmoid[1:-1], expected, atol=1e-7)
        np.testing.assert_array_equal(sigmoid[[0, -1]], [0, 1])

    def test_what_the_standard_forbids(self):
        for width, function in [(0.9, "LINEAR"), (0, "SIGMOID"), (np.nan, "LINEAR_EXACT")]:
            with pytest.raises(ValueError, match="width"):
                apply_window(np.zeros(3), 0, width, function)
        with pytest.raises(ValueError, match="function='CUBIC'"):
            apply_window(np.zeros(3), 0, 1, "CUBIC")
