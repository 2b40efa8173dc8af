"""DICOM files: each frame is an image, shown through a window or a stated range of values."""

import contextlib
import dataclasses
import functools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from keras_medgen.data.found import Example, UnreadableError
from keras_medgen.data.readers.dicom_header import (
    NOT_IMAGES,
    damage_means,
    frame_tags,
    read_header,
    real_number,
    rescale,
    whole_number,
)
from keras_medgen.data.readers.dicom_pixels import (
    Display,
    decode,
    modality_values,
    padding,
    palette_bits,
    read_frame,
)
from keras_medgen.data.readers.quiet import quiet
from keras_medgen.data.readers.windows import apply_window

CT_RANGE = (-1024.0, 3071.0)  # HU: what 12 bits hold with the usual intercept of -1024
PERCENTILES = (0.5, 99.5)
# A series' percentiles are taken over at most so many of its images, spread evenly, and so many
# of their pixels.
SERIES_IMAGES = 64
SERIES_PIXELS = 2**22
MAX_ASPECT = 20  # of a pixel's sides; beyond it the header is taken for wrong
MAX_PIXELS = 2**28  # of a frame: a header that says more is damaged, or meant to fill the memory
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@dataclasses.dataclass(slots=True)
class _Frame:
    path: Path
    index: int | None  # None: the file has one frame
    name: str
    shape: tuple[int, int, int]
    display: Display
    patient: str | None
    series: str
    aspect: float


def scan_dicom(
    paths: list[Path], window: tuple[float, float] | None, preset: str | None = None
) -> tuple[list[Example], list[tuple[str, str]]]:
    """Finds the images of DICOM files; reads headers, and pixels only where a range needs them.

    Grey values are taken through the modality LUT or rescale, then become [0, 1] by the first of
    these that there is: `window`; the file's VOI LUT; its first window (one that DICOM forbids
    counts as none); for 8 stored bits or fewer without rescale, all that they hold; for CT with a
    rescale, -1024 to 3071 HU; else the 0.5th to the 99.5th percentile over the images of the
    series. MONOCHROME1 is inverted, so that small values are white as on the screen; padding is
    black. Colour is shown as stored, whatever `window` says.

    Args:
        paths: of the files; a file may be gzipped.
        window: centre and width in the images' units (HU for CT), or None.
        preset: name of the window, if it is one of CT: other modalities are then left out.

    Returns:
        One `Example` a frame in the order of `paths` (frames count from 1 in names), and
        (file name, reason) of each file that was left out.

    Raises:
        ImportError: if pydicom is not installed.
    """
    _require_pydicom()
    frames: list[_Frame] = []
    left_out = []
    with quiet():
        for path in paths:
            try:
                with damage_means("its DICOM header is damaged"):
                    frames += _frames(path, window, preset)
            except UnreadableError as error:
                left_out.append((path.name, str(error)))
        sizes = Counter(frame.series for frame in frames)
        pending: dict[str, list[_Frame]] = {}
        for frame in frames:
            if frame.display == Display("range"):
                pending.setdefault(frame.series, []).append(frame)
        for members in pending.values():
            display = Display("range", _series_range(members))
            for frame in members:
                frame.display = display
    volumes: dict[str, int] = {}
    examples = [
        Example(
            name=frame.name,
            read=functools.partial(read_frame, frame.path, frame.index, frame.display),
            shape=frame.shape,
            eight_bit=frame.display.eight_bit,
            patient=frame.patient,
            volume=volumes.setdefault(frame.series, len(volumes))
            if sizes[frame.series] > 1
            else None,
            path=frame.path,
            aspect=frame.aspect,
        )
        for frame in frames
    ]
    return examples, left_out


def _require_pydicom() -> None:
    try:
        import pydicom
    except ImportError:
        raise ImportError(
            "Reading DICOM files needs pydicom: pip install 'keras_medgen[dicom]'."
        ) from None
    if int(pydicom.__version__.split(".")[0]) < 3:
        raise ImportError(
            "Reading DICOM files needs pydicom 3 or later: pip install 'keras_medgen[dicom]'. "
            f"Received: pydicom {pydicom.__version__}."
        )


