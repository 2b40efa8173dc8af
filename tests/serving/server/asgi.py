"""Requests to an ASGI application whose body comes as slowly, and whose client leaves as soon, as
a test wants it."""

import asyncio


def call(app, method, path, chunks=(b"",), headers=(), **arguments):
    """The status and the body of an answer.

    Args:
        app: an ASGI application.
        method: of HTTP.
        path: as it is after decoding.
        chunks: of the body; a float is a pause of as many seconds, an `asyncio.Event` one until
            it is set.
        headers: pairs of bytes.
        **arguments: of `acall`.
    """
    return asyncio.run(acall(app, method, path, chunks, headers, **arguments))


async def acall(app, method, path, chunks=(b"",), headers=(), leaves_after=None):
    """As `call`, in a running loop.

    Args:
        leaves_after: seconds after the body's end that the client leaves. Default: never.
    """
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
    }
    chunks, sent = list(chunks), []

    async def receive():
        while chunks and not isinstance(chunks[0], bytes):
            pause = chunks.pop(0)
            await (asyncio.sleep(pause) if isinstance(pause, float) else pause.wait())
        if chunks:
            body = chunks.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(chunks)}
        await asyncio.sleep(1e6 if leaves_after is None else leaves_after)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
