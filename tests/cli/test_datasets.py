import re

import typer
from typer.testing import CliRunner

from keras_medgen.cli.datasets import datasets
from keras_medgen.data.readers.patches import PICTURES
from keras_medgen.data.readers.registry import MEDMNIST


def table():
    app = typer.Typer()
    app.command()(datasets)
    result = CliRunner().invoke(app)
    assert result.exit_code == 0
    return result.output.splitlines()


def test_every_set_is_listed_with_its_size_and_licence():
    lines = table()
    rows = {line.split()[0]: re.split(" {2,}", line) for line in lines[1:-3]}
    assert set(rows) == {*MEDMNIST, *PICTURES}
    assert rows["chestmnist"][1:] == [
        "78468/11219/22433", "28 64 128 224", "1", "14", "multi-label", "CC BY 4.0"
    ]  # fmt: skip
    assert rows["organmnist3d"][1:] == [
        "971/161/610", "28 64 (3D)", "1", "11", "multi-class", "CC BY 4.0"
    ]  # fmt: skip
    assert rows["retinamnist"][5] == "ordinal"
    assert rows["retina_patches"][2:] == ["from 16", "3", "-", "none", "CC0 1.0"]
    assert [name for name, row in rows.items() if "non-commercial" in row[-1]] == ["dermamnist"]


def test_columns_are_aligned_and_fit():
    lines = table()
    assert max(map(len, lines)) <= 120
    rows = lines[: 1 + len(MEDMNIST) + len(PICTURES)]
    for title in ("train/val/test", "sides", "task", "licence"):
        start = rows[0].index(title)
        assert all(row[start - 2 : start] == "  " and row[start] != " " for row in rows)
    for title in ("channels", "classes"):
        end = rows[0].index(title) + len(title)
        assert all(row[end - 1] != " " and row[end : end + 2] == "  " for row in rows)


def test_the_last_lines_say_where_files_are_looked_for():
    *_, folders, licences = table()
    for place in ("--data-dir", "~/.medmnist", "~/.keras/datasets"):
        assert place in folders
    assert "NC" in licences
