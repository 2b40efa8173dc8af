"""Metrics of whole sets as Keras metrics, fed batch by batch.

Their figures are float64 and those of the functions over all batches at once. Most take seconds:
ask for the result at the end of a set, not after each batch.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.metrics.distances import frechet_distance_of_moments, kernel_distance
from keras_medgen.metrics.diversity import mean_pairwise_ms_ssim, vendi_score
from keras_medgen.metrics.neighbours import precision_recall_density_coverage
from keras_medgen.metrics.streaming_state import Moments, Rows, checked

CAPACITY = 10_000  # rows


class SetMetric(keras.metrics.Metric):
    """Base of the metrics below.

    Args:
        name: of the metric.
        dtype: of its figures.
        **arguments: the other arguments of the subclass, for its config.
    """

    def __init__(self, name, dtype, **arguments):
        super().__init__(name=name, dtype=dtype)
        self.arguments = arguments

    def figure(self, function, *states, shape=()):
        """What a function of NumPy arrays says of states, in a graph too."""
        values = [value for state in states for value in state.values()]
        if tf.executing_eagerly():
            result = tf.constant(function(*(value.numpy() for value in values)), tf.float64)
        else:
            result = tf.numpy_function(
                lambda *arrays: np.asarray(function(*arrays), np.float64), values, tf.float64
            )
            result.set_shape(shape)
        return tf.cast(result, self.dtype)

    def get_config(self):
        """The arguments of this metric."""
        return {**super().get_config(), **self.arguments}


class PairOfSetsMetric(SetMetric):
    """Base of metrics that compare two sets of features: `self.real` and `self.generated`."""

    def update_state(self, real, generated, sample_weight=None):
        """Takes in a batch of each set, of whatever sizes, none too.

        Args:
            real: (n, d), float.
            generated: (m, d), float.
            sample_weight: None; all rows count the same.

        Raises:
            ValueError: for other shapes, or weights.
            tf.errors.InvalidArgumentError: if there is no room left.
        """
        if sample_weight is not None:
            raise ValueError(f"sample_weight must be None for {type(self).__name__}.")
        self.real.add(real)
        self.generated.add(generated)


@keras.saving.register_keras_serializable(package="keras_medgen")
class FrechetDistance(PairOfSetsMetric):
    """The Fréchet distance of two streams of features; see `frechet_distance`.

    It keeps means and covariances alone, so that there may be any number of rows.

    Args:
        num_features: d.
        name: of the metric.
        dtype: of the figure.

    Example:
    ```python
    distance = kmg.metrics.FrechetDistance(num_features=64)
    for real, generated in batches:
        distance.update_state(extractor(real).values, extractor(generated).values)
    float(distance.result())
    ```
    """

    def __init__(self, num_features, name="frechet_distance", dtype="float64"):
        super().__init__(name, dtype, num_features=num_features)
        self.real = Moments(self, "real", (num_features,))
        self.generated = Moments(self, "generated", (num_features,))

    def result(self):
        """The distance of all that came, at least 2 rows of each set."""
        return self.figure(_distance_of_products, self.real, self.generated)


@keras.saving.register_keras_serializable(package="keras_medgen")
class KernelDistance(PairOfSetsMetric):
    """The kernel distance of two streams of features; see `kernel_distance`.

    Args:
        num_features: d.
        capacity: how many rows of each set there is room for; each takes 8 d bytes.
        subset_size: as of `kernel_distance`.
        subsets: likewise.
        seed: likewise.
        name: of the metric.
        dtype: of the figure.
    """

    def __init__(
        self,
        num_features,
        capacity=CAPACITY,
        subset_size=None,
        subsets=100,
        seed=0,
        name="kernel_distance",
        dtype="float64",
    ):
        self.settings = {"subset_size": subset_size, "subsets": subsets, "seed": seed}
        super().__init__(name, dtype, num_features=num_features, capacity=capacity, **self.settings)
        self.real = Rows(self, "real", (num_features,), capacity)
        self.generated = Rows(self, "generated", (num_features,), capacity)

    def result(self):
        """The distance of all that came, at least 2 rows of each set."""
        return self.figure(
            lambda *sets: kernel_distance(*sets, **self.settings), self.real, self.generated
        )


@keras.saving.register_keras_serializable(package="keras_medgen")
class PrecisionRecallDensityCoverage(PairOfSetsMetric):
    """Four figures of two streams of features; see `precision_recall_density_coverage`.

    Args:
        num_features: d.
        capacity: how many rows of each set there is room for; each takes 8 d bytes.
        k: which neighbour.
        name: of the metric; its figures have names of their own.
        dtype: of the figures.
    """

    def __init__(
        self,
        num_features,
        capacity=CAPACITY,
        k=5,
        name="precision_recall_density_coverage",
        dtype="float64",
    ):
        super().__init__(name, dtype, num_features=num_features, capacity=capacity, k=k)
        self.k = k
        self.real = Rows(self, "real", (num_features,), capacity)
        self.generated = Rows(self, "generated", (num_features,), capacity)

    def result(self):
        """A dict of the figures of all that came, more than k rows of each set."""
        names = ["precision", "recall", "density", "coverage"]

        def figures(*sets):
            found = precision_recall_density_coverage(*sets, self.k)
            return [found[name] for name in names]

        values = self.figure(figures, self.real, self.generated, shape=(len(names),))
        return dict(zip(names, tf.unstack(values), strict=True))


@keras.saving.register_keras_serializable(package="keras_medgen")
class VendiScore(SetMetric):
    """The Vendi score of a stream of features; see `vendi_score`.

    Args:
        num_features: d.
        capacity: how many rows there is room for; each takes 8 d bytes.
        name: of the metric.
        dtype: of the figure.
    """

    def __init__(self, num_features, capacity=CAPACITY, name="vendi_score", dtype="float64"):
        super().__init__(name, dtype, num_features=num_features, capacity=capacity)
        self.features = Rows(self, "features", (num_features,), capacity)

    def update_state(self, features):
        """Takes in a batch (n, d).

        Raises:
            ValueError: for another shape.
            tf.errors.InvalidArgumentError: if there is no room left.
        """
        self.features.add(features)

    def result(self):
        """The score of all that came, at least 1 row."""
        return self.figure(vendi_score, self.features)


@keras.saving.register_keras_serializable(package="keras_medgen")
class ClassifierScore(SetMetric):
    """The score of a classifier's predictions as they come; see `classifier_score`, of one part.

    Args:
        num_classes: of the predictions.
        from_logits: whether they are logits.
        name: of the metric.
        dtype: of the figure.
    """

    def __init__(self, num_classes, from_logits=False, name="classifier_score", dtype="float64"):
        super().__init__(name, dtype, num_classes=num_classes, from_logits=from_logits)
        self.num_classes = num_classes
        self.from_logits = from_logits
        self.count, self.sum, self.negative_entropy = (
            self.add_variable(shape, "zeros", dtype="float64", name=part)
            for part, shape in (("count", ()), ("sum", (num_classes,)), ("negative_entropy", ()))
        )

    def update_state(self, predictions):
        """Takes in a batch (n, num_classes).

        Raises:
            ValueError: for another shape.
            tf.errors.InvalidArgumentError: for rows that do not sum to 1.
        """
        predictions = checked(predictions, "predictions", (self.num_classes,))
        if self.from_logits:
            predictions = tf.nn.softmax(predictions)
        tf.debugging.assert_near(
            tf.reduce_sum(predictions, axis=1),
            tf.constant(1, tf.float64),
            rtol=0,
            atol=1e-3,
            message="predictions must be probabilities whose rows sum to 1, or come with "
            "from_logits=True.",
        )
        self.count.assign_add(tf.cast(tf.shape(predictions)[0], tf.float64))
        self.sum.assign_add(tf.reduce_sum(predictions, axis=0))
        self.negative_entropy.assign_add(tf.reduce_sum(tf.math.xlogy(predictions, predictions)))

    def result(self):
        """The score of all that came; NaN of nothing."""
        count = tf.convert_to_tensor(self.count)
        mean = self.sum / count
        divergence = self.negative_entropy / count - tf.reduce_sum(tf.math.xlogy(mean, mean))
        return tf.cast(tf.exp(divergence), self.dtype)


@keras.saving.register_keras_serializable(package="keras_medgen")
class MeanPairwiseMSSSIM(SetMetric):
    """The mean MS-SSIM between images of a stream; see `mean_pairwise_ms_ssim`.

    Args:
        image_shape: (height, width, channels).
        capacity: how many images there is room for; each takes 4 bytes a value.
        pairs: as of `mean_pairwise_ms_ssim`.
        seed: likewise.
        name: of the metric.
        dtype: of the figure.
    """

    def __init__(
        self,
        image_shape,
        capacity=1000,
        pairs=500,
        seed=0,
        name="mean_pairwise_ms_ssim",
        dtype="float64",
    ):
        self.settings = {"pairs": pairs, "seed": seed}
        super().__init__(
            name, dtype, image_shape=list(image_shape), capacity=capacity, **self.settings
        )
        self.images = Rows(self, "images", tuple(image_shape), capacity, dtype="float32")

    def update_state(self, images):
        """Takes in a batch (n, height, width, channels) in [0, 1].

        Raises:
            ValueError: for another shape.
            tf.errors.InvalidArgumentError: if there is no room left.
        """
        self.images.add(images)

    def result(self):
        """The mean over pairs of all that came, at least 2 images."""
        return self.figure(
            lambda images: mean_pairwise_ms_ssim(images, **self.settings), self.images
        )


def _distance_of_products(*values):
    """The Fréchet distance of numbers, means and centred products."""
    moments = []
    for name, (count, mean, products) in (("real", values[:3]), ("generated", values[3:])):
        if count < 2:
            raise ValueError(f"{name} must have at least 2 rows. Received: {count:.0f}.")
        moments.append((mean, products / (count - 1)))
    return frechet_distance_of_moments(*moments)
