"""The server under what goes wrong around it, with real sockets and processes."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import keras_medgen as kmg
from keras_medgen.serving.server.grpc_service import THREADS
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.run import Server
from keras_medgen.serving.server.servable import Servable
from tests.serving.server import tiny_image_model

LATENTS = [[0.1, -0.2, 0.3]]
COMMAND = "from keras_medgen.cli import main; main()"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Versions 1 to 3 of a model, each written once."""
    folder = tmp_path_factory.mktemp("saved")
    for version in (1, 2, 3):
        tiny_image_model.save(folder / str(version), version)
    return folder


@pytest.fixture
def models(saved, tmp_path):
    """A folder of models with version 1 of one."""
    shutil.copytree(saved / "1", tmp_path / "models/tiny/1")
    return tmp_path / "models"


def ask(port, signature, inputs):
    """Sends a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"signature_name": signature, "inputs": inputs})
    connection.request("POST", "/v1/models/tiny:predict", body)
    return connection


def post(port, signature, inputs):
    """Status and answer of a request on a connection of its own."""
    return answer_to(ask(port, signature, inputs))


def answer_to(connection):
    try:
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def slow(seconds):
    """A request over gRPC that takes so long."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "tiny", "slow"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto(np.float32([seconds])))
    return request


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class TestVersionsUnderLoad:
    def test_no_request_fails_while_versions_come_break_and_go(self, saved, models):
        with Server(models, poll_seconds=0.05) as server:
            url = f"http://127.0.0.1:{server.rest_port}"
            seen, failed, over = [], [], threading.Event()
            with kmg.serving.Client(url, "tiny") as client:
                first = client.decode(LATENTS).max()

            def load(address):
                with kmg.serving.Client(address, "tiny", retries=0) as client:
                    while not over.is_set():
                        try:
                            seen.append(round(first / client.decode(LATENTS).max()))
                        except kmg.serving.ClientError as error:
                            failed.append(error)

            addresses = [url, f"grpc://127.0.0.1:{server.grpc_port}"] * 2
            threads = [threading.Thread(target=load, args=(address,)) for address in addresses]
            for thread in threads:
                thread.start()
            try:
                wait_until(lambda: 1 in seen)
                put(saved / "2", models / "tiny/2")
                wait_until(lambda: seen[-1] == 2)
                shutil.rmtree(models / "tiny/1")

                broken = models / "tiny/3"
                broken.mkdir()
                (broken / "saved_model.pb").write_bytes(b"cut short")
                wait_until(lambda: requests.get(f"{url}/ready").status_code == 503)
                (problem,) = requests.get(f"{url}/ready").json()["problems"]
                assert "3" in problem
                assert "tiny" in problem
                status = requests.get(f"{url}/v1/models/tiny").json()["model_version_status"]
                states = {one["version"]: one["state"] for one in status}
                assert states["2"] == "AVAILABLE"
                assert states["3"] != "AVAILABLE"
                before = len(seen)
                wait_until(lambda: len(seen) > before + 20)
                assert set(seen[before:]) == {2}

                shutil.rmtree(broken)
                put(saved / "3", broken)
                wait_until(lambda: seen[-1] == 3)
                wait_until(lambda: requests.get(f"{url}/ready").status_code == 200)

                shutil.rmtree(models / "tiny")  # all of it, and written anew
                put(saved / "3", models / "tiny/3")
                before = len(seen)
                wait_until(lambda: len(seen) > before + 20)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
        assert not failed
        assert set(seen) == {1, 2, 3}


