"""Calls of a model that a server serves."""

import io
import itertools
import numbers
import random
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_medgen.models.arguments import check_at_least
from keras_medgen.models.batches import checked_images, checked_labels
from keras_medgen.serving.client_chunks import chunks, shape_of
from keras_medgen.serving.client_errors import (
    RETRIED,
    ClientError,
    DeadlineExceededError,
    OtherOutputsError,
)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds, before another try
GRPC_PORT = 8500
INT32 = np.iinfo(np.int32)


class Client:
    """A model on a server: TF Serving, or `keras-medgen serve`.

    Large inputs go in chunks. What may succeed when tried again (a server that is not up yet, or
    too busy) is tried again, after pauses that double; all calls may be repeated, as none changes
    anything. A client is for one thread.

    Args:
        url: "http://host:8501" or "https://…" for REST, "grpc://host:8500" for gRPC, which needs
            the extra `serve` and carries float images in a fifth of the bytes.
        model: its name.
        version: its number. Default: the server's, which is the highest.
        batch_size: images in a message, of large ones fewer.
        timeout: seconds that a call may take, with all its chunks and tries.
        retries: of a message.

    Raises:
        ValueError: for another url.
        ImportError: for gRPC without the extra.

    Example:
    ```python
    client = kmg.serving.Client("http://127.0.0.1:8501", model="retina_vae")
    images = client.generate(16, seed=0)  # float32 (16, h, w, c) in [0, 1]
    files = client.generate(16, seed=0, png=True)  # the same as PNG files
    found = client.detect(images)  # {"maps": (16, h, w), "scores": (16,)}
    ```
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None = None,
        *,
        batch_size: int = 32,
        timeout: float = 60.0,
        retries: int = 5,
    ):
        check_at_least(1, numbers.Integral, batch_size=batch_size)
        check_at_least(0, numbers.Integral, retries=retries)
        self._transport = _transport(url, model, version)
        self.batch_size = batch_size
        self.timeout = timeout
        self.retries = retries
        self._known = None
        self._closed = False

    def generate(
        self,
        num: int | Sequence[int] = 1,
        labels: Sequence[int] | None = None,
        seed: int = 0,
        png: bool = False,
    ) -> np.ndarray | list[bytes]:
        """New images.

        Args:
            num: how many, or a seed for each.
            labels: of a conditional model: int (n,), the classes; -1 is of no class, which only
                diffusion models have learned.
            seed: that of the first image; those that follow it have the seeds that follow. An
                image depends on its own seed and label alone: it is
                `model.generate(1, seed=its seed)[0]`.
            png: whether to give PNG files, which say that they are synthetic.

        Returns:
            float32 (n, height, width, channels) in [0, 1]; with `png` a list of bytes.

        Raises:
            ValueError: for numbers out of their range, and like every call once it is closed.
            ClientError: for a call that fails.
        """
        deadline = self._begun()
        if isinstance(num, numbers.Integral):
            check_at_least(0, numbers.Integral, num=num)
            num = seed + np.arange(num)
        seeds = np.asarray(num)
        if seeds.ndim != 1:
            raise ValueError(f"num must be an integer, or a list of seeds. Received: num={num!r}.")
        inputs = {"seed": _int32("seeds", seeds, (len(seeds),))}
        name = "generate_png" if png else "generate"
        conditional = "label" in self._signature(name, deadline).inputs
        if conditional and labels is None:
            raise ValueError(f"a conditional model needs labels: {len(seeds)}, or -1 for no class.")
        if labels is not None and not conditional:
            raise ValueError("labels need a conditional model: this one has no classes.")
        if conditional:
            inputs["label"] = _int32("labels", labels, (len(seeds),))
        return _images(self._call(name, inputs, deadline))

    def decode(self, latents: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """The images of latents.

        Args:
            latents: float (n, latent_dim).
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1; a row of 0 is
                of no class.

        Returns:
            float32 (n, height, width, channels) in [0, 1].
        """
        deadline = self._begun()
        signature = self._signature("serving_default", deadline)
        latents = np.asarray(latents, np.float32)
        shape = shape_of(signature.inputs["latents"])[1:]
        if latents.shape[1:] != shape:
            raise ValueError(
                f"latents must be of shape (n, {', '.join(map(str, shape))}). "
                f"Received: shape {latents.shape}."
            )
        inputs = {"latents": latents} | _labels(signature, labels, len(latents))
        return _images(self._call("serving_default", inputs, deadline))

    def encode(self, images, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The posterior's parameters.

        Args:
            images: (n, height, width, channels), uint8 or float in [0, 1], in the model's shape;
                or a list of the contents of PNG or JPEG files of any size, as bytes. uint8
                images travel as PNG files, which loses nothing and saves most of the message.
            labels: as in `decode`.

        Returns:
            A dict of `mean` and `log_var`, float32 (n, latent_dim).
        """
        return self._of_images("encode", images, labels)

    def reconstruct(
        self, images, labels: np.ndarray | None = None, png: bool = False
    ) -> np.ndarray | list[bytes]:
        """What the model makes of images.

        Args:
            images: as in `encode`.
            labels: as in `decode`.
            png: whether to give PNG files.

        Returns:
            float32 (n, height, width, channels) in [0, 1]; with `png` a list of bytes.
        """
        name = "reconstruct_png" if png else "reconstruct"
        return _images(self._of_images(name, images, labels))

    def detect(self, images, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What in images a model of healthy ones does not expect.

        Args:
            images: as in `encode`.
            labels: as in `decode`.

        Returns:
            A dict of `maps`, float32 (n, height, width), and `scores`, float32 (n,), the higher
            the less expected.
        """
        return self._of_images("detect", images, labels)

    def close(self) -> None:
        """Closes the connection; no call can follow."""
        self._closed = True
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _of_images(self, name, images, labels):
        deadline = self._begun()
        if _are_files(images):
            name += "_bytes"
            files = np.array([bytes(one) for one in images], object)
        else:
            shape = shape_of(self._signature(name, deadline).inputs["images"])[1:]
            given = np.asarray(images)
            images, files = checked_images(given, shape), None
            a_picture = given.dtype == np.uint8 and shape[-1] in (1, 3)
            if a_picture and f"{name}_bytes" in self._signatures(deadline):
                name += "_bytes"
                files = np.array([_png(one) for one in given.reshape(-1, *shape)], object)
        inputs = {"images": images} if files is None else {"image_bytes": files}
        inputs |= _labels(self._signature(name, deadline), labels, len(images))
        return self._call(name, inputs, deadline)

    def _call(self, name, inputs, deadline):
        try:
            return self._joined(name, inputs, deadline)
        except OtherOutputsError:
            self._known = None  # a new version has come: its signatures are asked for, once
            return self._joined(name, inputs, deadline)

    def _joined(self, name, inputs, deadline):
        """The outputs of all chunks of the inputs, joined."""
        signature = self._signature(name, deadline)
        parts = []
        for rows in chunks(inputs, signature, self.batch_size):
            chunk = {key: array[rows] for key, array in inputs.items()}
            parts.append(self._tried(deadline, self._transport.predict, name, signature, chunk))
        if not parts:
            return {key: _none_of(info) for key, info in signature.outputs.items()}
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _signature(self, name, deadline):
        known = self._signatures(deadline)
        if name not in known:
            raise ClientError(
                "FAILED_PRECONDITION",
                f"the model cannot {name}: its signatures are {', '.join(sorted(known))}.",
            )
        return known[name]

    def _signatures(self, deadline):
        if self._known is None:
            self._known = self._tried(deadline, self._transport.signatures)
        return self._known

    def _begun(self):
        """The time at which a call that begins now must be over."""
        if self._closed:
            raise ValueError("the client is closed: a call needs a new one.")
        return time.monotonic() + self.timeout

    def _tried(self, deadline, function, *arguments):
        """Calls a function with the time that is left, again where that may help."""
        for tries in itertools.count():
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceededError
            try:
                return function(*arguments, left)
            except ClientError as error:
                # At random, so that many clients that failed at once do not come back at once.
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries) * random.uniform(0.5, 1.0)
                too_late = time.monotonic() + pause >= deadline
                if error.code not in RETRIED or tries >= self.retries or too_late:
                    raise
            time.sleep(pause)


def _transport(url, model, version):
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        from keras_medgen.serving.client_rest import RESTTransport

        return RESTTransport(url, model, version)
    if parts.scheme == "grpc" and parts.hostname:
        try:
            from keras_medgen.serving.client_grpc import GRPCTransport
        except ImportError:
            raise ImportError(
                "grpc:// needs the extra 'serve': pip install 'keras_medgen[serve]'."
            ) from None
        target = parts.netloc if parts.port else f"{parts.netloc}:{GRPC_PORT}"
        return GRPCTransport(target, model, version)
    raise ValueError(
        f"url must be http://host:port, https://host:port or grpc://host:port. Received: {url!r}."
    )


def _labels(signature, labels, count):
    info = signature.inputs.get("labels") if "labels" in signature.inputs else None
    labels = checked_labels(labels, count, None if info is None else shape_of(info)[1])
    return {} if labels is None else {"labels": labels}


def _int32(name, values, shape):
    values = np.asarray(values)
    if values.shape != shape or (values.size and not np.issubdtype(values.dtype, np.integer)):
        raise ValueError(
            f"{name} must be integers, {shape[0]} of them. "
            f"Received: {values.dtype} of shape {values.shape}."
        )
    if values.size and not (INT32.min <= values.min() and values.max() <= INT32.max):
        raise ValueError(f"{name} must be of 32 bits. Received: {values.min()} to {values.max()}.")
    return values.astype(np.int32)


def _images(outputs):
    return list(outputs["image_bytes"]) if "image_bytes" in outputs else outputs["images"]


def _none_of(info):
    dtype = tf.as_dtype(info.dtype)
    shape = (0, *shape_of(info)[1:])
    return np.zeros(shape, object if dtype == tf.string else dtype.as_numpy_dtype)


def _are_files(images):
    return isinstance(images, (list, tuple)) and all(
        isinstance(one, (bytes, bytearray)) for one in images
    )


def _png(image):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()
