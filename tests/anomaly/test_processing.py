import numpy as np
import pytest
import skimage.measure
import skimage.morphology
from scipy.signal import medfilt2d

from keras_medgen.anomaly import processing


class TestBrainMasks:
    @pytest.fixture
    def image(self):
        image = np.zeros((20, 20, 2), np.float32)
        image[4:15, 5:16, 0] = 0.5  # the brain, in one channel
        image[8:10, 8:10] = 0.01  # a hole
        image[0:3, 0:3, 1] = 0.9  # something else
        return image

    def test_is_the_largest_region_filled(self, image):
        expected = np.zeros((20, 20), bool)
        expected[4:15, 5:16] = True
        masks = processing.brain_masks(np.stack([image, np.zeros_like(image)]), 0.02)
        np.testing.assert_array_equal(masks, [expected, np.zeros((20, 20), bool)])

    def test_erosion(self, image):
        mask = processing.brain_masks(image[None], 0.02)[0]
        expected = mask
        for _ in range(2):
            expected = skimage.morphology.erosion(expected, np.ones((3, 3)))
        found = processing.brain_masks(image[None], 0.02, erosion=2)[0]
        np.testing.assert_array_equal(found, expected)
        assert 0 < found.sum() < mask.sum()

    def test_images_do_not_touch(self, image):
        of_two = processing.brain_masks(np.stack([image, image[::-1, ::-1]]), 0.02)
        alone = processing.brain_masks(image[None, ::-1, ::-1], 0.02)
        np.testing.assert_array_equal(of_two[1:], alone)


def test_median_filter(rng):
    maps = rng.random((3, 12, 15)).astype(np.float32)
    filtered = processing.median_filtered(maps, 5)
    for before, after in zip(maps, filtered, strict=True):
        expected = medfilt2d(before, 5)  # which pads with 0
        np.testing.assert_array_equal(after[2:-2, 2:-2], expected[2:-2, 2:-2])


@pytest.mark.parametrize("smallest", [0, 1, 4, 9])
def test_small_regions(rng, smallest):
    masks = rng.random((4, 25, 25)) < 0.3
    found = processing.without_small_regions(masks, smallest)
    for before, after in zip(masks, found, strict=True):
        regions = skimage.measure.label(before, connectivity=2)
        sizes = np.bincount(regions.ravel())
        np.testing.assert_array_equal(after, before & (sizes[regions] >= smallest))
    assert not processing.without_small_regions(np.zeros((1, 5, 5), bool), smallest).any()
