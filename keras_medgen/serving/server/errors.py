"""What the server says when it cannot answer, alike over REST and gRPC."""

import re

# gRPC's codes in the order of their numbers, with the HTTP status that TF Serving gives each:
# https://grpc.io/docs/guides/status-codes/
HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
_CODES = tuple(HTTP_STATUS)


class ServingError(Exception):
    """A request that the server does not answer, and why.

    Args:
        code: the name of a gRPC status, a key of `HTTP_STATUS`.
        message: one sentence for the client.
        http_status: int. Default: the code's own. HTTP has some that gRPC has not, such as 413.
    """

    def __init__(self, code: str, message: str, http_status: int | None = None):
        # Clients' names may stand in it, and JSON has ways to write what is no Unicode.
        message = message.encode("utf-8", "replace").decode()
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status or HTTP_STATUS[code]

    def __str__(self):
        return f"{self.code}: {self.message}"


def invalid(message: str) -> ServingError:
    """The error of a request that no server could answer."""
    return ServingError("INVALID_ARGUMENT", message)


def from_tensorflow(error: Exception) -> ServingError:
    """An error of TensorFlow's, a `tf.errors.OpError`, in one sentence under its own code."""
    return ServingError(_CODES[error.error_code], _sentence(error.message))


def _sentence(message: str) -> str:
    """What went wrong, out of a message that also tells where in the graph and in whose code.

    In a graph it reads "Graph execution error:", "Detected at node …" with a stack of files, the
    sentence, and the node in brackets; a joined error lists several, each under "(0)", "(1)".
    """
    for line in message.splitlines():
        line = re.sub(r"\[\[\{\{.*|\{\{function_node [^}]*\}\}| \[Op:.*", "", line).strip()
        line = re.sub(r"^\([0-9]\) [A-Z_]+: ", "", line)
        if line.startswith("assertion failed: ["):
            # tf.debugging's lists its data: [the sentence] [the condition] [values …].
            line = line.removeprefix("assertion failed: [").split("] [")[0].removesuffix("]")
        if line and not line.startswith(_WHERE) and not line.endswith("root error(s) found."):
            return line[:500]
    return "The model could not be run on this request."


_WHERE = ("Graph execution error", "Detected at node", "<stack traces", "File ", "Node:")
