"""Fixtures that every test can use."""

import gc
import itertools
import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers are as many as the cores: a thread each
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

# Before the first operation: two devices, for the tests of replicas.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import keras  # noqa: E402

TESTS, COLLECT_EVERY = itertools.count(1), 20


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Two workers for folders; none for a file or a test, which starts sooner without."""
    return 2 if all(Path(name).is_dir() for name in config.args) else 0


def pytest_collection_modifyitems(items):
    # Coverage costs a quarter of the time; what slow tests run, quick ones run too.
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")


def pytest_collection_finish():
    # What was imported stays: Keras collects garbage between tests, and would look through it.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_keras():
    yield
    keras.config.set_dtype_policy("float32")
    tf.random.set_seed(None)  # as it is in a new process: data sets are shuffled by it, too
    # To collect garbage after each test would take a second of each: now and then is enough. What
    # survives is kept by caches, and is not looked through again: by the end that took 15 seconds.
    collect = next(TESTS) % COLLECT_EVERY == 0
    keras.backend.clear_session(free_memory=collect)
    if collect:
        gc.freeze()


@pytest.fixture(scope="session")
def strategy():
    """Two replicas, one strategy for all: the collective operations of two would collide."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the tests that want it are skipped where there is none."""
    from tests.browser import Browser, find  # needs Unix

    program = find()
    if program is None:
        pytest.skip("there is no Chromium")
    browser = Browser(program)
    yield browser
    browser.close()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def test_data():
    """The folder of real data sets; the test is skipped where there is none."""
    folder = os.environ.get("KERAS_MEDGEN_TEST_DATA")
    if not folder:
        pytest.skip("KERAS_MEDGEN_TEST_DATA is unset")
    assert Path(folder).is_dir(), f"KERAS_MEDGEN_TEST_DATA names no folder: {folder}"
    return Path(folder)


@pytest.fixture
def write_npz(tmp_path):
    """Writes arrays to a file and returns its path."""

    def write(name="scans.npz", **arrays):
        path = tmp_path / name
        np.savez(path, **arrays)
        return path

    return write


def blobs(rng, count, shape=(16, 16, 1)):
    """Images with something to learn: a bright spot whose place and size vary, uint8."""
    height, width, channels = shape
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0.25, 0.75, (count, 2)) * (height, width)
    sizes = rng.uniform(2, 4, count)
    squared = (y - centres[:, :1, None]) ** 2 + (x - centres[:, 1:, None]) ** 2
    spots = np.exp(-squared / (2 * sizes[:, None, None] ** 2))
    images = 30 + 200 * spots + rng.normal(0, 3, spots.shape)
    return np.repeat(images.clip(0, 255).astype(np.uint8)[..., None], channels, axis=-1)


def textures(rng, count, shape=(32, 32, 1)):
    """Images that are nothing alike: smoothed noise, uint8."""
    height, width, channels = shape
    noise = rng.normal(size=(count, height, width))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2), mode="wrap")
    low = smooth.min(axis=(1, 2), keepdims=True)
    high = smooth.max(axis=(1, 2), keepdims=True)
    images = (255 * (smooth - low) / (high - low)).astype(np.uint8)
    return np.repeat(images[..., None], channels, axis=-1)
