"""The MedMNIST sets: what they hold, under which licence, and where their files are."""

import dataclasses
import importlib.resources
import json

ZENODO = "https://zenodo.org/records/10519652/files"
CITATION = (
    "J. Yang et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical "
    "image classification, Scientific Data 10, 41 (2023), doi:10.1038/s41597-022-01721-8"
)


@dataclasses.dataclass(frozen=True)
class File:
    """One .npz to download, and the MD5 that it must have."""

    url: str
    md5: str


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A published set, with official splits and one file for each size.

    Attributes:
        name: as `load` knows it, and as the files are called.
        task: "multi-class" (two classes or more), "ordinal" or "multi-label".
        class_names: by label; by column of the labels where the task is multi-label.
        channels: 1 (grey) or 3 (RGB).
        counts: images, or volumes, in "train", "val" and "test".
        dimensions: 2 (square images) or 3 (volumes with all sides alike).
        licence: of the images.
        source: where the images are from.
        citation: the publication that is to be named.
        files: by side in pixels.
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    channels: int
    counts: dict[str, int]
    dimensions: int
    licence: str
    source: str
    citation: str
    files: dict[int, File]

    def file_name(self, side: int) -> str:
        """Gives the name of the file whose images are `side` pixels wide."""
        return _file_name(self.name, side)


def _file_name(name: str, side: int) -> str:
    return f"{name}.npz" if side == 28 else f"{name}_{side}.npz"


def _read_medmnist() -> dict[str, DataSet]:
    """Reads medmnist.json: facts from `medmnist.INFO` (version 3.0.2), in our own words."""
    text = importlib.resources.files(__package__).joinpath("medmnist.json").read_text("utf-8")
    sets = {}
    for name, facts in json.loads(text).items():
        sets[name] = DataSet(
            name=name,
            task=facts["task"],
            class_names=tuple(facts["class_names"]),
            channels=facts["channels"],
            counts=facts["counts"],
            dimensions=facts["dimensions"],
            licence=facts["licence"],
            source=f"MedMNIST (doi:10.5281/zenodo.10519652), from {facts['source']}",
            citation=CITATION,
            files={
                int(side): File(f"{ZENODO}/{_file_name(name, int(side))}?download=1", md5)
                for side, md5 in facts["md5"].items()
            },
        )
    return sets


MEDMNIST: dict[str, DataSet] = _read_medmnist()
