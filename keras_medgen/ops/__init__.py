"""Pure tensor functions."""

from keras_medgen.ops.random import normal_rows

__all__ = ["normal_rows"]
