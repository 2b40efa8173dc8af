import base64
import http.server
import io
import json
import sys
import threading
import time

import numpy as np
import pytest
import requests
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

import keras_medgen as kmg
from keras_medgen.serving import client_rest
from keras_medgen.serving.client_chunks import chunks
from keras_medgen.serving.server.run import Server
from tests.conftest import blobs
from tests.serving.server import tiny_image_model
from tests.serving.small_models import small_model

SEEDS = [5, 6, 7, 1000, -3]


@pytest.fixture(scope="module")
def model():
    return small_model("VAE, conditional")


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    kmg.serving.export(model, folder / "exported", version=1)
    tiny_image_model.save(folder / "tiny" / "1")
    tiny_image_model.save(folder / "tiny" / "2", version=2)
    with Server(folder) as server:
        server.folder = folder
        yield server


@pytest.fixture(scope="module")
def urls(server):
    host = "127.0.0.1"
    return {
        "rest": f"http://{host}:{server.rest_port}",
        "grpc": f"grpc://{host}:{server.grpc_port}",
    }


@pytest.fixture(params=["rest", "grpc"])
def client(request, urls):
    with kmg.serving.Client(urls[request.param], "exported", batch_size=4) as client:
        yield client


@pytest.fixture
def images(model):
    return blobs(np.random.default_rng(1), 6, model.image_shape)


def equal(found, expected, tolerance=1e-5):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


class TestAgainstTheModel:
    """What comes over the wire is what the model gives, in chunks of four and of fewer."""

    def test_generate(self, client, model):
        labels = [0, 1, 2, 0, 1]
        expected = [
            model.generate(1, labels=[label], seed=seed)[0]
            for seed, label in zip(SEEDS, labels, strict=True)
        ]
        equal(client.generate(SEEDS, labels), expected)
        equal(client.generate(5, labels, seed=5)[:3], expected[:3])

    def test_generate_png(self, client):
        files = client.generate(5, [0, 1, 2, 0, 1], seed=5, png=True)
        images = client.generate(5, [0, 1, 2, 0, 1], seed=5)
        assert [type(one) for one in files] == [bytes] * 5
        for file, image in zip(files, images, strict=True):
            with Image.open(io.BytesIO(file)) as picture:
                assert picture.info["Synthetic"] == "true"
                pixels = np.asarray(picture).reshape(image.shape)
            np.testing.assert_allclose(pixels / 255, image, atol=0.51 / 255)

    def test_encode_decode_and_reconstruct(self, client, model, images):
        labels = np.arange(6) % 3
        encoded, expected = client.encode(images, labels), model.encode(images, labels)
        assert set(encoded) == {"mean", "log_var"}
        for key in encoded:
            equal(encoded[key], expected[key], 1e-4)
        equal(client.reconstruct(images, labels), model.reconstruct(images, labels))
        one_hot = np.eye(3)[labels]
        equal(client.decode(encoded["mean"], one_hot), model.decode(encoded["mean"], one_hot))

    def test_floats_bytes_and_files_are_the_same_images(self, client, images):
        labels = [0] * 6
        floats = client.encode(images / np.float32(255), labels)["mean"]
        equal(client.encode(images, labels)["mean"], floats, 1e-4)
        files = []
        for image in images:
            file = io.BytesIO()
            Image.fromarray(image.squeeze()).save(file, "PNG")
            files.append(file.getvalue())
        equal(client.encode(files, labels)["mean"], floats, 1e-4)

    def test_detect(self, client, images):
        found = client.detect(images, [0] * 6)
        restored = client.reconstruct(images, [0] * 6)
        assert found["maps"].shape == images.shape[:3]
        assert found["scores"].shape == (6,)
        expected = np.abs(images / 255 - restored).mean(axis=-1)
        equal(found["maps"], expected, 1e-4)

    def test_nothing_asked_nothing_given(self, client, model):
        assert client.generate(0, []).shape == (0, *model.image_shape)
        assert client.generate(0, [], png=True) == []
        assert client.encode(np.zeros((0, *model.image_shape)), [])["mean"].shape == (0, 4)


