"""The server, from its start to the last answer."""

import functools
import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path

import uvicorn

from keras_medgen.serving.server.grpc_service import start_grpc
from keras_medgen.serving.server.http_protocol import BoundedProtocol
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.logs import configure, log
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.predictor import Predictor
from keras_medgen.serving.server.repository import Repository
from keras_medgen.serving.server.rest import application

KEEP_ALIVE = 30  # seconds that a connection may stay idle
MAX_HEADER_BYTES = 64 * 1024
GRACE = 5.0  # seconds beyond the limit of a request, until those in flight are given up


def serve(
    directory: str | Path,
    host: str = "127.0.0.1",
    rest_port: int = 8501,
    grpc_port: int = 8500,
    limits: Limits | None = None,
    labels: dict[str, int] | None = None,
) -> None:
    """Serves models over REST and gRPC until SIGTERM or SIGINT (Ctrl-C).

    Then it takes no new connections, answers the requests that are in flight, and returns. A
    second signal ends the process at once. To be called in the main thread.

    Args:
        directory: a model with version folders in it, or a folder of such models.
        host: the address to listen at; "0.0.0.0" is every IPv4 address of the machine.
        rest_port: 0 for any that is free.
        grpc_port: 0 for any that is free.
        limits: what it takes on. Default: `Limits()`.
        labels: see `Repository`.

    Raises:
        OSError: if there is no such folder, or another program has one of the ports.
    """
    configure()
    signals = (signal.SIGTERM, signal.SIGINT)
    stop = threading.Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in signals}
    try:
        server = Server(directory, host, rest_port, grpc_port, limits, labels).start()
        log("serving", host=host, rest_port=server.rest_port, grpc_port=server.grpc_port)
        stop.wait()
        log("stopping")
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        if not server.stop():
            log("given up", logging.ERROR)
            os._exit(1)  # for an orderly exit would wait for the model's run
        log("stopped")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Server:
    """The same in threads of this process, for tests and scripts.

    Args:
        directory: see `serve`.
        host: see `serve`.
        rest_port: see `serve`. Default: any that is free.
        grpc_port: see `serve`. Default: any that is free.
        limits: see `serve`.
        labels: see `serve`.
        poll_seconds: between two looks at the folder.

    Attributes:
        rest_port: int, known once it has started.
        grpc_port: int.
        repository: the models.

    Example:
    ```python
    with Server("saved_models") as server:
        client = kmg.serving.Client(f"grpc://127.0.0.1:{server.grpc_port}", model="retina_vae")
    ```
    """

    def __init__(
        self,
        directory: str | Path,
        host: str = "127.0.0.1",
        rest_port: int = 0,
        grpc_port: int = 0,
        limits: Limits | None = None,
        labels: dict[str, int] | None = None,
        poll_seconds: float = 1.0,
    ):
        self._host = host
        self.rest_port = rest_port
        self.grpc_port = grpc_port
        self._limits = limits or Limits()
        self.repository = Repository(directory, labels, poll_seconds)
        self._socket = self._http = self._thread = self._grpc = self._predictor = None

    def start(self) -> "Server":
        """Loads the models and listens; returns once both interfaces answer.

        Raises:
            OSError: if there is no such folder, or another program has one of the ports.
        """
        self._socket = _bound_socket(self._host, self.rest_port)
        try:
            self.rest_port = self._socket.getsockname()[1]
            self.repository.start()
            metrics = Metrics()
            self._predictor = Predictor(self.repository, self._limits, metrics)
            self._grpc, self.grpc_port = start_grpc(
                self._predictor, self.repository, self._limits, metrics, self._host, self.grpc_port
            )
            app = application(self._predictor, self.repository, self._limits, metrics)
            self._http = uvicorn.Server(_configuration(app, self._limits))
            self._thread = threading.Thread(
                target=self._http.run, kwargs={"sockets": [self._socket]}, name="http"
            )
            self._thread.start()
            while not self._http.started:
                if not self._thread.is_alive():
                    raise OSError(f"The REST server cannot listen at port {self.rest_port}.")
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> bool:
        """Takes no new connections, answers what is in flight, and frees the ports.

        What is not answered `limits.timeout_seconds` and a few seconds later is given up.

        Returns:
            Whether everything that was submitted to a model was run.
        """
        ran = True
        if self._grpc is not None:
            over = self._grpc.stop(self._limits.timeout_seconds + GRACE)
        if self._http is not None:
            self._http.should_exit = True
            self._thread.join()
        if self._grpc is not None:
            over.wait()
        self._socket.close()
        if self._predictor is not None:
            ran = self._predictor.stop(GRACE)
        self.repository.stop()
        return ran

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()


def _bound_socket(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once only where the protocol is given; else an answer's last
    # part may wait 40 ms for the client to acknowledge its first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # So that a server can follow the one before it at once; Linux lets no two listen.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(
            f"The REST server cannot listen at {host}:{port}: {error.strerror or error}."
        ) from None
    return listener


def _configuration(app, limits):
    return uvicorn.Config(
        app,
        http=functools.partial(BoundedProtocol, limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        log_level=logging.WARNING,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=round(limits.timeout_seconds + GRACE),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
