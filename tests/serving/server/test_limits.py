import asyncio
import json
import threading
import time

import pytest

from keras_medgen.serving.server import bodies, servable
from keras_medgen.serving.server.errors import ServingError
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.predictor import Predictor
from keras_medgen.serving.server.rest import application
from tests.serving.server import asgi

PREDICT = "/v1/models/tiny:predict"
BODY = b'{"instances": [1.0]}'


@pytest.fixture
def make_app(serving, monkeypatch):
    """Applications of other limits over the same models."""
    monkeypatch.setattr(bodies, "_LINGER_SECONDS", 0.05)
    predictors = []

    def make(**limits):
        limits = Limits(**limits)
        predictors.append(Predictor(serving.repository, limits, Metrics()))
        return application(predictors[-1], serving.repository, limits, Metrics())

    yield make
    for predictor in predictors:
        predictor.stop(10)


@pytest.fixture
def held(monkeypatch):
    """Lets every run wait for `held.release`, and counts the runs."""
    run = servable.Servable.run

    class Held:
        runs = 0
        release = threading.Event()
        begun = threading.Event()

    def waiting(self, name, inputs):
        Held.runs += 1
        Held.begun.set()
        assert Held.release.wait(10)
        return run(self, name, inputs)

    monkeypatch.setattr(servable.Servable, "run", waiting)
    yield Held
    Held.release.set()


def test_a_large_body_is_refused_by_its_header_before_it_is_read(make_app):
    app = make_app(max_body_bytes=10_000)
    status, answer = asgi.call(
        app, "POST", PREDICT, [1e6], [(b"content-length", b"100000000")]
    )  # were it to wait for the body, this would never return
    assert status == 413
    assert "at most 10000 bytes" in json.loads(answer)["error"]


def test_a_large_body_without_a_length_is_refused_while_it_is_read(make_app):
    app = make_app(max_body_bytes=10_000)
    status, _ = asgi.call(app, "POST", PREDICT, [b"x" * 6000, b"x" * 6000, 1e6, b"x"])
    assert status == 413
    status, _ = asgi.call(app, "POST", PREDICT, [BODY + b" " * (10_000 - len(BODY))])
    assert status == 200


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"0x10", b"9" * 30, "٣".encode()])
def test_a_wrong_length_is_refused(make_app, length):
    status, _ = asgi.call(make_app(), "POST", PREDICT, [BODY], [(b"content-length", length)])
    assert status == 400


def test_a_slow_body_times_out(make_app):
    app = make_app(read_timeout_seconds=0.05)
    start = time.perf_counter()
    status, answer = asgi.call(app, "POST", PREDICT, [BODY[:5], 0.2, BODY[5:]])
    assert status == 408
    assert "within 0.05 seconds" in json.loads(answer)["error"]
    assert time.perf_counter() - start < 2


def test_slow_bodies_hold_nobody_up(make_app):
    app = make_app()

    async def many():
        rest_of_the_body = asyncio.Event()
        body = [BODY[:5], rest_of_the_body, BODY[5:]]
        slow = [asyncio.ensure_future(asgi.acall(app, "POST", PREDICT, body)) for _ in range(100)]
        await asyncio.sleep(0.1)
        fast, _ = await asgi.acall(app, "POST", PREDICT, [BODY])
        rest_of_the_body.set()
        return fast, {status for status, _ in await asyncio.gather(*slow)}

    assert asyncio.run(many()) == (200, {200})


def test_bodies_together_are_bounded_and_their_room_comes_back(make_app):
    app = make_app(max_buffered_bytes=100)
    body = BODY + b" " * 40

    async def two():
        first = asgi.acall(app, "POST", PREDICT, [body, 0.2, b" "])
        second = asgi.acall(app, "POST", PREDICT, [body])
        return await asyncio.gather(first, second)

    (first, _), (second, answer) = asyncio.run(two())
    assert (first, second) == (200, 429)
    assert "Try again later" in json.loads(answer)["error"]
    assert asgi.call(app, "POST", PREDICT, [body])[0] == 200


def test_a_slow_run_times_out(make_app, held):
    app = make_app(timeout_seconds=0.1)
    status, answer = asgi.call(app, "POST", PREDICT, [BODY])
    assert status == 504
    assert "longer than 0.1 seconds" in json.loads(answer)["error"]
    held.release.set()


def test_the_queue_is_bounded(make_app, held):
    app = make_app(max_queue_rows=2, join_requests=False)

    async def burst():
        tasks = []
        for runs in (1, 2, 3, 4):  # at a time
            tasks.append(asyncio.ensure_future(asgi.acall(app, "POST", PREDICT, [BODY])))
            while held.runs < runs:
                await asyncio.sleep(0.01)
        for _ in range(4):
            tasks.append(asyncio.ensure_future(asgi.acall(app, "POST", PREDICT, [BODY])))
            await asyncio.sleep(0.01)
        await asyncio.wait(tasks[6:])
        held.release.set()
        return [status for status, _ in await asyncio.gather(*tasks)]

    assert asyncio.run(burst()) == [200] * 6 + [429] * 2


def test_a_request_whose_client_left_is_not_run(make_app, held):
    app = make_app()

    async def three():
        first = asyncio.ensure_future(asgi.acall(app, "POST", PREDICT, [BODY]))
        while not held.begun.is_set():
            await asyncio.sleep(0.01)
        second = await asgi.acall(app, "POST", PREDICT, [BODY], leaves_after=0.05)
        held.release.set()
        return (await first)[0], second[0]

    assert asyncio.run(three()) == (200, 499)
    assert asgi.call(app, "POST", PREDICT, [BODY])[0] == 200
    assert held.runs == 2


def test_a_client_that_leaves_in_its_body_is_forgotten(serving, make_app):
    app = make_app()
    messages = iter([{"type": "http.request", "body": BODY[:4], "more_body": True}])

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    sent = []
    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 499


def test_predictor_errors_are_raised_at_once(serving):
    with pytest.raises(ServingError, match="NOT_FOUND"):
        serving.predictor.submit("nonesuch", None, None, None, {}, 1.0)
    with pytest.raises(ServingError, match="not both"):
        serving.predictor.submit("tiny", 3, "stable", None, {}, 1.0)


@pytest.mark.parametrize("name", ["max_body_bytes", "timeout_seconds", "max_batch_rows"])
def test_limits_must_be_above_zero(name):
    with pytest.raises(ValueError, match=f"{name}=0"):
        Limits(**{name: 0})
