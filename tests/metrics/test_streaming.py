import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from keras_medgen import metrics
from tests.conftest import textures
from tests.metrics.conftest import recipe

D = 6


@pytest.fixture(scope="module")
def pair():
    real, generated = recipe(50, D, generated_rows=30)
    return real + 100, generated + 100


@pytest.fixture(scope="module")
def predictions(pair):
    return scipy.special.softmax(pair[0] - 100, axis=1)


@pytest.fixture(scope="module")
def images():
    return textures(np.random.default_rng(0), 12, (24, 24, 1)).astype(np.float32) / 255


def subset_kernel_distance(real, generated):
    return metrics.kernel_distance(real, generated, subset_size=10, subsets=5, seed=3)


CASES = {
    "frechet": (metrics.FrechetDistance(D), "pair", metrics.frechet_distance),
    "kernel": (metrics.KernelDistance(D, capacity=60), "pair", metrics.kernel_distance),
    "kernel of subsets": (
        metrics.KernelDistance(D, capacity=50, subset_size=10, subsets=5, seed=3),
        "pair",
        subset_kernel_distance,
    ),
    "prdc": (
        metrics.PrecisionRecallDensityCoverage(D, capacity=60, k=3),
        "pair",
        lambda *pair: metrics.precision_recall_density_coverage(*pair, k=3),
    ),
    "vendi": (metrics.VendiScore(D, capacity=50), "pair", lambda x, _: metrics.vendi_score(x)),
    "classifier": (
        metrics.ClassifierScore(D),
        "predictions",
        lambda x: metrics.classifier_score(x)[0],
    ),
    "classifier of logits": (
        metrics.ClassifierScore(D, from_logits=True),
        "pair",
        lambda x, _: metrics.classifier_score(x, from_logits=True)[0],
    ),
    "ms_ssim": (
        metrics.MeanPairwiseMSSSIM((24, 24, 1), capacity=12, pairs=20, seed=2),
        "images",
        lambda x: metrics.mean_pairwise_ms_ssim(x, 20, 2),
    ),
}


def batches(sets, cuts):
    """The sets cut at these shares of their length."""
    edges = [[round(cut * len(x)) for cut in (0, *cuts, 1)] for x in sets]
    for number in range(len(cuts) + 1):
        yield [x[e[number] : e[number + 1]] for x, e in zip(sets, edges, strict=True)]


def assert_equal(found, expected):
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(value, rel=1e-12), name
    else:
        assert found.dtype == tf.float64
        assert found.shape == ()
        assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_batches_equal_the_function_of_all(name, request):
    metric, inputs, function = CASES[name]
    sets = request.getfixturevalue(inputs)
    sets = sets if isinstance(sets, tuple) else (sets,)
    expected = function(*sets)
    if name in ("vendi", "classifier of logits"):
        sets = sets[:1]
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert copy.get_config() == metric.get_config()
    signature = [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in sets]
    step = tf.function(metric.update_state, signature)
    for add, result, one in (
        (metric.update_state, metric.result, metric),
        (step, tf.function(lambda: metric.result()), metric),
        (copy.update_state, copy.result, copy),
    ):
        one.reset_state()
        for batch in batches(sets, (0.1, 0.1, 0.5)):  # the second of no rows
            add(*batch)
        assert_equal(result(), expected)
        assert_equal(result(), expected)  # asking changes nothing
    metric.reset_state()
    metric(*sets)
    assert_equal(metric.result(), expected)


def test_frechet_loses_no_digits_far_from_zero():
    """Sums of squares would keep none of them."""
    real, generated = (x + 1e8 for x in recipe(400, D))
    metric = metrics.FrechetDistance(D)
    for batch in batches((real, generated), np.arange(0.01, 1, 0.01)):
        metric.update_state(*batch)
    expected = metrics.frechet_distance(real, generated)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_sets_may_come_one_after_the_other(pair):
    real, generated = pair
    for metric, function in (
        (metrics.FrechetDistance(D), metrics.frechet_distance),
        (metrics.KernelDistance(D, capacity=50), metrics.kernel_distance),
    ):
        metric.update_state(real, generated[:0])
        metric.update_state(real[:0], generated)
        assert float(metric.result()) == pytest.approx(function(real, generated), rel=1e-9)


@pytest.mark.parametrize("in_graph", [False, True])
def test_what_there_is_no_room_for_is_refused(pair, images, in_graph):
    for metric, sets in (
        (metrics.KernelDistance(D, capacity=20), pair),
        (metrics.PrecisionRecallDensityCoverage(D, capacity=20), pair),
        (metrics.VendiScore(D, capacity=20), pair[:1]),
        (metrics.MeanPairwiseMSSSIM((24, 24, 1), capacity=20), (images,)),
    ):
        add = tf.function(metric.update_state) if in_graph else metric.update_state
        add(*(x[:10] for x in sets))
        before = metric.result()
        with pytest.raises(tf.errors.InvalidArgumentError, match="no more than capacity=20 rows"):
            add(*(x[:11] for x in sets))
        assert metric.result() == before
        metric.reset_state()
        add(*(x[:11] for x in sets))


@pytest.mark.parametrize("name", ["frechet", "kernel", "prdc", "vendi", "ms_ssim"])
def test_nothing_has_no_figure(name):
    metric = CASES[name][0]
    metric.reset_state()
    with pytest.raises(ValueError, match=r"must (have|be) at least"):
        metric.result()


def test_a_score_of_nothing_is_none():
    assert np.isnan(metrics.ClassifierScore(3).result())


def test_what_comes_is_checked(pair):
    metric = metrics.FrechetDistance(D)
    with pytest.raises(ValueError, match=r"real must be of shape \(n, 6\)\. Received: .*\(50, 5\)"):
        metric.update_state(pair[0][:, :5], pair[1])
    with pytest.raises(ValueError, match="sample_weight must be None"):
        metric.update_state(*pair, sample_weight=np.ones(50))
    metric.update_state(pair[0] * np.nan, pair[1])
    with pytest.raises(ValueError, match="must be finite"):
        metric.result()
    with pytest.raises(tf.errors.InvalidArgumentError, match="sum to 1"):
        metrics.ClassifierScore(D).update_state(pair[0])
    with pytest.raises(ValueError, match="capacity=1"):
        metrics.VendiScore(D, capacity=1)


def test_several_replicas_are_refused(strategy, pair):
    with strategy.scope():
        metric = metrics.FrechetDistance(D)
    with pytest.raises(ValueError, match="2 replicas"):
        strategy.run(metric.update_state, args=pair)


def test_as_a_metric_of_a_model(pair):
    """Features of a network beside those of real images, in `evaluate`."""
    real, generated = (x[:30].astype(np.float32) for x in pair)
    model = keras.Sequential([keras.layers.Input((D,)), keras.layers.Identity()])
    model.compile(
        loss="mse", metrics=[metrics.FrechetDistance(D), metrics.KernelDistance(D, capacity=30)]
    )
    logs = model.evaluate(generated, real, batch_size=7, verbose=0, return_dict=True)
    for function in (metrics.frechet_distance, metrics.kernel_distance):
        expected = function(real, generated)
        assert logs[function.__name__] == pytest.approx(expected, rel=1e-5)
