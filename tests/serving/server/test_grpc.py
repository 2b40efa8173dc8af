import contextlib
import threading
import time

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from keras_medgen.serving.server.grpc_service import THREADS
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.run import Server
from tests.serving.server import tiny_image_model

LATENTS = np.linspace(-2, 2, 21, dtype=np.float32).reshape(7, 3)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_image_model.save(folder / "3", version=3)
    limits = Limits(max_body_bytes=2**20, timeout_seconds=5.0)
    with Server(folder, limits=limits, labels={"stable": 3}) as server:
        server.path = folder / "3"
        yield server


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_stub(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(signature="", name="tiny", **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def refused(code, call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    assert error.value.code().name == code, error.value.details()
    return error.value.details()


def _nothing(until):
    """A call's messages: none, until the event."""
    until.wait(30)
    yield from ()


class TestPredict:
    def test_gives_what_the_model_gives_to_the_bit_and_so_does_rest(self, server, stub):
        decode = tf.saved_model.load(str(server.path)).signatures["serving_default"]
        answer = stub.Predict(request(latents=LATENTS))
        images = tf.make_ndarray(answer.outputs["images"])
        np.testing.assert_array_equal(images, decode(latents=tf.constant(LATENTS))["images"])
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/tiny:predict"
        outputs = requests.post(url, json={"inputs": LATENTS.tolist()}).json()["outputs"]
        np.testing.assert_array_equal(images, np.array(outputs, np.float32))

    def test_says_which_model_answered(self, stub):
        spec = stub.Predict(request(latents=LATENTS)).model_spec
        assert (spec.name, spec.version.value) == ("tiny", 3)
        assert spec.signature_name == "serving_default"

    def test_by_version_and_by_label(self, stub):
        asked = request(latents=LATENTS)
        asked.model_spec.version.value = 3
        assert stub.Predict(asked).model_spec.version.value == 3
        asked.model_spec.version.value = 2
        refused("NOT_FOUND", stub.Predict, asked)
        asked.model_spec.version_label = "stable"
        assert stub.Predict(asked).model_spec.version.value == 3
        asked.model_spec.version_label = "canary"
        refused("INVALID_ARGUMENT", stub.Predict, asked)

    def test_strings_and_several_inputs(self, stub):
        answer = stub.Predict(
            request("generate_png", seed=np.int32([1, 2]), label=np.int32([0, 1]))
        )
        files = tf.make_ndarray(answer.outputs["image_bytes"])
        assert files.shape == (2,)
        assert all(one.startswith(b"\x89PNG") for one in files)
        assert answer.outputs["image_bytes"].dtype == tf.string.as_datatype_enum

    def test_output_filter(self, stub):
        asked = request("encode", images=np.zeros((2, 4, 4, 1), np.float32))
        assert set(stub.Predict(asked).outputs) == {"mean", "log_var"}
        asked.output_filter.append("log_var")
        assert set(stub.Predict(asked).outputs) == {"log_var"}
        asked.output_filter.append("log_var")
        assert "each once" in refused("INVALID_ARGUMENT", stub.Predict, asked)
        asked.output_filter[:] = ["variance"]
        assert "mean" in refused("INVALID_ARGUMENT", stub.Predict, asked)

    @pytest.mark.parametrize(
        ("code", "arguments"),
        [
            ("NOT_FOUND", {"name": "other", "latents": LATENTS}),
            ("NOT_FOUND", {"name": "../tiny", "latents": LATENTS}),
            ("INVALID_ARGUMENT", {"name": "", "latents": LATENTS}),
            ("FAILED_PRECONDITION", {"signature": "train", "latents": LATENTS}),
            ("INVALID_ARGUMENT", {"latent": LATENTS}),
            ("INVALID_ARGUMENT", {}),
            ("INVALID_ARGUMENT", {"latents": LATENTS, "more": LATENTS}),
            ("INVALID_ARGUMENT", {"latents": LATENTS[:, :2]}),
            ("INVALID_ARGUMENT", {"latents": LATENTS.astype(np.float64)}),
            ("INVALID_ARGUMENT", {"latents": "zero"}),
            ("INVALID_ARGUMENT", {"signature": "encode_bytes", "image_bytes": [b"no picture"]}),
        ],
    )
    def test_what_does_not_fit_is_refused(self, stub, code, arguments):
        refused(code, stub.Predict, request(**arguments))

    def test_no_model_spec(self, stub):
        refused("INVALID_ARGUMENT", stub.Predict, predict_pb2.PredictRequest())

    @pytest.mark.parametrize("sizes", [(2**20, 2**20, 3), (2**40, 2**40), (-1, 3), (10**7, 3)])
    def test_a_short_message_cannot_stand_for_a_huge_tensor(self, stub, sizes):
        asked = request(latents=np.float32([[1, 2, 3]]))
        tensor = asked.inputs["latents"]
        tensor.ClearField("tensor_content")
        tensor.float_val[:] = [0.5]  # repeated as often as the shape says
        del tensor.tensor_shape.dim[:]
        for size in sizes:
            tensor.tensor_shape.dim.add(size=size)
        refused("INVALID_ARGUMENT", stub.Predict, asked)

    def test_nor_can_many_of_names_that_nobody_knows(self, stub, monkeypatch):
        asked = request(latents=LATENTS)
        for number in range(60):
            tensor = asked.inputs[f"x{number}"]
            tensor.dtype = tf.float32.as_datatype_enum
            tensor.float_val[:] = [0.5]
            tensor.tensor_shape.dim.add(size=2**16)
        expanded = []
        make = tf.make_ndarray
        monkeypatch.setattr(tf, "make_ndarray", lambda one: expanded.append(1) or make(one))
        assert "unknown: x0" in refused("INVALID_ARGUMENT", stub.Predict, asked)
        assert len(expanded) == 1

    @pytest.mark.parametrize("dtype", [0, 20, 21, 999])  # invalid, resource, variant, unknown
    def test_a_tensor_of_no_usable_type(self, stub, dtype):
        asked = request(latents=LATENTS)
        asked.inputs["latents"].dtype = dtype
        refused("INVALID_ARGUMENT", stub.Predict, asked)

    def test_content_that_does_not_fill_the_shape(self, stub):
        asked = request(latents=LATENTS)
        asked.inputs["latents"].tensor_content += b"\0\0\0"
        refused("INVALID_ARGUMENT", stub.Predict, asked)

    def test_calls_that_send_nothing_do_not_hold_it_for_ever(self, server):
        limits = Limits(timeout_seconds=1.0, max_grpc_connection_seconds=1.0)
        with Server(server.path.parent, limits=limits) as short:
            address = f"127.0.0.1:{short.grpc_port}"
            silent = threading.Event()
            with grpc.insecure_channel(address) as stalled, grpc.insecure_channel(address) as good:
                call = stalled.stream_unary("/tensorflow.serving.PredictionService/Predict")
                calls = [call.future(_nothing(silent)) for _ in range(THREADS)]
                stub = prediction_service_pb2_grpc.PredictionServiceStub(good)
                end, answer = time.monotonic() + 20, None
                while answer is None:
                    assert time.monotonic() < end
                    with contextlib.suppress(grpc.RpcError):  # asked to connect anew, it may be
                        answer = stub.Predict(request(latents=LATENTS), timeout=5)
                silent.set()
                for each in calls:
                    assert each.code() is not grpc.StatusCode.OK

    def test_a_message_beyond_the_limit(self, stub):
        huge = np.zeros((2**18 // 3 + 100, 3), np.float32)
        refused("RESOURCE_EXHAUSTED", stub.Predict, request(latents=huge))

    def test_the_clients_deadline_is_kept(self, stub):
        start = time.monotonic()
        asked = request("slow", seconds=np.float32([1.5]))
        refused("DEADLINE_EXCEEDED", stub.Predict, asked, timeout=0.3)
        assert time.monotonic() - start < 1.2

    def test_a_call_that_is_cancelled_is_not_run(self, server, stub):
        running = stub.Predict.future(request("slow", seconds=np.float32([0.6])))
        time.sleep(0.2)
        waiting = stub.Predict.future(request("slow", seconds=np.float32([30])))
        time.sleep(0.2)
        waiting.cancel()
        assert running.result() is not None
        start = time.monotonic()
        stub.Predict(request("slow", seconds=np.float32([0])))
        assert time.monotonic() - start < 4


class TestMetadata:
    def ask(self, name="tiny", fields=("signature_def",)):
        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        asked.model_spec.name = name
        return asked

    def test_the_signatures_of_the_file(self, stub):
        answer = stub.GetModelMetadata(self.ask())
        assert (answer.model_spec.name, answer.model_spec.version.value) == ("tiny", 3)
        found = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(found)
        encode = found.signature_def["encode"]
        assert [dim.size for dim in encode.inputs["images"].tensor_shape.dim] == [-1, 4, 4, 1]
        assert set(encode.outputs) == {"mean", "log_var"}
        assert encode.method_name == "tensorflow/serving/predict"

    def test_refusals(self, stub):
        refused("NOT_FOUND", stub.GetModelMetadata, self.ask("other"))
        refused("INVALID_ARGUMENT", stub.GetModelMetadata, self.ask(fields=()))
        refused("INVALID_ARGUMENT", stub.GetModelMetadata, self.ask(fields=("weights",)))


class TestStatus:
    def test_the_versions(self, model_stub):
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = "tiny"
        (version,) = model_stub.GetModelStatus(asked).model_version_status
        assert version.version == 3
        assert version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
        assert version.status.error_code == 0
        asked.model_spec.version.value = 4
        refused("NOT_FOUND", model_stub.GetModelStatus, asked)

    def test_an_unknown_model(self, model_stub):
        asked = get_model_status_pb2.GetModelStatusRequest()
        refused("INVALID_ARGUMENT", model_stub.GetModelStatus, asked)
        asked.model_spec.name = "other"
        refused("NOT_FOUND", model_stub.GetModelStatus, asked)


def test_methods_that_the_server_does_not_have(stub, model_stub, channel):
    refused("UNIMPLEMENTED", stub.Classify, classification_pb2.ClassificationRequest())
    config = model_management_pb2.ReloadConfigRequest()
    refused("UNIMPLEMENTED", model_stub.HandleReloadConfigRequest, config)
    refused("UNIMPLEMENTED", channel.unary_unary("/tensorflow.serving.Other/Call"), b"")


def test_calls_are_counted(server, stub):
    url = f"http://127.0.0.1:{server.rest_port}/metrics"
    line = 'keras_medgen_requests_total{api="grpc",code="NOT_FOUND",method="metadata"}'

    def count():
        return next(
            (float(one.split()[-1]) for one in requests.get(url).text.splitlines() if line in one),
            0.0,
        )

    before = count()
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "none"
    refused("NOT_FOUND", stub.GetModelMetadata, asked)
    assert count() == before + 1
