"""What does not look healthy to a model of healthy images: maps, scores, and how far they go."""

from keras_medgen.anomaly.detection import detect
from keras_medgen.anomaly.detector import AnomalyDetector
from keras_medgen.anomaly.evaluation import evaluate
from keras_medgen.anomaly.sweep import sweep_timesteps, validation_arguments
from keras_medgen.anomaly.table import AnomalyTable

__all__ = [
    "AnomalyDetector",
    "AnomalyTable",
    "detect",
    "evaluate",
    "sweep_timesteps",
    "validation_arguments",
]
