import json

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from tests.conftest import textures


@pytest.fixture
def table(tmp_path, rng):
    """Writes 24 images and a manifest of the columns given; returns its path."""
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(textures(rng, 24, (16, 16, 1))):
        Image.fromarray(picture[..., 0]).save(tmp_path / "images" / f"{i}.png")

    def write(header="path", row=lambda i: f"images/{i}.png", count=24, encoding="utf-8"):
        path = tmp_path / "scans.csv"
        lines = [header, *(row(i) for i in range(count))]
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return path

    return write


def test_paths_alone(table):
    data = kmg.data.load(table())
    assert data.task == "none"
    assert data.report.used == 24


def test_labels_texts_and_splits(table):
    split = ["train"] * 16 + ["validation"] * 4 + ["Test"] * 4
    path = table(
        "text,path,label,split,extra",
        lambda i: f'"a scan, no {i}",images/{i}.png,{"sick" if i % 2 else "well"},{split[i]},x',
        encoding="utf-8-sig",
    )
    data = kmg.data.load(path, batch_size=4)
    assert data.class_names == ["sick", "well"]
    assert data.provenance["counts"] == {"train": 16, "val": 4, "test": 4}
    batch = next(iter(data.test))
    assert [text.decode() for text in batch["texts"].numpy()] == [
        f"a scan, no {i}" for i in range(20, 24)
    ]
    np.testing.assert_array_equal(batch["labels"], [1, 0, 1, 0])
    assert data.arrays("val")["texts"][0] == "a scan, no 16"


def test_several_labels_an_image(table):
    findings = ["Effusion|Mass", "Mass", "No Finding"]
    data = kmg.data.load(table("path,label", lambda i: f"images/{i}.png,{findings[i % 3]}"))
    assert data.task == "multi-label"
    assert data.class_names == ["Effusion", "Mass", "No Finding"]
    labels = np.concatenate([data.arrays(split)["labels"] for split in ("train", "val", "test")])
    np.testing.assert_array_equal(labels.sum(axis=0), [8, 16, 8])


def test_patients_stay_on_one_side_and_unnamed(table):
    path = table("path,patient", lambda i: f"images/{i}.png,Doe^Jane {i // 3}")
    data = kmg.data.load(path, test_fraction=0.25, validation_fraction=0.25)
    seen = [set(data.rows(split) // 3) for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == 8
    assert all(seen)
    assert "Doe" not in json.dumps(data.provenance) + repr(data.__dict__)


def test_spaces_and_capitals_in_the_header(table):
    path = table("Path, Label, PATIENT", lambda i: f'images/{i}.png, "a,{i % 2}", {i // 4}')
    data = kmg.data.load(path, test_fraction=0.3, validation_fraction=0.3)
    assert data.class_names == ["a,0", "a,1"]
    seen = [set(data.rows(split) // 4) for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == 6


def test_rows_without_a_split_go_with_their_patients(table):
    # Two images a patient, of whom the second has no split; the last patients have none at all.
    split = ["train"] * 10 + ["val"] * 4 + ["test"] * 4 + [""] * 6
    split = [s if i % 2 == 0 else "" for i, s in enumerate(split)]
    path = table("path,patient,split", lambda i: f"images/{i}.png,{i // 2},{split[i]}")
    data = kmg.data.load(path)
    assert data.report.notes == []
    assert data.provenance["counts"] == {"train": 16, "val": 4, "test": 4}


def test_what_is_cut_keeps_clear_of_the_patients_of_the_test_split(table):
    split = ["train"] * 20 + ["test"] * 4
    patient = [*(i // 2 for i in range(20)), 0, 1, 2, 3]  # four stand in both: the source leaks
    path = table("path,patient,split", lambda i: f"images/{i}.png,{patient[i]},{split[i]}")
    for seed in range(5):
        data = kmg.data.load(path, validation_fraction=0.3, seed=seed)
        assert data.report.notes == ["4 patients or groups stand in both train and test"]


def test_masks(table, tmp_path):
    for i in range(24):
        lit = np.asarray(Image.open(tmp_path / "images" / f"{i}.png")) > 100
        Image.fromarray(lit).save(tmp_path / "images" / f"lit{i}.png")
    data = kmg.data.load(table("path,mask", lambda i: f"images/{i}.png,images/lit{i}.png"))
    arrays = data.arrays("train")
    np.testing.assert_array_equal(arrays["masks"], arrays["images"][..., 0] * 255 > 100.5)


def test_files_that_are_not_there_are_left_out(table):
    data = kmg.data.load(table(row=lambda i: f"images/{i if i else 'none'}.png"))
    assert data.report.left_out == [("none.png", "there is no such file")]
    assert data.report.used == 23


def test_rows_without_a_label_are_left_out(table):
    path = table("path,label", lambda i: f"images/{i}.png,{'ab'[i % 2] if i else ''}")
    data = kmg.data.load(path)
    assert data.report.left_out == [("0.png", "it has no label, where others have one")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"header": "file"}, "column 'path'.*Received: .'file'"),
        ({"count": 0}, "header but no rows"),
        ({"header": "path,split", "row": lambda i: f"images/{i}.png,dev"}, "line 2.*'dev'"),
        ({"header": "label,path", "row": lambda i: "a,"}, "line 2: the column 'path' is empty"),
    ],
)
def test_bad_tables(table, arguments, message):
    with pytest.raises(ValueError, match=f"scans.csv.*{message}"):
        kmg.data.load(table(**arguments))


def test_a_table_that_is_none(tmp_path):
    path = tmp_path / "scans.csv"
    path.write_bytes(b"\xff\xfe\x00path\x00")
    with pytest.raises(ValueError, match=r"scans.csv is not a CSV in UTF-8"):
        kmg.data.load(path)
