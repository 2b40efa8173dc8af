"""Calls of TF Serving's PredictionService over gRPC."""

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from keras_medgen.serving.client_errors import (
    ClientError,
    DeadlineExceededError,
    OtherOutputsError,
)

OPTIONS = (
    ("grpc.max_send_message_length", -1),  # the server knows its limits
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # we retry
    # Else a channel that found no server does not look again for a second or more.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class GRPCTransport:
    """One model of a server that speaks gRPC.

    Args:
        target: such as "127.0.0.1:8500".
        model: its name.
        version: its number; None for the server's default.
    """

    def __init__(self, target: str, model: str, version: int | None):
        self._target = target
        self._channel = grpc.insecure_channel(target, OPTIONS)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._spec = model_pb2.ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version

    def signatures(self, timeout: float) -> dict[str, SignatureDef]:
        """What the model can be asked for."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        answer = _called(self._stub.GetModelMetadata, request, timeout)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return dict(found.signature_def)

    def predict(
        self, name: str, signature: SignatureDef, inputs: dict[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        """Runs a signature."""
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = name
        for key, array in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
        answer = _called(self._stub.Predict, request, timeout)
        if answer.outputs.keys() != signature.outputs.keys():
            raise OtherOutputsError(self._target)
        return {key: tf.make_ndarray(tensor) for key, tensor in answer.outputs.items()}

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


def _called(method, request, timeout):
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise DeadlineExceededError from None
        code, details = error.code().name, error.details()
        if "larger than max" in (details or ""):
            code = "OUT_OF_RANGE"  # not RESOURCE_EXHAUSTED: no pause makes a message smaller
        raise ClientError(code, details) from None
