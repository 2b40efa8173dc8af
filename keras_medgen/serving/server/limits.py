"""How much the server takes on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """The bounds of a server; what goes beyond one is refused with a plain error.

    Attributes:
        max_body_bytes: of one request, 413 beyond.
        max_buffered_bytes: of all the bodies that are being read or answered, 429 beyond.
        max_batch_rows: of one request, 400 beyond, and of requests joined into one run.
        max_queue_rows: that wait for their run, 429 beyond.
        timeout_seconds: from a request's arrival to its answer, 504 beyond; also for a client to
            take its answer.
        read_timeout_seconds: for a client to send its headers, and then its body, 408 beyond.
        max_connections: HTTP connections open at a time, 503 beyond.
        max_grpc_connection_seconds: after which a gRPC client is asked to connect anew, which it
            does by itself. A call that sends nothing holds a thread until then, and
            `timeout_seconds` more: `read_timeout_seconds` is of HTTP alone, and so is
            `max_buffered_bytes`.
        join_requests: whether requests for one signature that wait together run as one batch. It
            asks of a signature that no row of its answer depends on another row, as in the exports
            of `kmg.serving.export`.
    """

    max_body_bytes: int = 32 * 2**20
    max_buffered_bytes: int = 256 * 2**20
    max_batch_rows: int = 256
    max_queue_rows: int = 4096
    timeout_seconds: float = 30.0
    read_timeout_seconds: float = 10.0
    max_connections: int = 256
    max_grpc_connection_seconds: float = 60.0
    join_requests: bool = True

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if name != "join_requests" and not value > 0:
                raise ValueError(f"{name} must be above 0. Received: {name}={value}.")
