import io
import json
import logging

import pytest

from keras_medgen.serving.server import logs, servable
from keras_medgen.serving.server.metrics import Metrics

PREDICT = "/v1/models/tiny:predict"


@pytest.fixture
def lines():
    """What is logged meanwhile, line by line."""
    loggers = [logging.getLogger(name) for name in ("keras_medgen.serving", "uvicorn")]
    before = [(each, each.handlers, each.propagate, each.level) for each in loggers]
    stream = io.StringIO()
    logs.configure(stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for each, handlers, propagate, level in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def values(text):
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_requests_batches_and_queue_are_counted(client):
    before = values(client.get("/metrics").text)
    for body in ('{"instances": [1.0, 2.0, 3.0]}', "{", '{"instances": ["x"]}'):
        client.post(PREDICT, content=body)
    client.get("/v1/models/tiny")
    client.get("/v1/models/nonesuch/metadata")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    after = values(response.text)

    def grown(name):
        return after[name] - before.get(name, 0)

    requests = 'keras_medgen_requests_total{api="rest",code="%s",method="%s"}'
    assert grown(requests % ("OK", "predict")) == 1
    assert grown(requests % ("INVALID_ARGUMENT", "predict")) == 2
    assert grown(requests % ("OK", "status")) == 1
    assert grown(requests % ("NOT_FOUND", "metadata")) == 1
    assert grown('keras_medgen_request_seconds_count{api="rest",method="predict"}') == 3
    assert grown("keras_medgen_batch_rows_sum") == 3
    assert grown("keras_medgen_batch_requests_sum") == 1
    assert after["keras_medgen_queue_rows"] == 0


def test_two_servers_count_for_themselves():
    one, other = Metrics(), Metrics()
    one.observe_batch(1, 2, 0.1)
    assert values(one.text().decode())["keras_medgen_batch_rows_sum"] == 2
    assert values(other.text().decode())["keras_medgen_batch_rows_sum"] == 0


def test_each_request_is_a_line_without_its_contents(client, lines):
    client.post(PREDICT, content='{"signature_name": "echo", "instances": ["secret patient"]}')
    client.post(PREDICT, content='{"instances": ["secret patient"]}')
    client.get("/v1/models/" + "long" * 1000)
    ok, bad, long = lines()
    assert set(ok) == {
        "time",
        "level",
        "event",
        "method",
        "path",
        "status",
        "code",
        "seconds",
    }
    assert (ok["event"], ok["path"], ok["status"], ok["code"]) == ("request", PREDICT, 200, "OK")
    assert (bad["status"], bad["code"]) == (400, "INVALID_ARGUMENT")
    assert "secret" not in json.dumps(lines())
    assert len(long["path"]) == 200


def test_a_failure_inside_is_a_500_that_tells_nothing(client, lines, monkeypatch):
    def fail(self, name, inputs):
        raise RuntimeError("secret patient in /home/somebody")

    monkeypatch.setattr(servable.Servable, "run", fail)
    response = client.post(PREDICT, content='{"instances": [1.0]}')
    assert response.status_code == 500
    assert response.json() == {"error": "The model could not be run on this request."}
    failed, request = lines()
    assert (failed["event"], failed["level"]) == ("run failed", "error")
    assert failed["exception"] == "RuntimeError"
    assert failed["at"].startswith("tests.serving.server.test_metrics_and_logs:")
    assert request["code"] == "INTERNAL"
    assert "secret" not in json.dumps(lines())


def test_a_line_is_one_line(lines):
    logs.log("request", path="a\nb\r\u2028")
    assert len(lines()) == 1
