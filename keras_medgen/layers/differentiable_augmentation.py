"""Augmentation that gradients flow through."""

import keras
import tensorflow as tf

BRIGHTNESS = 0.5  # at most, added or taken away
SATURATION = (0.0, 2.0)
CONTRAST = (0.5, 1.5)
TRANSLATION = 1 / 8  # of the side, at most
CUTOUT = 1 / 2  # of the side
BLACK = -1.0


@keras.saving.register_keras_serializable(package="keras_medgen")
class DifferentiableAugmentation(keras.layers.Layer):
    """Zhao et al.'s augmentation, for all images that a discriminator sees, real or generated.

    With it a discriminator does not learn a small data set by heart. The generator's gradient
    goes through it, any number of times, so that what it does never shows in the samples.

    What is done follows from the images and from the uniform random numbers that are given with
    them. The strengths are the paper's: brightness +-0.5; saturation 0 to 2; contrast 0.5 to 1.5,
    about the mean of the image; translation by up to an eighth of a side, in whole pixels; cutout
    of a square of half the side, whose centre may lie at the border. Where the paper fills with
    0, grey, translation and cutout here fill with -1, the black around most medical images.
    Values are not clipped. It computes in float32 under any dtype policy.

    Args:
        augmentation: which of these, in the order in which they are applied: a tuple of
            "brightness", "saturation" (of images with three channels), "contrast", "translation"
            and "cutout". None, (), leaves images as they are.

    Attributes:
        num_uniform: how many random numbers each image takes.

    Raises:
        ValueError: for other names.

    Example:
    ```python
    augment = kmg.layers.DifferentiableAugmentation(("translation", "cutout"))
    uniform = tf.random.stateless_uniform((len(images), augment.num_uniform), seed=(0, 1))
    logits = discriminator(augment(images, uniform))
    ```

    Reference:
        Zhao, Liu, Lin, Zhu and Han, Differentiable Augmentation for Data-Efficient GAN Training,
        2020, https://arxiv.org/abs/2006.10738
    """

    def __init__(self, augmentation=("brightness", "contrast", "translation", "cutout"), **kwargs):
        if isinstance(augmentation, str) or not all(name in AUGMENTATIONS for name in augmentation):
            raise ValueError(
                f"augmentation must be a tuple of {', '.join(AUGMENTATIONS)}. "
                f"Received: augmentation={augmentation!r}."
            )
        super().__init__(**{"dtype": "float32", **kwargs})
        self.augmentation = tuple(augmentation)
        self.num_uniform = sum(AUGMENTATIONS[name][1] for name in self.augmentation)

    def build(self, images_shape, uniform_shape):
        """Checks the shapes; there are no weights."""
        if "saturation" in self.augmentation and images_shape[-1] != 3:
            raise ValueError(
                f"the augmentation saturation needs 3 channels. Received: shape={images_shape}."
            )
        if uniform_shape[-1] != self.num_uniform:
            raise ValueError(
                f"uniform must have the shape (batch, {self.num_uniform}). "
                f"Received: shape={uniform_shape}."
            )

    def call(self, images, uniform):
        """The images, augmented.

        Args:
            images: float32 (batch, height, width, channels) in [-1, 1].
            uniform: float32 (batch, num_uniform) in [0, 1).
        """
        first = 0
        for name in self.augmentation:
            function, count = AUGMENTATIONS[name]
            images = function(images, *tf.unstack(uniform[:, first : first + count], count, axis=1))
            first += count
        return images

    def compute_output_shape(self, images_shape, uniform_shape):
        """The images' shape."""
        return images_shape

    def get_config(self):
        """The arguments of this layer."""
        return {**super().get_config(), "augmentation": list(self.augmentation)}


def _brightness(images, uniform):
    return images + BRIGHTNESS * (2.0 * uniform - 1.0)[:, None, None, None]


def _saturation(images, uniform):
    return _stretched(images, uniform, SATURATION, axis=-1)


def _contrast(images, uniform):
    return _stretched(images, uniform, CONTRAST, axis=(1, 2, 3))


def _stretched(images, uniform, limits, axis):
    """Images with their distances from the mean along the axis multiplied."""
    factor = (limits[0] + (limits[1] - limits[0]) * uniform)[:, None, None, None]
    mean = tf.reduce_mean(images, axis=axis, keepdims=True)
    return mean + factor * (images - mean)


def _translation(images, uniform_y, uniform_x):
    height, width = images.shape[1:3]
    offsets = []
    for side, uniform in ((height, uniform_y), (width, uniform_x)):
        most = int(TRANSLATION * side + 0.5)
        offsets.append(_integers(uniform, 2 * most + 1) - most)
    return _translated(images, *offsets, fill=BLACK)


def _translated(images, down, right, fill):
    """Images moved by whole numbers (batch,) of pixels, with `fill` where nothing came from.

    The derivative of such a movement is the opposite movement, filled with zeros. Stated so, it is
    a gather like the movement itself; the one that TensorFlow would derive adds up row by row.
    """

    @tf.custom_gradient
    def translate(images):
        height, width = images.shape[1:3]
        rows = tf.range(height) - down[:, None]
        columns = tf.range(width) - right[:, None]
        inside = ((rows >= 0) & (rows < height))[:, :, None]
        inside &= ((columns >= 0) & (columns < width))[:, None, :]
        moved = tf.gather(images, tf.clip_by_value(rows, 0, height - 1), axis=1, batch_dims=1)
        moved = tf.gather(
            tf.transpose(moved, (0, 2, 1, 3)),
            tf.clip_by_value(columns, 0, width - 1),
            axis=1,
            batch_dims=1,
        )
        moved = tf.where(inside[..., None], tf.transpose(moved, (0, 2, 1, 3)), fill)

        def gradient(upstream):
            return _translated(upstream, -down, -right, fill=0.0)

        return moved, gradient

    return translate(images)


def _cutout(images, uniform_y, uniform_x):
    height, width = images.shape[1:3]
    inside = []
    for side, uniform in ((height, uniform_y), (width, uniform_x)):
        size = int(CUTOUT * side + 0.5)
        # An even square has its centre between pixels, of which there is one more than pixels.
        first = _integers(uniform, side + 1 - size % 2) - size // 2
        places = tf.range(side) - first[:, None]
        inside.append((places >= 0) & (places < size))
    square = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return tf.where(square, BLACK, images)


def _integers(uniform, count):
    """Whole numbers from 0 to count - 1, int32 (batch,), of uniform numbers."""
    # A number just under 1 may become count by rounding.
    return tf.minimum(tf.cast(uniform * count, tf.int32), count - 1)


# What each is called, and how many random numbers it takes.
AUGMENTATIONS = {
    "brightness": (_brightness, 1),
    "saturation": (_saturation, 1),
    "contrast": (_contrast, 1),
    "translation": (_translation, 2),
    "cutout": (_cutout, 2),
}
