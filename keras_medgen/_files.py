"""Files that are either whole or not there."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Gives a path beside `path` to write a file to, and renames it into place at the end.

    Its folders are made as needed. If the block raises, nothing is left behind, and what stood
    at `path` stands.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(path: str | Path) -> Iterator[Path]:
    """As `written_whole`, for a folder that does not exist yet.

    Raises:
        FileExistsError: if there is something at `path`.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already.")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    beside.chmod(0o755)  # mkdtemp's own mode would shut a server out
    try:
        yield beside
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
