"""Models as files that TF Serving takes as they are."""

from keras_medgen.serving.export import export

__all__ = ["export"]
