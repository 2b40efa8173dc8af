import numpy as np
import pytest
import scipy.linalg

from keras_medgen import metrics
from tests.metrics.conftest import ORACLE, features_of_case, recipe

FID = {name: case for name, case in ORACLE["fid"].items() if name != "analytic_diag"}
SINGLE = 1e-7  # relative: torch-fidelity takes the means of float32 features in float32
PEERS = ("torch_fidelity", "clean_fid", "dgm_eval_sqrtm", "dgm_eval_eig", "torchmetrics")


def tolerance(name):
    return 1e-6 if name.endswith("rank_deficient") else 1e-8


def moments(features):
    return features.mean(axis=0), np.cov(features, rowvar=False)


def by_eigenvalues(real, generated):
    """The definition, by the eigenvalues of the product itself."""
    (mean, covariance), (other, other_covariance) = moments(real), moments(generated)
    eigenvalues = np.linalg.eigvals(covariance @ other_covariance).real
    roots = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return np.sum((mean - other) ** 2) + np.trace(covariance + other_covariance) - 2 * roots


@pytest.mark.parametrize("name", FID)
def test_frechet_equals_the_reference_packages(name):
    case, (real, generated) = FID[name], features_of_case(name)
    if real is not generated:
        np.testing.assert_allclose([real.sum(), generated.sum()], case["checksum"], rtol=1e-9)
    expected = [case[peer] for peer in PEERS]
    found = metrics.frechet_distance(real, generated)
    np.testing.assert_allclose(found, expected, rtol=tolerance(name), atol=1e-9)
    found = metrics.frechet_distance_of_moments(moments(real), moments(generated))
    np.testing.assert_allclose(found, expected, rtol=tolerance(name), atol=1e-7)
    single = [x.astype(np.float32) for x in (real, generated)]
    expected = case["torch_fidelity_float32_features"]
    assert metrics.frechet_distance(*single) == pytest.approx(expected, rel=SINGLE, abs=1e-9)


def test_frechet_in_closed_form():
    case = ORACLE["fid"]["analytic_diag"]
    first, second = ((case[f"mu{i}"], np.diag(case[f"diag{i}"])) for i in (1, 2))
    found = metrics.frechet_distance_of_moments(first, second)
    assert found == pytest.approx(case["exact"], rel=1e-12)
    case = ORACLE["cases"]["fid_diagonal"]
    first, second = ((case["inputs"][f"mu{i}"], np.diag(case["inputs"][f"var{i}"])) for i in (1, 2))
    found = metrics.frechet_distance_of_moments(first, second)
    assert found == pytest.approx(case["expected"], abs=case["tolerance"])


def test_frechet_of_singular_covariances():
    case = ORACLE["cases"]["fid_3x2"]
    real, generated = (np.array(case["inputs"][x]) for x in "xy")
    found = metrics.frechet_distance(real, generated)
    assert found == pytest.approx(case["expected"], abs=case["tolerance"])
    assert found == pytest.approx(case["verified_here"], rel=1e-12)


@pytest.mark.parametrize(("rows", "generated_rows"), [(30, 30), (30, 200), (200, 30), (41, 40)])
def test_frechet_with_few_rows_on_either_side(rows, generated_rows):
    real, generated = recipe(rows, 40, generated_rows=generated_rows)
    found = metrics.frechet_distance(real, generated)
    assert found == pytest.approx(by_eigenvalues(real, generated), rel=1e-6)
    assert metrics.frechet_distance(generated, real) == pytest.approx(found, rel=1e-8)


def test_frechet_of_one_feature(rng):
    real, generated = rng.normal(0, 2, (50, 1)), rng.normal(1, 3, (70, 1))
    deviations = real.std(ddof=1) - generated.std(ddof=1)
    expected = (real.mean() - generated.mean()) ** 2 + deviations**2
    assert metrics.frechet_distance(real, generated) == pytest.approx(expected, rel=1e-12)


def test_frechet_leaves_features_that_say_nothing_out():
    """Constant and repeated features, and scales of any size, take no digits."""
    real, generated = recipe(300, 20)
    expected = metrics.frechet_distance(real, generated)
    constant = [np.concatenate([x, np.full((300, 60), 7.0)], axis=1) for x in (real, generated)]
    assert metrics.frechet_distance(*constant) == pytest.approx(expected, rel=1e-9)
    repeated = [np.concatenate([x, x], axis=1) for x in (real, generated)]
    assert metrics.frechet_distance(*repeated) == pytest.approx(2 * expected, rel=1e-8)
    scaled = metrics.frechet_distance(1e-4 * real, 1e-4 * generated)
    assert scaled == pytest.approx(1e-8 * expected, rel=1e-9)
    rotation = scipy.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    turned = [x @ rotation + 5 for x in (real, generated)]
    assert metrics.frechet_distance(*turned) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_the_widest_features():
    """2,048 features, of fewer rows; by the singular values of what the eigenvalues are of."""
    real, generated = recipe(120, 2048)
    centred = [x - x.mean(axis=0) for x in (real, generated)]
    shared = scipy.linalg.svdvals(centred[0] @ centred[1].T).sum() / 119
    expected = np.sum((real.mean(axis=0) - generated.mean(axis=0)) ** 2) - 2 * shared
    expected += sum(np.sum(x**2) for x in centred) / 119
    assert metrics.frechet_distance(real, generated) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ORACLE["kid"])
