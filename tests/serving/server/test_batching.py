import threading
import time
from concurrent.futures import Future, wait

import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.serving.server.batching import Batcher
from keras_medgen.serving.server.errors import ServingError
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.servable import Signature

X = tf.TensorSpec((None,), tf.float32, "x")
OPEN = tf.TensorSpec((None, None), tf.float32, "x")
SCALAR = tf.TensorSpec((), tf.float32, "y")


class Servable:
    """Doubles its input; waits for `go` first, and refuses numbers below 0."""

    def __init__(self):
        self.runs = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def run(self, name, inputs):
        self.runs.append(len(inputs["x"]))
        self.begun.set()
        assert self.go.wait(10)
        if np.any(inputs["x"] < 0):
            raise ServingError("INVALID_ARGUMENT", "x must not be negative.")
        if np.any(inputs["x"] == 1313):
            raise RuntimeError("unlucky")
        if name == "cut":
            return {"y": inputs["x"][:1]}
        return {"y": 2 * inputs["x"], "rows": np.arange(len(inputs["x"]))}


@pytest.fixture
def servable():
    return Servable()


@pytest.fixture
def make_batcher(servable):
    batchers = []

    def make(**limits):
        batchers.append(Batcher(Limits(**limits), Metrics()))
        return batchers[-1]

    yield make
    servable.go.set()
    for batcher in batchers:
        batcher.stop(10)


def submit(batcher, servable, values, name="double", spec=X, output=X, seconds=10.0):
    future = Future()
    signature = Signature(name, {"x": spec}, {"y": output})
    inputs = {"x": np.array(values, np.float32)}
    batcher.submit(servable, signature, inputs, time.monotonic() + seconds, future)
    return future


def first_run(batcher, servable):
    """Begins a run that lasts until `go`; what comes now has to wait."""
    future = submit(batcher, servable, [0])
    assert servable.begun.wait(10)
    return future


def test_a_lone_request_runs_at_once(make_batcher, servable):
    servable.go.set()
    batcher = make_batcher()
    start = time.perf_counter()
    for _ in range(20):
        assert submit(batcher, servable, [1, 2]).result(1)["y"].tolist() == [2, 4]
    assert time.perf_counter() - start < 1
    assert servable.runs == [2] * 20


def test_what_waits_is_joined_and_each_gets_its_own_rows(make_batcher, servable):
    batcher = make_batcher()
    first_run(batcher, servable)
    futures = [submit(batcher, servable, [i] * (i + 1)) for i in range(10)]
    servable.go.set()
    for i, future in enumerate(futures):
        assert future.result(10)["y"].tolist() == [2 * i] * (i + 1)
    assert servable.runs == [1, 55]


def test_a_joined_run_has_at_most_max_batch_rows(make_batcher, servable):
    batcher = make_batcher(max_batch_rows=8)
    first_run(batcher, servable)
    futures = [submit(batcher, servable, [i] * 3) for i in range(5)]
    servable.go.set()
    wait(futures, 10)
    assert servable.runs == [1, 6, 6, 3]


def test_a_request_that_nobody_waits_for_gives_its_place_up(make_batcher, servable):
    batcher = make_batcher(max_queue_rows=4)
    first_run(batcher, servable)
    gone = [submit(batcher, servable, [1, 2]) for _ in range(2)]
    with pytest.raises(ServingError, match="4 rows wait"):
        submit(batcher, servable, [3])
    assert all(future.cancel() for future in gone)
    kept = submit(batcher, servable, [3, 4, 5, 6])
    servable.go.set()
    assert kept.result(10)["y"].tolist() == [6, 8, 10, 12]
    assert servable.runs == [1, 4]


def test_stopping_does_not_wait_for_ever(make_batcher, servable):
    batcher = make_batcher()
    first_run(batcher, servable)
    start = time.monotonic()
    assert not batcher.stop(0.1)
    assert time.monotonic() - start < 5
    servable.go.set()


def test_joining_can_be_turned_off(make_batcher, servable):
    batcher = make_batcher(join_requests=False)
    futures = [submit(batcher, servable, [i]) for i in range(5)]
    servable.go.set()
    wait(futures, 10)
    assert servable.runs == [1] * 5


