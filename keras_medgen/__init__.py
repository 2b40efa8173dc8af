"""Generative models of medical images on Keras 3 and TensorFlow: train, measure, serve."""

from keras_medgen import _startup

_startup.check_backend()
_startup.import_tensorflow()

from keras_medgen import (  # noqa: E402
    anomaly,
    callbacks,
    data,
    evaluation,
    latents,
    layers,
    losses,
    metrics,
    models,
    networks,
    ops,
    pictures,
    precision,
    serving,
)
from keras_medgen._version import __version__  # noqa: E402

__all__ = [
    "__version__",
    "anomaly",
    "callbacks",
    "data",
    "evaluation",
    "latents",
    "layers",
    "losses",
    "metrics",
    "models",
    "networks",
    "ops",
    "pictures",
    "precision",
    "serving",
]
