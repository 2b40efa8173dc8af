"""What every discriminator is built of: its head, dropout, spectral normalisation."""

import keras

from keras_medgen.networks.seeded_layers import SeededLayers


class DiscriminatorLayers(SeededLayers):
    """The head of a discriminator and its regularisation beside the layers with seeds.

    Args:
        seed: int, as for `SeededLayers`. Dropout has the last but one of its thousand.
        spectral_normalization: whether each kernel is divided by its largest singular value,
            that of the labels too. Default False. Keras' layer does so by changing the kernel in
            each call with `training=True`, after one power iteration: until these have settled,
            the passes of one step see different kernels, and no gradient flows through the norm.
        dropout: rate of `dropped_out`, from 0 to below 1. Default 0.

    Raises:
        ValueError: for another rate of dropout.

    Reference:
        Miyato, Kataoka, Koyama and Yoshida, Spectral Normalization for Generative Adversarial
        Networks, 2018, https://arxiv.org/abs/1802.05957
    """

    def __init__(self, seed, spectral_normalization=False, dropout=0.0):
        super().__init__(seed)
        if not 0 <= dropout < 1:
            raise ValueError(
                f"dropout must be at least 0 and below 1. Received: dropout={dropout}."
            )
        self.spectral_normalization = spectral_normalization
        self._dropout, self._dropout_seed = dropout, seed * 1000 + 998

    def dense(self, units, **kwargs):
        """A `keras.layers.Dense`."""
        return self._spectrally_normalised(super().dense(units, **kwargs))

    def convolution(self, filters, size, **kwargs):
        """A `keras.layers.Conv2D`, padded."""
        return self._spectrally_normalised(super().convolution(filters, size, **kwargs))

    def label_embedding(self, units):
        """A `keras.layers.Dense` of labels, without a bias."""
        return self._spectrally_normalised(super().label_embedding(units, dtype="float32"))

    def activation(self, x):
        """The leaky ReLU of most discriminators."""
        return keras.layers.LeakyReLU(0.2)(x)

    def dropped_out(self, x):
        """`x` after dropout, or as it is where the rate is 0."""
        if self._dropout == 0:
            return x
        return keras.layers.Dropout(self._dropout, seed=self._dropout_seed)(x)

    def discriminator(self, inputs, features, labels=None):
        """The network that ends in one logit, a linear function of the features.

        With labels it is a projection discriminator: the inner product of the features and an
        embedding of the labels, linear too, is added to the logit.

        Args:
            inputs: those of the network.
            features: its last hidden layer, (batch, features).
            labels: (batch, num_classes), or None.

        Returns:
            A `keras.Model` to float32 (batch, 1).

        Reference:
            Miyato and Koyama, cGANs with Projection Discriminator, 2018,
            https://arxiv.org/abs/1802.05637
        """
        logits = self.dense(1, dtype="float32", name="logits")(features)
        if labels is not None:
            embedding = self.label_embedding(features.shape[-1])(labels)
            projection = keras.layers.Dot(axes=1, dtype="float32")([embedding, features])
            logits = keras.layers.Add(dtype="float32")([logits, projection])
        network = keras.Model(inputs, logits, name="discriminator")
        self._seed_power_iterations(network)
        return network

    def _spectrally_normalised(self, layer):
        if not self.spectral_normalization:
            return layer
        # In float32: in lower precision the wrapper would round the kernel itself to it, in each
        # call, and the small steps of training with that. The layer inside keeps its own.
        return keras.layers.SpectralNormalization(layer, dtype="float32", name=layer.name)

    def _seed_power_iterations(self, network):
        """Draws anew the vectors that power iterations start from: Keras gives them no seed."""
        for layer in network.layers:
            if isinstance(layer, keras.layers.SpectralNormalization):
                draw = keras.initializers.RandomNormal(seed=self.next_seed())
                layer.vector_u.assign(draw(layer.vector_u.shape))
