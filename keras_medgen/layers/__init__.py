"""Layers that Keras lacks, or has in a slower form."""

from keras_medgen.layers.differentiable_augmentation import DifferentiableAugmentation
from keras_medgen.layers.group_normalization import GroupNormalization

__all__ = ["DifferentiableAugmentation", "GroupNormalization"]
