"""Headers of DICOM files: their tags, read although files are damaged in many ways."""

import contextlib
import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_medgen.data.found import UnreadableError

MAX_UNZIPPED = 2**31
TAGS = [
    *("SOPClassUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "PixelAspectRatio"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence"),
    *(f"{c}PaletteColorLookupTableDescriptor" for c in ("Red", "Green", "Blue")),
    *(f"{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # float, double float, integer
NOT_IMAGES = {
    "SEG": "a segmentation object",
    "RTDOSE": "a radiotherapy dose",
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "a radiotherapy structure set",
    "SR": "a structured report",
    "PR": "a presentation state",
    "KO": "a selection of key objects",
    "REG": "a registration",
    "DOC": "a document",
}


def read_header(path: Path) -> Any:
    """Reads a file's tags as far as images need them.

    Args:
        path: of the file, which may be gzipped.

    Returns:
        A pydicom dataset of the tags in `TAGS`, its transfer syntax always stated.

    Raises:
        UnreadableError: if this is no DICOM file or it has no pixels.
    """
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    pixel_lengths = []

    def at_pixels(tag, vr, length):
        found = int(tag) in PIXEL_TAGS
        if found:
            pixel_lengths.append(length)
        return found

    def read(force):
        pixel_lengths.clear()
        with open_file(path) as file:
            tags = [Tag(keyword) for keyword in TAGS]
            return read_partial(file, at_pixels, specific_tags=tags, force=force)

    try:
        tags = read(force=False)
        headless = False
    except InvalidDicomError:
        # Old files lack the preamble; what is read by force must then look like an image.
        with damage_means("not a DICOM file"):
            tags = read(force=True)
        if not pixel_lengths or "Rows" not in tags or "Columns" not in tags:
            raise UnreadableError("not a DICOM file") from None
        headless = True
    if not pixel_lengths:
        kind = NOT_IMAGES.get(str(tags.get("Modality")))
        raise UnreadableError(f"no pixel data{f' ({kind})' if kind else ''}")
    if headless and pixel_lengths[0] == 0xFFFFFFFF:
        raise UnreadableError("no DICOM file header that says how its pixels are compressed")
    complete_syntax(tags)
    return tags


def open_file(path: Path) -> BinaryIO:
    """Opens a file, unzipped; `UnreadableError` if that fails or there is too much of it."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if not start:
            raise UnreadableError("an empty file")
        if start != b"\x1f\x8b":
            return path.open("rb")
        with gzip.open(path) as file:
            data = file.read(MAX_UNZIPPED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(f"cannot be opened ({type(error).__name__})") from None
    if len(data) > MAX_UNZIPPED:
        raise UnreadableError("too large when unzipped")
    return io.BytesIO(data)


def complete_syntax(tags: Any) -> None:
    """A file without a header does not name its transfer syntax: it follows from the encoding."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in tags.file_meta:
        implicit, little = tags.original_encoding
        tags.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian
            if implicit
            else ExplicitVRLittleEndian
            if little
            else ExplicitVRBigEndian
        )


def real_number(tags: Any, keyword: str, default: float | None = None) -> float:
    """The first value of a tag; `UnreadableError` if there is none and no default."""
    try:
        value = tags.get(keyword)
        value = value if np.ndim(value) == 0 else next(iter(value), None)
        number = float(value if value not in (None, "") else default)
    except Exception:  # no number, no value, or a value that pydicom cannot convert
        number = math.nan
    if not math.isfinite(number):
        raise UnreadableError(f"its {keyword} tag is missing or holds no number")
    return number


def whole_number(tags: Any, keyword: str, default: int | None = None) -> int:
    """The first value of a tag, as `real_number` reads it, without what follows the point."""
    return int(real_number(tags, keyword, default))


def rescale(tags: Any) -> tuple[float, float] | None:
    """Slope and intercept from stored values to the modality's units, where both are given."""
    if tags.get("RescaleSlope") in (None, "") or tags.get("RescaleIntercept") in (None, ""):
        return None
    return real_number(tags, "RescaleSlope"), real_number(tags, "RescaleIntercept")


def frame_tags(tags: Any, index: int) -> Any:
    """The tags that hold for one frame: an enhanced file keeps them in its functional groups."""
    from pydicom.dataset import FileDataset

    groups = [
        *(tags.get("SharedFunctionalGroupsSequence") or [])[:1],
        *(tags.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1],
    ]
    if not groups:
        return tags
    frame = FileDataset(None, {}, file_meta=tags.file_meta)
    frame.set_original_encoding(*tags.original_encoding)
    frame.update({element: value for element, value in tags.items() if element.group == 0x28})
    if "Modality" in tags:
        frame.Modality = tags.Modality
    for group in groups:
        for macro in (
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
            "FrameVOILUTSequence",
        ):
            for item in (group.get(macro) or [])[:1]:
                frame.update(item)
    return frame


@contextlib.contextmanager
def damage_means(reason: str):
    """Turns whatever pydicom and its decoders raise into `UnreadableError`.

    Damaged bytes fail in as many ways as there are elements and decoders; a panic in one that is
    written in Rust is not even an Exception.
    """
    try:
        yield
    except (UnreadableError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        raise UnreadableError(reason) from None