def waiting(port):
    """How many rows wait for their run."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    (line,) = (line for line in text.splitlines() if line.startswith("keras_medgen_queue_rows "))
    return float(line.split()[1])


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def put(source, place):
    """As an export writes it: beside, then renamed."""
    beside = place.with_name(f".{place.name}")
    shutil.copytree(source, beside)
    beside.rename(place)


class TestStop:
    def test_sigterm_under_load_lets_requests_in_flight_finish(self, models):
        command = [sys.executable, "-c", COMMAND, "serve", str(models), "--builtin"]
        process = subprocess.Popen(
            [*command, "--rest-port", "0", "--grpc-port", "0"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            lines = []
            while not any('"serving"' in line for line in lines):
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
            told = json.loads(lines[-1])
            reader = threading.Thread(target=lambda: lines.extend(process.stderr))
            reader.start()
            with (
                concurrent.futures.ThreadPoolExecutor(8) as pool,
                grpc.insecure_channel(f"127.0.0.1:{told['grpc_port']}") as channel,
            ):
                predict, port = PredictionServiceStub(channel).Predict, told["rest_port"]
                first = ask(port, "slow", [3.0])
                waiting(port)  # once it answers, the first is there
                wait_until(lambda: waiting(port) == 0)  # and now it runs
                rest = [pool.submit(post, port, "slow", [0.1]) for _ in range(7)]
                over_grpc = [predict.future(slow(0.1), timeout=20) for _ in range(4)]
                wait_until(lambda: waiting(port) == 11)
                process.send_signal(signal.SIGTERM)
                wait_until(lambda: refuses(port))
                with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                    predict(slow(0.0), timeout=20)
                assert answer_to(first) == (200, {"outputs": [3.0]})
                for call in rest:
                    assert call.result() == (200, {"outputs": [0.1]})
                for call in over_grpc:
                    assert tf.make_ndarray(call.result().outputs["seconds"]) == np.float32(0.1)
            assert process.wait(60) == 0
            reader.join()
            events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
            assert events[-1] == "stopped"
            assert "Traceback" not in "".join(lines)
        finally:
            process.kill()
            process.wait()

    def test_a_request_that_takes_too_long_does_not_keep_the_server(self, models):
        server = Server(models, limits=Limits(timeout_seconds=0.5)).start()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(post, server.rest_port, "slow", [3.0])
            time.sleep(0.2)
            start = time.monotonic()
            server.stop()
            assert time.monotonic() - start < 10
            assert call.result()[0] == 504

    def test_what_listens_there_already_is_told(self, models):
        with Server(models) as server:
            with pytest.raises(OSError, match=f"REST server cannot listen at .*{server.rest_port}"):
                Server(models, rest_port=server.rest_port).start()
            with pytest.raises(OSError, match=f"gRPC server cannot listen .*{server.grpc_port}"):
                Server(models, grpc_port=server.grpc_port).start()
            assert post(server.rest_port, "", LATENTS)[0] == 200

    def test_the_ports_are_free_again(self, models):
        with Server(models) as server:
            ports = {"rest_port": server.rest_port, "grpc_port": server.grpc_port}
            requests.get(f"http://127.0.0.1:{server.rest_port}/health")
        with Server(models, **ports) as server:
            assert post(server.rest_port, "", LATENTS)[0] == 200

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(OSError, match="nowhere"):
            Server(tmp_path / "nowhere").start()


class TestClientsThatMisbehave:
    @pytest.fixture(scope="class")
    def server(self, saved, tmp_path_factory):
        folder = tmp_path_factory.mktemp("models") / "tiny"
        shutil.copytree(saved / "1", folder / "1")
        limits = Limits(read_timeout_seconds=0.6, timeout_seconds=10.0)
        with Server(folder, limits=limits) as server:
            yield server

    @pytest.fixture
    def connect(self, server):
        opened = []

        def connect():
            opened.append(socket.create_connection(("127.0.0.1", server.rest_port), timeout=10))
            return opened[-1]

        yield connect
        for one in opened:
            one.close()

    def test_one_that_sends_nothing(self, connect):
        assert answer_of(connect())[0] == 408

    def test_one_that_sends_its_headers_byte_by_byte(self, connect):
        connection = connect()
        threading.Thread(target=trickle, args=(connection, b"GET /health HTTP/1.1\r\nX: ")).start()
        start = time.monotonic()
        assert answer_of(connection)[0] == 408
        assert time.monotonic() - start < 3

    def test_one_that_sends_its_second_headers_byte_by_byte(self, connect):
        connection = connect()
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        first = http.client.HTTPResponse(connection)
        first.begin()
        assert json.loads(first.read()) == {"status": "ok"}
        threading.Thread(target=trickle, args=(connection, b"GET /health HTTP/1.1\r\nX: ")).start()
        assert answer_of(connection)[0] == 408

    def test_one_that_sends_its_body_byte_by_byte(self, connect):
        connection = connect()
        connection.sendall(
            b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        )
        threading.Thread(target=trickle, args=(connection, b'{"inputs": ')).start()
        start = time.monotonic()
        status, answer = answer_of(connection)
        assert status == 408
        assert "0.6 seconds" in answer["error"]
        assert time.monotonic() - start < 3

    def test_one_that_leaves_does_not_disturb_the_others(self, server, connect):
        body = json.dumps({"signature_name": "slow", "inputs": [0.3]}).encode()
        head = f"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        for end in (None, 40, len(head) + 10):
            connection = connect()
            connection.sendall((head.encode() + body)[:end])
            time.sleep(0.05)
            connection.close()
        assert post(server.rest_port, "", LATENTS)[0] == 200
        assert post(server.rest_port, "slow", [0.0]) == (200, {"outputs": [0.0]})

    @pytest.mark.parametrize(
        "sent",
        [b"\x16\x03\x01\x02\x00\x01\x00", b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n"],
    )
    def test_one_that_speaks_no_http(self, connect, sent):
        connection = connect()
        connection.sendall(sent + b"\r\n\r\n")
        assert answer_of(connection)[0] == 400

    def test_endless_headers(self, connect):
        connection = connect()
        connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000)
        assert answer_of(connection)[0] in (400, 431)


def trickle(connection, start):
    try:
        for byte in start + b" " * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.03)
    except OSError:
        pass  # the server has hung up, as it should


def answer_of(connection):
    """Status and JSON of an answer after which the server must hang up."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    answer = json.loads(response.read())
    with contextlib.suppress(ConnectionResetError):  # to a client that sends on
        assert connection.recv(1) == b""
    return response.status, answer


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_no_part_of_an_answer_waits_for_the_client_to_acknowledge_another(models):
    with Server(models) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.rest_port)
        client.request("GET", "/health")
        assert client.getresponse().read() == b'{"status":"ok"}'
        (connection,) = server._http.server_state.connections
        its_socket = connection.transport.get_extra_info("socket")
        assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()


