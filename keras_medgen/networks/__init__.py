"""Builders of functional Keras models: encoders, decoders, generators, discriminators, a U-Net."""

from keras_medgen.networks.convolutional import (
    convolutional_decoder,
    convolutional_discriminator,
    convolutional_encoder,
)
from keras_medgen.networks.dcgan import dcgan_discriminator, dcgan_generator
from keras_medgen.networks.dense import (
    dense_decoder,
    dense_discriminator,
    dense_encoder,
    dense_generator,
)
from keras_medgen.networks.larsen import larsen_decoder, larsen_discriminator, larsen_encoder
from keras_medgen.networks.spatial import spatial_decoder, spatial_encoder
from keras_medgen.networks.unet import unet

__all__ = [
    "convolutional_decoder",
    "convolutional_discriminator",
    "convolutional_encoder",
    "dcgan_discriminator",
    "dcgan_generator",
    "dense_decoder",
    "dense_discriminator",
    "dense_encoder",
    "dense_generator",
    "larsen_decoder",
    "larsen_discriminator",
    "larsen_encoder",
    "spatial_decoder",
    "spatial_encoder",
    "unet",
]
