"""TF Serving's REST API with NumPy functions in the place of models, and the page beside it."""

import base64
import contextlib
import http.server
import io
import json
import mimetypes
import threading
import time
from importlib.resources import files

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_medgen._marks import synthetic_mark

PAGE = files("keras_medgen.serving.server") / "page"
POLICY = "default-src 'self'; img-src 'self' blob: data:"
SIZE, LATENT_DIM = 16, 10
NAMES = ("normal", "pneumonia")
# Dtype, and shape of a row, of each tensor.
LATENTS, LABELS, IMAGES = (("DT_FLOAT", shape) for shape in ((LATENT_DIM,), (2,), (SIZE, SIZE, 1)))
INTEGER, TEXT = ("DT_INT32", ()), ("DT_STRING", ())


def latents_of(seed, label=-1):
    return np.random.default_rng((seed, label + 1)).normal(size=LATENT_DIM)


def decoded(latents, channels=1):
    """Waves of which each of the first dimensions changes something, brighter in the middle."""
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    waves = [np.sin((i % 4 + 1) * x + (i // 4 + 1) * y + z) for i, z in enumerate(latents, start=1)]
    image = 1 / (1 + np.exp(-np.mean(waves, axis=0) * 4 - latents[0]))
    return np.stack([image / (1 + c) for c in range(channels)], axis=-1)


def generated(seed, label=-1, channels=1):
    return decoded(latents_of(seed, label), channels)


def png_of(seed, label=-1):
    file = io.BytesIO()
    pixels = (generated(seed, label)[..., 0] * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG", pnginfo=synthetic_mark("true"))
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def read(image_bytes):
    """What is decoded of a file, and a reconstruction that sees no bright spot."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(image_bytes["b64"]))) as picture:
            picture.load()
            grey = np.asarray(picture.convert("L").resize((SIZE, SIZE))) / 255
    except (UnidentifiedImageError, OSError):
        raise RefusedError(400, "image_bytes must be PNG or JPEG files.") from None
    return grey, grey.clip(0, 0.6)


class RefusedError(Exception):
    """A status and what is said with it."""


def of_seeds(function, name, conditional):
    def call(seed, label=None):
        label = [-1] * len(seed) if label is None else label
        return {name: [function(*row) for row in zip(seed, label, strict=True)]}

    inputs = {"seed": INTEGER} | ({"label": INTEGER} if conditional else {})
    kind = {"latents": LATENTS, "images": IMAGES, "image_bytes": TEXT}[name]
    return call, inputs, {name: kind}


def model(conditional=False, channels=1):
    """From each signature to its function, inputs and outputs."""
    images = ("DT_FLOAT", (SIZE, SIZE, channels))
    labels = {"labels": LABELS} if conditional else {}

    def generate(seed, label):
        return generated(seed, label, channels)

    found = {
        "serving_default": (
            lambda latents, labels=None: {"images": [decoded(one, channels) for one in latents]},
            {"latents": LATENTS} | labels,
            {"images": images},
        ),
        "sample_latents": of_seeds(latents_of, "latents", conditional),
        "generate": of_seeds(generate, "images", conditional),
        "generate_png": of_seeds(png_of, "image_bytes", conditional),
        "reconstruct_bytes": (
            lambda image_bytes, labels=None: {
                "images": [read(one)[1][..., None] for one in image_bytes]
            },
            {"image_bytes": TEXT} | labels,
            {"images": images},
        ),
        "detect_bytes": (detect, {"image_bytes": TEXT} | labels, {"maps": images, "scores": TEXT}),
    }
    found["generate"][2]["images"] = images
    if conditional:
        names = ("class_name", lambda label: {"name": [NAMES[i] for i in label]})
        found[names[0]] = (names[1], {"label": INTEGER}, {"name": TEXT})
    return found


def detect(image_bytes, labels=None):
    maps = [np.abs(np.subtract(*read(one))) for one in image_bytes]
    return {"maps": maps, "scores": [one.max() for one in maps]}


class FakeServer(http.server.ThreadingHTTPServer):
    """Serves until it is closed.

    Attributes:
        models: from name to signatures.
        lists: whether GET /v1/models is answered, which TF Serving refuses.
        delay: seconds before an answer.
        failing: a status and a body to answer all predictions with, or None.
        asked: (model, signature, inputs) of each prediction.
    """

    daemon_threads = True

    def __init__(self, models, lists=True, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.models, self.lists = models, lists
        self.delay, self.failing, self.asked = 0, None, []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def signatures(self):
        """The signatures that were asked for, in their order, since the last call."""
        names = [name for _, name, _ in self.asked]
        self.asked.clear()
        return names

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        if not path.startswith("/v1/"):
            return self._page(path.removeprefix("/page/") if path != "/" else "index.html")
        name = path.removeprefix("/v1/models/").removesuffix("/metadata")
        if path == "/v1/models":
            if self.server.lists:
                return self._json(200, {"models": list(self.server.models)})
            return self._json(404, {"error": "Malformed request: GET /v1/models"})
        if name not in self.server.models:
            words = f"Could not find any versions of model {name}"
            return self._json(404, {"error": words})
        return self._json(200, metadata(name, self.server.models[name]))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.removeprefix("/v1/models/").removesuffix(":predict")
        self.server.asked.append((name, body["signature_name"], body["inputs"]))
        time.sleep(self.server.delay)
        if self.server.failing:
            return self._send(*self.server.failing)
        function, inputs, outputs = self.server.models[name][body["signature_name"]]
        assert body["inputs"].keys() == inputs.keys()
        try:
            answer = function(**body["inputs"])
        except RefusedError as refused:
            return self._json(refused.args[0], {"error": refused.args[1]})
        assert answer.keys() == outputs.keys()
        return self._json(
            200, {"outputs": answer if len(answer) > 1 else next(iter(answer.values()))}
        )

    def _page(self, name):
        found = [file for file in PAGE.iterdir() if file.name == name]
        if not found:
            return self._send(404, "")
        kind = mimetypes.guess_type(name)[0]
        return self._send(200, found[0].read_text("utf-8"), kind)

    def _json(self, status, document):
        self._send(status, json.dumps(document, default=np.ndarray.tolist), "application/json")

    def _send(self, status, text, kind="text/plain"):
        with contextlib.suppress(ConnectionError):  # the page gives up what it needs no more
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())


def metadata(name, signatures):
    def tensors(specs):
        return {
            tensor: {
                "dtype": dtype,
                "tensor_shape": {
                    "dim": [{"size": str(size), "name": ""} for size in (-1, *shape)],
                    "unknown_rank": False,
                },
                "name": f"{tensor}:0",
            }
            for tensor, (dtype, shape) in specs.items()
        }

    definitions = {
        signature: {
            "inputs": tensors(inputs),
            "outputs": tensors(outputs),
            "method_name": "tensorflow/serving/predict",
        }
        for signature, (_, inputs, outputs) in signatures.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": "3"},
        "metadata": {"signature_def": {"signature_def": definitions}},
    }
