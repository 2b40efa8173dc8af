"""Builders of functional Keras models: encoders and decoders."""

from keras_medgen.networks.convolutional import convolutional_decoder, convolutional_encoder

__all__ = ["convolutional_decoder", "convolutional_encoder"]
