"""NIfTI files as volumes in one orientation, the last ones kept at hand."""

import dataclasses
import functools
import gzip
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_medgen.data.found import UnreadableError

DEFLATE_RATIO = 1032  # at most, by zlib's documentation: a header that claims more is damaged


@dataclasses.dataclass(slots=True)
class Volume:
    """A file in RAS+ order, its values as stored.

    Attributes:
        stored: (x, y, z, entries).
        slope: with `intercept`, takes stored values to the units of the file.
        intercept: see `slope`.
        affine: (4, 4), indices of voxels to mm.
        is_rgb: whether the entries are red, green and blue.
    """

    stored: np.ndarray
    slope: float
    intercept: float
    affine: np.ndarray
    is_rgb: bool

    def values(self, part: Any) -> np.ndarray:
        """Part of the voxels in the units of the file, float64."""
        return self.stored[part].astype(np.float64) * self.slope + self.intercept


def read_image(path: Path) -> Volume:
    """The volume of a file, kept at hand; `UnreadableError` if it cannot be read."""
    return _recent(_recent_images, path)


def read_mask(path: Path) -> Volume:
    """As `read_image`, for masks: they are kept apart, so as not to drive their volume out."""
    return _recent(_recent_masks, path)


def misfit(mask: Path, image: Path) -> str | None:
    """Tells why a mask does not lie on a volume.

    Args:
        mask: file of the mask.
        image: file of the volume.

    Returns:
        The reason, or None if it does.

    Raises:
        UnreadableError: if the mask itself cannot be used.
    """
    labels = read_mask(mask)
    if labels.stored.shape[3] > 1:
        raise UnreadableError(f"a mask of {labels.stored.shape[3]} entries on the fourth axis")
    if labels.stored.dtype.kind == "f" or labels.slope != 1 or labels.intercept % 1:
        values = labels.values(...)
        if not np.isfinite(values).all() or np.abs(values - np.rint(values)).max() > 1e-3:
            raise UnreadableError("a mask whose values are not whole numbers")
    try:
        volume = read_image(image)
    except UnreadableError:
        return f"its volume {image.name} cannot be read"
    if labels.stored.shape[:3] != volume.stored.shape[:3]:
        return (
            f"a mask of {' x '.join(map(str, labels.stored.shape[:3]))} voxels, but {image.name} "
            f"has {' x '.join(map(str, volume.stored.shape[:3]))}"
        )
    # Headers store rotations in few bits: a tenth of a voxel anywhere in the volume is the same.
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.stored.shape[:3]])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    apart = np.abs((labels.affine - volume.affine) @ corners).max()
    voxel = np.sqrt((volume.affine[:3, :3] ** 2).sum(axis=0)).min()
    if apart > 0.1 * voxel:
        return f"a mask that lies elsewhere in space than {image.name}"
    return None


def _read(path: Path, modified: int) -> Volume:
    """Reads a file; `modified` is part of the cache's key."""
    import nibabel

    try:
        image = nibabel.load(path)
    except (OSError, EOFError) as error:
        raise UnreadableError(f"cannot be opened ({type(error).__name__})") from None
    except Exception:  # damaged bytes fail in many ways, CIFTI's XML among them
        raise UnreadableError("not a NIfTI file, or its start is cut short or damaged") from None
    if isinstance(image, nibabel.Cifti2Image):
        raise UnreadableError("a CIFTI matrix, not an image volume")
    if not isinstance(image, nibabel.Nifti1Pair):
        raise UnreadableError("not a NIfTI file")
    shape, dtype = image.shape, image.get_data_dtype()
    if 0 in shape or len(shape) < 2:
        raise UnreadableError(f"its shape is {shape}")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) > 4:
        raise UnreadableError(f"it has {len(shape)} dimensions {shape}; 2 to 4 are read")
    if dtype.kind == "c":
        raise UnreadableError("its voxels are complex numbers")
    size = path.stat().st_size * (DEFLATE_RATIO if path.suffix.lower() == ".gz" else 1)
    cut_short = "its voxels are cut short or damaged"
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise UnreadableError(cut_short)
    orientation = nibabel.io_orientation(image.affine)
    if np.isnan(orientation).any():
        raise UnreadableError("its affine matrix gives no orientation")
    try:
        stored = _stored(image, path)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error):
        raise UnreadableError(cut_short) from None

    shape = (*shape, 1, 1)[:4] if len(shape) < 4 else shape
    stored = stored.reshape(shape, order="F")
    is_rgb = stored.dtype.names is not None
    if is_rgb:
        if shape[3] > 1:
            raise UnreadableError("a series of colour volumes")
        stored = np.stack([stored[..., 0][name] for name in "RGB"], axis=-1)
    turn = np.vstack([orientation, [3, 1]]).astype(int)
    affine = image.affine @ nibabel.orientations.inv_ornt_aff(orientation, shape[:3])
    return Volume(
        stored=nibabel.apply_orientation(stored, turn),
        slope=1.0 if is_rgb else float(image.dataobj.slope),
        intercept=0.0 if is_rgb else float(image.dataobj.inter),
        affine=affine,
        is_rgb=is_rgb,
    )


def _stored(image: Any, path: Path) -> np.ndarray:
    """The voxels as stored."""
    if path.suffix.lower() != ".gz":
        return np.asarray(image.dataobj.get_unscaled())
    with gzip.open(path) as file:
        stored = type(image).from_stream(file).dataobj.get_unscaled()
        # nibabel stops after the last voxel; the checksum stands behind it.
        while file.read(2**20):
            pass
    return stored


# A zipped volume must be read whole for each of its slices, so the last two are kept, as stored;
# the lock keeps threads that want the same one from reading it twice.
_recent_images = functools.lru_cache(maxsize=2)(_read)
_recent_masks = functools.lru_cache(maxsize=2)(_read)
_lock = threading.Lock()


def _recent(cache: Any, path: Path) -> Volume:
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        raise UnreadableError(f"cannot be opened ({type(error).__name__})") from None
    with _lock:
        return cache(path, modified)
