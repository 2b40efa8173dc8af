"""The version of keras_medgen: read by pyproject.toml without importing TensorFlow."""

__version__ = "0.1.0"
