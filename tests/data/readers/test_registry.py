import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from keras_medgen.data.readers.registry import MEDMNIST

SPLITS = ("train", "val", "test")
OUR_TASKS = {
    "binary-class": "multi-class",
    "multi-class": "multi-class",
    "ordinal-regression": "ordinal",
    "multi-label, binary-class": "multi-label",
}


@pytest.fixture
def info(tmp_path, monkeypatch):
    """`medmnist.INFO`, without the torch that importing the package would need."""
    package = importlib.util.find_spec("medmnist")
    if package is None:
        pytest.skip("medmnist is not installed (pip install --no-deps medmnist)")
    monkeypatch.setenv("HOME", str(tmp_path))  # info.py makes a folder there
    spec = importlib.util.spec_from_file_location(
        "medmnist_info", Path(package.origin).with_name("info.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.INFO


def test_every_fact_is_that_of_medmnist(info):
    assert list(MEDMNIST) == list(info)
    for name, theirs in info.items():
        ours = MEDMNIST[name]
        assert ours.name == name
        assert ours.task == OUR_TASKS[theirs["task"]]
        assert dict(enumerate(ours.class_names)) == {
            int(label): text for label, text in theirs["label"].items()
        }
        assert ours.channels == theirs["n_channels"]
        assert ours.counts == theirs["n_samples"]
        assert ours.licence == theirs["license"]
        assert ours.dimensions == (3 if theirs["python_class"].endswith("3D") else 2)
        suffixes = {side: "" if side == 28 else f"_{side}" for side in (28, 64, 128, 224)}
        assert {side: (file.url, file.md5) for side, file in ours.files.items()} == {
            side: (theirs[f"url{suffix}"], theirs[f"MD5{suffix}"])
            for side, suffix in suffixes.items()
            if f"url{suffix}" in theirs
        }


def test_sizes_files_and_licences():
    assert sum(dataset.dimensions == 2 for dataset in MEDMNIST.values()) == 12
    assert sum(dataset.dimensions == 3 for dataset in MEDMNIST.values()) == 6
    for name, dataset in MEDMNIST.items():
        sides = (28, 64, 128, 224) if dataset.dimensions == 2 else (28, 64)
        assert tuple(dataset.files) == sides
        assert tuple(dataset.counts) == SPLITS
        for side, file in dataset.files.items():
            assert dataset.file_name(side) == (
                f"{name}.npz" if side == 28 else f"{name}_{side}.npz"
            )
            assert f"/{dataset.file_name(side)}?" in file.url
            assert re.fullmatch("[0-9a-f]{32}", file.md5)
    sums = [file.md5 for dataset in MEDMNIST.values() for file in dataset.files.values()]
    assert len(set(sums)) == len(sums) == 60
    assert [d.name for d in MEDMNIST.values() if "NC" in d.licence] == ["dermamnist"]
    assert [d.name for d in MEDMNIST.values() if d.task == "multi-label"] == ["chestmnist"]
    assert [d.name for d in MEDMNIST.values() if d.task == "ordinal"] == ["retinamnist"]


@pytest.mark.parametrize("name", ["pneumoniamnist", "breastmnist"])
def test_real_files_are_as_registered(test_data, name):
    dataset = MEDMNIST[name]
    path = test_data / dataset.file_name(28)
    assert hashlib.md5(path.read_bytes()).hexdigest() == dataset.files[28].md5
    with np.load(path, allow_pickle=False) as file:
        for split in SPLITS:
            assert file[f"{split}_images"].shape == (dataset.counts[split], 28, 28)
            labels = file[f"{split}_labels"]
            np.testing.assert_array_equal(np.unique(labels), range(len(dataset.class_names)))
