"""What every reader of a source hands to `load`."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Found:
    """Images as they were read, in splits, with all that is known about them.

    Attributes:
        splits: for each of "train", "val" and "test" a dict of `images`, uint8 or float32 in
            [0, 1], (n, height, width, channels), and where they exist `labels`, int32.
        task: "multi-class", "multi-label" or "none".
        class_names: list of str, or None where there are no labels.
        provenance: dict of the source, its licence and hash.
        preprocessing: what was done to the pixels so far, a sentence each.
        left_out: (where, reason) of each image that was not used.
    """

    splits: dict[str, dict[str, np.ndarray]]
    task: str
    class_names: list[str] | None
    provenance: dict
    preprocessing: list[str] = dataclasses.field(default_factory=list)
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)
