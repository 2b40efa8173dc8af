"""The notebook, run from its first cell to its last."""

import os

import nbclient
import nbformat
import pytest

from tests.examples.conftest import EXAMPLES, ROOT, TIMEOUT

NOTEBOOK = EXAMPLES / "quickstart.ipynb"
LARGEST = 100_000  # bytes: without outputs, or with small ones


def test_it_is_small():
    assert NOTEBOOK.stat().st_size < LARGEST


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    # A cell that fails raises CellExecutionError, which names it.
    nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    out = tmp_path / "runs" / "quickstart"
    assert (out / "samples.png").is_file()
    assert (out / "saved_models" / "quickstart" / "1" / "saved_model.pb").is_file()
