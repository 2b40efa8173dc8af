"""HTTP connections that cannot be held open for nothing."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_medgen.serving.server.limits import Limits


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, which waits for ever for headers and for a client to take its answer.

    Args:
        limits: of connections, of the time that headers may take and of the time that an answer
            may wait to be taken. What a body may take is the application's to watch.
        **arguments: uvicorn's.
    """

    def __init__(self, limits: Limits, **arguments):
        super().__init__(**arguments)
        self._limits = limits
        self._headers_timer = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client is there."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(503, "Service Unavailable", "The server has too many connections.")
        else:
            self._start_headers_timer()

    def data_received(self, data: bytes) -> None:
        """Some of a request is there."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # in the middle of the headers
            if self._headers_timer is None:
                self._start_headers_timer()
        else:
            self._stop_headers_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or the server, has closed the connection."""
        self._stop_headers_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Says that a request is no HTTP, as JSON like all errors."""
        self._refuse(400, "Bad Request", msg)

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection over which nothing came after an answer."""
        super().timeout_keep_alive_handler()
        self._abort_late()

    def on_response_complete(self) -> None:
        """An answer is written, but for what the client has not taken yet."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_late()

    def _abort_late(self):
        """To a client that does not read, a transport that closes is never closed."""
        self.loop.call_later(self._limits.timeout_seconds, self.transport.abort)

    def _start_headers_timer(self):
        self._headers_timer = self.loop.call_later(
            self._limits.read_timeout_seconds,
            self._refuse,
            408,
            "Request Timeout",
            f"Headers must come within {self._limits.read_timeout_seconds:g} seconds.",
        )

    def _stop_headers_timer(self):
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _refuse(self, status, phrase, message):
        body = json.dumps({"error": message}).encode()
        self.transport.write(
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()
        self._abort_late()
