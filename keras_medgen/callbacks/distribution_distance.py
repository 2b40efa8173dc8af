"""The distance of samples to real images, epoch by epoch."""

import keras
import numpy as np

from keras_medgen import metrics


class DistributionDistance(keras.callbacks.Callback):
    """Adds the Fréchet distance between samples and real images to the logs of each epoch.

    `distribution_distance` is that of `num` samples, made of the same noise each time, to `num`
    real images, `distribution_floor` that between these and `num` other real ones. To stop once
    it no longer falls, give it to `keras.callbacks.EarlyStopping(monitor="distribution_distance",
    mode="min")`, and have this callback stand before that one, and before others that are to see
    its columns.

    Args:
        images: real training images, float (n, height, width, channels) in [0, 1] or uint8, more
            than features. Two times `num` of them, drawn at random, are compared with.
        num: how many samples, at most half of the images. Below the number of features the
            distance is mostly its bias. Default 500, or half of the images.
        labels: of the images, for a conditional model: samples are made of the classes of the
            images that they are compared with. Default: of all classes alike.
        extractor: a feature extractor of `keras_medgen.metrics`, fitted here on `images`. Default
            `RandomConvolutions()`.
        every: after how many epochs to measure, the first among them; those between repeat the
            last figures. Default 1.
        seed: of the samples, and of the images that are drawn.

    Raises:
        ValueError: for too few images, or other numbers of labels.

    Example:
    ```python
    images = data.arrays("train")["images"]
    model.fit(
        data.train,
        epochs=50,
        callbacks=[
            kmg.callbacks.DistributionDistance(images),
            keras.callbacks.EarlyStopping("distribution_distance", mode="min", patience=5),
        ],
    )
    ```
    """

    def __init__(self, images, num=None, labels=None, extractor=None, every=1, seed=0):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1. Received: every={every}.")
        self.extractor = extractor or metrics.RandomConvolutions()
        self.extractor.fit(images)
        self.num = min(500, len(images) // 2) if num is None else num
        if not 2 <= self.num <= len(images) // 2:
            raise ValueError(
                f"num must be from 2 to half of the images, {len(images) // 2}. "
                f"Received: num={self.num}."
            )
        if labels is not None and len(labels) != len(images):
            raise ValueError(
                f"labels must be as many as the images, {len(images)}. Received: {len(labels)}."
            )
        self.every = every
        self.seed = seed
        # Images of a folder come class by class.
        order = np.random.default_rng(seed).permutation(len(images))
        rows, others = order[: self.num], order[self.num : 2 * self.num]
        self._labels = None if labels is None else np.asarray(labels)[rows]
        self._real = self.extractor(np.asarray(images)[rows])
        other = self.extractor(np.asarray(images)[others])
        self._floor = metrics.frechet_distance(self._real, other)
        self._last = None

    def on_train_begin(self, logs=None):
        """Forgets what was measured before."""
        self._last = None

    def on_epoch_end(self, epoch, logs=None):
        """Measures the samples, if it is their epoch, and adds both figures to the logs."""
        if self._last is None or (epoch + 1) % self.every == 0:
            samples = self.model.generate(self.num, labels=self._labels, seed=self.seed)
            self._last = metrics.frechet_distance(self._real, self.extractor(samples))
        if logs is not None:
            logs["distribution_distance"] = self._last
            logs["distribution_floor"] = self._floor
