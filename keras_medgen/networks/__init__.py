"""Builders of functional Keras models: encoders and decoders."""

from keras_medgen.networks.convolutional import convolutional_decoder, convolutional_encoder
from keras_medgen.networks.dense import dense_decoder, dense_encoder
from keras_medgen.networks.larsen import larsen_decoder, larsen_encoder

__all__ = [
    "convolutional_decoder",
    "convolutional_encoder",
    "dense_decoder",
    "dense_encoder",
    "larsen_decoder",
    "larsen_encoder",
]
