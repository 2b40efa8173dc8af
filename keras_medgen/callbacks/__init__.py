"""What runs during `fit`: pictures of samples, reconstructions and losses."""

from keras_medgen.callbacks.loss_curves import LossCurves, read_history
from keras_medgen.callbacks.sample_grid import SampleGrid
from keras_medgen.callbacks.time_limit import TimeLimit

__all__ = ["LossCurves", "SampleGrid", "TimeLimit", "read_history"]
