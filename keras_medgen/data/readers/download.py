"""A published set's file: found where it lies already, or downloaded once."""

from pathlib import Path

from keras_medgen._download import download, find, keras_home
from keras_medgen.data.readers.registry import DataSet

DEFAULT_SIDE = 28


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
    name, file, folders = dataset.file_name(side), dataset.files[side], _folders(data_dir)
    found = find(name, folders, file.md5, "md5")
    if found is not None:
        return found
    where, folder = next(iter(folders.items()))
    return download(name, file.url, file.md5, "md5", folder, where, "data_dir")


def _folders(data_dir: str | Path | None) -> dict[str, Path]:
    """Folders to look in, by what a message may call them: it tells no path of the user's."""
    folders = {} if data_dir is None else {"data_dir": Path(data_dir).expanduser()}
    folders["~/.medmnist"] = Path.home() / ".medmnist"
    where, home = keras_home()
    return folders | {f"{where}/datasets": home / "datasets"}
