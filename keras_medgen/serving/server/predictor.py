"""Requests checked against a model's signature, and run."""

import concurrent.futures
import contextlib
import time

import numpy as np
import tensorflow as tf

from keras_medgen.serving.server.batching import Batcher
from keras_medgen.serving.server.errors import invalid
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.repository import Repository
from keras_medgen.serving.server.servable import Signature


class Prediction(concurrent.futures.Future):
    """The outputs to come, from name to array; strings are object arrays of bytes.

    Attributes:
        version: int, of the model that answers.
    """

    version: int


class Predictor:
    """What REST and gRPC have in common.

    Args:
        repository: of the models.
        limits: of rows.
        metrics: counts the runs.
    """

    def __init__(self, repository: Repository, limits: Limits, metrics: Metrics):
        self._repository = repository
        self._limits = limits
        self._batcher = Batcher(limits, metrics)

    def submit(
        self,
        name: str,
        version: int | None,
        label: str | None,
        signature_name: str | None,
        inputs: dict[str, np.ndarray],
        timeout: float,
    ) -> Prediction:
        """Lets a request wait for its run; thread-safe, and it does not block.

        Args:
            name: of the model.
            version: int. Default: the highest.
            label: of a version, in place of its number.
            signature_name: "" or None is "serving_default".
            inputs: an array for each of the signature's inputs; strings are object arrays of bytes.
            timeout: seconds after which it is not worth running.

        Returns:
            A future of the outputs, or of a `ServingError`. The model is not unloaded before it is
            done. Whoever stops waiting for it cancels it.

        Raises:
            ServingError: if there is no such model, or the inputs do not fit the signature.
        """
        with contextlib.ExitStack() as stack:
            servable = stack.enter_context(self._repository.acquire(name, version, label))
            signature = servable.signature(signature_name)
            self._check(signature, inputs)
            prediction = Prediction()
            prediction.version = servable.version
            deadline = time.monotonic() + timeout
            self._batcher.submit(servable, signature, inputs, deadline, prediction)
            lease = stack.pop_all()
        prediction.add_done_callback(lambda _: lease.close())
        return prediction

    def signature(
        self, name: str, version: int | None, label: str | None, signature_name: str | None
    ) -> Signature:
        """The signature that `submit` would run.

        Raises:
            ServingError: as `submit`.
        """
        with self._repository.acquire(name, version, label) as servable:
            return servable.signature(signature_name)

    def stop(self, timeout: float) -> bool:
        """Waits for the requests that were submitted, and says whether all were run by then.

        Args:
            timeout: seconds.
        """
        return self._batcher.stop(timeout)

    def _check(self, signature: Signature, inputs: dict[str, np.ndarray]):
        missing = sorted(signature.inputs.keys() - inputs.keys())
        unknown = sorted(name[:100] for name in inputs.keys() - signature.inputs.keys())
        if missing or unknown:
            raise invalid(
                f"Inputs of {signature.name} must be {', '.join(signature.inputs)}. "
                f"Missing: {', '.join(missing) or 'none'}; unknown: "
                f"{', '.join(unknown[:10]) or 'none'}."
            )
        for name, spec in signature.inputs.items():
            array = inputs[name]
            if array.dtype != (object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype):
                raise invalid(
                    f"Input {name!r} must be of type {spec.dtype.name}. Received: {array.dtype}."
                )
            if not spec.shape.is_compatible_with(array.shape):
                raise invalid(
                    f"Input {name!r} must have the shape {_text(spec.shape)}. "
                    f"Received: {_text(array.shape)}."
                )
        if signature.has_rows:
            self._check_rows({name: len(inputs[name]) for name in signature.inputs})

    def _check_rows(self, rows: dict[str, int]):
        counts = set(rows.values())
        if len(counts) > 1:
            told = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise invalid(f"Inputs must have equally many rows. Received: {told}.")
        (count,) = counts
        if not 1 <= count <= self._limits.max_batch_rows:
            raise invalid(
                f"A request must have 1 to {self._limits.max_batch_rows} rows. Received: {count}."
            )


def _text(shape) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