@pytest.mark.parametrize(
    ("spec", "output"),
    [(X, SCALAR), (tf.TensorSpec((3,), tf.float32), X)],
    ids=["a scalar output", "a fixed number of rows"],
)
def test_signatures_without_rows_run_alone(make_batcher, servable, spec, output):
    batcher = make_batcher()
    futures = [submit(batcher, servable, [1, 2, 3], spec=spec, output=output) for _ in range(6)]
    servable.go.set()
    wait(futures, 10)
    assert servable.runs == [3] * 6


def test_only_equal_shapes_are_joined(make_batcher, servable):
    batcher = make_batcher()
    first = submit(batcher, servable, [[0, 0]], spec=OPEN)
    assert servable.begun.wait(10)
    futures = [submit(batcher, servable, [[1, 1]], spec=OPEN) for _ in range(3)]
    other = submit(batcher, servable, [[1, 1, 1]], spec=OPEN)
    servable.go.set()
    wait([first, other, *futures], 10)
    assert sorted(servable.runs) == [1, 1, 3]
    assert other.result()["y"].tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(("bad", "code"), [(-1, "INVALID_ARGUMENT"), (1313, "INTERNAL")])
def test_a_bad_request_does_not_fail_its_neighbours(make_batcher, servable, bad, code):
    batcher = make_batcher()
    first_run(batcher, servable)
    futures = [submit(batcher, servable, [value]) for value in (1, bad, 3)]
    servable.go.set()
    assert futures[0].result(10)["y"].tolist() == [2]
    assert futures[2].result(10)["y"].tolist() == [6]
    with pytest.raises(ServingError) as error:
        futures[1].result(10)
    assert error.value.code == code
    assert "unlucky" not in error.value.message
    assert servable.runs == [1, 3, 1, 1, 1]


def test_outputs_of_another_number_of_rows_are_not_shared_out(make_batcher, servable):
    batcher = make_batcher()
    first_run(batcher, servable)
    blocked = submit(batcher, servable, [5], name="cut")
    while len(servable.runs) < 2:  # so that the next two wait together
        time.sleep(0.001)
    futures = [submit(batcher, servable, [i, i], name="cut") for i in (6, 7)]
    servable.go.set()
    assert blocked.result(10)["y"].tolist() == [5]
    assert [future.result(10)["y"].tolist() for future in futures] == [[6], [7]]


def test_the_queue_has_an_end_and_gets_room_again(make_batcher, servable):
    batcher = make_batcher(max_queue_rows=4)
    first_run(batcher, servable)
    waiting = [submit(batcher, servable, [1, 2]) for _ in range(2)]
    with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED: 4 rows wait already"):
        submit(batcher, servable, [1])
    servable.go.set()
    wait(waiting, 10)
    assert submit(batcher, servable, [1, 2, 3, 4]).result(10)["y"].tolist() == [2, 4, 6, 8]


def test_late_and_cancelled_requests_are_not_run(make_batcher, servable):
    batcher = make_batcher()
    first_run(batcher, servable)
    late = submit(batcher, servable, [1], seconds=0.01)
    cancelled = submit(batcher, servable, [1])
    assert cancelled.cancel()
    time.sleep(0.02)
    servable.go.set()
    with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
        late.result(10)
    assert submit(batcher, servable, [1]).result(10)["y"].tolist() == [2]
    assert servable.runs == [1, 1]


def test_a_slow_signature_does_not_hold_up_another(make_batcher, servable):
    batcher = make_batcher()
    slow = first_run(batcher, servable)
    quick = Servable()
    quick.go.set()
    assert submit(batcher, quick, [1]).result(10)["y"].tolist() == [2]
    assert not slow.done()


def test_stop_waits_for_what_was_submitted(make_batcher, servable):
    batcher = make_batcher()
    first_run(batcher, servable)
    future = submit(batcher, servable, [1])
    threading.Timer(0.05, servable.go.set).start()
    batcher.stop(10)
    assert future.done()


def test_many_threads_get_their_own_answers(make_batcher, servable):
    servable.go.set()
    batcher = make_batcher()
    wrong = []

    def client(number):
        for step in range(50):
            values = [number, step]
            if submit(batcher, servable, values).result(10)["y"].tolist() != [2 * number, 2 * step]:
                wrong.append(values)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(servable.runs) == 16 * 50 * 2
