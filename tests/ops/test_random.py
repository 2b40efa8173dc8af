import numpy as np
import tensorflow as tf
from scipy import stats

from keras_medgen.ops import normal_rows


def test_a_row_depends_on_the_seed_and_its_number_alone():
    all_rows = normal_rows(3, tf.range(10), (4, 2)).numpy()
    assert all_rows.shape == (10, 4, 2)
    some = tf.function(normal_rows, reduce_retracing=True)(3, tf.constant([7, 2]), (4, 2))
    np.testing.assert_array_equal(some, all_rows[[7, 2]])
    assert (normal_rows(4, tf.range(10), (4, 2)).numpy() != all_rows).all()


def test_rows_are_standard_normal_and_independent():
    rows = normal_rows(0, tf.range(200), (50,)).numpy()
    assert stats.kstest(rows.ravel(), "norm").pvalue > 0.01
    correlations = np.corrcoef(rows)[np.triu_indices(200, 1)]
    assert abs(correlations.mean()) < 0.01
    assert abs(correlations.std() - 1 / np.sqrt(49)) < 0.01
