"""Counts and times for Prometheus."""

import prometheus_client

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What a server counts, in a registry of its own, so that one process can hold several."""

    def __init__(self):
        self.registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "keras_medgen_requests",
            "Requests answered, by interface, method and gRPC status.",
            ["api", "method", "code"],
            registry=self.registry,
        )
        self._request_seconds = prometheus_client.Histogram(
            "keras_medgen_request_seconds",
            "From a request's first byte to its answer.",
            ["api", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_rows = prometheus_client.Histogram(
            "keras_medgen_batch_rows",
            "Rows of a run of a signature.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._batch_requests = prometheus_client.Histogram(
            "keras_medgen_batch_requests",
            "Requests that were joined into a run.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._run_seconds = prometheus_client.Histogram(
            "keras_medgen_run_seconds",
            "Time of a run in TensorFlow.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_rows = prometheus_client.Gauge(
            "keras_medgen_queue_rows", "Rows that wait for their run.", registry=self.registry
        )

    def observe_request(self, api: str, method: str, code: str, seconds: float):
        """Counts an answer.

        Args:
            api: "rest" or "grpc".
            method: "predict", "metadata", "status" or "other"; never text of the client's, whose
                every variant would be kept.
            code: the name of a gRPC status.
            seconds: that the request took.
        """
        self._requests.labels(api, method, code).inc()
        self._request_seconds.labels(api, method).observe(seconds)

    def observe_batch(self, requests: int, rows: int, seconds: float):
        """Counts a run of a signature on the rows of some requests."""
        self._batch_requests.observe(requests)
        self._batch_rows.observe(rows)
        self._run_seconds.observe(seconds)

    def set_queue_rows(self, rows: int):
        """Tells how many rows wait."""
        self._queue_rows.set(rows)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return prometheus_client.generate_latest(self.registry)
