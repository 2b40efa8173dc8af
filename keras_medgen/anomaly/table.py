"""What `evaluate` returns."""

import dataclasses

import numpy as np

TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "dice": "Dice at the validation threshold",
    "best_dice": "best-threshold Dice (optimistic bound)",
}


@dataclasses.dataclass
class AnomalyTable:
    """Figures of detectors, and of the baselines.

    Attributes:
        rows: from the name of a detector to its figures, a dict of float: `image_auroc` and
            `image_ap` of image scores against labels; `pixel_auroc` and `pixel_ap` of maps
            against masks, over all pixels of all images; `dice`, of the pixels above the
            detector's own threshold from validation images, over all pixels together;
            `best_dice`, at the threshold that is best on the very images that it is measured on:
            a bound that no honest threshold passes, without the removal of small regions. NaN
            where there is nothing to tell apart.
        intervals: from a detector to a figure to the 2.5th and 97.5th percentile over resamples
            of the patients; of ten patients or more, else empty.
        by_patient: from a detector to a figure to a dict from each patient to their own; of fewer
            than ten patients, else empty.
        counts: `images` and `lesion_images`; `pixels` and `lesion_pixels`; `patients`. A score
            that says nothing has the share of lesions as its AP.
        weights: from a detector to the weight of the intensity in its maps; at 1 there is nothing
            of the model in it.
    """

    rows: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, tuple[float, float] | None]]
    by_patient: dict[str, dict[str, dict[str, float]]]
    counts: dict[str, int]
    weights: dict[str, float]

    def as_dict(self) -> dict:
        """For a JSON, NaN as None."""
        return _without_nan(dataclasses.asdict(self))

    def to_markdown(self) -> str:
        """The table, its intervals or the patients' own figures, and what it is of."""
        columns = list(next(iter(self.rows.values())))
        lines = [
            "| | " + " | ".join(TITLES[name] for name in columns) + " |",
            "|---|" + "---:|" * len(columns),
        ]
        for name, row in self.rows.items():
            cells = [self._cell(name, column, row[column]) for column in columns]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
            for patient in self._patients(name):
                own = [self.by_patient[name][column][patient] for column in columns]
                cells = " | ".join(map(_figure, own))
                lines.append(f"| {name}, patient {patient} | {cells} |")
        return "\n".join([*lines, "", self._caption()]) + "\n"

    def _cell(self, name, column, value):
        found = self.intervals.get(name, {}).get(column)
        return _figure(value) + (f" ({found[0]:.3f} to {found[1]:.3f})" if found else "")

    def _patients(self, name):
        return next(iter(self.by_patient.get(name, {}).values()), {})

    def _caption(self):
        images, lesions = self.counts["images"], self.counts["lesion_images"]
        text = f"{images} images, {lesions} with a lesion ({lesions / max(images, 1):.1%})"
        if "pixels" in self.counts:
            share = self.counts["lesion_pixels"] / max(self.counts["pixels"], 1)
            text += f"; {share:.2%} of the pixels are lesion"
        if "patients" in self.counts:
            text += f"; {self.counts['patients']} patients"
        if self.intervals:
            text += "; in brackets the 95% interval over resamples of the patients"
        weights = [f"{name}: {weight:g}" for name, weight in self.weights.items() if weight]
        if weights:
            text += f"; weight of the intensity in the maps of {', '.join(weights)}"
        return text + "."


def _figure(value):
    return "-" if np.isnan(value) else f"{value:.3f}"


def _without_nan(content):
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, tuple):
        return list(content)
    return None if isinstance(content, float) and np.isnan(content) else content
