"""Which models and versions a folder holds."""

from pathlib import Path

_MAX_VERSION = 2**63 - 1  # versions are int64 in TF Serving's protocol


def model_folders(path: Path) -> dict[str, Path]:
    """The models at a path: itself if it has version folders, else those of its folders that do.

    Args:
        path: of a folder, which may be gone.
    """
    if version_folders(path):
        return {path.name: path}
    return {folder.name: folder for folder in _folders(path) if version_folders(folder)}


def version_folders(path: Path) -> dict[int, Path]:
    """The folders whose names are whole numbers, such as 3 or 00000123."""
    found = {}
    for folder in _folders(path):
        if folder.name.isascii() and folder.name.isdecimal() and int(folder.name) <= _MAX_VERSION:
            found.setdefault(int(folder.name), folder)
    return found


def fingerprint(path: Path) -> tuple:
    """What changes when a SavedModel is written anew or still being written.

    Args:
        path: of a version.

    Returns:
        Inode, size and time of the model's file and of its variables; () where there is no model.
    """
    try:
        files = [path / "saved_model.pb", *sorted(path.glob("variables/*"))]
        stats = [file.stat() for file in files]
    except OSError:
        return ()
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


def _folders(path: Path) -> list[Path]:
    """The folders in a folder that may be gone, hidden ones left out."""
    try:
        return sorted(
            child for child in path.iterdir() if not child.name.startswith(".") and child.is_dir()
        )
    except OSError:
        return []
