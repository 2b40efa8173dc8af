"""Residual blocks."""

import keras

from keras_medgen.layers import GroupNormalization
from keras_medgen.networks.seeded_layers import SeededLayers


class ResidualLayers(SeededLayers):
    """Normalisation and residual blocks beside the layers with seeds."""

    def activation(self, x):
        """`x` after a leaky ReLU."""
        return keras.layers.LeakyReLU(0.2)(x)

    def normalised(self, x, labels=None):
        """`x` (batch, height, width, channels) after group normalisation and activation."""
        return self.activation(self.add_labels(GroupNormalization()(x), labels))

    def residual_block(self, x, labels=None):
        """`x` plus a 3x3 convolution of it, normalised."""
        change = self.convolution(x.shape[-1], 3)(self.normalised(x, labels))
        return keras.layers.Add()([x, change])
