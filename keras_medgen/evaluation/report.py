"""What an evaluation says: figures, and the tables, pictures and words that explain them."""

import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass
class Table:
    """Figures side by side.

    Attributes:
        caption: one line above it.
        columns: names, the first that of the rows' names.
        rows: of a name and then values: str, int, float, None where there is none, or a
            (value, low, high) of an interval.
    """

    caption: str
    columns: list[str]
    rows: list[list]


@dataclasses.dataclass
class Picture:
    """Images in a grid.

    Attributes:
        caption: one line below it.
        images: (n, height, width, channels) in [0, 1].
        columns: images in a row.
        synthetic: whether some of them are generated.
        real: whether some of them are real training images: the page that shows them says so.
    """

    caption: str
    images: np.ndarray
    columns: int = 8
    synthetic: bool = True
    real: bool = True  # safer than to forget it


@dataclasses.dataclass
class Section:
    """One question that is asked of the images.

    Attributes:
        name: "fidelity", "diversity", "authenticity", "utility", "segmentation", "cost" or
            "limits".
        summary: sentences: what was found.
        reading: sentences: how to read the figures.
        metrics: flat figures, without the section's name: {"test/floor": 0.4}.
        tables: of figures.
        pictures: of images.
        warnings: sentences on what the figures cannot bear.
    """

    name: str
    summary: list[str] = dataclasses.field(default_factory=list)
    reading: list[str] = dataclasses.field(default_factory=list)
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    tables: list[Table] = dataclasses.field(default_factory=list)
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Report:
    """What `keras_medgen.evaluation.evaluate` found.

    Attributes:
        title: what was evaluated on which data, one line.
        sections: of the report, in order.
        features: the feature extractors by name, each a dict of `sha256` and `preprocessing`.
        settings: of the evaluation: `num_images`, `seed`, what else was given; as JSON.
        model: of the model: `class`, `image_shape`, `num_classes`, `parameters`, of a run its
            `training`; {"class": "images"} for images.
        data: the provenance of the real images: `source`, `licence`, `sha256`, `counts`, ..., and
            `split_sha256`, the hash of each split's pixels. What was left out is not saved: names
            of files may be those of patients.
        versions: of the packages that the figures depend on.
        date: ISO day.
    """

    title: str
    sections: list[Section]
    features: dict[str, dict]
    settings: dict
    model: dict
    data: dict
    versions: dict[str, str]
    date: str

    @property
    def metrics(self) -> dict[str, float]:
        """All figures, by names such as "fidelity/test/floor"."""
        return {
            f"{section.name}/{name}": value
            for section in self.sections
            for name, value in section.metrics.items()
        }

    @property
    def shows_real_images(self) -> bool:
        """Whether a picture shows real training images."""
        return any(
            picture.real and len(picture.images)
            for section in self.sections
            for picture in section.pictures
        )

    @property
    def warnings(self) -> list[str]:
        """The sentences of all sections on what the figures cannot bear."""
        return [warning for section in self.sections for warning in section.warnings]

    def save(self, directory: str | Path) -> None:
        """Writes metrics.json, report.html (one file, pictures inside) and model_card.md.

        Args:
            directory: made if it does not exist; a report that stands there is replaced.
        """
        from keras_medgen.evaluation.page import write_report  # which imports this

        write_report(self, directory)

    def section(self, name: str) -> Section:
        """The section of that name.

        Raises:
            KeyError: if it has none.
        """
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)
