"""NIfTI volumes: each slice along an axis is an image, each volume has one range of values."""

import functools
from pathlib import Path

import numpy as np

from keras_medgen.data.found import Example, UnreadableError
from keras_medgen.data.readers.nifti_names import is_mask, match_masks, patient_of
from keras_medgen.data.readers.nifti_volume import Volume, misfit, read_image, read_mask
from keras_medgen.data.readers.windows import apply_window

PERCENTILES = (0.5, 99.5)
PERCENTILE_VOXELS = 2**24  # larger volumes give every n-th voxel
MAX_CHANNELS = 4
MAX_ASPECT = 20  # of a voxel's sides; beyond it the header is taken for wrong
# A slice is empty where fewer than this share of its pixels is brighter than this.
EMPTY_SHARE, EMPTY_LEVEL = 0.01, 0.1
RGB_RANGE = (0.0, 255.0)


def scan_nifti(
    paths: list[Path],
    window: tuple[float, float] | None,
    axis: int | None,
    channels: int | None,
    masks: dict[Path, Path] | None = None,
) -> tuple[list[Example], list[tuple[str, str]]]:
    """Finds the slices of NIfTI volumes; each volume is read once, for its range of values.

    A slice is a picture as radiologists look at it: the patient's right on the picture's left
    with the front (axial) or the head (coronal) up; sagittal with the front on the left and the
    head up. Its pixels are the voxels; `Example.aspect` says how far they are from square.

    Values become [0, 1] by `window` if there is one, else from the 0.5th to the 99.5th percentile
    of the voxels above the volume's least value, in one range for a volume. RGB volumes are shown
    from 0 to 255. A slice is left out as empty if it is constant, or if fewer than 1% of its
    pixels are then above 0.1 and its mask, if it has one, marks nothing there.

    The fourth axis of up to 4 entries is taken as channels, each with its own range, if
    `channels` is None or that number; else each entry gives images of its own. A longer fourth
    axis is time: each point gives images of its own, in one range for all.

    A file whose name ends in _seg, _mask, _label, _labels or _roi is a mask of the files of its
    folder that are called the same without it, or with one other part in its place. A mask in
    `masks` comes before those; if its voxels are not those of its volume, the volume is left out.

    Args:
        paths: of the files; masks among them.
        window: centre and width in the volumes' units, or None.
        axis: 0 sagittal, 1 coronal, 2 axial; None is axial, or the axis along which a volume is
            one voxel thick.
        channels: of the images to come, or None.
        masks: those that the user named, by volume; they need no special names, nor to be in
            `paths`.

    Returns:
        One `Example` a slice that is not empty (slices and time points count from 1 in names, in
        RAS+ order: from the left, the back, the feet), and (name, reason) of each slice, and of
        each file, that was left out.

    Raises:
        ImportError: if nibabel is not installed.
        ValueError: if the axis is none of these.
    """
    try:
        import nibabel  # noqa: F401
    except ImportError:
        raise ImportError(
            "Reading NIfTI files needs nibabel: pip install 'keras_medgen[nifti]'."
        ) from None
    if axis not in (None, 0, 1, 2):
        raise ValueError(
            f"`axis` must be 0 (sagittal), 1 (coronal), 2 (axial) or None. Received: axis={axis!r}."
        )
    examples: list[Example] = []
    left_out: list[tuple[str, str]] = []
    given = {path: masks[path] for path in paths if path in masks} if masks else {}
    named_masks = [path for path in paths if is_mask(path) and path not in given]
    no_images = {*named_masks, *given.values()} - given.keys()
    images = [path for path in paths if path not in no_images]
    matched, mask_reasons = match_masks(named_masks, images, given)
    patients_masks = [*named_masks, *filter(is_mask, given.values())]
    volumes = 0
    for path in images:
        try:
            if path in given:
                _check_mask(given[path], path)
            found, empty, count = _slices(path, window, axis, channels, matched.get(path), volumes)
        except UnreadableError as error:
            left_out.append((path.name, str(error)))
            continue
        patient = patient_of(path, patients_masks)
        for example in found:
            example.patient = patient
        examples += found
        left_out += empty
        volumes += count
    return examples, left_out + mask_reasons


def read_slice(
    path: Path,
    axis: int,
    index: int,
    entries: tuple[int, ...],
    window: tuple[float, float] | None,
    ranges: tuple[tuple[float, float], ...],
) -> np.ndarray:
    """Reads one slice as a picture.

    Args:
        path: of the volume.
        axis: that the slice is perpendicular to, 0, 1 or 2 in RAS+ order.
        index: of the slice along it.
        entries: indices along the fourth axis, which become channels.
        window: centre and width, or None.
        ranges: what becomes black and what becomes white, for each entry; not used with a window.

    Returns:
        (height, width, channels) float32 in [0, 1].

    Raises:
        UnreadableError: if the file can no longer be read.
    """
    return _picture(read_image(path), axis, index, entries, window, ranges)


