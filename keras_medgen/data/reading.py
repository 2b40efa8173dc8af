"""From `Example`s to images of one shape: decoded once by `load`, or again in every epoch."""

import dataclasses
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_medgen.data.duplicates import THUMBNAIL, digest, thumbnail, thumbnails
from keras_medgen.data.found import Example, Found, UnreadableError
from keras_medgen.data.resizing import convert_channels, resize_images, resize_mask
from keras_medgen.data.settings import Settings
from keras_medgen.data.store import ArrayStore, Store, mapped, new_array, without_autotune
from keras_medgen.data.stream import PARALLEL, Stream

PROGRESS_EVERY = 5000
MEMORY_SHARE = 0.25  # of what is free, for the images of one source
DISK_SHARE = 0.5
CHUNK = 1024
DARK = 0.125  # brightness that no image of a source exceeds: 12 bits in 16, say
ROUNDING = 1e-6  # what resizing makes of a constant image of floating-point numbers


def read_pixels(found: Found, settings: Settings) -> tuple[Store, list[bytes | None], np.ndarray]:
    """Brings the images of `found` to what was asked for, and tells what each looks like.

    Args:
        found: the images; rows that cannot be read are taken out of it.
        settings: of `load`.

    Returns:
        The images, the digest of each (None for a constant image), and their thumbnails.

    Raises:
        ValueError: if the images have no size in common and none was asked for.
    """
    if not isinstance(found.images, list):
        return _read_array(found, settings)
    examples, found.images = found.images, []
    name = found.provenance["source"]
    channels, eight_bit = _common_pixels(examples, settings.channels, name)
    if settings.size is None:
        _check_one_size(examples, name)
    stream = Stream(
        examples,
        size=settings.size,
        resize=settings.resize,
        channels=channels,
        eight_bit=eight_bit,
        fast=settings.decoding == "fast",
        masked=any(example.read_mask is not None for example in examples),
    )
    cache = choose_cache(settings.cache, stream.nbytes, settings.data_dir)
    reading = read_all(stream, cache, settings.data_dir)
    found.keep(reading.rows)
    found.left_out += reading.left_out
    _leave_out_single_images(found)
    if settings.on_error == "raise":
        found.raise_first()
    if reading.brightest < DARK:
        found.notes.append(
            f"no pixel is brighter than {reading.brightest:.2f} of its range: "
            "a window (centre, width) may be needed"
        )
    unmasked = sum(examples[row].read_mask is None for row in reading.rows)
    if stream.masked and unmasked:
        found.notes.append(f"{unmasked} images have no mask: theirs is taken to be empty")
    found.provenance["sha256"] = hashlib.sha256(b"".join(reading.digests)).hexdigest()
    found.preprocessing += _said(examples, stream, settings)
    return reading.store, reading.digests, reading.thumbnails


def choose_cache(asked: str, image_bytes: int, folder: Path | None) -> str:
    """Where images of so many bytes are kept: "memory", "file" or "none"."""
    if asked != "auto":
        return asked
    if image_bytes <= MEMORY_SHARE * _free_memory():
        return "memory"
    there = folder if folder is not None and folder.exists() else tempfile.gettempdir()
    free = shutil.disk_usage(there).free
    return "file" if image_bytes <= DISK_SHARE * free else "none"


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        return 8 * 2**30


def _read_array(found: Found, settings: Settings):
    images, found.images = found.images, []
    name = found.provenance["source"]
    if settings.size is not None and images.shape[1:3] != settings.size:
        side = settings.image_size
        found.preprocessing.append(f"resized to {side} x {side} ({settings.resize}, Lanczos)")
        images = resize_images(images, settings.size, settings.resize)
        if found.masks is not None:
            found.masks = np.stack(
                [resize_mask(mask, settings.size, settings.resize) for mask in found.masks]
            )
    if settings.channels is not None and images.shape[-1] != settings.channels:
        found.preprocessing.append(f"converted to {settings.channels} channels")
        try:
            images = convert_channels(images, settings.channels)
        except UnreadableError as error:
            raise ValueError(f"{name}: {error}") from None
    digests, thumbs = [], np.zeros((len(images), THUMBNAIL, THUMBNAIL), np.uint8)
    if found.compared:
        for start in range(0, len(images), CHUNK):
            some = images[start : start + CHUNK]
            thumbs[start : start + CHUNK] = thumbnails(some)
            flat = some.reshape(len(some), -1)
            constant = flat.min(axis=1) == flat.max(axis=1)
            digests += [
                None if alike else digest(image)
                for image, alike in zip(some, constant, strict=True)
            ]
    else:
        digests = [None] * len(images)
    return ArrayStore(images, found.masks), digests, thumbs


def _common_pixels(examples: list[Example], channels: int | None, name: str) -> tuple[int, bool]:
    """The number of channels for all, and whether all are of 8 bits."""
    counts = {example.shape[2]: example for example in examples}
    eight_bit = all(example.eight_bit for example in examples)
    if channels is not None:
        return channels, eight_bit
    if len(counts) > 1 and not set(counts) <= {1, 3}:
        given = ", ".join(f"{count} ({example.name})" for count, example in counts.items())
        raise ValueError(
            f"{name} holds images of different channels: give channels=1 or 3. Received: {given}."
        )
    return max(counts), eight_bit


