"""How a client cuts what it sends into messages."""

import io
import math
from collections.abc import Iterator

from PIL import Image

from keras_medgen.serving.image_codec import MOST

# That go in one message at most: 20 MB of JSON, and files of 11 MB in base64. A row goes whole.
MESSAGE_NUMBERS, MESSAGE_FILE_BYTES, MESSAGE_PIXELS = 1 << 20, 8_000_000, MOST


def chunks(inputs, signature, batch_size) -> Iterator[slice]:
    """The rows of each message: as many as go in it, and one at least.

    Args:
        inputs: dict of arrays or lists of as many rows; `image_bytes` are files.
        signature: the SignatureDef of the call.
        batch_size: the most rows of a message.

    Yields:
        A slice of rows, each after the last.
    """
    numbers_in_a_row = max(
        sum(math.prod(max(1, size) for size in shape_of(info)[1:]) for info in message.values())
        for message in (signature.inputs, signature.outputs)
    )
    most = max(1, min(batch_size, MESSAGE_NUMBERS // max(1, numbers_in_a_row)))
    count = len(next(iter(inputs.values())))
    files = inputs.get("image_bytes")
    shares = [0.0] * count if files is None else [_share(file) for file in files]
    start = 0
    while start < count:
        end, taken = start + 1, shares[start]
        while end < min(start + most, count) and taken + shares[end] <= 1:
            taken += shares[end]
            end += 1
        yield slice(start, end)
        start = end


def _share(file):
    """Of what a message may hold."""
    try:
        with Image.open(io.BytesIO(file)) as picture:  # reads its header
            pixels = math.prod(picture.size)
    except Exception:  # Pillow has many for what is damaged; the server says it better
        pixels = 0
    return max(len(file) / MESSAGE_FILE_BYTES, pixels / MESSAGE_PIXELS)


def shape_of(info) -> tuple[int, ...]:
    """(-1, ...), from what a signature says of a tensor."""
    return tuple(dim.size for dim in info.tensor_shape.dim)
