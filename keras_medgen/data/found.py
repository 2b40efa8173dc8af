"""What every reader of a source hands to `load`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

SQUARE = 0.01  # pixels are taken for square up to this difference of their sides


class UnreadableError(ValueError):
    """An image that cannot be used; the message is the reason that the report gives."""


@dataclasses.dataclass(slots=True)
class Example:
    """One image that is read when it is needed.

    Attributes:
        name: of the file, without its folders, and of the page, frame or slice if it has several.
        read: gives the image, (height, width, channels), uint8, or float32 in [0, 1]; raises
            `UnreadableError` with the reason if it cannot.
        shape: of what `read` gives.
        eight_bit: whether `read` gives uint8.
        jpeg: path of a JPEG file that TensorFlow decodes as it stands (grey or RGB, upright).
        label: name of the class, or None.
        split: "train", "val", "test", or None where that is still to be decided.
        patient: any text that images of one patient (slide, volume) share, or None. It never
            leaves `load`.
        volume: number of the volume that the image is a slice of, or None.
        read_mask: gives the image's mask, (height, width) int32, or None.
        text: that belongs to the image, or None.
        path: of the file.
        aspect: height of a pixel over its width, as the file states it.
    """

    name: str
    read: Callable[[], np.ndarray]
    shape: tuple[int, int, int]
    eight_bit: bool
    jpeg: Path | None = None
    label: str | None = None
    split: str | None = None
    patient: str | None = None
    volume: int | None = None
    read_mask: Callable[[], np.ndarray] | None = None
    text: str | None = None
    path: Path | None = None
    aspect: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width once the pixels are square: stretched along their longer side."""
        height, width = self.shape[:2]
        if abs(self.aspect - 1) < SQUARE:
            return height, width
        if self.aspect > 1:
            return round(height * self.aspect), width
        return height, round(width / self.aspect)


@dataclasses.dataclass
class Found:
    """Images of a source in one list, with all that is known about them.

    Attributes:
        images: uint8 or float32 in [0, 1], (n, height, width, channels), or n `Example`s.
        splits: (n,) of "train", "val", "test", "" where that is still to be decided, and "out"
            for images that are not used after all.
        task: "multi-class", "ordinal", "multi-label" or "none".
        class_names: list of str, or None where there are no labels.
        provenance: dict of the source, its licence and hash.
        labels: int32 (n,), or (n, num_classes) of 0 and 1 where the task is multi-label, or None.
        masks: integers (n, height, width), or None.
        texts: (n,) of str, or None.
        groups: (n,) of integers: images of one group (a patient, a slide) stay in one split.
        volumes: (n,) of integers: the volume that each image is a slice of.
        names: (n,) of str, what the report calls each image.
        preprocessing: what was done to the pixels so far, a sentence each.
        left_out: (name, reason) of each image that was not used.
        compared: whether copies are to be looked for.
        notes: sentences on what else a user should know.
    """

    images: np.ndarray | list[Example]
    splits: np.ndarray
    task: str
    class_names: list[str] | None
    provenance: dict
    labels: np.ndarray | None = None
    masks: np.ndarray | None = None
    texts: np.ndarray | None = None
    groups: np.ndarray | None = None
    volumes: np.ndarray | None = None
    names: np.ndarray | None = None
    preprocessing: list[str] = dataclasses.field(default_factory=list)
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    compared: bool = True
    notes: list[str] = dataclasses.field(default_factory=list)

    def keep(self, rows: np.ndarray) -> None:
        """Keeps some rows, by number, of everything but `images` and `left_out`."""
        for name in ("splits", "labels", "masks", "texts", "groups", "volumes", "names"):
            column = getattr(self, name)
            if column is not None:
                setattr(self, name, column[rows])

    def leave_out(self, row: int, reason: str) -> None:
        """Takes an image out of every split."""
        self.splits[row] = "out"
        self.left_out.append((str(self.names[row]), reason))

    def raise_first(self) -> None:
        """Makes an error of the first image that cannot be used, if there is one."""
        if self.left_out:
            name, reason = self.left_out[0]
            raise ValueError(f"{name}: {reason}.")
