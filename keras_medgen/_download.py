"""Published files: found where they lie already, or downloaded once, whole and checked."""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import keras

from keras_medgen._files import file_digest

LONGEST_SILENCE = 60  # seconds without an answer from the server
ABANDONED = 24 * 3600  # seconds since a partial download grew last
NAMES = {"md5": "MD5", "sha256": "SHA-256"}  # of the sums, in messages


def keras_home() -> tuple[str, Path]:
    """Keras's folder of a user: what a message may call it, and its path."""
    home = os.environ.get("KERAS_HOME")
    if home:
        return "$KERAS_HOME", Path(home).expanduser()
    return "~/.keras", Path.home() / ".keras"


def find(name: str, folders: dict[str, Path], digest: str, algorithm: str) -> Path | None:
    """Finds a published file in the first of the folders that holds it.

    Args:
        name: of the file.
        folders: to look in, by what a message may call them: it tells no path of the user's.
        digest: of the published file, hexadecimal.
        algorithm: of the digest: "md5" or "sha256".

    Returns:
        Path of the file, or None.

    Raises:
        ValueError: if none does, but there are files of that name; the message names the first of
            them, and both sums.
    """
    other = None
    for where, folder in folders.items():
        path = folder / name
        if not path.is_file():
            continue
        received = file_digest(path, algorithm)
        if received == digest:
            return path
        other = other or (where, received)
    if other is not None:
        where, received = other
        raise ValueError(
            f"{name} in {where} is not the published file: expected the {NAMES[algorithm]} "
            f"{digest}. Received: {received}. Move it away, and it is looked for again."
        )
    return None


def download(
    name: str, url: str, digest: str, algorithm: str, folder: Path, where: str, argument: str
) -> Path:
    """Downloads a published file; it has another name until it is whole and checked.

    Args:
        name: of the file.
        url: of it.
        digest: of it, hexadecimal.
        algorithm: of the digest: "md5" or "sha256".
        folder: to download to; made if need be.
        where: what a message may call the folder.
        argument: of the caller, that chooses another folder.

    Returns:
        Path of the file.

    Raises:
        ConnectionError: if the download failed or brought another file; the message says what
            to put where by hand.
        OSError: if the folder cannot be written to.
    """
    kind = NAMES[algorithm]
    by_hand = f"Download {url} by other means and put it into {where} as {name} ({kind} {digest})."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(name, folder)
        # A folder of its own, for two processes may download at once; beside its destination,
        # for a file is renamed whole only within one disk.
        partial = tempfile.TemporaryDirectory(prefix=f"{name}.partial-", dir=folder)
    except OSError as error:
        raise OSError(
            f"{name} cannot be written to {where} ({error.strerror}); give a folder that can be "
            f"written to as {argument}."
        ) from None
    with partial:
        downloaded = Path(partial.name) / name
        try:
            with _impatient(), _quiet_in_a_log(f"Downloading {name} from {url}"):
                keras.utils.get_file(
                    name,
                    url,
                    file_hash=digest,
                    hash_algorithm=algorithm,
                    cache_dir=partial.name,
                    cache_subdir="",
                )
        except Exception as error:  # get_file raises bare Exceptions
            if downloaded.exists():  # left there only where the sum is wrong
                reason = f"what came has the {kind} {file_digest(downloaded, algorithm)}"
            else:
                reason = _reason(error)
            raise ConnectionError(f"{name} could not be downloaded ({reason}). {by_hand}") from None
        return downloaded.replace(folder / name)


def _reason(error: Exception) -> str:
    """What went wrong, without the URL that get_file repeats."""
    cause = error.__context__
    if isinstance(cause, urllib.error.HTTPError):
        return f"HTTP {cause.code} {cause.reason}"
    if isinstance(cause, urllib.error.URLError):
        error = cause.reason
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _remove_abandoned(name: str, folder: Path) -> None:
    """Removes what a killed download left behind; it may be gigabytes."""
    for partial in folder.glob(f"{name}.partial-*"):
        with contextlib.suppress(OSError):  # another process may do the same
            newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(partial)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Gives new connections a time limit, for get_file takes none and would wait for ever."""
    before = socket.getdefaulttimeout()
    if before is None:
        socket.setdefaulttimeout(LONGEST_SILENCE)
    try:
        yield
    finally:
        if before is None:
            socket.setdefaulttimeout(None)


@contextlib.contextmanager
def _quiet_in_a_log(message: str) -> Iterator[None]:
    """Where there is no terminal, one line in place of get_file's bar of twenty a second."""
    shown = sys.stdout.isatty() or "ipykernel" in sys.modules
    if shown or not keras.config.is_interactive_logging_enabled():
        yield
        return
    print(message, file=sys.stderr, flush=True)
    keras.config.disable_interactive_logging()
    try:
        yield
    finally:
        keras.config.enable_interactive_logging()
