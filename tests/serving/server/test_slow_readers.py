"""Clients that ask for much and do not take it."""

import socket
import time

import requests
import tensorflow as tf

from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.run import Server

CLIENTS = 6


class Large(tf.Module):
    """A number, repeated until its answer is larger than what sockets hold."""

    def __init__(self):
        super().__init__()
        spec = tf.TensorSpec((None,), tf.float32, name="x")
        self.repeat = tf.function(
            lambda x: {"y": tf.repeat(x[:, None], 2**21, axis=1)}, input_signature=[spec]
        )


def test_those_that_ask_for_the_connection_to_be_closed_do_not_hold_it(tmp_path):
    model = Large()
    tf.saved_model.save(model, str(tmp_path / "large/1"), signatures=model.repeat)
    limits = Limits(timeout_seconds=3.0, max_connections=CLIENTS)
    body = b'{"instances": [1]}'
    asked = (
        b"POST /v1/models/large:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    with Server(tmp_path / "large", limits=limits) as server:
        clients = [
            socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(CLIENTS)
        ]
        for client in clients:
            client.sendall(asked)
        health = f"http://127.0.0.1:{server.rest_port}/health"
        end = time.monotonic() + 30
        while requests.get(health, timeout=5).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.2)
        start = time.monotonic()
    assert time.monotonic() - start < 6  # it had nobody to wait for, or gave them up
    for client in clients:
        client.close()
