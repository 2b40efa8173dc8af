import itertools

import numpy as np
import pytest
import scipy.special

from keras_medgen import metrics, ops
from keras_medgen.metrics import diversity
from tests.conftest import textures
from tests.metrics.conftest import ORACLE


def logits(rows, classes):
    return np.random.default_rng(0).standard_normal((rows, classes)) * 3.0


@pytest.mark.parametrize(
    ("name", "rows", "splits"),
    [
        ("N1000_C10_splits1_noshuffle", 1000, 1),
        ("N1000_C10_splits10_noshuffle", 1000, 10),
        ("N1000_C10_splits10_shuffle2020", 1000, 10),
        ("N995_C10_splits10_noshuffle", 995, 10),
    ],
)
def test_score_equals_torch_fidelity(name, rows, splits):
    predictions = logits(rows, 10)
    if "shuffle2020" in name:
        predictions = predictions[np.random.RandomState(2020).permutation(rows)]
    found = metrics.classifier_score(predictions, splits, from_logits=True)
    np.testing.assert_allclose(found, ORACLE["is"][name], rtol=0, atol=1e-9)
    probabilities = scipy.special.softmax(predictions, axis=1)
    again = metrics.classifier_score(probabilities, splits)
    np.testing.assert_allclose(again, found, rtol=0, atol=1e-12)


def test_score_of_sure_and_balanced_predictions():
    found = metrics.classifier_score(np.tile(np.eye(10), (100, 1)))
    np.testing.assert_allclose(found, ORACLE["is"]["onehot_balanced_upper_bound"], atol=1e-9)
    assert metrics.classifier_score(np.full((50, 4), 0.25)) == pytest.approx((1, 0))
    assert metrics.classifier_score(np.tile(np.eye(4)[:1], (50, 1))) == pytest.approx((1, 0))


def test_score_checks_its_arguments():
    with pytest.raises(ValueError, match="from_logits=True"):
        metrics.classifier_score(logits(10, 3))
    with pytest.raises(ValueError, match="sums from 2 to 2"):
        metrics.classifier_score(np.ones((10, 2)))
    for splits in (0, 11):
        with pytest.raises(ValueError, match=f"splits={splits}"):
            metrics.classifier_score(np.full((10, 2), 0.5), splits)


def test_vendi_counts_directions(rng):
    assert metrics.vendi_score(np.eye(7)) == pytest.approx(7, rel=1e-12)
    assert metrics.vendi_score(np.tile(rng.normal(size=5), (20, 1))) == pytest.approx(1, rel=1e-9)
    # Two thirds of the rows in one direction, of whatever length, and one third in another.
    lengths = rng.uniform(0.1, 10, (300, 1))
    rows = lengths * np.eye(9)[np.arange(300) % 3 // 2]
    expected = np.exp(-(2 / 3) * np.log(2 / 3) - (1 / 3) * np.log(1 / 3))
    assert metrics.vendi_score(rows) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_vendi_by_the_definition(rng, shape):
    rows = rng.normal(size=shape)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T / shape[0])
    expected = np.exp(scipy.special.entr(eigenvalues.clip(0)).sum())
    assert metrics.vendi_score(rows) == pytest.approx(expected, rel=1e-9)


def test_vendi_needs_directions():
    rows = np.eye(4)
    rows[2] = 0
    with pytest.raises(ValueError, match="1 of 4 rows are zero"):
        metrics.vendi_score(rows)


@pytest.fixture
def images(rng):
    return textures(rng, 9, (24, 24, 1)).astype(np.float32) / 255


def test_mean_over_all_pairs(images):
    expected = np.mean(
        [float(ops.ms_ssim(a[None], b[None])[0]) for a, b in itertools.combinations(images, 2)]
    )
    for pairs in (36, 500, None):
        found = metrics.mean_pairwise_ms_ssim(images, pairs)
        assert found == pytest.approx(expected, abs=1e-6)
    same = np.repeat(images[:1], 5, axis=0)
    assert metrics.mean_pairwise_ms_ssim(same) == pytest.approx(1, abs=1e-6)


def test_random_pairs(images):
    chosen = [metrics.mean_pairwise_ms_ssim(images, 12, seed) for seed in range(40)]
    assert chosen[3] == metrics.mean_pairwise_ms_ssim(images, 12, 3)
    assert len(set(chosen)) > 30
    every = metrics.mean_pairwise_ms_ssim(images, None)
    assert np.mean(chosen) == pytest.approx(every, abs=4 * np.std(chosen) / np.sqrt(40))


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_pairs_come_once_and_all_may_come(count):
    total = count * (count - 1) // 2
    every = set(itertools.combinations(range(count), 2))
    seen = set()
    for seed in range(30 if total > 1 else 1):
        size = max(1, total - 1)
        pairs = set(zip(*map(np.ndarray.tolist, diversity._pairs(count, size, seed)), strict=True))
        assert len(pairs) == size
        seen |= pairs
    assert seen == every


@pytest.mark.parametrize(
    "images", [np.zeros((1, 16, 16, 1)), np.zeros((3, 16, 16)), np.zeros((3, 16, 16, 1), np.uint8)]
)
def test_images_are_checked(images):
    with pytest.raises(ValueError, match="images must be at least 2"):
        metrics.mean_pairwise_ms_ssim(images)


def test_pairs_are_checked():
    with pytest.raises(ValueError, match="pairs=0"):
        metrics.mean_pairwise_ms_ssim(np.zeros((3, 16, 16, 1)), pairs=0)
