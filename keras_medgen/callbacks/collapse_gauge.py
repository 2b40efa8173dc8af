"""A gauge of mode collapse."""

import warnings

import keras
import numpy as np

from keras_medgen.metrics.diversity import mean_pairwise_ms_ssim


class CollapseGauge(keras.callbacks.Callback):
    """Watches how alike the samples are, beside how alike real images are.

    Adds to the logs of each epoch `sample_ms_ssim`, the mean MS-SSIM over all pairs of `num`
    samples, made of the same noise each time, and `image_ms_ssim`, that of `num` real images. A
    generator that has collapsed to few images shows in the first rising above the second; where
    it does by more than `margin`, a warning says so, and another if it does again after the gap had
    closed. A generator that has yet to learn is no different: wait for some epochs.

    It must stand before callbacks that are to see its columns, such as `keras.callbacks.CSVLogger`.

    Args:
        images: (n, height, width, channels), float in [0, 1] or uint8, of sides of at least 11, to
            compare with: as mixed as the samples, for images of one class are more alike than
            those of several. The first `num` are used. Default: the first of `fit`'s validation
            data, or of its training data if these are an array; without either there is no
            `image_ms_ssim`, and no warning.
        num: how many images, and samples. Default 64.
        margin: in MS-SSIM, from 0 to 1. Default 0.1.
        every: after how many epochs to measure, the first of each training always among them; those
            between repeat the last figures. Default 1.
        seed: of the samples.

    Example:
    ```python
    model.fit(data.train, validation_data=data.val, callbacks=[kmg.callbacks.CollapseGauge()])
    ```

    Reference:
        Odena, Olah and Shlens, Conditional Image Synthesis with Auxiliary Classifier GANs, 2017,
        https://arxiv.org/abs/1610.09585, section 4.3: the mean MS-SSIM of 100 random pairs of one
        class
    """

    def __init__(self, images=None, num=64, margin=0.1, every=1, seed=0):
        super().__init__()
        for name, value, least in (("num", num, 2), ("margin", margin, 0), ("every", every, 1)):
            if not value >= least:
                raise ValueError(f"{name} must be at least {least}. Received: {name}={value}.")
        self.images = None if images is None else images[:num]
        self.num = num
        self.margin = margin
        self.every = every
        self.seed = seed

    def on_train_begin(self, logs=None):
        """Measures the real images."""
        images = self.images
        if images is None:
            example = self.model.example_batch(self.num)
            images = None if example is None else example["images"]
        self._has_warned = False
        self._last = None
        self._real = {}
        if images is not None and len(images) > 1:
            self._real = {"image_ms_ssim": _mean_similarity(images)}

    def on_epoch_end(self, epoch, logs=None):
        """Measures the samples, if it is their epoch, and adds both figures to the logs."""
        if self._last is None or (epoch + 1) % self.every == 0:
            samples = self.model.generate(self.num, seed=self.seed)
            self._last = {"sample_ms_ssim": _mean_similarity(samples), **self._real}
            self._warn(epoch + 1)
        if logs is not None:
            logs.update(self._last)

    def _warn(self, epoch):
        sample, real = self._last["sample_ms_ssim"], self._real.get("image_ms_ssim")
        if real is None:
            return
        has_warned, self._has_warned = self._has_warned, sample > real + self.margin
        if has_warned or not self._has_warned:
            return
        warnings.warn(
            f"after epoch {epoch} the samples are more alike than real images are, with a mean "
            f"MS-SSIM of {sample:.3f} between two of them and of {real:.3f} between two real "
            "images: the generator may have collapsed to a few images. If the gap stays, try "
            "another loss, a gradient penalty, augmentation, or a lower learning rate.",
            stacklevel=2,
        )


def _mean_similarity(images):
    """The mean MS-SSIM over all pairs of two or more images."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    return mean_pairwise_ms_ssim(images, pairs=None)
