"""Feature extractors: what distances between sets of images are measured in.

A distance says nothing without its features. Each extractor here has a name, a preprocessing in
words and a hash of all that its features depend on; what it returns carries them, so that only
like is compared with like.
"""

import functools
import hashlib
import itertools
import json

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.metrics.feature_set import Features
from keras_medgen.ops.ranges import signed

COMPONENTS = 64
RANDOM_WIDTHS = (32, 64, 64, 128)  # of randconv-v1: another width is another version
BATCH = 128
SMALLEST_SCALE = 0.1  # times the median: what hardly varies in real images is not blown up


class FeatureExtractor:
    """Base of the extractors: features of images, standardised and projected as real ones vary.

    A subclass states its `kind`, its `preprocessing` and its `parameters`, and says in `describe`
    what it sees in images.

    Args:
        components: principal components that are kept; None for all features as they are, but
            standardised.
    """

    kind = ""
    preprocessing = ""

    def __init__(self, components=COMPONENTS):
        self.components = components
        self._fit = None
        self._fitted_on = None

    def parameters(self):
        """What the features depend on beside the preprocessing: a list of np.ndarrays."""
        return []

    def describe(self, images):
        """Features as they come: np.ndarray (n, d) of float32 images (n, h, w, c) in [0, 1]."""
        raise NotImplementedError

    def fit(self, images):
        """Takes the scale and the principal components of real training images.

        Standard deviations under a tenth of their median are taken as that.

        Args:
            images: (n, height, width, channels) in [0, 1], of the training split alone: at least
                two, and more than `components`.

        Returns:
            The extractor.

        Raises:
            ValueError: for too few images.
        """
        images = checked_images(images)
        least = 2 if self.components is None else self.components + 1
        if len(images) < least:
            raise ValueError(
                f"{self.kind} needs at least {least} real training images. Received: {len(images)}."
            )
        raw = np.asarray(self.describe(images), np.float64)
        mean, deviation = raw.mean(axis=0), raw.std(axis=0)
        varying = deviation[deviation > 0]
        floor = SMALLEST_SCALE * np.median(varying) if varying.size else 1.0
        scale = np.maximum(deviation, floor)
        projection = None
        if self.components is not None:
            standard = (raw - mean) / scale
            _, vectors = np.linalg.eigh(standard.T @ standard)
            projection = vectors[:, ::-1][:, : self.components]
        self._fit = mean, scale, projection
        self._fitted_on = pixel_hash(images)
        return self

    def __call__(self, images) -> Features:
        """Features of images.

        Args:
            images: (n, height, width, channels) in [0, 1], of the size that it was fitted on.

        Returns:
            `Features`, float64 (n, d).

        Raises:
            RuntimeError: if it was not fitted.
        """
        if self._fit is None:
            raise RuntimeError(f"{self.kind} must be fitted on real training images first.")
        mean, scale, projection = self._fit
        values = (np.asarray(self.describe(checked_images(images)), np.float64) - mean) / scale
        if projection is not None:
            values = values @ projection
        return Features(values, self.label, self.sha256)

    @property
    def label(self):
        """Its name and the number of its features, as "randconv-v1/64"."""
        return f"{self.kind}/{self._length()}"

    def _length(self):
        return len(self._fit[0]) if self._fit[2] is None else self._fit[2].shape[1]

    @property
    def sha256(self):
        """Hash of all that the features depend on: preprocessing, parameters, and what it fits."""
        digest = hashlib.sha256()
        facts = [self.kind, self.preprocessing, self.components, self._fitted_on]
        digest.update(json.dumps(facts).encode())
        for array in self.parameters():
            digest.update(str((array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def as_dict(self):
        """For a JSON: what makes figures comparable."""
        return {"sha256": self.sha256, "preprocessing": self.preprocessing}


class RandomConvolutions(FeatureExtractor):
    """Features of a frozen network of random convolutions: "randconv-v1", the default.

    Four 3x3 convolutions with leaky ReLU, the last three halving the image, 32, 64, 64 and 128
    wide, whose weights come from NumPy's PCG64 with the seed 0: the same on every machine,
    trained on nothing, so that no data set is judged by what another one taught. Of each layer the
    mean and the standard deviation of each channel over the image, and of the second the means
    over the four quarters of the image, which see where things are.

    Args:
        components: see `FeatureExtractor`.

    Reference:
        Random networks as feature extractors of distances between distributions: Naeem et al.,
        Reliable Fidelity and Diversity Metrics for Generative Models, 2020,
        https://arxiv.org/abs/2002.09797
    """

    kind = "randconv-v1"
    preprocessing = "as they are, scaled to [-1, 1]; standardised by real training images"

    def parameters(self):
        """The kernels for one channel, which stand for those of any number."""
        return random_kernels(1)

    def describe(self, images):
        """See `FeatureExtractor.describe`."""
        return in_batches(_compiled_random_features(), images)


@functools.cache
def random_kernels(channels):
    """The kernels of `RandomConvolutions` for so many channels: a list of np.ndarrays float32."""
    random = np.random.default_rng(0)
    return [
        (random.standard_normal((3, 3, n, m)) * np.sqrt(2 / (9 * n))).astype(np.float32)
        for n, m in itertools.pairwise((channels, *RANDOM_WIDTHS))
    ]


@functools.cache
def _compiled_random_features():
    return tf.function(_random_features)  # one for all extractors: the network is the same


def _random_features(images):
    x, found = signed(images), []
    for number, kernel in enumerate(random_kernels(images.shape[-1])):
        x = tf.nn.leaky_relu(tf.nn.conv2d(x, kernel, 1 if number == 0 else 2, "SAME"), 0.2)
        mean, variance = tf.nn.moments(x, (1, 2))
        found += [mean, tf.sqrt(variance + 1e-6)]
        if number == 1:
            rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
            for half in (x[:, :rows], x[:, rows:]):
                for part in (half[:, :, :columns], half[:, :, columns:]):
                    found.append(tf.reduce_mean(part, (1, 2)))
    return tf.concat(found, axis=1)


class ClassifierFeatures(FeatureExtractor):
    """The penultimate features of classifiers trained on the real training split: "classifier".

    They see what tells the classes apart, and little else.

    Args:
        networks: keras.Models from float32 images in [0, 1] to features (n, d): of several seeds,
            whose features stand side by side.
        components: see `FeatureExtractor`.
    """

    kind = "classifier"
    preprocessing = "as the classifiers take them; standardised by real training images"

    def __init__(self, networks, components=COMPONENTS):
        super().__init__(components)
        self.networks = list(networks)
        self._function = tf.function(self._features)

    def parameters(self):
        """All weights."""
        return [weight for network in self.networks for weight in network.get_weights()]

    def describe(self, images):
        """See `FeatureExtractor.describe`."""
        return in_batches(self._function, images)

    def _features(self, images):
        found = [network(images, training=False) for network in self.networks]
        return tf.concat([tf.cast(features, tf.float32) for features in found], axis=1)


class Inception(FeatureExtractor):
    """The pooled features of InceptionV3, trained on photographs: "inception".

    Distances in these alone are called FID and KID. They are those of `keras.applications`:
    published figures come from other weights, resizing and numbers of images, and are not to be
    compared with them.

    Args:
        weights: path of a weights file of `keras.applications.InceptionV3(include_top=False)`, or
            "imagenet", which Keras downloads.
        components: None, the default, for all 2,048 features, not standardised.

    Reference:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017,
        https://arxiv.org/abs/1706.08500
    """

    kind = "inception"
    preprocessing = (
        "grey repeated to three channels, rounded to 8 bits, resized to 299x299 (bilinear, "
        "antialiased), scaled to [-1, 1]"
    )

    def __init__(self, weights="imagenet", components=None):
        super().__init__(components)
        self.network = keras.applications.InceptionV3(
            include_top=False, pooling="avg", weights=weights, input_shape=(299, 299, 3)
        )
        self._function = tf.function(self._features)

    def fit(self, images):
        """Takes nothing of them unless there are `components`: the features are as published."""
        if self.components is None:
            self._fit = 0.0, 1.0, None
            return self
        return super().fit(images)

    def _length(self):
        return self.components or self.network.output_shape[-1]

    def parameters(self):
        """All weights."""
        return self.network.get_weights()

    def describe(self, images):
        """See `FeatureExtractor.describe`."""
        if images.shape[-1] not in (1, 3):
            raise ValueError(
                "inception takes images of 1 or 3 channels. "
                f"Received: images of {images.shape[-1]}."
            )
        return in_batches(self._function, images, batch=16)

    def _features(self, images):
        images = tf.round(images * 255)
        if images.shape[-1] == 1:
            images = tf.repeat(images, 3, axis=-1)
        images = tf.image.resize(images, (299, 299), antialias=True)
        return self.network(images / 127.5 - 1, training=False)


def in_batches(function, images, batch=BATCH):
    """np.ndarray of a compiled function's results for images, some at a time."""
    parts = [
        function(tf.constant(images[start : start + batch])).numpy()
        for start in range(0, len(images), batch)
    ]
    return np.concatenate(parts)


def pixel_hash(images):
    """SHA-256 of images as 8-bit pixels, and of their shape."""
    pixels = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def checked_images(images, name="images"):
    """Images as float32 in [0, 1].

    Args:
        images: (n, height, width, channels), uint8 or numbers in [0, 1], one at least.
        name: of the argument, for the message.

    Returns:
        np.ndarray float32 (n, height, width, channels).

    Raises:
        ValueError: for anything else.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"{name} must be of shape (n, height, width, channels), one at least. "
            f"Received: shape={images.shape}."
        )
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    images = images.astype(np.float32)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise ValueError(f"{name} must lie in [0, 1], or be uint8.")
    return images
