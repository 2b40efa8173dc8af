"""Images from anywhere, as one honest tf.data pipeline."""

from keras_medgen.data.augment import Augment, augment
from keras_medgen.data.image_data import ImageData, LoadReport
from keras_medgen.data.load import load
from keras_medgen.data.shards import write_shards

__all__ = ["Augment", "ImageData", "LoadReport", "augment", "load", "write_shards"]
