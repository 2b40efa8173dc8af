"""One version of a model, loaded."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_medgen.serving.server.errors import ServingError, from_tensorflow

_WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
_MAX_WARM_UPS = 1000  # TF Serving's own bound


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signature takes and gives.

    Attributes:
        name: such as "serving_default".
        inputs: from name to `tf.TensorSpec`.
        outputs: from name to `tf.TensorSpec`.
    """

    name: str
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]

    @functools.cached_property
    def has_rows(self) -> bool:
        """Whether the first axis of every input and output is a batch of any size."""
        return bool(self.inputs) and all(
            spec.shape.rank and spec.shape[0] is None
            for spec in (*self.inputs.values(), *self.outputs.values())
        )


class Servable:
    """A SavedModel in memory; its folder is not needed any more once it is loaded.

    Args:
        name: of the model.
        version: int.
        path: of the SavedModel.

    Attributes:
        signatures: from name to `Signature`.
        signature_def_map: from name to the `SignatureDef` protobuf that the file holds.

    Raises:
        ServingError: if it cannot be loaded, or one of its warm-up requests fails.
    """

    def __init__(self, name: str, version: int, path: str | Path):
        self.name = name
        self.version = version
        try:
            self.signature_def_map = _signature_defs(Path(path))
            # The functions keep their variables alive only through the loaded object.
            self._loaded = tf.saved_model.load(str(path))
            self._functions = dict(self._loaded.signatures)
            self.signatures = {
                signature: Signature(
                    signature,
                    _specs(self.signature_def_map[signature].inputs),
                    _specs(self.signature_def_map[signature].outputs),
                )
                for signature in self._functions
            }
            self._warm_up(Path(path) / _WARM_UP)
        except ServingError:
            raise
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        except Exception as error:
            # Whatever is wrong with the files, TensorFlow says it with the exception at hand:
            # ValueError, KeyError, DecodeError, OSError, AttributeError.
            reason = str(error).strip().partition("\n")[0][:300]
            message = f"It is no SavedModel that loads: {type(error).__name__}: {reason}"
            raise ServingError("UNKNOWN", message) from error

    def signature(self, name: str | None) -> Signature:
        """A signature by its name, "" or None being "serving_default".

        Raises:
            ServingError: FAILED_PRECONDITION if the model has no such signature.
        """
        name = name or "serving_default"
        if name not in self.signatures:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"signature_name must be one of {', '.join(sorted(self.signatures))}. "
                f"Received: signature_name={name[:100]!r}.",
            )
        return self.signatures[name]

    def run(self, signature_name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature, strings as object arrays of bytes.

        Args:
            signature_name: one of `signatures`.
            inputs: an array for each of its inputs, of its dtype and of a shape that fits.

        Raises:
            ServingError: what TensorFlow says of it, in one sentence.
        """
        try:
            outputs = self._functions[signature_name](
                **{name: tf.constant(array) for name, array in inputs.items()}
            )
            return {
                # A scalar comes out of TensorFlow as bytes or a number.
                name: np.array(output.numpy(), object if output.dtype == tf.string else None)
                if output.shape.rank == 0
                else output.numpy()
                for name, output in outputs.items()
            }
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None

    def _warm_up(self, path: Path):
        """Runs what the export left for this, so that the first request is as fast as the rest."""
        if not path.is_file():
            return
        from tensorflow_serving.apis import prediction_log_pb2

        for record in tf.data.TFRecordDataset(str(path)).take(_MAX_WARM_UPS).as_numpy_iterator():
            entry = prediction_log_pb2.PredictionLog.FromString(record)
            if not entry.HasField("predict_log"):
                continue  # of a kind of request that this server has not
            request = entry.predict_log.request
            signature = self.signature(request.model_spec.signature_name)
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            self.run(signature.name, inputs)


def _signature_defs(path: Path):
    """The signatures that the SavedModel's file declares, as TF Serving shows them."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    for graph in model.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError("saved_model.pb must hold a graph with the tag 'serve'.")


def _specs(tensors) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name)
        for name, info in sorted(tensors.items())
    }
