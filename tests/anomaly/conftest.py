"""A stand-in for a diffusion model, and images with lesions."""

import numpy as np
import pytest
import scipy.ndimage

from tests.conftest import blobs


class Blurring:
    """Restores by blurring, the more the further it is noised, with some noise of the seed."""

    num_timesteps = 1000
    num_classes = None

    def __init__(self, image_shape):
        self.image_shape = image_shape
        self.asked = []

    def noised(self, images, timestep, labels=None, *, seed=0):
        rows = [np.random.default_rng([seed, i]).normal(size=x.shape) for i, x in enumerate(images)]
        return (images + timestep / 1000 * np.array(rows)).astype(np.float32)

    def reconstruct(self, images, timestep=100, labels=None, *, seed=0):
        self.asked.append({"timestep": timestep, "labels": labels, "seed": seed})
        blurred = scipy.ndimage.gaussian_filter(images, (0, timestep / 40, timestep / 40, 0))
        return np.clip(self.noised(blurred, timestep / 10, seed=seed), 0, 1)


@pytest.fixture
def blurring():
    return Blurring((16, 16, 1))


def with_lesions(rng, images):
    """Images (float32) with a small bright square in every other one, and their masks."""
    images = images.astype(np.float32) / 255
    masks = np.zeros(images.shape[:3], np.int32)
    for image, mask in zip(images[::2], masks[::2], strict=True):
        top, left = rng.integers(2, 11, 2)
        mask[top : top + 3, left : left + 3] = 1 + rng.integers(3)
        image[mask > 0] = np.clip(image[mask > 0] + rng.uniform(0.1, 0.5), 0, 1)
    return images, masks


@pytest.fixture
def splits(rng):
    """Validation and test arrays, of four patients each."""
    made = {}
    for name in ("val", "test"):
        images, masks = with_lesions(rng, blobs(rng, 24))
        labels = masks.any(axis=(1, 2)).astype(np.int32)
        made[name] = {"images": images, "masks": masks, "labels": labels}
        made[name]["patients"] = np.repeat(np.arange(4), 6)
    return made
