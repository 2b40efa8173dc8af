"""Request bodies, read within bounds of size, memory and time."""

import asyncio
import contextlib

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from keras_medgen.serving.server.errors import ServingError
from keras_medgen.serving.server.limits import Limits

_LINGER_SECONDS = 2.0


class UnreadBodyError(ServingError):
    """A request refused before its body was read to the end."""


class BodyReader:
    """Reads bodies, on the event loop, so that a slow client holds a socket and nothing else.

    Args:
        limits: `max_body_bytes` of one, `max_buffered_bytes` of all, `read_timeout_seconds`.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._buffered = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request):
        """Gives a body, whose bytes count as buffered until the block ends.

        Raises:
            ServingError: 413, 429 or 408; 400 for a wrong Content-Length; CANCELLED if the client
                left.
        """
        self._check_size(_content_length(request))
        taken = 0
        chunks = []
        try:
            try:
                async with asyncio.timeout(self._limits.read_timeout_seconds):
                    async for chunk in request.stream():
                        taken += len(chunk)
                        self._buffered += len(chunk)
                        self._check_size(taken)
                        if self._buffered > self._limits.max_buffered_bytes:
                            raise UnreadBodyError(
                                "RESOURCE_EXHAUSTED",
                                "The server reads as much as it can hold. Try again later.",
                            )
                        chunks.append(chunk)
            except TimeoutError:
                raise UnreadBodyError(
                    "DEADLINE_EXCEEDED",
                    f"The body must arrive within {self._limits.read_timeout_seconds:g} seconds.",
                    http_status=408,
                ) from None
            except ClientDisconnect:
                raise ServingError("CANCELLED", "The client left.") from None
            yield b"".join(chunks)
        finally:
            self._buffered -= taken

    def _check_size(self, size: int):
        if size > self._limits.max_body_bytes:
            raise UnreadBodyError(
                "RESOURCE_EXHAUSTED",
                f"A body must have at most {self._limits.max_body_bytes} bytes.",
                http_status=413,
            )


def _content_length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise UnreadBodyError("INVALID_ARGUMENT", "Content-Length must be a whole number.")
    return int(text)


class LingeringResponse(JSONResponse):
    """The answer to a request whose body was not read to its end; the connection is closed.

    The rest of the body is thrown away for a moment before: a connection closed on unread bytes is
    reset, and the client would lose the answer.
    """

    async def __call__(self, scope, receive, send):
        """Sends it."""
        headers = [*self.raw_headers, (b"connection", b"close")]
        start = {"type": "http.response.start", "status": self.status_code, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})
