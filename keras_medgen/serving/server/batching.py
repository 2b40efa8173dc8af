"""Concurrent requests for one signature, run as one batch."""

import collections
import concurrent.futures
import dataclasses
import logging
import threading
import time

import numpy as np

from keras_medgen.serving.server.errors import ServingError
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.logs import log
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.servable import Servable, Signature

# Runs at a time, each of another signature: TensorFlow spreads one over the cores by itself, and
# a slow signature must not keep the others waiting.
_WORKERS = 4


@dataclasses.dataclass(eq=False)
class _Request:
    servable: Servable
    signature: Signature
    inputs: dict[str, np.ndarray]
    rows: int
    deadline: float
    future: concurrent.futures.Future


class Batcher:
    """Runs requests, those for one signature that wait together as one batch.

    Nothing is held back to wait for company: a request that comes to an idle signature runs at
    once, and what comes meanwhile is joined, along the first axis, for the next run.

    Args:
        limits: `max_batch_rows` of a joined run, `max_queue_rows` that wait, `join_requests`.
        metrics: counts the runs.
    """

    def __init__(self, limits: Limits, metrics: Metrics):
        self._limits = limits
        self._metrics = metrics
        self._workers = concurrent.futures.ThreadPoolExecutor(_WORKERS, "run")
        self._lock = threading.Lock()
        # What waits, by what can be joined. A key is here while one of its runs goes on, too.
        self._waiting: dict[tuple, collections.deque[_Request]] = {}
        self._rows_waiting = 0

    def submit(
        self,
        servable: Servable,
        signature: Signature,
        inputs: dict[str, np.ndarray],
        deadline: float,
        future: concurrent.futures.Future,
    ):
        """Lets a request wait for its run.

        Args:
            servable: to run.
            signature: of it.
            inputs: arrays that fit the signature, and of equal rows if it `has_rows`.
            deadline: by `time.monotonic`. A request is not run any more after it.
            future: set to the outputs, or to a `ServingError`. Cancelled: the request is not run,
                unless it runs already.

        Raises:
            ServingError: RESOURCE_EXHAUSTED if too many rows wait.
        """
        rows = len(next(iter(inputs.values()))) if signature.has_rows else 1
        request = _Request(servable, signature, inputs, rows, deadline, future)
        if self._limits.join_requests and signature.has_rows:
            # Shapes stand in it because a signature may leave more axes open than the first.
            shapes = tuple(array.shape[1:] for _, array in sorted(inputs.items()))
            key = (servable, signature.name, shapes)
        else:
            key = (request,)
        with self._lock:
            if self._rows_waiting + rows > self._limits.max_queue_rows:
                raise ServingError(
                    "RESOURCE_EXHAUSTED",
                    f"{self._rows_waiting} rows wait already; the server queues at most "
                    f"{self._limits.max_queue_rows}. Try again later.",
                )
            self._change_rows_waiting(rows)
            if key in self._waiting:
                self._waiting[key].append(request)
            else:
                self._waiting[key] = collections.deque([request])
                self._workers.submit(self._run_next, key)
        future.add_done_callback(lambda done: done.cancelled() and self._forget(key, request))

    def stop(self, timeout: float) -> bool:
        """Waits for all that was submitted, and says whether it was run by then.

        Args:
            timeout: seconds.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with self._lock:
                if not self._waiting:
                    self._workers.shutdown()
                    return True
            time.sleep(0.01)
        self._workers.shutdown(wait=False, cancel_futures=True)
        return False

    def _forget(self, key: tuple, request: _Request):
        """Nobody waits for it any more: it must not hold inputs, and a place, until its run."""
        with self._lock:
            queue = self._waiting.get(key, ())
            if request in queue:
                queue.remove(request)
                self._change_rows_waiting(-request.rows)

    def _change_rows_waiting(self, rows: int):
        self._rows_waiting += rows
        self._metrics.set_queue_rows(self._rows_waiting)

    def _run_next(self, key: tuple):
        """Runs what waits under a key now, as far as one batch holds it."""
        taken, rows = [], 0
        with self._lock:
            queue = self._waiting[key]
            while queue and (not taken or rows + queue[0].rows <= self._limits.max_batch_rows):
                request = queue.popleft()
                taken.append(request)
                rows += request.rows
            self._change_rows_waiting(-rows)
        # Futures are set outside of the lock: what waits for them may submit the next request.
        requests = [request for request in taken if _still_wanted(request)]
        try:
            self._answer(requests)
        except BaseException:
            log("answer failed", logging.ERROR, exc_info=True, signature=requests[0].signature.name)
            for request in requests:
                if not request.future.done():
                    request.future.set_exception(_failed())
        finally:
            with self._lock:
                if self._waiting[key]:
                    self._workers.submit(self._run_next, key)  # behind the other signatures'
                else:
                    del self._waiting[key]

    def _answer(self, requests: list[_Request]):
        if len(requests) > 1 and self._answer_joined(requests):
            return
        for request in requests:
            if time.monotonic() > request.deadline:
                request.future.set_exception(_too_late())
                continue
            try:
                request.future.set_result(self._run(request, request.inputs, [request]))
            except ServingError as error:
                request.future.set_exception(error)

    def _answer_joined(self, requests: list[_Request]) -> bool:
        """Whether one run answered them all: one bad request must not fail its neighbours."""
        first = requests[0]
        inputs = {
            name: np.concatenate([request.inputs[name] for request in requests])
            for name in first.inputs
        }
        try:
            outputs = self._run(first, inputs, requests)
        except ServingError:
            return False
        ends = np.cumsum([request.rows for request in requests])
        if any(len(array) != ends[-1] for array in outputs.values()):
            return False
        for request, end in zip(requests, ends, strict=True):
            rows = slice(end - request.rows, end)
            request.future.set_result({name: array[rows] for name, array in outputs.items()})
        return True

    def _run(self, request: _Request, inputs, requests: list[_Request]):
        start = time.perf_counter()
        try:
            outputs = request.servable.run(request.signature.name, inputs)
        except ServingError:
            raise
        except Exception:
            log("run failed", logging.ERROR, exc_info=True, signature=request.signature.name)
            raise _failed() from None
        seconds = time.perf_counter() - start
        self._metrics.observe_batch(len(requests), sum(each.rows for each in requests), seconds)
        return outputs


def _still_wanted(request: _Request) -> bool:
    """Whether somebody waits for the answer; a request whose time is up is told so."""
    if not request.future.set_running_or_notify_cancel():
        return False
    if time.monotonic() > request.deadline:
        request.future.set_exception(_too_late())
        return False
    return True


def _too_late() -> ServingError:
    return ServingError("DEADLINE_EXCEEDED", "The time for this request was up before it ran.")


def _failed() -> ServingError:
    return ServingError("INTERNAL", "The model could not be run on this request.")
