"""Images from anywhere, as one honest tf.data pipeline."""

from keras_medgen.data.image_data import ImageData, LoadReport
from keras_medgen.data.load import load

__all__ = ["ImageData", "LoadReport", "load"]
