"""Priors of a VAE: the distribution of latents before an image is seen."""

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.ops.random import uniform_of_normal

LOG_SCALE_RANGE = (-7.0, 5.0)  # of a component's standard deviation, for finite densities


class Prior(keras.layers.Layer):
    """A distribution of latents that can also be reached from standard normal noise.

    Args:
        latent_dim: number of latent dimensions.

    Attributes:
        noise_dim: how many numbers of noise make one latent.
        factorised: whether the KL divergence from a diagonal Gaussian to it is a sum of closed
            forms over dimensions.
    """

    factorised = False

    def __init__(self, latent_dim, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.latent_dim = latent_dim
        self.noise_dim = latent_dim + 1  # the last one chooses the component
        self.built = True

    def distribution(self, labels=None, encode=None):
        """The prior.

        Args:
            labels: float32 (n, num_classes) of 0 and 1, or None: of a conditional model.
            encode: from (images, labels) to a dict of `mean` and `log_var`; for `VampPrior`.

        Returns:
            A tfp distribution of event shape (latent_dim,), of batch shape () or (n,).
        """
        raise NotImplementedError

    def latents(self, noise, labels=None, encode=None):
        """Latents that follow the prior if `noise` is standard normal.

        Args:
            noise: float32 (n, noise_dim).
            labels: see `distribution`.
            encode: see `distribution`.

        Returns:
            float32 (n, latent_dim); row i depends on row i of the noise and of the labels alone.
        """
        raise NotImplementedError


class StandardNormal(Prior):
    """The standard normal distribution."""

    factorised = True

    def __init__(self, latent_dim, **kwargs):
        super().__init__(latent_dim, **kwargs)
        self.noise_dim = latent_dim

    def distribution(self, labels=None, encode=None):
        """Of batch shape ()."""
        return diagonal_normal(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))

    def latents(self, noise, labels=None, encode=None):
        """The noise itself."""
        return noise


class GaussianMixture(Prior):
    """A mixture of diagonal Gaussians whose weights, means and scales are learned.

    Args:
        latent_dim: number of latent dimensions.
        components: how many Gaussians.
        seed: of the initial means, which are standard normal.

    Reference:
        Tomczak and Welling, VAE with a VampPrior, 2018 (there the "MoG" prior),
        https://arxiv.org/abs/1705.07120
    """

    def __init__(self, latent_dim, components, seed=0, **kwargs):
        super().__init__(latent_dim, **kwargs)
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.logits = self.add_weight(shape=(components,), initializer="zeros", name="logits")
        self.means = self.add_weight((components, latent_dim), initializer=normal, name="means")
        self.log_scales = self.add_weight(
            (components, latent_dim), initializer="zeros", name="log_scales"
        )

    def components(self, encode):
        """Logits (k,), means and standard deviations, each (k, latent_dim)."""
        log_scales = tf.clip_by_value(tf.convert_to_tensor(self.log_scales), *LOG_SCALE_RANGE)
        return (*map(tf.convert_to_tensor, (self.logits, self.means)), tf.exp(log_scales))

    def distribution(self, labels=None, encode=None):
        """Of batch shape ()."""
        import tensorflow_probability as tfp

        logits, means, scales = self.components(encode)
        return tfp.distributions.MixtureSameFamily(
            tfp.distributions.Categorical(logits=logits), diagonal_normal(means, scales)
        )

    def latents(self, noise, labels=None, encode=None):
        """From the component that the last number of each row's noise chooses."""
        logits, means, scales = self.components(encode)
        chosen = choose(tf.nn.softmax(logits)[None], noise[:, -1])
        return tf.gather(means, chosen) + tf.gather(scales, chosen) * noise[:, :-1]


class VampPrior(GaussianMixture):
    """The mixture of the posteriors of learned pseudo-images.

    In a conditional model the pseudo-images are of each class in turn; the prior itself does not
    depend on labels.

    Args:
        latent_dim: number of latent dimensions.
        components: how many pseudo-images; each costs as much per step as an image of a batch.
        image_shape: (height, width, channels).
        num_classes: of a conditional model, or None.
        seed: of the initial pseudo-images, which are noise; see `start_from`.

    Reference:
        Tomczak and Welling, VAE with a VampPrior, 2018, https://arxiv.org/abs/1705.07120
    """

    def __init__(self, latent_dim, components, image_shape, num_classes=None, seed=0, **kwargs):
        Prior.__init__(self, latent_dim, **kwargs)
        self.num_classes = num_classes
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.logits = self.add_weight(shape=(components,), initializer="zeros", name="logits")
        self.pseudo_logits = self.add_weight(
            shape=(components, *image_shape), initializer=normal, name="pseudo_images"
        )

    @property
    def pseudo_images(self):
        """float32 (components, height, width, channels) in [0, 1]."""
        return tf.sigmoid(tf.convert_to_tensor(self.pseudo_logits))

    def start_from(self, images):
        """Takes images (components, height, width, channels) in [0, 1] as pseudo-images."""
        if np.shape(images) != tuple(self.pseudo_logits.shape):
            raise ValueError(
                f"images must be of shape {tuple(self.pseudo_logits.shape)}. "
                f"Received: shape {np.shape(images)}."
            )
        images = np.clip(np.asarray(images, np.float32), 0.01, 0.99)
        self.pseudo_logits.assign(np.log(images / (1 - images)))

    def components(self, encode):
        """Logits (k,), means and standard deviations, each (k, latent_dim)."""
        images, labels = self.pseudo_images, None
        if self.num_classes is not None:
            labels = tf.one_hot(tf.range(images.shape[0]) % self.num_classes, self.num_classes)
        posterior = encode(images, labels)
        return (
            tf.convert_to_tensor(self.logits),
            posterior["mean"],
            tf.exp(0.5 * posterior["log_var"]),
        )


