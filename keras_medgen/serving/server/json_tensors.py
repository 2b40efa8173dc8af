"""TF Serving's JSON, to arrays and back.

Its rules are in https://www.tensorflow.org/tfx/serving/api_rest.
"""

import base64
import binascii
import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from keras_medgen.serving.server.errors import ServingError, invalid
from keras_medgen.serving.server.servable import Signature


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """The body of a predict request.

    Attributes:
        signature_name: "" if it names none.
        row_format: whether the tensors came as "instances", and so go back as "predictions";
            otherwise as "inputs" and "outputs".
        tensors: the value of either key.
    """

    signature_name: str
    row_format: bool
    tensors: Any


def parse(body: bytes) -> PredictRequest:
    """Reads a body.

    Raises:
        ServingError: INVALID_ARGUMENT if it is not a predict request in JSON.
    """
    document = _load(body)
    if not isinstance(document, dict):
        raise invalid("The body must be a JSON object.")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("signature_name must be a string.")
    if ("instances" in document) == ("inputs" in document):
        raise invalid("The body must have either 'instances' or 'inputs', and not both.")
    if "inputs" in document:
        return PredictRequest(name, False, document["inputs"])
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list with at least one item.")
    return PredictRequest(name, True, instances)


def to_inputs(request: PredictRequest, signature: Signature) -> dict[str, np.ndarray]:
    """The arrays of a request, of the signature's types; their shapes are still to be checked.

    Raises:
        ServingError: INVALID_ARGUMENT if the values are not tensors of these types.
    """
    if not signature.inputs:
        raise invalid(f"{signature.name} has no inputs: it is not for requests.")
    columns = _rows_to_columns(request.tensors) if request.row_format else request.tensors
    if not _is_object(columns):
        if len(signature.inputs) > 1:
            raise invalid(
                f"{signature.name} has several inputs, which must be named: "
                f"{', '.join(signature.inputs)}."
            )
        columns = {next(iter(signature.inputs)): columns}
    unknown = sorted(name[:100] for name in columns.keys() - signature.inputs.keys())
    if unknown and request.row_format:  # in columns TF Serving looks over them
        raise invalid(
            f"Inputs of {signature.name} must be {', '.join(signature.inputs)}. "
            f"Unknown: {', '.join(unknown[:10])}."
        )
    return {
        name: _array(name, value, signature.inputs[name])
        for name, value in columns.items()
        if name in signature.inputs
    }


