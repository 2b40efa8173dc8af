"""Windows: which range of values an image shows from black to white."""

import math
import numbers

import numpy as np

# Centre and width in Hounsfield units, as radiologists commonly set them; lists with the same
# figures: Radiopaedia, "Windowing (CT)". Where a list gives a range, a value within it.
PRESETS: dict[str, tuple[float, float]] = {
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft_tissue": (40, 400),
    "abdomen": (50, 400),
    "liver": (30, 150),
    "bone": (400, 1800),
    "spine": (50, 250),
    "temporal_bone": (600, 2800),
    "brain": (40, 80),
    "subdural": (75, 215),
    "stroke": (40, 40),
    "angio": (300, 600),
}


def resolve_window(window: str | tuple[float, float] | None) -> tuple[float, float] | None:
    """Gives the centre and the width that `window` stands for.

    Args:
        window: a name from `PRESETS`, a pair of centre and width in the units of the images
            (Hounsfield units for CT), or None.

    Returns:
        Centre and width, or None.

    Raises:
        ValueError: if the name is unknown, or the pair is none of two numbers with a width of at
            least 1.
    """
    if window is None:
        return None
    if isinstance(window, str):
        if window not in PRESETS:
            raise ValueError(
                f"`window` must be one of {', '.join(PRESETS)}, or a pair of centre and width. "
                f"Received: window={window!r}."
            )
        return PRESETS[window]
    try:
        centre, width = window
    except (TypeError, ValueError):
        centre = width = None
    sound = all(
        isinstance(value, numbers.Real)
        and not isinstance(value, bool | np.bool_)
        and math.isfinite(value)
        for value in (centre, width)
    )
    if not sound or width < 1:
        raise ValueError(
            "`window` must be a preset's name, or a pair of finite numbers, centre and width, "
            f"with a width of at least 1. Received: window={window!r}."
        )
    return float(centre), float(width)


def apply_window(
    values: np.ndarray, centre: float, width: float, function: str = "LINEAR"
) -> np.ndarray:
    """Scales values to [0, 1] by a window, after DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Args:
        values: of any shape, in the units of the window.
        centre: of the window.
        width: at least 1 for "LINEAR", above 0 for the others.
        function: "LINEAR", whose ramp is `width - 1` long about `centre - 0.5` (it counts integer
            values), "LINEAR_EXACT", whose ramp is `width` long about `centre`, or "SIGMOID".

    Returns:
        float32 in [0, 1], of the shape of `values`.

    Raises:
        ValueError: if the width or the function is none of these.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(
            "`function` must be 'LINEAR', 'LINEAR_EXACT' or 'SIGMOID'. "
            f"Received: function={function!r}."
        )
    if not (width >= 1 if function == "LINEAR" else width > 0):
        raise ValueError(
            "A window's width must be at least 1 ('LINEAR') or above 0 ('LINEAR_EXACT', "
            f"'SIGMOID'). Received: width={width!r}, function={function!r}."
        )
    values = np.asarray(values, np.float64)
    if function == "SIGMOID":
        # 1 / (1 + exp(-4x)) as a hyperbolic tangent, which cannot overflow.
        return (0.5 + 0.5 * np.tanh(2 * (values - centre) / width)).astype(np.float32)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float32)
    return np.clip((values - centre) / width + 0.5, 0, 1).astype(np.float32)