def _frames(path: Path, window: tuple[float, float] | None, preset: str | None) -> list[_Frame]:
    """All frames of a file, from its header; `UnreadableError` if it holds no image."""
    from pydicom.uid import UID

    tags = read_header(path)
    rows, columns = (whole_number(tags, keyword) for keyword in ("Rows", "Columns"))
    if rows < 1 or columns < 1:
        raise UnreadableError(f"its image is {rows} x {columns} pixels")
    if rows * columns > MAX_PIXELS:
        raise UnreadableError(f"its image of {rows} x {columns} pixels is too large to read")
    count = max(1, whole_number(tags, "NumberOfFrames", 1))
    if count > path.stat().st_size:
        raise UnreadableError(f"it claims {count} frames, more than it has bytes")
    kind = NOT_IMAGES.get(str(tags.get("Modality")))
    if kind or tags.get("SOPClassUID") == SEGMENTATION:
        raise UnreadableError(f"{kind or NOT_IMAGES['SEG']}, not an image")
    modality = str(tags.get("Modality") or "")
    if preset and modality not in ("CT", ""):
        raise UnreadableError(
            f"not CT but {modality}, and the window {preset!r} is one of Hounsfield units"
        )
    _check_decoder(UID(tags.file_meta.TransferSyntaxUID))

    patient = next(
        (
            str(tags.get(keyword)).strip()
            for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
            if str(tags.get(keyword) or "").strip()
        ),
        None,
    )
    frames = []
    for index in range(count):
        frame = frame_tags(tags, index)
        display = _display(frame, window)
        frames.append(
            _Frame(
                path=path,
                index=index if count > 1 else None,
                name=f"{path.name} frame {index + 1}" if count > 1 else path.name,
                shape=(rows, columns, 3 if _is_colour(frame) else 1),
                display=display,
                aspect=_aspect(frame),
                patient=patient,
                series=str(tags.get("SeriesInstanceUID") or path),
            )
        )
    return frames


def _aspect(tags: Any) -> float:
    """Height of a pixel over its width: both tags name the vertical side first."""
    for keyword in ("PixelSpacing", "PixelAspectRatio"):
        with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
            vertical, horizontal = (float(value) for value in tags.get(keyword))
            if 1 / MAX_ASPECT < vertical / horizontal < MAX_ASPECT:
                return vertical / horizontal
    return 1.0


def _check_decoder(syntax: Any) -> None:
    from pydicom.pixels import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise UnreadableError(
            f"its pixels are stored as {syntax.name}, which is not read"
        ) from None
    if not available:
        raise UnreadableError(
            f"no decoder for {syntax.name} is installed: pip install 'keras_medgen[dicom]'"
        )


def _is_colour(tags: Any) -> bool:
    """Whether a frame is shown in colour; `UnreadableError` if its colour space is not known."""
    samples = whole_number(tags, "SamplesPerPixel", 1)
    photometric = str(tags.get("PhotometricInterpretation"))
    if samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2"):
        return False
    if (samples == 1 and photometric == "PALETTE COLOR") or (
        samples == 3 and photometric in COLOURS
    ):
        return True
    raise UnreadableError(f"colours of {samples} samples as {photometric[:16]} are not read")


def _display(tags: Any, window: tuple[float, float] | None) -> Display:
    """By which rule a frame is shown; see `scan_dicom`."""
    allocated = whole_number(tags, "BitsAllocated")
    stored = whole_number(tags, "BitsStored", allocated)
    if tags.get("PhotometricInterpretation") == "PALETTE COLOR":
        return Display("full", eight_bit=palette_bits(tags) == 8)
    if _is_colour(tags):
        return Display("full", eight_bit=stored == allocated == 8)
    if window is not None:
        return Display("window", (*window, "LINEAR"))
    if tags.get("VOILUTSequence") and "LUTData" in tags.VOILUTSequence[0]:
        return Display("lut")
    function = str(tags.get("VOILUTFunction") or "LINEAR")
    if function == "LINEAR" and "BitsStored" not in tags:
        function = "LINEAR_EXACT"  # LINEAR counts integer values; these pixels are real numbers
    with contextlib.suppress(ValueError):
        shown = real_number(tags, "WindowCenter"), real_number(tags, "WindowWidth"), function
        apply_window(np.zeros(1), *shown)
        return Display("window", shown)
    lut = bool(tags.get("ModalityLUTSequence"))
    slope, intercept = rescale(tags) or (1.0, 0.0)
    if stored <= 8 and not lut and (slope, intercept) == (1, 0):
        signed = whole_number(tags, "PixelRepresentation", 0) == 1
        low = -(2 ** (stored - 1)) if signed else 0
        if stored == allocated == 8 and not signed:
            return Display("full", eight_bit=True)
        return Display("range", (low, low + 2**stored - 1))
    if tags.get("Modality") == "CT" and rescale(tags) and not lut:
        return Display("range", CT_RANGE)
    return Display("range")


def _series_range(frames: list[_Frame]) -> tuple[float, float] | tuple[()]:
    """Percentiles over images of a series; nothing if none of them can be decoded."""
    frames = frames[:: math.ceil(len(frames) / SERIES_IMAGES)]
    samples = []
    for frame in frames:
        with contextlib.suppress(UnreadableError):
            pixels, tags = decode(frame.path, frame.index)
            values = modality_values(pixels, tags)
            values = values[~padding(pixels, tags) & np.isfinite(values)]
            samples.append(values[:: math.ceil(values.size * len(frames) / SERIES_PIXELS) or 1])
    if not sum(sample.size for sample in samples):
        return ()
    sample = np.concatenate(samples)
    low, high = np.percentile(sample, PERCENTILES)
    if low == high:  # nearly all pixels are background
        low, high = sample.min(), sample.max()
    return float(low), float(high)
