"""The command line, `keras-medgen`."""

from keras_medgen.cli.main import app, main

__all__ = ["app", "main"]
