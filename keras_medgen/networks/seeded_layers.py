"""What every network is built of: inputs, layers with seeds, heads, labels."""

import itertools

import keras


class SeededLayers:
    """Makes layers whose initial weights all follow from one seed.

    Args:
        seed: int. The layers' own seeds are numbers from 1,000 times it on, in the order of
            their making; the label offsets have the last of that thousand, and so move no other
            layer's.
    """

    def __init__(self, seed):
        self._seeds = itertools.count(seed * 1000)
        self._label_seed = seed * 1000 + 999

    def next_seed(self):
        """The next of the numbers, for what else is drawn at random."""
        return next(self._seeds)

    def dense(self, units, gain=1.0, **kwargs):
        """A `keras.layers.Dense`, the variance of its kernel multiplied by `gain`."""
        return keras.layers.Dense(
            units, kernel_initializer=_initializer(next(self._seeds), gain), **kwargs
        )

    def convolution(self, filters, size, gain=1.0, **kwargs):
        """A `keras.layers.Conv2D`, padded, the variance of its kernel multiplied by `gain`."""
        initializer = _initializer(next(self._seeds), gain)
        return keras.layers.Conv2D(
            filters, size, padding="same", kernel_initializer=initializer, **kwargs
        )

    def transposed_convolution(self, filters, size, **kwargs):
        """A `keras.layers.Conv2DTranspose`, padded."""
        initializer = _initializer(next(self._seeds))
        return keras.layers.Conv2DTranspose(
            filters, size, padding="same", kernel_initializer=initializer, **kwargs
        )

    def label_embedding(self, units, **kwargs):
        """A `keras.layers.Dense` of labels, without a bias; at most one in a network."""
        initializer = _initializer(self._label_seed)
        return keras.layers.Dense(units, use_bias=False, kernel_initializer=initializer, **kwargs)

    def batch_normalised(self, x):
        """`x` (batch, ..., channels) after a `keras.layers.BatchNormalization` over replicas.

        The moving averages, for inference, have a momentum of 0.9: they settle in a hundred steps.
        """
        return keras.layers.BatchNormalization(momentum=0.9, synchronized=True)(x)

    def add_labels(self, x, labels):
        """Adds to each channel of `x` an offset learned for each class.

        To be called once, where activations have their scale: before a normalisation, offsets
        that are the same at every place drown images of little contrast, or are taken out.

        Args:
            x: normalised, (batch, ..., channels).
            labels: (batch, num_classes), or None for `x` as it is.
        """
        if labels is None:
            return x
        *places, channels = x.shape[1:]
        offsets = self.label_embedding(channels)(labels)
        offsets = keras.layers.Reshape((*(1 for _ in places), channels))(offsets)
        return keras.layers.Add()([x, offsets])

    def posterior_heads(self, x, latent_dim):
        """The outputs of an encoder: dense layers of `x` (batch, features) in float32."""
        # Small initial log-variances: the first posteriors are all near the prior's width.
        return {
            "mean": self.dense(latent_dim, dtype="float32", name="mean")(x),
            "log_var": self.dense(latent_dim, gain=0.1, dtype="float32", name="log_var")(x),
        }


def network_inputs(name, shape, num_classes):
    """The inputs of a network that may be conditional.

    Args:
        name: of the main input.
        shape: of the main input, without the batch.
        num_classes: number of classes, or None.

    Returns:
        The main input; the labels, (batch, num_classes), or None; and what `keras.Model` takes:
        a dict of both by name, or the main input alone.

    Raises:
        ValueError: for a number of classes below 1.
    """
    main = keras.Input(shape, name=name)
    if num_classes is None:
        return main, None, main
    if num_classes < 1:
        raise ValueError(
            f"num_classes must be None or at least 1. Received: num_classes={num_classes}."
        )
    labels = keras.Input((num_classes,), name="labels")
    return main, labels, {name: main, "labels": labels}


def concatenate_labels(x, labels):
    """`x` (batch, features) with labels beside it, or as it is where they are None."""
    return x if labels is None else keras.layers.Concatenate()([x, labels])


def check_image_shape(image_shape, expected, fits):
    """Raises ValueError for an image shape that a network is not made for.

    Args:
        image_shape: what the user gave.
        expected: what is expected of the sides and channels, in words.
        fits: function of height, width and channels, all at least 1: whether they are.
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or min(shape) < 1 or not fits(*shape):
        raise ValueError(
            f"image_shape must be (height, width, channels) {expected}. "
            f"Received: image_shape={shape}."
        )


def _initializer(seed, gain=1.0):
    return keras.initializers.VarianceScaling(
        gain, mode="fan_avg", distribution="uniform", seed=seed
    )
