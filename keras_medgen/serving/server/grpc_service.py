"""TF Serving's PredictionService and ModelService over gRPC.

The messages and the stubs are tensorflow-serving-api's own; what is answered follows
https://github.com/tensorflow/serving/tree/master/tensorflow_serving.
"""

import concurrent.futures
import logging
import math
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from keras_medgen.serving.server.errors import ServingError, invalid
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.logs import log
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.predictor import Predictor
from keras_medgen.serving.server.repository import Repository

THREADS = 64  # that wait for their batch; as many calls again may wait for a thread
SIGNATURES = "signature_def"  # the only field of metadata that there is
LONGEST_MESSAGE = 1000  # gRPC sends it in a header, and headers are bounded


def start_grpc(
    predictor: Predictor,
    repository: Repository,
    limits: Limits,
    metrics: Metrics,
    host: str,
    port: int,
) -> tuple[grpc.Server, int]:
    """Starts the gRPC server.

    Args:
        predictor: answers Predict.
        repository: of the models.
        limits: of a message's bytes, and of a call's time.
        metrics: counts the calls.
        host: the address to listen at.
        port: 0 for any that is free.

    Returns:
        The server, to be stopped with `stop(grace)`, and its port.

    Raises:
        OSError: if it cannot listen there.
    """
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(THREADS, "grpc"),
        maximum_concurrent_rpcs=2 * THREADS,  # RESOURCE_EXHAUSTED beyond
        options=(
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else two servers could share a port and its requests
            # A call holds a thread from its first byte on, whether or not a message follows.
            ("grpc.max_connection_age_ms", round(1000 * limits.max_grpc_connection_seconds)),
            ("grpc.max_connection_age_grace_ms", round(1000 * (limits.timeout_seconds + 1))),
        ),
    )
    service = _Service(predictor, repository, limits, metrics)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        raise OSError(
            f"The gRPC server cannot listen at {address}: is another one there?"
        ) from None
    server.start()
    return server, bound


class _Service:
    """Both services, whose methods' names gRPC prescribes."""

    def __init__(self, predictor, repository, limits, metrics):
        self._predictor = predictor
        self._repository = repository
        self._limits = limits
        self._metrics = metrics

    def Predict(self, request, context):  # noqa: N802
        return self._answer("predict", self._predict, request, context)

    def GetModelMetadata(self, request, context):  # noqa: N802
        return self._answer("metadata", self._metadata, request, context)

    def GetModelStatus(self, request, context):  # noqa: N802
        return self._answer("status", self._status, request, context)

    def _unimplemented(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "This server does not have this method.")

    Classify = Regress = MultiInference = HandleReloadConfigRequest = _unimplemented

    def _answer(self, method, function, request, context):
        start, code, message, answer = time.perf_counter(), "OK", None, None
        try:
            answer = function(request, context)
        except ServingError as error:
            code, message = error.code, error.message
        except Exception:
            log("request failed", logging.ERROR, exc_info=True, api="grpc", method=method)
            code, message = "INTERNAL", "The server failed on this request."
        seconds = time.perf_counter() - start
        self._metrics.observe_request("grpc", method, code, seconds)
        model = request.model_spec.name[:100]
        log("request", api="grpc", method=method, model=model, code=code, seconds=round(seconds, 6))
        if answer is None:
            context.abort(grpc.StatusCode[code], message[:LONGEST_MESSAGE])
        return answer

    def _predict(self, request, context):
        name, version, label = _model(request)
        signature = self._predictor.signature(
            name, version, label, request.model_spec.signature_name
        )
        inputs = {
            key: self._array(key, tensor, signature)
            if key in signature.inputs
            else np.empty(0)  # refused by name when the inputs are checked
            for key, tensor in request.inputs.items()
        }
        wanted = _wanted_outputs(request, signature)
        left = context.time_remaining()  # None where the client set no deadline
        timeout = self._limits.timeout_seconds
        timeout = timeout if left is None else min(timeout, left)
        prediction = self._predictor.submit(name, version, label, signature.name, inputs, timeout)
        if not context.add_callback(prediction.cancel):  # for a client that goes before
            prediction.cancel()  # it has gone already
        try:
            outputs = prediction.result(timeout)
        except concurrent.futures.TimeoutError:
            prediction.cancel()
            raise ServingError("DEADLINE_EXCEEDED", "The time for this request is up.") from None
        except concurrent.futures.CancelledError:
            raise ServingError("CANCELLED", "The client does not wait any more.") from None
        answer = predict_pb2.PredictResponse()
        _tell_model(answer.model_spec, name, prediction.version, signature.name)
        for key in wanted:
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return answer

    def _metadata(self, request, context):
        name, version, label = _model(request)
        if not request.metadata_field:
            raise invalid("A request for metadata must name a metadata_field.")
        for field in request.metadata_field:
            if field != SIGNATURES:
                raise invalid(f"metadata_field must be {SIGNATURES!r}. Received: {field[:100]!r}.")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._repository.acquire(name, version, label) as servable:
            for key, signature in servable.signature_def_map.items():
                signatures.signature_def[key].CopyFrom(signature)
            _tell_model(answer.model_spec, name, servable.version)
        answer.metadata[SIGNATURES].Pack(signatures)
        return answer

    def _status(self, request, context):
        name, version, label = _model(request)
        answer = get_model_status_pb2.GetModelStatusResponse()
        for each in self._repository.status(name, version, label):
            one = answer.model_version_status.add(version=each["version"])
            one.state = get_model_status_pb2.ModelVersionStatus.State.Value(each["state"])
            one.status.error_code = grpc.StatusCode[each["code"]].value[0]
            one.status.error_message = each["message"]
        return answer

    def _array(self, name, tensor, signature):
        """The array of a TensorProto, whose few bytes may stand for a huge one."""
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        known = signature.inputs[name].shape
        fits = min(shape, default=0) >= 0 and known.is_compatible_with(shape)
        most = self._limits.max_batch_rows
        if not fits or (signature.has_rows and not 1 <= shape[0] <= most):
            raise invalid(
                f"Input {name!r} must have the shape {known}, of 1 to {most} rows. "
                f"Received: {shape}."
            )
        try:
            dtype = tf.as_dtype(tensor.dtype)
            size = math.prod(shape) * max(1, dtype.size)
            if size <= self._limits.max_body_bytes:
                return tf.make_ndarray(tensor)
        except (TypeError, ValueError, KeyError):  # what TensorFlow says of such
            raise invalid(
                f"Input {name[:100]!r} must be a tensor with a type, a shape and values for it."
            ) from None
        raise invalid(
            f"Input {name[:100]!r} must have at most {self._limits.max_body_bytes} bytes. "
            f"Received: {size}."
        )


def _model(request):
    """The name, version and label that a request asks for; of these two at most one is not None."""
    if not request.HasField("model_spec") or not request.model_spec.name:
        raise invalid("A request must have a model_spec with the name of a model.")
    spec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    return spec.name, version, spec.version_label if spec.HasField("version_label") else None


def _wanted_outputs(request, signature):
    """The outputs that are asked for: by default all."""
    wanted = list(request.output_filter)
    unknown = [key for key in wanted if key not in signature.outputs]
    if unknown or len(set(wanted)) < len(wanted):
        raise invalid(
            f"output_filter must be some of {', '.join(signature.outputs)}, each once. "
            f"Received: {', '.join(wanted)[:200]}."
        )
    return wanted or list(signature.outputs)


def _tell_model(spec, name, version, signature_name=""):
    spec.name, spec.signature_name = name, signature_name
    spec.version.value = version