def test_kernel_equals_the_reference_packages(name, monkeypatch):
    case, (real, generated) = ORACLE["kid"][name], features_of_case(name)
    expected = [value for key, value in case.items() if "100x100" not in key]
    found = metrics.kernel_distance(real, generated)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    monkeypatch.setattr("keras_medgen.metrics.distances.BLOCK", 70 * len(real))
    assert metrics.kernel_distance(real, generated) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("name", [name for name, case in ORACLE["kid"].items() if len(case) > 1])
def test_kernel_of_subsets_equals_torch_fidelity(name):
    mean, deviation = ORACLE["kid"][name]["torch_fidelity_100x100_seed2020"]
    arguments = (*features_of_case(name), 100, 100, 2020)
    found = metrics.subset_kernel_distances(*arguments)
    assert found.shape == (100,)
    assert found.mean() == pytest.approx(mean, abs=1e-10)
    assert found.std() == pytest.approx(deviation, abs=1e-10)
    assert metrics.kernel_distance(*arguments) == found.mean()


def test_kernel_by_the_definition_with_unequal_numbers(rng):
    real, generated = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [
        np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        for x in (real, generated)
    ]
    between = np.mean([kernel(a, b) for a in real for b in generated])
    expected = sum(within) - 2 * between
    assert metrics.kernel_distance(real, generated) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "distance",
    [
        metrics.frechet_distance,
        metrics.kernel_distance,
        lambda real, generated: metrics.precision_recall_density_coverage(real, generated, k=1),
    ],
)
class TestWhatCannotBeCompared:
    def test_other_widths(self, distance):
        with pytest.raises(ValueError, match=r"real and generated .*\(5, 3\), \(5, 4\)"):
            distance(np.ones((5, 3)), np.ones((5, 4)))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite(self, distance, value):
        features = np.ones((5, 3))
        features[1, 2] = value
        with pytest.raises(ValueError, match=r"generated must be finite.* in 1 of 5 rows"):
            distance(np.ones((5, 3)), features)

    def test_too_few_rows(self, distance):
        with pytest.raises(ValueError, match=r"real must have at least 2 rows\. Received: 1"):
            distance(np.ones((1, 3)), np.ones((5, 3)))

    @pytest.mark.parametrize("shape", [(5,), (5, 0), (5, 2, 2)])
    def test_other_shapes(self, distance, shape):
        with pytest.raises(ValueError, match=r"generated must be of shape \(n, d\)"):
            distance(np.ones((5, 2)), np.ones(shape))

    def test_other_extractors(self, distance):
        one, other = (
            metrics.Features(x, f"{name}/2", name[0] * 64)
            for name, x in zip(("randconv-v1", "classifier"), recipe(8, 2), strict=True)
        )
        with pytest.raises(ValueError, match=r"randconv-v1/2 \(SHA-256 rrr.*classifier/2"):
            distance(one, other)
        same = metrics.Features(other.values, one.name, one.sha256)
        expected = distance(one.values, other.values)
        assert distance(one, same) == distance(one, other.values) == expected


def test_moments_are_checked():
    mean, covariance = np.zeros(3), np.eye(3)
    for other in ((mean, np.eye(2)), (np.zeros(2), np.eye(2)), (np.eye(3), np.eye(3))):
        with pytest.raises(ValueError, match="must be means"):
            metrics.frechet_distance_of_moments((mean, covariance), other)
    with pytest.raises(ValueError, match="must be finite"):
        metrics.frechet_distance_of_moments((mean, covariance), (mean, np.full((3, 3), np.nan)))


def test_subsets_are_checked():
    real, generated = recipe(20, 2, generated_rows=10)
    for size in (1, 11):
        with pytest.raises(ValueError, match=f"from 2 to 10, .* subset_size={size}"):
            metrics.kernel_distance(real, generated, subset_size=size)
    with pytest.raises(ValueError, match="subsets=0"):
        metrics.kernel_distance(real, generated, subset_size=5, subsets=0)
