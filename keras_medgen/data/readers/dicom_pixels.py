"""Pixels of DICOM files: a frame is decoded and its values are shown from black to white."""

import contextlib
import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_medgen.data.found import UnreadableError
from keras_medgen.data.readers.dicom_header import (
    complete_syntax,
    damage_means,
    frame_tags,
    open_file,
    read_header,
    rescale,
    whole_number,
)
from keras_medgen.data.readers.quiet import quiet
from keras_medgen.data.readers.windows import apply_window


@dataclasses.dataclass(frozen=True, slots=True)
class Display:
    """How a frame's values become [0, 1].

    Attributes:
        rule: "full" (all that the stored bits hold), "lut" (the file's VOI LUT), "window"
            (`values` is its centre, width and function), or "range" (`values` is what becomes
            black and what becomes white).
        values: see `rule`; empty for "range" where the range is the series' and not known yet.
        eight_bit: whether the image stays uint8.
    """

    rule: str
    values: tuple = ()
    eight_bit: bool = False


def read_frame(path: Path, index: int | None, display: Display) -> np.ndarray:
    """Reads one frame.

    Args:
        path: of the file.
        index: of the frame, from 0, or None where the file has one only.
        display: how its values become [0, 1].

    Returns:
        (height, width, 1 or 3), uint8 if `display.eight_bit`, else float32 in [0, 1].

    Raises:
        UnreadableError: if it cannot be decoded, or holds nothing but one value.
    """
    with quiet(), damage_means("its pixels do not fit its header"):
        pixels, tags = decode(path, index)
        if pixels.ndim == 3:
            if (pixels == pixels[0, 0]).all():
                raise UnreadableError(f"all pixels are {tuple(pixels[0, 0].tolist())}")
            if display.eight_bit:
                return pixels
            return pixels.astype(np.float32) / np.float32(2 ** int(tags.BitsStored) - 1)
        if tags.PhotometricInterpretation == "PALETTE COLOR":
            _check_not_constant(pixels)
            return _palette_colours(pixels, tags, display)
        values = modality_values(pixels, tags)
        _check_not_constant(values)
        image = _show(values, tags, display)
        if tags.PhotometricInterpretation == "MONOCHROME1":
            image = (255 if display.eight_bit else np.float32(1)) - image
        image[padding(pixels, tags) | np.isnan(image)] = 0
    if image.min() == image.max():
        shown = "window" if display.rule in ("window", "lut") else "range of values shown"
        raise UnreadableError(f"all pixels lie on one side of the {shown}")
    return image[..., None]


def decode(path: Path, index: int | None) -> tuple[np.ndarray, Any]:
    """Decodes a frame by the first decoder that can.

    Args:
        path: of the file.
        index: of the frame, from 0, or None where the file has one only.

    Returns:
        pixels: the stored values, (height, width), or (height, width, 3) in RGB; and
        tags: those that hold for the frame.

    Raises:
        UnreadableError: if no decoder reads it.
    """
    from pydicom.pixels import pixel_array
    from pydicom.uid import JPEGExtended12Bit

    with damage_means("its DICOM header is damaged"):
        if index is None:
            tags = source = _read_whole(path)
        else:
            tags, source = _many_frames(path, path.stat().st_mtime_ns)
        tags = frame_tags(tags, index or 0)
        shape = (whole_number(tags, "Rows"), whole_number(tags, "Columns"))
        syntax = tags.file_meta.TransferSyntaxUID
    for plugin in _plugins(syntax):
        with contextlib.suppress(UnreadableError), damage_means("the next decoder may read it"):
            pixels = pixel_array(source, index=index, decoding_plugin=plugin)
            if pixels.shape in (shape, (*shape, 3)):
                return pixels, tags
    if syntax == JPEGExtended12Bit and whole_number(tags, "BitsStored", 8) > 8:
        pixels = _twelve_bit_jpeg(path, index or 0, tags)
        if pixels is not None:
            return pixels, tags
    reason = f"its pixels cannot be decoded ({syntax.name})"
    with damage_means(reason):
        if _is_cut_short(source, tags):
            reason = "its pixel data is cut short"
    raise UnreadableError(reason)


def _plugins(syntax: Any) -> list[str]:
    """Names of the decoders to try; "" where the pixels are not compressed."""
    from pydicom.pixels import get_decoder

    plugins = list(get_decoder(syntax).available_plugins)
    # Damaged bytes can make GDCM end the process: it gets only what no other plugin decodes.
    return [name for name in plugins if name != "gdcm"] or plugins or [""]


def _read_whole(path: Path) -> Any:
    from pydicom import dcmread

    with open_file(path) as file:
        tags = dcmread(file, force=True)
    if "Rows" not in tags:  # it was there when the header was read: an open end loses all
        raise UnreadableError("its pixel data is cut short")
    complete_syntax(tags)
    return tags


@functools.lru_cache(maxsize=4)
def _many_frames(path: Path, modified: int) -> tuple[Any, Any]:
    """Header of a file of several frames, and where each frame can be read from."""
    tags = read_header(path)
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] != b"DICM" or tags.file_meta.TransferSyntaxUID.is_deflated:
        return tags, _read_whole(path)  # frames cannot be found without reading all of it
    return tags, path


def _is_cut_short(source: Any, tags: Any) -> bool:
    if tags.file_meta.TransferSyntaxUID.is_compressed:
        return False
    size = source.stat().st_size if isinstance(source, Path) else len(source.get("PixelData", b""))
    bits = int(tags.Rows) * int(tags.Columns) * int(tags.BitsAllocated)
    return size * 8 < bits * int(tags.get("SamplesPerPixel", 1))


