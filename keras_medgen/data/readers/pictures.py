"""Ordinary image files (PNG, JPEG, TIFF, ...), read by Pillow."""

import functools
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image

from keras_medgen.data.found import Example, UnreadableError
from keras_medgen.data.readers.quiet import quiet
from keras_medgen.data.readers.windows import apply_window

ORIENTATION = 0x0112  # the EXIF tag
TURNS = {  # what makes an image of each orientation upright (EXIF 2.32, 4.6.4)
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# What Pillow raises for files that are not as they should be, over all of its decoders.
BAD_FILE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
)
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes of more than 8 bits a channel


def scan_picture(path: Path, window: tuple[float, float] | None) -> list[Example]:
    """Reads the header of an image file.

    Args:
        path: of the file.
        window: (centre, width) for images of more than 8 bits, in the file's own values.

    Returns:
        An `Example` for each page or frame. Alpha channels are dropped, palettes resolved, CMYK
        becomes RGB, EXIF's orientation is applied. 8-bit images are uint8; others are float32:
        16-bit values divided by 65535, floating-point ones as they are.

    Raises:
        UnreadableError: with the reason, if this is no image.
    """
    try:
        with quiet(), PIL.Image.open(path) as picture:
            pages = []
            for page in range(getattr(picture, "n_frames", 1)):
                picture.seek(page)  # the pages of a TIFF may differ
                shape = (*_upright_size(picture), _channels(picture))
                pages.append((shape, picture.mode not in DEEP))
            plain_jpeg = (
                picture.format == "JPEG"
                and picture.mode in ("L", "RGB")
                and _orientation(picture) == 1
                and len(pages) == 1
            )
    except BAD_FILE as error:
        raise UnreadableError(_reason(error)) from None
    return [
        Example(
            name=path.name if len(pages) == 1 else f"{path.name} page {page + 1}",
            read=functools.partial(read_picture, path, page, window),
            shape=shape,
            eight_bit=eight_bit,
            jpeg=path if plain_jpeg else None,
        )
        for page, (shape, eight_bit) in enumerate(pages)
    ]


def read_picture(
    path: Path, page: int = 0, window: tuple[float, float] | None = None
) -> np.ndarray:
    """Reads one page of an image file, as `scan_picture` describes it.

    Returns:
        (height, width, 1 or 3), uint8, or float32 in [0, 1].

    Raises:
        UnreadableError: with the reason.
    """
    try:
        with quiet(), PIL.Image.open(path) as picture:
            picture.seek(page)
            picture.load()
            deep, orientation = picture.mode in DEEP, _orientation(picture)
            if not deep:
                picture = picture.convert("L" if _channels(picture) == 1 else "RGB")
            pixels = np.asarray(_upright(picture, orientation))
    except BAD_FILE as error:
        raise UnreadableError(_reason(error)) from None
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return _scale_deep(pixels, window) if deep else pixels


def read_mask(path: Path) -> np.ndarray:
    """Reads a mask: the values of a grey or palette image as they stand; of RGB, whether it is lit.

    Returns:
        int32 (height, width). A mask of 0 and 255 alone becomes one of 0 and 1.

    Raises:
        UnreadableError: with the reason.
    """
    try:
        with quiet(), PIL.Image.open(path) as picture:
            indexed = picture.mode in ("P", "L", "1", *DEEP)
            picture = _upright(picture, _orientation(picture))
            mask = np.asarray(picture if indexed else picture.convert("L")).astype(np.int32)
    except BAD_FILE as error:
        raise UnreadableError(f"its mask {path.name} cannot be read: {_reason(error)}") from None
    if not indexed:  # colours say nothing of classes
        return (mask > 127).astype(np.int32)
    return mask // 255 if set(np.unique(mask)) <= {0, 255} else mask


def _scale_deep(pixels, window) -> np.ndarray:
    if window is not None:
        return apply_window(pixels, *window)
    if np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            raise UnreadableError("it has pixels that are NaN or infinite")
        low, high = 0.0, 1.0
    else:
        low, high = 0, 65535
    if pixels.min() < low or pixels.max() > high:
        raise UnreadableError(
            f"its values, {pixels.min():g} to {pixels.max():g}, lie outside "
            f"[{low:g}, {high:g}]: a window is needed"
        )
    return (pixels / np.float32(high)).astype(np.float32)


def _channels(picture: PIL.Image.Image) -> int:
    if picture.mode in ("1", "L", "LA", "La", *DEEP):
        return 1
    if picture.mode in ("P", "PA"):
        colours = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return 1 if (colours == colours[:, :1]).all() else 3
    return 3


def _upright_size(picture: PIL.Image.Image) -> tuple[int, int]:
    width, height = picture.size
    return (width, height) if _orientation(picture) >= 5 else (height, width)


def _upright(picture: PIL.Image.Image, orientation: int) -> PIL.Image.Image:
    return picture if orientation == 1 else picture.transpose(TURNS[orientation])


def _orientation(picture: PIL.Image.Image) -> int:
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # Pillow would decode the pixels to look behind them
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except BAD_FILE:  # EXIF that cannot be read says nothing; the pixels may be sound
        return 1
    return orientation if orientation in TURNS else 1


def _reason(error: Exception) -> str:
    if isinstance(error, PIL.Image.DecompressionBombError):
        return f"a decompression bomb ({error})"
    if isinstance(error, PIL.UnidentifiedImageError):
        return "not an image that Pillow can read"  # its message holds the path
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged: {error}".splitlines()[0]
