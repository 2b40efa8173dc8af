"""What has to happen before TensorFlow is imported: the choice of backend and a quiet command."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path


def check_backend() -> None:
    """Raises ImportError where Keras would run on anything but TensorFlow.

    Keras reads `KERAS_BACKEND` first and its keras.json second; reading them here spares a user
    of another backend the half minute in which Keras would import it.
    """
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
    else:
        backend = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if backend != "tensorflow":
        raise ImportError(
            "keras_medgen runs on Keras' TensorFlow backend: set KERAS_BACKEND=tensorflow before "
            f"keras is imported. Received: backend={backend!r}."
        )


def _configured_backend() -> str:
    home = os.environ.get("KERAS_HOME")
    file = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    try:
        return json.loads(file.read_text()).get("backend", "tensorflow")
    except (OSError, ValueError):  # Keras falls back to its default too
        return "tensorflow"


def is_quiet_command(arguments: list[str]) -> bool:
    """Whether this process is the command line tool, and not asked to be `--verbose`."""
    command = Path(arguments[0]).stem == "keras-medgen" if arguments else False
    return command and "--verbose" not in arguments


@contextlib.contextmanager
def quiet_native_stderr():
    """Holds back what native code writes to stderr; gives it out if the block raises.

    TensorFlow logs its start-up lines before it reads `TF_CPP_MIN_LOG_LEVEL`, straight to file
    descriptor 2, out of reach of Python's own streams.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras: without their start-up lines if this is the command."""
    if not is_quiet_command(sys.argv):
        import keras

        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_native_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # the last of the start-up lines
