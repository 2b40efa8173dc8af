"""Models as files that TF Serving takes as they are, and calls of what serves them."""

from keras_medgen.serving.client import Client
from keras_medgen.serving.client_errors import ClientError
from keras_medgen.serving.export import export

__all__ = ["Client", "ClientError", "export"]
