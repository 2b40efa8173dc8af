"""Layers that Keras lacks, or has in a slower form."""

from keras_medgen.layers.differentiable_augmentation import DifferentiableAugmentation
from keras_medgen.layers.dot_product_attention import DotProductAttention
from keras_medgen.layers.group_normalization import GroupNormalization
from keras_medgen.layers.timestep_embedding import TimestepEmbedding

__all__ = [
    "DifferentiableAugmentation",
    "DotProductAttention",
    "GroupNormalization",
    "TimestepEmbedding",
]
