"""The arguments of `load`, checked once."""

import dataclasses
import numbers
from pathlib import Path

from keras_medgen.data.augment import Augment
from keras_medgen.data.readers.windows import resolve_window


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of `load`, checked."""

    image_size: int | None = None
    batch_size: int = 64
    channels: int | None = None
    resize: str = "pad"
    window: str | tuple[float, float] | None = None
    axis: int | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    deduplicate: str = "report"
    on_error: str = "skip"
    balance: bool = False
    augment: Augment | None = None
    cache: str = "auto"
    decoding: str = "exact"
    data_dir: Path | None = None
    seed: int = 0
    split: bool = True  # else all images without a split are for training: to look at them

    def __post_init__(self):
        for name, least in (("image_size", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if name == "image_size" and value is None:
                continue
            if not whole or value < least:
                raise ValueError(
                    f"{name} must be an integer from {least}. Received: {name}={value!r}."
                )
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
            if value not in choices or isinstance(value, (bool, float)):
                expected = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}"
                raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}.")
        for name in ("validation_fraction", "test_fraction"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not 0 < value < 0.5:
                raise ValueError(f"{name} must lie between 0 and 0.5. Received: {name}={value!r}.")
        window = resolve_window(self.window)
        if not isinstance(self.window, str):
            object.__setattr__(self, "window", window)  # a list or an array as a pair
        if self.augment is not None and not isinstance(self.augment, Augment):
            raise ValueError(
                "augment must be made by keras_medgen.data.augment(...). "
                f"Received: augment={self.augment!r}."
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that was asked for."""
        return None if self.image_size is None else (self.image_size, self.image_size)

    @property
    def window_range(self) -> tuple[float, float] | None:
        """(centre, width) of the window."""
        return resolve_window(self.window)

    @property
    def preset(self) -> str | None:
        """Name of the window, if it was asked for by name."""
        return self.window if isinstance(self.window, str) else None


DEFAULTS = Settings()
