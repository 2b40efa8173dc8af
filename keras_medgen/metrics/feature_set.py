"""Features of a set of images that know where they come from."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Features of a set of images, and of which extractor they are.

    Attributes:
        values: np.ndarray float64 (n, d).
        name: of the extractor and the number of features, as "randconv-v1/64".
        sha256: hash of all that the features depend on. Only features of one hash are compared.
    """

    values: np.ndarray
    name: str
    sha256: str

    def __post_init__(self):
        object.__setattr__(self, "values", _checked("values", self.values, least=0))

    def __len__(self):
        return len(self.values)

    @property
    def label(self) -> str:
        """What stands in brackets beside a figure, as in "FD[randconv-v1/64,N=1000]"."""
        return f"{self.name},N={len(self)}"


def comparable(least=2, **sets) -> list[np.ndarray]:
    """The values of sets of features, if they can be compared.

    Args:
        least: rows that each must have.
        **sets: `Features` or arrays (n, d), under the names that an error gives them.

    Returns:
        np.ndarrays float64 (n, d), one of each set.

    Raises:
        ValueError: for features of different extractors or widths, too few rows, NaN or infinity.
    """
    known = {name: features for name, features in sets.items() if isinstance(features, Features)}
    if len({features.sha256 for features in known.values()}) > 1:
        found = ", ".join(f"{name} of {_origin(features)}" for name, features in known.items())
        raise ValueError(f"{' and '.join(known)} must be of one extractor. Received: {found}.")
    arrays = {
        name: features.values if name in known else features for name, features in sets.items()
    }
    checked = [_checked(name, values, least) for name, values in arrays.items()]
    if len({values.shape[1] for values in checked}) > 1:
        found = ", ".join(str(values.shape) for values in checked)
        raise ValueError(
            f"{' and '.join(sets)} must have the same number of features. Received: shapes {found}."
        )
    return checked


def _origin(features):
    return f"{features.name} (SHA-256 {features.sha256[:12]})"


def _checked(name, values, least):
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"{name} must be of shape (n, d). Received: shape {values.shape}.")
    if len(values) < least:
        rows = "row" if least == 1 else "rows"
        raise ValueError(f"{name} must have at least {least} {rows}. Received: {len(values)}.")
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values).all(axis=1))
        raise ValueError(
            f"{name} must be finite. Received: NaN or infinity in {bad} of {len(values)} rows."
        )
    return values
