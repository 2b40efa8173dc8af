"""The answers of a reader study, read with care: a wrong row would change the result."""

import csv
import io
from pathlib import Path

from keras_medgen.evaluation.reader_page import COLUMNS, FORM, KEY, VERDICTS

ENCODINGS = ("utf-8-sig", "cp1252")  # of spreadsheets


def read_key(directory: str | Path) -> dict[int, str]:
    """What each picture of a study is.

    Args:
        directory: of the study.

    Returns:
        A dict from a picture's number to "real" or "generated".

    Raises:
        FileNotFoundError: without a key.
        ValueError: for a key that is not one.
    """
    path = Path(directory) / KEY
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: without it nobody knows which pictures are generated."
        )
    key = {}
    for line, row in _rows(path, ("image", "truth")):
        number = _number(row["image"])
        if number is None or number in key or row["truth"] not in VERDICTS:
            raise ValueError(
                f"{path}, line {line}: each image must be there once, as real or generated. "
                f"Received: image={row['image']!r}, truth={row['truth']!r}."
            )
        key[number] = row["truth"]
    if set(key.values()) != set(VERDICTS):
        raise ValueError(f"{path} must hold both real and generated images.")
    return key


def read_answers(directory: str | Path, key: dict[int, str]) -> dict[str, dict[int, tuple]]:
    """The verdicts of all readers.

    They stand in the files `answers*.csv` of the folder, separated by commas, semicolons or tabs,
    of one reader or of several. A reader's name that is left out is that of the row above, or else
    comes from the file's: "anna" of answers-anna.csv. A form without any verdict is left aside.

    Args:
        directory: of the study.
        key: of `read_key`.

    Returns:
        From a reader's name to a dict from a picture's number to (verdict, confidence), the latter
        1 to 5 or None.

    Raises:
        FileNotFoundError: without any answers.
        ValueError: for a row that cannot be taken as it is, a picture judged twice by a reader, or
            not at all.
    """
    answers, places = {}, {}
    for path in sorted(Path(directory).glob("answers*.csv")):
        rows = _rows(path, COLUMNS[:3])
        if not any(row["verdict"] for _, row in rows):
            continue
        reader = path.stem.removeprefix("answers").strip("-_ .") or "reader"
        for line, row in rows:
            where = f"{path}, line {line}"
            reader = row["reader"] or reader
            number, answer = _answer(row, where, key)
            if (reader, number) in places:
                raise ValueError(
                    f"{where}: {reader} has judged picture {number} already, in "
                    f"{places[reader, number]}."
                )
            places[reader, number] = where
            answers.setdefault(reader, {})[number] = answer
    if not answers:
        raise FileNotFoundError(
            f"{directory} holds no answers: there must be a filled {FORM}, or answers-NAME.csv for "
            "each reader."
        )
    for reader, found in answers.items():
        missing = sorted(key.keys() - found.keys())
        if missing:
            file = next(place for (name, _), place in places.items() if name == reader)
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise ValueError(
                f"{file.rpartition(', ')[0]}: {reader} has not judged picture "
                f"{', '.join(map(str, missing[:5]))}{more}: every picture needs a verdict."
            )
    return answers


def _answer(row, where, key):
    number = _number(row["image"])
    if number not in key:
        raise ValueError(
            f"{where}: image must be the number of a picture, 1 to {max(key)}. "
            f"Received: image={row['image']!r}."
        )
    verdict = row["verdict"].casefold()
    if verdict not in VERDICTS:
        raise ValueError(
            f"{where}: verdict of picture {number} must be real or generated. "
            f"Received: verdict={row['verdict']!r}."
        )
    confidence = row.get("confidence") or None
    if confidence is not None:
        confidence = _number(confidence)
        if confidence not in range(1, 6):
            raise ValueError(
                f"{where}: confidence must be 1 to 5, or empty. "
                f"Received: confidence={row['confidence']!r}."
            )
    return number, (verdict, confidence)


def _rows(path, columns):
    """(line, dict) of each row of a CSV that is not empty, without spaces around its cells."""
    text = _text(path)
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    names = [name.strip().casefold() for name in next(reader, [])]
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(
            f"{path}, line 1: there must be the columns {', '.join(columns)}. "
            f"Received: {', '.join(names) or 'an empty file'}."
        )
    rows = []
    for cells in reader:
        row = dict(zip(names, [cell.strip() for cell in cells], strict=False))
        if any(row.values()):
            rows.append((reader.line_num, dict.fromkeys(names, "") | row))
    return rows


def _text(path):
    for encoding in ENCODINGS:
        try:
            return path.read_text(encoding=encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError(f"{path} must be a CSV file in UTF-8.")


def _number(text):
    """An int of digits, such as a spreadsheet leaves them: 7, 007 or 7.0; else None."""
    whole = text.removesuffix(".0")
    return int(whole) if whole.isascii() and whole.isdigit() else None
