import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from keras_medgen.anomaly import metrics


@pytest.fixture
def scored(rng):
    """Rare lesions of higher scores, in twelve groups."""
    targets = rng.random(60_000) < 0.03
    scores = (rng.normal(size=targets.size) + 2.5 * targets).astype(np.float32)
    return targets, scores, rng.integers(0, 12, targets.size)


def coarse(scored, step=0.5):
    """The same with many ties."""
    targets, scores, groups = scored
    return targets, np.round(scores / step) * step, groups


def test_best_dice_is_the_best_f1_score(scored):
    for targets, scores in (scored[:2], coarse(scored)[:2], (scored[0], 0 * scored[1])):
        targets, scores = targets[:400], scores[:400]
        value, threshold = metrics.best_dice(targets, scores)
        below = np.append(np.unique(scores)[:-1], scores.min() - 1)
        assert value == pytest.approx(max(f1_score(targets, scores > t) for t in below))
        predicted = scores > np.float64(threshold)
        assert f1_score(targets, predicted) == pytest.approx(value)


def test_scores_of_the_oracle():
    oracles = Path(__file__).parents[1] / "oracles" / "metrics.json"
    case = json.loads(oracles.read_text())["anomaly"]
    rng = np.random.default_rng(0)
    targets = rng.random(1000) < 0.2
    scores = rng.standard_normal(1000) + 1.0 * targets
    assert targets.sum() == case["n_pos"]
    found = metrics.ranking(targets, scores)
    assert found["auroc"] == pytest.approx(case["sklearn_roc_auc"], abs=1e-12)
    assert found["ap"] == pytest.approx(case["sklearn_average_precision"], abs=1e-12)
    value, _ = metrics.best_dice(targets, scores)
    assert value == pytest.approx(case["best_dice_over_thresholds"], abs=1e-12)


def test_threshold_between_neighbouring_numbers():
    scores = np.float32([0.5, np.nextafter(np.float32(0.5), np.float32(1))])
    value, threshold = metrics.best_dice(np.array([False, True]), scores)
    assert value == 1
    np.testing.assert_array_equal(scores > np.float64(threshold), [False, True])


def test_dice_of_counts():
    found = metrics.dice(np.array([3, 0, 0]), np.array([4, 2, 0]), np.array([5, 0, 0]))
    np.testing.assert_allclose(found, [6 / 9, 0, np.nan])


@pytest.mark.parametrize("prepare", [lambda x: x, coarse])
def test_histograms_give_what_sklearn_gives(scored, prepare):
    targets, scores, groups = prepare(scored)
    counts = metrics.histograms(targets, scores, groups)
    assert counts.shape[:2] == (12, 2)
    np.testing.assert_array_equal(counts.sum(axis=2)[:, 1], np.bincount(groups[targets]))
    tolerance = 1e-4 if prepare is not coarse else 1e-12  # few scores: a bin each
    every = metrics.of_histograms(counts.sum(axis=0))
    assert every["auroc"] == pytest.approx(roc_auc_score(targets, scores), abs=tolerance)
    # Between two bins the curve of precision is steep at its start.
    ap = average_precision_score(targets, scores)
    assert every["ap"] == pytest.approx(ap, abs=20 * tolerance)
    assert every["best_dice"] == pytest.approx(
        metrics.best_dice(targets, scores)[0], abs=20 * tolerance
    )
    own = metrics.of_histograms(counts)
    for group in range(12):
        of_one = groups == group
        expected = roc_auc_score(targets[of_one], scores[of_one])
        assert own["auroc"][group] == pytest.approx(expected, abs=1e-3)


def test_one_class_alone_has_no_figures():
    counts = np.zeros((2, 2, 3), int)
    counts[0, 0] = 1
    counts[1] = [[2, 1, 0], [0, 0, 1]]
    found = metrics.of_histograms(counts)
    for name, values in found.items():
        np.testing.assert_allclose(values, [np.nan, 1.0], err_msg=name)
    empty = metrics.ranking(np.zeros(3, bool), np.arange(3))
    assert np.isnan(list(empty.values())).all()


def test_resamples_are_draws_with_replacement():
    weights = metrics.resampled_weights(20, 4000, seed=0)
    assert weights.shape == (4000, 20)
    np.testing.assert_array_equal(weights.sum(axis=1), 20)
    # Of binomial counts of mean 1 a share of (1 - 1/20)^20 is 0.
    assert np.mean(weights == 0) == pytest.approx(0.95**20, abs=0.01)
    np.testing.assert_array_equal(weights, metrics.resampled_weights(20, 4000, seed=0))


def test_interval_leaves_out_what_is_undefined():
    values = np.append(np.arange(101.0), np.nan)
    assert metrics.interval(values) == pytest.approx((2.5, 97.5))
    assert metrics.interval(np.array([np.nan])) is None