def _check_one_size(examples: list[Example], name: str):
    sizes = sorted({example.size for example in examples}, key=lambda size: size[0] * size[1])
    if len(sizes) > 1:
        small, large = sizes[0], sizes[-1]
        raise ValueError(
            f"{name} holds images of {len(sizes)} sizes, from {small[0]} x {small[1]} to "
            f"{large[0]} x {large[1]} pixels: give image_size. Received: image_size=None."
        )


def _leave_out_single_images(found: Found):
    """A class of one image cannot stand in two splits."""
    if found.task != "multi-class":
        return
    counts = np.bincount(found.labels, minlength=len(found.class_names))
    for row in np.flatnonzero(counts[found.labels] == 1):
        name = found.class_names[found.labels[row]]
        found.leave_out(row, f"the only image of its class {name!r}")
    number = np.cumsum(counts > 1) - 1
    found.labels = number[found.labels].astype(np.int32)
    found.class_names = [n for n, c in zip(found.class_names, counts, strict=True) if c > 1]


def _said(examples: list[Example], stream, settings: Settings) -> list[str]:
    said = []
    if not all(example.eight_bit for example in examples):
        window = settings.window_range
        said.append(
            "grey values windowed to [0, 1]: "
            + (
                f"centre {window[0]:g}, width {window[1]:g}"
                if window
                else "DICOM and NIfTI by the file's own window or the rule of its format, "
                "16-bit pictures divided by 65535"
            )
        )
    if any(example.size != example.shape[:2] for example in examples):
        said.append("stretched to square pixels, by the spacing that the files state")
    height, width = stream.size
    if any(example.size != (height, width) for example in examples):
        how = f"{settings.resize}, Lanczos" + (", JPEGs decoded at half scale" * stream.fast)
        said.append(f"resized to {height} x {width} ({how})")
    if any(example.shape[2] != stream.shape[3] for example in examples):
        said.append(f"converted to {stream.shape[3]} channels")
    return said


@dataclasses.dataclass
class Reading:
    """What one pass over all images gave.

    Attributes:
        store: of the images that could be read.
        rows: (n,) of int, the examples that could be read.
        digests: list of n bytes, of the pixels; None for a constant image.
        thumbnails: uint8 (n, THUMBNAIL, THUMBNAIL).
        left_out: (name, reason) of the others.
        brightest: of all pixels, in [0, 1].
    """

    store: Store
    rows: np.ndarray
    digests: list[bytes | None]
    thumbnails: np.ndarray
    left_out: list[tuple[str, str]]
    brightest: float


def read_all(stream: Stream, cache: str, folder: Path | None) -> Reading:
    """Reads every example once: to know that it can be, to tell copies, and to keep it.

    Args:
        stream: the examples.
        cache: "memory", "file" or "none".
        folder: where the file goes; None for the system's temporary folder.
    """
    count = len(stream)
    images = masks = None
    if cache != "none":
        images = new_array(stream.shape, stream.dtype, cache, folder)
        masks = new_array(stream.shape[:3], np.int32, cache, folder) if stream.masked else None
    thumbnails = np.zeros((count, THUMBNAIL, THUMBNAIL), np.uint8)
    digests, rows, left_out, brightest = [], [], [], 0.0

    def described(found):
        pixels = found["images"]
        return {
            **found,
            "thumbnails": thumbnail(pixels),
            "constant": tf.reduce_max(pixels) - tf.reduce_min(pixels)
            <= (0 if pixels.dtype == tf.uint8 else ROUNDING),
        }

    dataset = mapped(stream.examples_at(tf.data.Dataset.range(count)), described, PARALLEL)
    stream.lenient = True  # an error for each bad file would be logged by TensorFlow as well
    iterator = iter(without_autotune(dataset))
    for row, example in enumerate(stream.examples):
        if row and row % PROGRESS_EVERY == 0:
            print(f"{row} of {count} images read", file=sys.stderr)
        try:
            found = next(iterator)
        except tf.errors.OpError:
            if example.jpeg is None:
                raise  # no image that cannot be read, but an error of ours
            example.jpeg = None  # Pillow can read it, or says why not
            found = described(stream.example(row))
        if row in stream.reasons:
            left_out.append((example.name, stream.reasons[row]))
            continue
        found = {name: value.numpy() for name, value in found.items()}
        if found["constant"]:
            value = found["images"].flat[0]
            left_out.append((example.name, f"all pixels are {value:g}"))
            continue
        kept = len(rows)
        if images is not None:
            images[kept] = found["images"]
        if masks is not None:
            masks[kept] = found["masks"]
        thumbnails[kept] = found["thumbnails"]
        digests.append(digest(found["images"]))
        brightest = max(brightest, float(found["images"].max()))
        rows.append(row)
    stream.lenient = False
    kept = len(rows)
    rows = np.array(rows, np.int64)
    return Reading(
        store=stream.keep(rows)
        if images is None
        else ArrayStore(images[:kept], None if masks is None else masks[:kept]),
        rows=rows,
        digests=digests,
        thumbnails=thumbnails[:kept],
        left_out=left_out,
        brightest=brightest / (255 if stream.dtype == np.uint8 else 1),
    )