def test_both_transports_give_the_same_to_the_bit(urls, images):
    answers = []
    for url in urls.values():
        with kmg.serving.Client(url, "exported") as client:
            floats = images / np.float32(255)
            answers.append(
                [
                    client.generate(SEEDS, [0] * 5),
                    client.decode(np.linspace(-1, 1, 8).reshape(2, 4), [0, 1]),
                    client.reconstruct(floats, [0] * 6),
                    client.encode(floats, [0] * 6)["log_var"],
                    client.detect(images, [0] * 6)["maps"],
                ]
            )
    for over_rest, over_grpc in zip(*answers, strict=True):
        np.testing.assert_array_equal(over_rest, over_grpc)


def test_the_standard_librarys_json_gives_the_same(urls, images, monkeypatch):
    with kmg.serving.Client(urls["rest"], "exported") as client:
        expected = client.reconstruct(images / np.float32(255), [0] * 6)
        monkeypatch.setattr(client_rest, "orjson", None)
        found = client.reconstruct(images / np.float32(255), [0] * 6)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scheme", ["rest", "grpc"])
def test_a_version(urls, scheme):
    asked = {"model": "tiny", "retries": 0}
    highest = kmg.serving.Client(urls[scheme], **asked).decode([[1, 2, 3]])
    second = kmg.serving.Client(urls[scheme], version=2, **asked).decode([[1, 2, 3]])
    np.testing.assert_array_equal(highest, second)
    with pytest.raises(kmg.serving.ClientError, match="NOT_FOUND"):
        kmg.serving.Client(urls[scheme], version=9, **asked).decode([[1, 2, 3]])


class TestErrors:
    @pytest.mark.parametrize(
        "url", ["127.0.0.1:8501", "ftp://host", "http://", "grpc://", "", "localhost"]
    )
    def test_urls(self, url):
        with pytest.raises(ValueError, match="url must be http://host:port"):
            kmg.serving.Client(url, "tiny")

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda client: client.generate(2), "needs labels"),
            (lambda client: client.generate(2, [0]), "labels must be integers, 2 of them"),
            (lambda client: client.generate(-1, []), "num must be"),
            (lambda client: client.generate([0.5], [0]), "seeds must be integers"),
            (lambda client: client.generate(2.0, [0, 0]), r"list of seeds. Received: num=2\.0"),
            (lambda client: client.generate([2**31], [0]), "of 32 bits"),
            (lambda client: client.decode(np.zeros((2, 9)), [0, 0]), r"of shape \(n, 4\)"),
            (lambda client: client.encode(np.zeros((1, 5, 5, 1)), [0]), "images must be of shape"),
            (lambda client: client.encode(np.full((1, 16, 16, 1), 7.0), [0]), "lie in"),
            (lambda client: client.encode(np.zeros((1, 16, 16, 1))), "needs labels"),
        ],
    )
    def test_arguments(self, client, call, message):
        with pytest.raises(ValueError, match=message):
            call(client)

    def test_labels_of_a_model_without_classes(self, urls):
        client = kmg.serving.Client(urls["rest"], "tiny")
        with pytest.raises(ValueError, match="labels need a conditional model"):
            client.decode([[1, 2, 3]], [0])

    def test_what_the_server_refuses(self, client):
        with pytest.raises(kmg.serving.ClientError) as error:
            client.generate(1, [3])
        assert error.value.code == "INVALID_ARGUMENT"
        assert "label must be" in error.value.message
        with pytest.raises(kmg.serving.ClientError) as error:
            client.encode([b"no picture"], [0])
        assert error.value.code == "INVALID_ARGUMENT"

    def test_an_unknown_model(self, urls):
        for url in urls.values():
            client = kmg.serving.Client(url, "../tiny")
            with pytest.raises(kmg.serving.ClientError) as error:
                client.generate(1)
            assert error.value.code in ("NOT_FOUND", "INVALID_ARGUMENT")

    def test_what_the_model_cannot(self, urls):
        client = kmg.serving.Client(urls["rest"], "tiny")
        with pytest.raises(kmg.serving.ClientError, match="cannot reconstruct_png"):
            client.reconstruct(np.zeros((1, 4, 4, 1)), png=True)

    def test_a_closed_client(self, client):
        client.generate(1, [0])
        client.close()
        for call in (lambda: client.generate(1, [0]), lambda: client.encode([b""], [0])):
            with pytest.raises(ValueError, match="the client is closed"):
                call()

    @pytest.mark.parametrize("scheme", ["rest", "grpc"])
    def test_what_is_too_large_is_not_tried_again(self, urls, scheme, monkeypatch):
        def sleep(seconds):
            raise AssertionError("it is tried again")

        with kmg.serving.Client(urls[scheme], "exported") as client:
            client.generate(1, [0])
            monkeypatch.setattr("keras_medgen.serving.client.time.sleep", sleep)
            with pytest.raises(kmg.serving.ClientError) as error:
                client.encode([bytes(33 << 20)], [0])
        assert error.value.code == "OUT_OF_RANGE"

    def test_grpc_without_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "keras_medgen.serving.client_grpc", None)
        with pytest.raises(ImportError, match=r"pip install 'keras_medgen\[serve\]'"):
            kmg.serving.Client("grpc://127.0.0.1:1", "tiny")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by a list of functions, one a request; the last for all that follow."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((time.monotonic(), self.path, body))
        self.server.connections.add(self.client_address)
        asks_metadata = self.path.endswith("/metadata")
        answers = self.server.metadata if asks_metadata else self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *arguments):
        pass


