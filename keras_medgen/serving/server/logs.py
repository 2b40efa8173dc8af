"""The server's log: one JSON object a line, and never anything of a request's body."""

import json
import logging
import sys
import time

logger = logging.getLogger("keras_medgen.serving")


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with the fields given as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            # The type and the place, not the message: TensorFlow's may quote what it was given.
            line["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace.tb_next:
                trace = trace.tb_next
            line["at"] = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
        return json.dumps(line)


def configure(level: int | str = logging.INFO, stream=None):
    """Sends the server's log, and uvicorn's, to a stream as JSON lines.

    Args:
        level: of the `logging` module.
        stream: a text stream. Default: standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter())
    for name in ("keras_medgen.serving", "uvicorn", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers = [handler] if name != "uvicorn.error" else []
        log.propagate = name == "uvicorn.error"
        log.setLevel(level)
    # One line a request is enough, and it is ours.
    logging.getLogger("uvicorn.access").disabled = True


def log(event: str, level: int = logging.INFO, exc_info=None, **fields):
    """Writes a line.

    Args:
        event: what happened, in a few words that are always the same.
        level: of the `logging` module.
        exc_info: True to add the type and the place of the exception in flight.
        **fields: what there is to say of it: names, codes, counts, seconds.
    """
    if logger.isEnabledFor(level):
        logger.log(level, event, exc_info=exc_info, extra={"fields": fields})
