"""What is said of a model's images."""

from keras_medgen.evaluation.compare import write_comparison
from keras_medgen.evaluation.evaluate import evaluate
from keras_medgen.evaluation.reader_study import score_study, write_study
from keras_medgen.evaluation.reconstruction import reconstruction_quality
from keras_medgen.evaluation.report import Picture, Report, Section, Table

__all__ = [
    "Picture",
    "Report",
    "Section",
    "Table",
    "evaluate",
    "reconstruction_quality",
    "score_study",
    "write_comparison",
    "write_study",
]