def _twelve_bit_jpeg(path: Path, index: int, tags: Any) -> np.ndarray | None:
    """12-bit JPEG by GDCM, which reads it though pydicom does not ask it to."""
    try:
        import gdcm

        reader = gdcm.ImageReader()
        reader.SetFileName(os.fspath(path))
        if not reader.Read():
            return None
        image = reader.GetImage()
        # GDCM's wrapper gives bytes as a string.
        data = image.GetBuffer().encode("utf-8", errors="surrogateescape")
        shape = (-1, int(tags.Rows), int(tags.Columns))
        return np.frombuffer(data, np.uint16).reshape(shape)[index].copy()
    except Exception:  # not installed, or damaged bytes
        return None


def modality_values(pixels: np.ndarray, tags: Any) -> np.ndarray:
    """Takes stored values to the units of the modality, by its LUT or rescale.

    Args:
        pixels: (height, width), as stored.
        tags: of the frame.

    Returns:
        (height, width), in HU for CT; as stored where the file states neither.

    Raises:
        UnreadableError: if the LUT or rescale cannot be applied.
    """
    from pydicom.pixels import apply_modality_lut

    if pixels.dtype.kind in "iu":  # so that a table's first value cannot overflow
        pixels = pixels.astype(np.int64 if pixels.itemsize > 2 else np.int32)
    try:
        if tags.get("ModalityLUTSequence") or rescale(tags):
            return apply_modality_lut(pixels, _with_wide_entries(tags, "ModalityLUTSequence"))
    except Exception:
        raise UnreadableError("its rescale or modality LUT cannot be applied") from None
    return pixels


def _with_wide_entries(tags: Any, keyword: str) -> Any:
    """Has pydicom hold a table's entries in 16 bits: in 8 it would cut indices above 255."""
    from pydicom.dataset import Dataset, FileDataset
    from pydicom.sequence import Sequence

    if not tags.get(keyword):
        return tags
    item = Dataset()
    item.update(tags[keyword].value[0])
    item.LUTDescriptor = [*item.LUTDescriptor[:2], 16]
    wide = FileDataset(None, {}, file_meta=tags.file_meta)
    setattr(wide, keyword, Sequence([item]))
    return wide


def _show(values: np.ndarray, tags: Any, display: Display) -> np.ndarray:
    """Modality values to uint8 or [0, 1]."""
    from pydicom.pixels import apply_voi

    if display.rule == "full":
        return values.astype(np.uint8)
    if display.rule == "window":
        return apply_window(values, *display.values)
    if display.rule == "lut":
        try:
            bits = int(tags.VOILUTSequence[0].LUTDescriptor[2])
            indices = np.rint(values).astype(np.int64)
            entries = apply_voi(indices, _with_wide_entries(tags, "VOILUTSequence"))
        except Exception:
            raise UnreadableError("its VOI LUT cannot be applied") from None
        return np.clip(entries / (2**bits - 1), 0, 1).astype(np.float32)
    if not display.values:
        raise UnreadableError("no image of its series could be decoded to set the range of values")
    low, high = display.values
    if low == high:
        raise UnreadableError(f"all pixels of its series are {low:g}")
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def padding(pixels: np.ndarray, tags: Any) -> np.ndarray:
    """Tells which pixels lie outside of the image (DICOM PS3.3 C.7.5.1.1.2).

    Args:
        pixels: (height, width), as stored: padding is stated in stored values.
        tags: of the frame.

    Returns:
        bool (height, width).
    """
    if tags.get("PixelPaddingValue") is None or pixels.dtype.kind not in "iu":
        return np.zeros(pixels.shape, bool)
    first = whole_number(tags, "PixelPaddingValue")
    last = whole_number(tags, "PixelPaddingRangeLimit", first)
    if whole_number(tags, "PixelRepresentation", 0) == 1:
        # Written as unsigned by some: 63536 is -2000.
        bits = whole_number(tags, "BitsAllocated")
        first, last = (v - 2**bits if v >= 2 ** (bits - 1) else v for v in (first, last))
    return (pixels >= min(first, last)) & (pixels <= max(first, last))


def _check_not_constant(values: np.ndarray) -> None:
    if np.isnan(values).all():
        raise UnreadableError("all pixels are NaN")
    low, high = np.nanmin(values), np.nanmax(values)
    if low == high:
        raise UnreadableError(f"all pixels are {low:g}")


def palette_bits(tags: Any) -> int:
    """Bits of each entry as pydicom reads it: by the table's length, else by its descriptor."""
    try:
        entries, _, bits = tags.RedPaletteColorLookupTableDescriptor
        data = tags.get("RedPaletteColorLookupTableData")
    except Exception:
        raise UnreadableError("its palette is missing or damaged") from None
    return len(data) * 8 // (entries or 2**16) if data else bits


def _palette_colours(pixels: np.ndarray, tags: Any, display: Display) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    try:
        entries, first, bits = tags.RedPaletteColorLookupTableDescriptor
        entries = entries or 2**16
        if display.eight_bit and entries > 256:
            raise UnreadableError(f"a palette of {entries} entries of 8 bits is not read")
        # pydicom holds the index in the entries' type, which a larger one would overflow.
        pixels = np.clip(pixels.astype(np.int32), first, first + entries - 1)
        colours = apply_color_lut(pixels, tags)[..., :3]
    except UnreadableError:
        raise
    except Exception:
        raise UnreadableError("its palette is missing or damaged") from None
    if display.eight_bit:
        return colours
    # Entries of 8 bits in words of 16 leave the upper byte empty.
    white = 255 if bits == 8 and colours.max() <= 255 else 65535
    return colours.astype(np.float32) / np.float32(white)