@pytest.mark.parametrize("sent", ["with its length", "in chunks"])
def test_100_megabytes_are_refused_early(models, sent):
    length = "Transfer-Encoding: chunked" if sent == "in chunks" else f"Content-Length: {10**8}"
    head = f"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
    with (
        Server(models) as server,
        socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as connection,
    ):
        connection.sendall(head.encode())
        before, sent_parts = resident_bytes(), 0
        if sent == "in chunks":
            part = b"100000\r\n" + b" " * 2**20 + b"\r\n"
            while not select.select([connection], [], [], 0)[0]:  # until there is an answer
                connection.sendall(part)
                sent_parts += 1
            connection.sendall(b"0\r\n\r\n")
            assert 32 <= sent_parts < 60
        status, answer = answer_of(connection)
        assert status == 413
        assert str(32 * 2**20) in answer["error"]
        assert resident_bytes() - before < 150 * 2**20
        assert post(server.rest_port, "", LATENTS)[0] == 200


def test_more_connections_than_there_may_be(models):
    with Server(models, limits=Limits(max_connections=3)) as server, contextlib.ExitStack() as idle:
        address, connections = (
            ("127.0.0.1", server.rest_port),
            server._http.server_state.connections,
        )
        for _ in range(3):
            idle.enter_context(socket.create_connection(address, timeout=10))
        wait_until(lambda: len(connections) == 3)
        with socket.create_connection(address, timeout=10) as one_more:
            assert answer_of(one_more)[0] == 503
        idle.close()
        wait_until(lambda: not connections)
        assert post(server.rest_port, "", LATENTS)[0] == 200


def test_grpc_calls_beyond_what_it_holds_are_turned_away(models, monkeypatch):
    run, free = Servable.run, threading.Event()
    with Server(models) as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as to:
        monkeypatch.setattr(Servable, "run", lambda *asked: free.wait(20) and run(*asked))
        predict = PredictionServiceStub(to).Predict
        calls = [predict.future(slow(0.0)) for _ in range(200)]
        try:
            wait_until(lambda: sum(call.done() for call in calls) == 200 - 2 * THREADS)
        finally:
            free.set()
        codes = [call.code().name for call in calls]
    assert codes.count("OK") == 2 * THREADS
    assert codes.count("RESOURCE_EXHAUSTED") == 200 - 2 * THREADS