def read_mask_slice(path: Path, axis: int, index: int) -> np.ndarray:
    """Reads one slice of a mask as `read_slice` reads its image: (height, width) int32."""
    stored = read_mask(path)
    return np.rint(_as_picture(stored.values(_plane(axis, index, 0)))).astype(np.int32)


def _check_mask(mask: Path, image: Path) -> None:
    """`UnreadableError` with the reason if a mask that the user named does not fit."""
    read_image(image)  # a volume that cannot be read is no fault of its mask
    try:
        reason = misfit(mask, image)
    except UnreadableError as error:
        reason = str(error)
    if reason:
        raise UnreadableError(f"its mask {mask.name} cannot be used: {reason}")


def _slices(
    path: Path,
    window: tuple[float, float] | None,
    axis: int | None,
    channels: int | None,
    mask: Path | None,
    first_volume: int,
) -> tuple[list[Example], list[tuple[str, str]], int]:
    """The examples of a file, its empty slices, and how many volumes it holds."""
    volume = read_image(path)
    shape, count = volume.stored.shape[:3], volume.stored.shape[3]
    if axis is None:
        axis = next((k for k in (2, 1, 0) if shape[k] == 1), 2)
    width, height = (shape[k] for k in range(3) if k != axis)
    sides = np.linalg.norm(volume.affine[:3, :3], axis=0)  # of a voxel, in mm
    across, up = (sides[k] for k in range(3) if k != axis)
    aspect = float(up / across) if 1 / MAX_ASPECT < up / max(across, 1e-9) < MAX_ASPECT else 1.0
    if min(width, height) < 2:
        raise UnreadableError(f"its slices along axis {axis} are {height} x {width} pixels")

    is_time = count > MAX_CHANNELS
    if volume.is_rgb or (not is_time and channels in (None, count)):
        groups = [tuple(range(count))]
    else:
        groups = [(entry,) for entry in range(count)]
    if volume.is_rgb:
        ranges = [RGB_RANGE] * count
    elif is_time:
        ranges = [_range(volume, slice(None))] * count
    else:
        ranges = [_range(volume, entry) for entry in range(count)]

    examples, empty = [], []
    for number, entries in enumerate(groups):
        chosen = tuple(ranges[entry] for entry in entries)
        for index in range(shape[axis]):
            part = f" volume {number + 1}" if len(groups) > 1 else ""
            name = f"{path.name}{part} slice {index + 1}"
            image = _picture(volume, axis, index, entries, window, chosen)
            marked = mask is not None and read_mask_slice(mask, axis, index).any()
            reason = _emptiness(image, marked)
            if reason:
                empty.append((name, reason))
                continue
            examples.append(
                Example(
                    name=name,
                    read=functools.partial(read_slice, path, axis, index, entries, window, chosen),
                    shape=image.shape,
                    eight_bit=False,
                    volume=first_volume + number,
                    read_mask=functools.partial(read_mask_slice, mask, axis, index)
                    if mask
                    else None,
                    path=path,
                    aspect=aspect,
                )
            )
    return examples, empty, len(groups)


def _picture(volume: Volume, axis, index, entries, window, ranges) -> np.ndarray:
    shown = []
    for entry, (low, high) in zip(entries, ranges, strict=True):
        values = volume.values(_plane(axis, index, entry))
        if window is not None and not volume.is_rgb:
            scaled = apply_window(values, *window)
        else:
            scaled = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
        shown.append(np.nan_to_num(_as_picture(scaled)))
    return np.stack(shown, axis=-1)


def _plane(axis: int, index: int, entry: int) -> tuple:
    part = [slice(None)] * 3
    part[axis] = index
    return (*part, entry)


def _as_picture(plane: np.ndarray) -> np.ndarray:
    """RAS+ coordinates to rows and columns: see `scan_nifti` for what is where."""
    return plane[::-1, ::-1].T


def _emptiness(image: np.ndarray, marked: bool) -> str | None:
    """Why a slice is not worth showing, if it is not; `marked` by its mask, it may be dark."""
    if (image == image[0, 0]).all():
        return "an empty slice: all pixels are alike"
    if not marked and (image.max(axis=-1) > EMPTY_LEVEL).mean() < EMPTY_SHARE:
        return f"an empty slice: fewer than {EMPTY_SHARE:.0%} of the pixels are above {EMPTY_LEVEL}"
    return None


def _range(volume: Volume, entry: int | slice) -> tuple[float, float]:
    """Percentiles of the voxels above the least one; `UnreadableError` if all are alike."""
    stored = volume.stored[..., entry]
    step = -(-stored.size // PERCENTILE_VOXELS)
    sample = stored.ravel(order="K")[::step]
    if stored.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
        if not sample.size:
            raise UnreadableError("no voxel is a finite number")
    least, most = sample.min(), sample.max()
    if least == most:
        raise UnreadableError(f"all voxels are {float(least) * volume.slope + volume.intercept:g}")
    background = least if volume.slope > 0 else most
    values = sample[sample != background].astype(np.float64) * volume.slope + volume.intercept
    low, high = np.percentile(values, PERCENTILES)
    if low == high:  # one value besides the background
        low = float(background) * volume.slope + volume.intercept
    return float(low), float(high)
