"""What is said of a model's images."""

from keras_medgen.evaluation.reconstruction import reconstruction_quality

__all__ = ["reconstruction_quality"]
