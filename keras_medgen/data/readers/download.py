"""A published set's file: found where it lies already, or downloaded once."""

import contextlib
import hashlib
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

from keras_medgen.data.readers.registry import DataSet

DEFAULT_SIDE = 28
LONGEST_SILENCE = 60  # seconds without an answer from the server
ABANDONED = 24 * 3600  # seconds since a partial download grew last


def native_side(dataset: DataSet, image_size: int | None) -> int:
    """Gives the side of the published images that serve a size best.

    Args:
        dataset: a set of the registry.
        image_size: side that is wanted, in pixels, or None for the set's smallest common one, 28.

    Returns:
        That size if it is published, else the next larger one, else the largest.
    """
    if image_size is None:
        return DEFAULT_SIDE
    return min((side for side in dataset.files if side >= image_size), default=max(dataset.files))


def find_or_download(dataset: DataSet, side: int, data_dir: str | Path | None = None) -> Path:
    """Finds a set's file in the usual folders, or downloads it.

    Looked through are `data_dir`, `~/.medmnist` (where the medmnist package keeps its files) and
    Keras' folder of data sets, `~/.keras/datasets`. A file that is found there is used if its MD5
    is the published one, and never overwritten. A download goes to `data_dir`, or to
    `~/.medmnist`, under another name until it is whole and checked.

    Args:
        dataset: a set of the registry.
        side: of its images, a key of `dataset.files`.
        data_dir: folder to look in first, and to download to; made if need be.

    Returns:
        Path of the file.

    Raises:
        ValueError: if the set has no such side, or if a file of that name is another one; the
            message names the file and both MD5 sums.
        ConnectionError: if the download failed or brought another file; the message says what
            to put where by hand.
        OSError: if the folder cannot be written to.
    """
    if side not in dataset.files:
        raise ValueError(
            f"{dataset.name} is published with sides of {sorted(dataset.files)} pixels. "
            f"Received: side={side}."
        )
    name = dataset.file_name(side)
    md5 = dataset.files[side].md5
    folders = _folders(data_dir)
    for where, folder in folders.items():
        path = folder / name
        if not path.is_file():
            continue
        received = _md5(path)
        if received != md5:
            raise ValueError(
                f"{name} in {where} is not the published file: expected the MD5 {md5}. "
                f"Received: {received}. Move it away and it is downloaded anew."
            )
        return path
    where, folder = next(iter(folders.items()))
    return _download(name, dataset.files[side].url, md5, where, folder)


def _folders(data_dir: str | Path | None) -> dict[str, Path]:
    """Folders to look in, by what a message may call them: it tells no path of the user's."""
    folders = {} if data_dir is None else {"data_dir": Path(data_dir).expanduser()}
    folders["~/.medmnist"] = Path.home() / ".medmnist"
    if "KERAS_HOME" in os.environ:
        folders["$KERAS_HOME/datasets"] = Path(os.environ["KERAS_HOME"]).expanduser() / "datasets"
    else:
        folders["~/.keras/datasets"] = Path.home() / ".keras/datasets"
    return folders


def _download(name: str, url: str, md5: str, where: str, folder: Path) -> Path:
    by_hand = f"Download {url} by other means and put it into {where} as {name} (MD5 {md5})."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(name, folder)
        # A folder of its own, for two processes may download at once; beside its destination,
        # for a file is renamed whole only within one disk.
        partial = tempfile.TemporaryDirectory(prefix=f"{name}.partial-", dir=folder)
    except OSError as error:
        raise OSError(
            f"{name} cannot be written to {where} ({error.strerror}); give a folder that can be "
            "written to as data_dir."
        ) from None
    with partial:
        downloaded = Path(partial.name) / name
        try:
            with _impatient(), _quiet_in_a_log(f"Downloading {name} from {url}"):
                keras.utils.get_file(
                    name,
                    url,
                    file_hash=md5,
                    hash_algorithm="md5",
                    cache_dir=partial.name,
                    cache_subdir="",
                )
        except Exception as error:  # get_file raises bare Exceptions
            if downloaded.exists():  # left there only where the sum is wrong
                reason = f"what came has the MD5 {_md5(downloaded)}"
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


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


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