class FittedMixture(Prior):
    """A mixture of Gaussians with full covariances, for each class or for all, fitted afterwards.

    Args:
        latent_dim: number of latent dimensions.
        components: how many Gaussians.
        classes: how many mixtures; with one, labels are not looked at.

    Reference:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020 (ex-post density
        estimation), https://arxiv.org/abs/1903.12436
    """

    def __init__(self, latent_dim, components, classes=1, **kwargs):
        super().__init__(latent_dim, **kwargs)
        self.sizes = {"components": components, "classes": classes}
        shape = (classes, components)
        fixed = {"initializer": "zeros", "trainable": False}
        self.probabilities = self.add_weight(shape, name="probabilities", **fixed)
        self.means = self.add_weight((*shape, latent_dim), name="means", **fixed)
        self.factors = self.add_weight((*shape, latent_dim, latent_dim), name="factors", **fixed)

    def set_mixture(self, number, probabilities, means, covariances):
        """Takes a fitted mixture as that of class `number`; the rest of its components is empty."""
        used, latent_dim = means.shape
        shape = self.means.shape[1:]
        values = np.zeros(shape[0]), np.zeros(shape), np.tile(np.eye(latent_dim), (shape[0], 1, 1))
        for whole, part in zip(
            values, (probabilities, means, np.linalg.cholesky(covariances)), strict=True
        ):
            whole[:used] = part
        for variable, value in zip(
            (self.probabilities, self.means, self.factors), values, strict=True
        ):
            array = np.array(variable)
            array[number] = value
            variable.assign(array)

    def _numbers(self, labels):
        return tf.argmax(labels, axis=1) if self.means.shape[0] > 1 else None

    def distribution(self, labels=None, encode=None):
        """Of batch shape (n,) where there is a mixture for each class, else ()."""
        import tensorflow_probability as tfp

        numbers = self._numbers(labels)
        probabilities, means, factors = (
            v[0] if numbers is None else tf.gather(v, numbers)
            for v in map(tf.convert_to_tensor, (self.probabilities, self.means, self.factors))
        )
        return tfp.distributions.MixtureSameFamily(
            tfp.distributions.Categorical(logits=tf.math.log(probabilities + 1e-30)),
            tfp.distributions.MultivariateNormalTriL(means, factors),
        )

    def latents(self, noise, labels=None, encode=None):
        """From the component, of the row's class, that the last number of its noise chooses."""
        numbers = self._numbers(labels)
        if numbers is None:
            numbers = tf.zeros(tf.shape(noise)[0], tf.int64)
        probabilities, means, factors = map(
            tf.convert_to_tensor, (self.probabilities, self.means, self.factors)
        )
        chosen = choose(tf.gather(probabilities, numbers), noise[:, -1])
        index = tf.stack([tf.cast(numbers, chosen.dtype), chosen], axis=1)
        return tf.gather_nd(means, index) + tf.linalg.matvec(
            tf.gather_nd(factors, index), noise[:, :-1]
        )


def choose(probabilities, noise):
    """An index for each row, distributed by `probabilities` if `noise` is standard normal.

    Args:
        probabilities: float32 (n or 1, k), rows of sum 1.
        noise: float32 (n,).

    Returns:
        int32 (n,).
    """
    uniform = uniform_of_normal(noise)
    passed = tf.cumsum(probabilities, axis=1) <= uniform[:, None]
    # The sum may stay below 1 by rounding, and what has no probability is not chosen.
    last = tf.reduce_max(
        tf.where(probabilities > 0, tf.range(tf.shape(probabilities)[1])[None], 0), axis=1
    )
    return tf.minimum(tf.reduce_sum(tf.cast(passed, tf.int32), axis=1), last)


def diagonal_normal(mean, stddev):
    """The Gaussian of independent dimensions along the last axis: a tfp distribution."""
    import tensorflow_probability as tfp

    return tfp.distributions.Independent(tfp.distributions.Normal(mean, stddev), 1)
