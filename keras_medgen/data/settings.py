"""The arguments of `load`, checked once."""

import dataclasses
from pathlib import Path

from keras_medgen.data.augment import Augment


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of `load`, checked."""

    image_size: int | None
    batch_size: int
    channels: int | None
    resize: str
    window: tuple[float, float] | None
    axis: int | None
    validation_fraction: float
    test_fraction: float
    deduplicate: str
    on_error: str
    balance: bool
    augment: Augment | None
    cache: str
    decoding: str
    data_dir: Path | None
    seed: int

    def __post_init__(self):
        for name in ("image_size", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive. Received: {name}={value}.")
        for name, choices in (
            ("channels", (None, 1, 3)),
            ("resize", ("pad", "crop", "stretch")),
            ("axis", (None, 0, 1, 2)),
            ("deduplicate", ("report", "drop")),
            ("on_error", ("skip", "raise")),
            ("cache", ("auto", "memory", "file", "none")),
            ("decoding", ("exact", "fast")),
        ):
            value = getattr(self, name)
            if value not in choices:
                expected = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}"
                raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}.")
        for name in ("validation_fraction", "test_fraction"):
            value = getattr(self, name)
            if not 0 < value < 0.5:
                raise ValueError(f"{name} must lie between 0 and 0.5. Received: {name}={value}.")
        if self.augment is not None and not isinstance(self.augment, Augment):
            raise ValueError(
                "augment must be made by keras_medgen.data.augment(...). "
                f"Received: augment={self.augment!r}."
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that was asked for."""
        return None if self.image_size is None else (self.image_size, self.image_size)
