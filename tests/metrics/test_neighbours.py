import numpy as np
import pytest
import scipy.spatial
import scipy.stats
from sklearn.neighbors import NearestNeighbors

from keras_medgen import metrics
from keras_medgen.metrics import neighbours
from tests.metrics.conftest import ORACLE, features_of_case
from tests.ops.test_similarity import torch_randn

BLOCK = 2**17  # values: some hundred rows of the cases below at a time


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_nearest_equals_sklearn(rng, k, exclude_self, monkeypatch):
    references = rng.normal(3, 1, (60, 5))
    queries = references if exclude_self else rng.normal(3, 1, (45, 5))
    found = metrics.nearest(queries, references, exclude_self, k)
    fitted = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references)
    expected = fitted.kneighbors(None if exclude_self else queries)
    shape = (len(queries),) if k == 1 else (len(queries), k)
    np.testing.assert_allclose(found[0], expected[0].reshape(shape), rtol=1e-9)
    np.testing.assert_array_equal(found[1], expected[1].reshape(shape))
    monkeypatch.setattr(neighbours, "BLOCK", 61)
    for one, other in zip(
        metrics.nearest(queries, references, exclude_self, k), found, strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("offset", [0, 1e8])
@pytest.mark.parametrize("size", [1e-3, 1e-6])
def test_near_copies_have_all_their_digits(rng, size, offset):
    """|x|^2 + |y|^2 - 2 x.y of vectors of such lengths would be all rounding."""
    references = rng.normal(size=(50, 2048)) + offset
    queries = references + size * rng.normal(size=references.shape)
    distances, indices = metrics.nearest(queries, references)
    np.testing.assert_array_equal(indices, np.arange(50))
    expected = np.sqrt(((queries - references).astype(np.longdouble) ** 2).sum(axis=1))
    np.testing.assert_allclose(distances, expected.astype(float), rtol=1e-12)


def test_the_nearest_of_several_near_copies(rng):
    queries = 1e4 * rng.normal(size=(30, 20))
    directions = rng.normal(size=(4, 30, 20))
    sizes = 1e-5 * np.array([3, 1, 4, 2])
    references = np.concatenate(queries + sizes[:, None, None] * directions)
    found, indices = metrics.nearest(queries, references, k=4)
    lengths = np.linalg.norm(references.reshape(4, 30, 20) - queries, axis=-1)
    np.testing.assert_allclose(found, np.sort(lengths, axis=0).T, rtol=1e-9)
    np.testing.assert_array_equal(indices // 30, np.argsort(lengths, axis=0).T)
    nearest, _ = metrics.nearest(queries, references)
    np.testing.assert_array_equal(nearest, found[:, 0])


def test_copies_are_at_no_distance(rng):
    references = rng.normal(100, 1, (40, 30))
    queries = references[::-1].copy()
    distances, indices = metrics.nearest(queries, references)
    assert (distances == 0).all()
    np.testing.assert_array_equal(indices, np.arange(40)[::-1])
    twice = np.concatenate([references, references])
    distances, indices = metrics.nearest(twice, twice, exclude_self=True)
    assert (distances == 0).all()
    np.testing.assert_array_equal(indices, (np.arange(80) + 40) % 80)


def test_nearest_checks_its_arguments():
    rows = np.eye(3)
    with pytest.raises(ValueError, match=r"k must be from 1 to 3.*k=4"):
        metrics.nearest(rows, rows, k=4)
    with pytest.raises(ValueError, match=r"k must be from 1 to 2.*k=3"):
        metrics.nearest(rows, rows, exclude_self=True, k=3)
    with pytest.raises(ValueError, match="k=0"):
        metrics.nearest(rows, rows, k=0)
    with pytest.raises(ValueError, match=r"one set .* 2 and 3 rows"):
        metrics.nearest(rows[:2], rows, exclude_self=True)
    with pytest.raises(ValueError, match="references must be finite"):
        metrics.nearest(rows, rows * np.nan)


@pytest.mark.parametrize("block", [BLOCK, neighbours.BLOCK])
@pytest.mark.parametrize("name", ORACLE["prdc"])
def test_prdc_equals_the_reference_packages(name, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    case, (real, generated) = ORACLE["prdc"][name], features_of_case(name)
    for key, expected in case.items():
        found = metrics.precision_recall_density_coverage(real, generated, k=int(key[-1]))
        if key.startswith("prdc"):
            assert found == expected
        else:
            precision, recall, _, _ = found.values()
            assert precision == pytest.approx(expected["precision"], abs=1e-6)
            assert recall == pytest.approx(expected["recall"], abs=1e-6)


def test_precision_is_of_the_generated():
    """The other way round, torch-fidelity's case says so."""
    case = ORACLE["cases"]["prc_convention"]
    normal = torch_randn(42, 2 * 200 * 16).reshape(2, 200, 16)
    generated, real = 0.1 * normal[0], 3 * normal[1]
    facts = case["verified_here"]
    np.testing.assert_allclose(generated[0, :4], facts["gen_first"], atol=1e-6)
    np.testing.assert_allclose(real[0, :4], facts["real_first"], atol=1e-5)
    found = metrics.precision_recall_density_coverage(real, generated, k=case["params"]["k"])
    assert found["precision"] == facts["precision"]
    assert found["recall"] == facts["recall"]


def prdc_by_definition(real, generated, k):
    """From all distances, each the norm of a difference."""
    between = scipy.spatial.distance.cdist(real, generated)
    real_radii, generated_radii = (
        np.sort(scipy.spatial.distance.cdist(x, x))[:, k] for x in (real, generated)
    )
    inside = between < real_radii[:, None]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (between < generated_radii[None]).any(axis=1).mean(),
        "density": inside.sum(axis=0).mean() / k,
        "coverage": inside.any(axis=1).mean(),
    }


@pytest.mark.parametrize("k", [1, 2, 5])
def test_prdc_with_equal_distances(rng, k):
    """Points of a grid, and repeated ones: many are just as far as the k-th neighbour."""
    real, generated = rng.integers(0, 4, (80, 3)), rng.integers(0, 4, (60, 3))
    found = metrics.precision_recall_density_coverage(real, generated, k)
    assert found == pytest.approx(prdc_by_definition(real, generated, k), abs=1e-12)
    far = metrics.precision_recall_density_coverage(real + 1e3, generated + 1e3, k)
    assert far == found


def test_prdc_needs_more_rows_than_k():
    with pytest.raises(ValueError, match=r"generated must have at least 6 rows\. Received: 5"):
        metrics.precision_recall_density_coverage(np.eye(9), np.eye(9)[:5])


@pytest.mark.parametrize("name", ORACLE["memorisation"])
def test_copies_of_training_rows_show(name, memorised):
    train, held_out, generated = memorised
    case = ORACLE["memorisation"][name]
    found = metrics.authenticity(train, generated[name])
    assert 100 * found == pytest.approx(case["dgm_eval_authpct"], abs=1e-9)
    found = metrics.copying_statistic(train, held_out, generated[name])
    assert found == pytest.approx(case["Zu_global(Meehan C_T one cell)"], rel=1e-12)
    distances = [metrics.nearest(x, train)[0] for x in (generated[name], held_out)]
    assert metrics.copying_statistic_of_distances(*distances[::-1]) == found
    u = scipy.stats.mannwhitneyu(*distances, alternative="less").statistic
    assert u == case["scipy_mannwhitney_u_less"]
    assert metrics.vendi_score(generated[name]) == pytest.approx(
        case["dgm_eval_vendi_q1_cosine"], rel=1e-9
    )


def test_exact_copies_are_not_authentic(memorised):
    train, held_out, _ = memorised
    assert metrics.authenticity(train, train) == 0
    repeated = np.concatenate([train, train])  # where the nearest neighbours of rows are copies too
    assert metrics.authenticity(repeated, train) == 0
    assert metrics.authenticity(train, train[:1] + 100) == 1
    assert metrics.copying_statistic(train, held_out, train) < -20
    assert metrics.copying_statistic(train, held_out, held_out + 1) > 10


def test_distances_are_checked():
    for held_out, generated in (([], [1.0]), ([1.0], []), ([np.nan], [1.0])):
        with pytest.raises(ValueError, match="must each be distances"):
            metrics.copying_statistic_of_distances(held_out, generated)


def test_the_statistic_is_standard_normal_without_copies(rng):
    found = [
        metrics.copying_statistic(*(rng.normal(size=(n, 3)) for n in (400, 30, 40)))
        for _ in range(300)
    ]
    assert abs(np.mean(found)) < 0.25
    assert np.std(found) == pytest.approx(1, abs=0.2)
