"""The requests that TF Serving answers to itself before it serves a model."""

from pathlib import Path

import numpy as np
import tensorflow as tf

FILE = "tf_serving_warmup_requests"
# Between them they run every network; the first request of a signature is the slow one.
SIGNATURES = ("serving_default", "generate_png", "encode")


def write_warmup(folder: Path, name: str, signatures: dict[str, dict[str, dict]]) -> None:
    """Writes a request of one row for some of the signatures.

    Nothing is written where tensorflow-serving-api (extra `serve`) is not installed.

    Args:
        folder: assets.extra of the exported model.
        name: of the model.
        signatures: from each name to `inputs` and `outputs`, a `tf.TensorSpec` by name.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for signature in SIGNATURES:
            if signature not in signatures:
                continue
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, spec in signatures[signature]["inputs"].items():
                zeros = np.zeros((1, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
                request.inputs[key].CopyFrom(tf.make_tensor_proto(zeros))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
