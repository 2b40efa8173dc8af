"""What holds for every example."""

import ast

import pytest

from tests.examples.conftest import EXAMPLES, ROOT

LONGEST = 120  # lines: a reader sees the whole
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
OPTIONS = ("--data", "--out", "--fast", "--seed")


def test_there_are_examples():
    assert SCRIPTS


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
class TestEveryExample:
    def test_is_one_short_script(self, path):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST

    def test_says_what_it_shows_and_how_to_run_it(self, path):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring
        assert f"python examples/{path.name}" in docstring

    def test_has_the_options_of_all(self, path):
        text = path.read_text(encoding="utf-8")
        assert [option for option in OPTIONS if f'"{option}"' not in text] == []

    def test_has_its_test(self, path):
        assert (ROOT / "tests" / "examples" / f"test_{path.name}").is_file()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_has_its_test(path):
    assert (ROOT / "tests" / "examples" / f"test_{path.stem}.py").is_file()
