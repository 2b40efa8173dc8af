"""What a call of a server can end with."""

RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")  # another try may find the server up, or less busy


class ClientError(Exception):
    """A call that the server refused, or that did not reach it.

    Attributes:
        code: gRPC's name of what is wrong, such as "INVALID_ARGUMENT" or "UNAVAILABLE", also
            where the server was called over HTTP.
        message: a sentence, the server's own where it gave one.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class OtherOutputsError(ClientError):
    """An answer that does not fit the signatures: they may be those of a version before."""

    def __init__(self, address: str):
        super().__init__("UNKNOWN", f"{address} gave other outputs than it states.")


class DeadlineExceededError(ClientError):
    """A call that took longer than it may."""

    def __init__(self, message: str = "the server did not answer in time"):
        super().__init__("DEADLINE_EXCEEDED", message)
