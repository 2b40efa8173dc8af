"""What is said of a model's images."""

from keras_medgen.evaluation.classification import classification_figures, difference
from keras_medgen.evaluation.compare import Comparison, write_comparison
from keras_medgen.evaluation.evaluate import evaluate
from keras_medgen.evaluation.reader_study import score_study, write_study
from keras_medgen.evaluation.reconstruction import reconstruction_quality
from keras_medgen.evaluation.report import Picture, Report, Section, Table
from keras_medgen.evaluation.segmentation import segmentation_figures
from keras_medgen.evaluation.segmenter import segmenter_training
from keras_medgen.metrics.small_classifier import classifier_training

__all__ = [
    "Comparison",
    "Picture",
    "Report",
    "Section",
    "Table",
    "classification_figures",
    "classifier_training",
    "difference",
    "evaluate",
    "reconstruction_quality",
    "score_study",
    "segmentation_figures",
    "segmenter_training",
    "write_comparison",
    "write_study",
]
