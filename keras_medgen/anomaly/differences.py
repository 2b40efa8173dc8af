"""Maps of the difference between an image and what it should look like."""

import numpy as np

SIGNS = ("absolute", "brighter", "darker")


def difference(
    images: np.ndarray, restored: np.ndarray, channel: int | None, sign: str
) -> np.ndarray:
    """How far each pixel is from its restoration.

    Args:
        images: float32 (n, height, width, channels).
        restored: as `images`.
        channel: the one that counts, or None for the mean over all.
        sign: "absolute"; "brighter", by how much the image exceeds its restoration and else 0;
            or "darker".

    Returns:
        float32 (n, height, width).
    """
    residual = images - restored
    if sign == "absolute":
        residual = np.abs(residual)
    else:
        residual = np.maximum(residual if sign == "brighter" else -residual, 0)
    return of_channel(residual, channel)


def of_channel(values: np.ndarray, channel: int | None) -> np.ndarray:
    """One channel, or the mean over all: (n, height, width) of (n, height, width, channels)."""
    return values.mean(axis=-1) if channel is None else values[..., channel]


def intensity_map(images: np.ndarray, channel: int | None, sign: str) -> np.ndarray:
    """What needs no model: the intensity, or with the sign "darker" 1 less it, as `of_channel`."""
    shown = of_channel(images, channel)
    return 1 - shown if sign == "darker" else shown


def check_channel(name: str, channel: int | None, channels: int) -> None:
    """Raises ValueError for an argument, by its name, that is no channel of so many, or None."""
    if channel is not None and channel not in range(channels):
        raise ValueError(
            f"{name} must be None or from 0 to {channels - 1}. Received: {name}={channel!r}."
        )