def to_body(outputs: dict[str, np.ndarray], row_format: bool) -> bytes:
    """The answer to a request.

    Args:
        outputs: from name to array, strings as object arrays of bytes. Those whose names end in
            "_bytes" are written in base 64.
        row_format: whether the request was in row format.

    Raises:
        ServingError: if they cannot be written, as rows or at all.
    """
    values = {name: _writable(name, array) for name, array in outputs.items()}
    # orjson would write null for NaN, where TF Serving writes NaN.
    dump = _orjson if all(map(_is_finite, outputs.values())) else _with_nan
    if not row_format:
        return dump({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    counts = {len(array) if array.ndim else None for array in outputs.values()}
    if len(counts) > 1 or None in counts:
        raise invalid(
            "The outputs differ in their numbers of rows, or have none: ask in column format, "
            "with 'inputs' in place of 'instances'."
        )
    if len(values) == 1:
        return dump({"predictions": next(iter(values.values()))})
    rows = zip(*values.values(), strict=True)
    return dump({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def _load(body: bytes):
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # NaN and Infinity are legal here, and orjson takes JSON by the letter.
        if b"NaN" not in body and b"Infinity" not in body:
            raise invalid(f"The body must be JSON: {error}.") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body must be JSON: {str(error)[:200]}.") from None


def _rows_to_columns(rows: list):
    """A list of named rows as named columns; a list of values as it is."""
    if not any(map(_is_object, rows)):
        return rows
    names = rows[0].keys() if _is_object(rows[0]) else ()
    for index, row in enumerate(rows):
        if not _is_object(row) or row.keys() != names:
            raise invalid(
                f"All of 'instances' must be objects with the same names. Received: item {index}."
            )
    return {name: [row[name] for row in rows] for name in names}


def _is_object(value) -> bool:
    """Whether a value is an object of named tensors, and not a string in base 64."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _array(name: str, value, spec: tf.TensorSpec) -> np.ndarray:
    """Nested lists as an array; no type is turned into another, except whole numbers to floats."""
    values, shape = _flat(name, value)
    if spec.shape.rank is not None and len(shape) != spec.shape.rank:
        raise invalid(
            f"Input {name!r} must be nested in {spec.shape.rank} lists. Received: {len(shape)}."
        )
    accepted, description = _accepted(name, spec.dtype)
    refused = set(map(type, values)) - accepted
    if refused:
        kinds = ", ".join(sorted(_KINDS[kind] for kind in refused))
        raise invalid(f"Input {name!r} must hold {description}. Received: {kinds}.")
    if spec.dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = [_string(name, each) for each in values]
    else:
        array = _numbers(name, values, spec.dtype)
    return array.reshape(shape)


def _accepted(name: str, dtype: tf.DType) -> tuple[set[type], str]:
    """What JSON may hold for a type, in Python's types and in words."""
    if dtype == tf.string:
        return {str, dict}, 'strings, or {"b64": …} of base 64'
    if dtype == tf.bool:
        return {bool}, "true or false"
    if dtype.is_integer:
        return {int}, "whole numbers"
    if dtype.is_floating:
        return {int, float}, "numbers"
    raise ServingError("UNIMPLEMENTED", f"JSON has no {dtype.name}, as {name!r} is: use gRPC.")


_KINDS = {
    bool: "a truth value",
    int: "a number",
    float: "a fraction",
    str: "a string",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def _flat(name: str, value) -> tuple[list, tuple[int, ...]]:
    """The values in nested lists, which must be of equal length, and the shape of them."""
    shape, values = [], [value]
    while values and isinstance(values[0], list):
        lengths = {len(each) if isinstance(each, list) else -1 for each in values}
        if len(lengths) > 1:
            raise invalid(f"Input {name!r} must have lists of one length at each level.")
        shape.extend(lengths)
        values = list(itertools.chain.from_iterable(values))
    return values, tuple(shape)


def _numbers(name: str, values: list, dtype: tf.DType) -> np.ndarray:
    if dtype == tf.bool:
        return np.array(values, bool)
    wide = np.float64 if dtype.is_floating else np.uint64 if dtype == tf.uint64 else np.int64
    try:
        array = np.array(values, wide)
    except OverflowError:
        raise invalid(f"Input {name!r} must hold numbers that fit {dtype.name}.") from None
    finite = array[np.isfinite(array)]
    if dtype == tf.float32 and any(
        type(each) is int and float(np.float32(each)) != each for each in values
    ):
        raise invalid(f"Input {name!r} must hold whole numbers that float32 can tell apart.")
    # A float32 beyond the range would silently become infinite, an int32 another number.
    if len(finite) and not (dtype.min <= finite.min() and finite.max() <= dtype.max):
        raise invalid(f"Input {name!r} must hold numbers that fit {dtype.name}.")
    return array.astype(dtype.as_numpy_dtype)


def _string(name: str, value: str | dict) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if not _is_base64(value):
            raise invalid(f'Input {name!r} must hold strings, or {{"b64": …}} of base 64.')
        text = value["b64"]
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise invalid(f"Input {name!r} must hold text in UTF-8, or proper base 64.") from None


def _writable(name: str, array: np.ndarray):
    """An array as what orjson writes: itself if of numbers, else nested lists."""
    if array.dtype == object:
        texts = np.empty(array.size, object)
        texts[:] = [_text(name, value) for value in array.ravel()]
        return texts.reshape(array.shape).tolist()
    if array.dtype.kind not in "biuf":
        raise ServingError("UNIMPLEMENTED", f"JSON has no {array.dtype}, as {name!r} is: use gRPC.")
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _text(name: str, value: bytes):
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid(
            f"Output {name!r} is not text in UTF-8, which JSON cannot hold: ask over gRPC."
        ) from None


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _orjson(document) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _with_nan(document) -> bytes:
    return json.dumps(document, default=_numbers_of, separators=(",", ":")).encode()


def _numbers_of(array):
    """An array in Python's numbers, a float32 as the short decimal that stands for it."""
    array = np.asarray(array)
    return (array.astype(str).astype(float) if array.dtype.kind == "f" else array).tolist()
