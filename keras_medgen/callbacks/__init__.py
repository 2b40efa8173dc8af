"""What runs during `fit`: pictures, schedules, checkpoints, and reasons to stop."""

from keras_medgen.callbacks.checkpoint import Checkpoint
from keras_medgen.callbacks.collapse_gauge import CollapseGauge
from keras_medgen.callbacks.distribution_distance import DistributionDistance
from keras_medgen.callbacks.kl_cycles import KLCycles
from keras_medgen.callbacks.kl_schedule import KLSchedule
from keras_medgen.callbacks.kl_warm_up import KLWarmUp
from keras_medgen.callbacks.loss_curves import LossCurves, read_history
from keras_medgen.callbacks.sample_grid import SampleGrid
from keras_medgen.callbacks.stop_at_nan import StopAtNaN
from keras_medgen.callbacks.time_limit import TimeLimit

__all__ = [
    "Checkpoint",
    "CollapseGauge",
    "DistributionDistance",
    "KLCycles",
    "KLSchedule",
    "KLWarmUp",
    "LossCurves",
    "SampleGrid",
    "StopAtNaN",
    "TimeLimit",
    "read_history",
]