def says(status, body, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hangs_up(handler):
    handler.close_connection = True


def breaks_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"outputs": ')
    handler.close_connection = True


def trickles(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    try:
        for _ in range(1000):
            handler.wfile.write(b" ")
            time.sleep(0.02)
    except OSError:
        pass


def metadata_of(*outputs):
    """Of a model with one signature."""
    info = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "3"}]}}
    signature = {"inputs": {"latents": info}, "outputs": dict.fromkeys(outputs, info)}
    found = {"signature_def": {"signature_def": {"serving_default": signature}}}
    return says(200, {"metadata": found})


METADATA = metadata_of("images")


@pytest.fixture
def pretend():
    """A server that answers as it is told, and has a model with one signature."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.connections = [], set()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def answering(*answers, **options):
        server.answers, server.metadata = list(answers), [METADATA]
        return kmg.serving.Client(f"http://127.0.0.1:{server.server_port}", "pretended", **options)

    answering.server = server
    yield answering
    server.shutdown()
    server.server_close()


GOOD = says(200, {"outputs": [[1, 2, 3]]})
BUSY, DOWN = says(429, {"error": "later"}), says(503, {"error": "loading"})


class TestRetries:
    @pytest.mark.parametrize("first", [BUSY, DOWN, says(502, b"<html>"), hangs_up, breaks_off])
    def test_what_may_pass_is_tried_again_after_growing_pauses(self, pretend, first):
        client = pretend(first, first, first, GOOD)
        assert client.decode([[0, 0, 0]]).tolist() == [[1, 2, 3]]
        times = [at for at, path, _ in pretend.server.requests if path.endswith(":predict")]
        pauses = np.diff(times)
        assert len(pauses) == 3
        assert np.all(pauses >= [0.05, 0.1, 0.2])
        assert pauses.sum() < 2

    @pytest.mark.parametrize("status", [400, 404, 413, 500, 501, 504, 418])
    def test_what_will_not_pass_is_not(self, pretend, status):
        client = pretend(says(status, {"error": "no"}))
        with pytest.raises(kmg.serving.ClientError, match=r": no$"):
            client.decode([[0, 0, 0]])
        assert len(pretend.server.requests) == 2

    def test_there_is_an_end_to_it(self, pretend):
        client = pretend(BUSY, retries=2)
        with pytest.raises(kmg.serving.ClientError, match="RESOURCE_EXHAUSTED: later"):
            client.decode([[0, 0, 0]])
        assert len(pretend.server.requests) == 1 + 3

    def test_none_begins_after_the_deadline(self, pretend):
        client = pretend(BUSY, retries=100, timeout=1.0)
        start = time.monotonic()
        with pytest.raises(kmg.serving.ClientError):
            client.decode([[0, 0, 0]])
        assert time.monotonic() - start < 1.2
        assert len(pretend.server.requests) > 3

    @pytest.mark.parametrize("answer", [trickles, lambda handler: time.sleep(1.5)])
    def test_a_slow_answer_ends_with_the_deadline(self, pretend, answer):
        client = pretend(answer, timeout=0.5)
        start = time.monotonic()
        with pytest.raises(kmg.serving.ClientError) as error:
            client.decode([[0, 0, 0]])
        assert error.value.code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - start < 1.2

    @pytest.mark.parametrize("scheme", ["http", "grpc"])
    def test_nobody_there(self, scheme):
        client = kmg.serving.Client(f"{scheme}://127.0.0.1:1", "tiny", retries=1)
        start = time.monotonic()
        with pytest.raises(kmg.serving.ClientError) as error:
            client.generate(1)
        assert error.value.code == "UNAVAILABLE"
        assert time.monotonic() - start < 5

    def test_a_server_that_starts_meanwhile(self, server):
        late = Server(server.folder / "tiny")
        free = Server(server.folder / "tiny").start()
        late.grpc_port = free.grpc_port
        free.stop()
        client = kmg.serving.Client(f"grpc://127.0.0.1:{late.grpc_port}", "tiny", timeout=30)
        starting = threading.Timer(0.5, late.start)
        starting.start()
        try:
            assert client.generate(1, [0]).shape == (1, 4, 4, 1)
        finally:
            starting.join()
            late.stop()
            client.close()


class TestMessages:
    def test_one_connection_serves_all_chunks(self, pretend):
        client = pretend(GOOD, batch_size=1)
        assert client.decode(np.zeros((5, 3))).shape == (5, 3)
        assert len(pretend.server.requests) == 6
        assert len(pretend.server.connections) == 1

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (says(200, b"no json"), "no JSON object"),
            (says(200, [1]), "no JSON object"),
            (says(200, {"outputs": "x"}), "other outputs"),
            (says(200, {"predictions": []}), "other outputs"),
            (says(302, b"", Location="http://127.0.0.1:1/"), "HTTP status 302"),
        ],
    )
    def test_answers_that_are_none(self, pretend, answer, message):
        with pytest.raises(kmg.serving.ClientError, match=message):
            pretend(answer, retries=0).decode([[0, 0, 0]])

    def test_nan_and_infinity_come_through(self, pretend):
        answer = says(200, b'{"outputs": [[NaN, Infinity, -Infinity]]}')
        found = pretend(answer).decode([[0, 0, 0]])
        np.testing.assert_array_equal(found, [[np.nan, np.inf, -np.inf]])

    def test_uint8_images_travel_as_files_and_floats_as_numbers(self, urls, monkeypatch):
        bodies = []
        send = requests.Session.request

        def record(self, method, url, **options):
            bodies.append(options["data"])
            return send(self, method, url, **options)

        monkeypatch.setattr(requests.Session, "request", record)
        images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), dtype=np.uint8)
        with kmg.serving.Client(urls["rest"], "tiny") as client:
            client.detect(images)
            client.detect(images / 255)
        _, of_files, of_numbers = (json.loads(body or "{}") for body in bodies)
        assert of_files["signature_name"] == "detect_bytes"
        file = base64.b64decode(of_files["inputs"]["image_bytes"][1]["b64"])
        np.testing.assert_array_equal(tf.io.decode_png(file), images[1])
        assert of_numbers["signature_name"] == "detect"
        assert np.shape(of_numbers["inputs"]["images"]) == (2, 4, 4, 1)

    def test_a_version_with_other_outputs_is_asked_for_its_signatures_once(self, pretend):
        both = says(200, {"outputs": {"images": [[1, 2, 3]], "scores": [[4, 5, 6]]}})
        client = pretend(GOOD, both, both, both)
        assert client.decode([[0, 0, 0]]).tolist() == [[1, 2, 3]]
        pretend.server.metadata = [metadata_of("images", "scores")]
        assert client.decode([[0, 0, 0]]).tolist() == [[1, 2, 3]]
        asked = [path.rpartition("pretended")[2] for _, path, _ in pretend.server.requests]
        assert asked == ["/metadata", ":predict", ":predict", "/metadata", ":predict"]

        pretend.server.metadata, pretend.server.answers = [METADATA], [both]
        client._known = None
        pretend.server.requests.clear()
        with pytest.raises(kmg.serving.ClientError, match="other outputs than it states"):
            client.decode([[0, 0, 0]])
        assert len(pretend.server.requests) == 4

    @pytest.mark.parametrize("scheme", ["rest", "grpc"])
    def test_a_new_version_comes_between_two_calls(self, urls, scheme):
        with kmg.serving.Client(urls[scheme], "tiny") as client:
            images = client.decode([[1, 2, 3]])
            client._known["serving_default"].outputs["of_old"].dtype = tf.float32.as_datatype_enum
            np.testing.assert_array_equal(client.decode([[1, 2, 3]]), images)
            assert list(client._known["serving_default"].outputs) == ["images"]

    def test_large_rows_make_small_chunks(self, pretend, monkeypatch):
        monkeypatch.setattr("keras_medgen.serving.client_chunks.MESSAGE_NUMBERS", 7)
        pretend(GOOD, batch_size=32).decode(np.zeros((6, 3)))
        sizes = [
            len(json.loads(body)["inputs"]["latents"])
            for _, path, body in pretend.server.requests
            if body
        ]
        assert sizes == [2, 2, 2]

    @pytest.mark.parametrize(
        ("sizes", "batch_size", "expected"),
        [
            ([40, 40, 40, 10, 10, 90], 32, [2, 3, 1]),
            ([200, 1, 100, 1, 1], 32, [1, 1, 1, 2]),
            ([1] * 7, 3, [3, 3, 1]),
            ([], 3, []),
        ],
    )
    def test_large_files_make_small_chunks(self, monkeypatch, sizes, batch_size, expected):
        monkeypatch.setattr("keras_medgen.serving.client_chunks.MESSAGE_FILE_BYTES", 100)
        signature = SignatureDef()
        signature.inputs["image_bytes"].tensor_shape.dim.add(size=-1)
        signature.outputs["mean"].tensor_shape.dim.add(size=-1)
        found = list(chunks({"image_bytes": [bytes(n) for n in sizes]}, signature, batch_size))
        assert [rows.stop - rows.start for rows in found] == expected
        assert [n for rows in found for n in sizes[rows]] == sizes

    def test_files_of_many_pixels_make_small_chunks(self, client, monkeypatch):
        asked = []

        def predict(name, signature, inputs, timeout):
            asked.append(len(inputs["image_bytes"]))
            return {key: np.zeros((asked[-1], 4)) for key in signature.outputs}

        monkeypatch.setattr(client._transport, "predict", predict)
        client.batch_size = 32
        file = io.BytesIO()
        Image.new("L", (4096, 4096)).save(file, "PNG")
        assert client.encode([file.getvalue()] * 5, [0] * 5)["mean"].shape == (5, 4)
        assert asked == [4, 1]

    def test_large_outputs_make_small_chunks(self, pretend, monkeypatch):
        monkeypatch.setattr("keras_medgen.serving.client_chunks.MESSAGE_NUMBERS", 13)
        both = says(200, {"outputs": {"images": [[1, 2, 3]] * 2, "scores": [[4, 5, 6]] * 2}})
        client = pretend(both)
        pretend.server.metadata = [metadata_of("images", "scores")]
        assert client.decode(np.zeros((6, 3))).shape == (6, 3)
        assert len(pretend.server.requests) == 1 + 3

    def test_more_files_than_go_in_one_message(self, client):
        noise = np.random.default_rng(0).integers(0, 256, (1024, 1024), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        client.batch_size = 32
        found = client.encode([file.getvalue()] * 32, [0] * 32)["mean"]  # 34 MB in all
        np.testing.assert_array_equal(found, np.repeat(found[:1], 32, axis=0))
