"""A server on this machine, for tests of downloads."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def serving(content):
    """A server of one file, at any path.

    It has `requests`, the paths that were asked for; `answer`, which decides what it sends; and
    `whole`, the answer with the file, or with another body or length.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            self.server.answer(self)

        def log_message(self, *_):
            pass

    def whole(handler, body=content, length=None):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.whole, server.answer = [], whole, whole
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
