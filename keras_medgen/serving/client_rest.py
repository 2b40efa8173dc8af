"""Calls of TF Serving's REST API.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import json
import time
from urllib.parse import quote

import numpy as np
import requests
import tensorflow as tf
import urllib3
from google.protobuf import json_format
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from keras_medgen.serving.client_errors import (
    ClientError,
    DeadlineExceededError,
    OtherOutputsError,
)

try:
    import orjson  # of the extra "serve": many times as fast with arrays
except ImportError:
    orjson = None

CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",  # a proxy's, whose server is down
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RESTTransport:
    """One model of a server that speaks HTTP.

    Args:
        url: such as "http://127.0.0.1:8501", with a path if a proxy has put the server there.
        model: its name.
        version: its number; None for the server's default.
    """

    def __init__(self, url: str, model: str, version: int | None):
        self._address = f"{url.rstrip('/')}/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._address += f"/versions/{version}"
        self._session = requests.Session()
        # No gzip: images hardly shrink, and both sides would pay for it.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers["Content-Type"] = "application/json"

    def signatures(self, timeout: float) -> dict[str, SignatureDef]:
        """What the model can be asked for."""
        answer = self._send("GET", "/metadata", None, timeout)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: json_format.ParseDict(one, SignatureDef(), ignore_unknown_fields=True)
                for name, one in found.items()
            }
        except (KeyError, TypeError, AttributeError, json_format.ParseError):
            raise ClientError("UNKNOWN", f"{self._address} gave no metadata of a model.") from None

    def predict(
        self, name: str, signature: SignatureDef, inputs: dict[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        """Runs a signature, in column format."""
        columns = {key: _to_json(array) for key, array in inputs.items()}
        body = _dumps({"signature_name": name, "inputs": columns})
        answer = self._send("POST", ":predict", body, timeout)
        infos = signature.outputs
        try:
            outputs = answer["outputs"]
            if len(infos) == 1:  # goes unnamed
                outputs = dict.fromkeys(infos, outputs)
            return {key: _to_array(outputs[key], info.dtype) for key, info in infos.items()}
        except (KeyError, TypeError, ValueError):
            raise OtherOutputsError(self._address) from None

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def _send(self, method, path, body, timeout):
        end = time.monotonic() + timeout
        try:
            # The timeout of requests is for each wait: that for the whole answer is ours.
            with self._session.request(
                method,
                self._address + path,
                data=body,
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            ) as response:
                content = _read(response.raw, end)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise DeadlineExceededError from None
        except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
            raise ClientError(
                "UNAVAILABLE", f"{self._address} cannot be reached: {error}"
            ) from None
        try:
            answer = _loads(content)
        except ValueError:
            answer = None
        if response.status_code != 200:
            raise ClientError(
                CODES.get(response.status_code, "UNKNOWN"),
                answer["error"]
                if isinstance(answer, dict) and "error" in answer
                else f"HTTP status {response.status_code} of {self._address}",
            )
        if not isinstance(answer, dict):
            raise ClientError("UNKNOWN", f"{self._address} answered with no JSON object.")
        return answer


def _read(raw, end):
    parts = []
    while part := raw.read1(1 << 16):  # what has come, without waiting for more
        parts.append(part)
        if time.monotonic() > end:
            raise DeadlineExceededError
    return b"".join(parts)


def _to_json(array):
    if array.dtype == object:
        return [{"b64": base64.b64encode(one).decode()} for one in array]
    return np.ascontiguousarray(array) if orjson else array.tolist()


def _to_array(value, dtype):
    if dtype == tf.string.as_datatype_enum:
        return np.array(
            [
                base64.b64decode(one["b64"]) if isinstance(one, dict) else one.encode()
                for one in value
            ],
            object,
        )
    return np.asarray(value, tf.as_dtype(dtype).as_numpy_dtype)


def _dumps(value):
    if orjson:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value).encode()


def _loads(content):
    if orjson:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            pass  # perhaps NaN or Infinity, which TF Serving sends and orjson does not take
    return json.loads(content)
