"""A CSV manifest: one row for each image, with what is known of it."""

import csv
from pathlib import Path

from keras_medgen.data.readers.files import Entry
from keras_medgen.data.readers.folder import SPLIT_FOLDERS

COLUMNS = ("path", "label", "patient", "mask", "text", "split")


def read_manifest(path: Path) -> list[Entry]:
    """Reads a manifest.

    Args:
        path: of a CSV in UTF-8 with a header row. `path` and `mask` are relative to its folder;
            `label` may hold several labels, divided by "|" ("|" alone is none of them, an empty
            label leaves the image out where others have one); `patient` keeps images in one split;
            `split` is train, val or test. All but `path` may be missing or empty; other columns
            are not read.

    Returns:
        An `Entry` a row.

    Raises:
        ValueError: if it is no such table; the message names the line.
    """
    folder = path.parent
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True, skipinitialspace=True)
            received = rows.fieldnames
            rows.fieldnames = [(name or "").strip().casefold() for name in received or []]
            if "path" not in rows.fieldnames:
                raise ValueError(
                    f"{path.name} must have a header row with the column 'path' "
                    f"(and any of {', '.join(COLUMNS[1:])}). Received: {received}."
                )
            entries = [_entry(row, folder, f"{path.name}, line {rows.line_num}") for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} is not a CSV in UTF-8 ({error}).") from None
    if not entries:
        raise ValueError(f"{path.name} has a header but no rows.")
    return entries


def _entry(row: dict, folder: Path, place: str) -> Entry:
    row = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not row["path"]:
        raise ValueError(f"{place}: the column 'path' is empty.")
    split = row["split"].casefold()
    if split and split not in SPLIT_FOLDERS:
        raise ValueError(f"{place}: split must be train, val or test. Received: {row['split']!r}.")
    return Entry(
        path=folder / row["path"],
        label=row["label"] or None,
        split=SPLIT_FOLDERS.get(split),
        patient=row["patient"] or None,
        masks=[folder / row["mask"]] if row["mask"] else [],
        text=row["text"] or None,
    )
