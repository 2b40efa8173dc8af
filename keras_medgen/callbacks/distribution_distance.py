"""The distance of samples to real images, epoch by epoch."""

import keras

from keras_medgen import metrics


class DistributionDistance(keras.callbacks.Callback):
    """Adds the Fréchet distance between samples and real images to the logs of each epoch.

    `distribution_distance` is that of `num` samples, made of the same noise each time, to `num`
    real images, `distribution_floor` that between these and `num` other real ones. To stop once
    it no longer falls, give it to `keras.callbacks.EarlyStopping(monitor="distribution_distance",
    mode="min")`, and have this callback stand before that one, and before others that are to see
    its columns.

    Args:
        images: real training images, float (n, height, width, channels) in [0, 1] or uint8: at
            least twice as many as features. The first two times `num` are compared with.
        num: how many samples, at most half of the images; more than features. Default 500, or
            half of the images.
        extractor: a feature extractor of `keras_medgen.metrics`, fitted here on `images`. Default
            `RandomConvolutions()`.
        every: after how many epochs to measure, the first among them; those between repeat the
            last figures. Default 1.
        seed: of the samples.

    Raises:
        ValueError: for too few images.

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

    def __init__(self, images, num=None, extractor=None, every=1, seed=0):
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
        self.every = every
        self.seed = seed
        self._real = self.extractor(images[: self.num])
        other = self.extractor(images[self.num : 2 * self.num])
        self._floor = metrics.frechet_distance(self._real, other)
        self._last = None

    def on_train_begin(self, logs=None):
        """Forgets what was measured before."""
        self._last = None

    def on_epoch_end(self, epoch, logs=None):
        """Measures the samples, if it is their epoch, and adds both figures to the logs."""
        if self._last is None or (epoch + 1) % self.every == 0:
            samples = self.model.generate(self.num, seed=self.seed)
            self._last = metrics.frechet_distance(self._real, self.extractor(samples))
        if logs is not None:
            logs["distribution_distance"] = self._last
            logs["distribution_floor"] = self._floor
