import json

import pytest

from keras_medgen.evaluation.compare import compare, write_comparison
from tests.evaluation.hand_made import FD, hand_made
from tests.evaluation.test_page import SEEN, Page


@pytest.fixture
def runs(tmp_path):
    """Two runs: the figures of the second are twice those of the first."""
    first, second = hand_made(), hand_made(model={"class": "GAN"})
    for section in second.sections:
        section.metrics = {name: 2 * value for name, value in section.metrics.items()}
        section.warnings = []
    second.section("cost").metrics["only_here"] = 5
    second.settings["seed"] = 3
    first.save(tmp_path / "vae/report")
    second.save(tmp_path / "gan/report")
    return [tmp_path / "vae", tmp_path / "gan"]


def change(run, **fields):
    """Changes fields of a saved report."""
    path = run / "report/metrics.json"
    content = json.loads(path.read_text())
    for name, value in fields.items():
        content[name] = value(content[name]) if callable(value) else value
    path.write_text(json.dumps(content))


def test_every_figure_side_by_side(runs):
    comparison = compare(runs)
    assert comparison.names == ["vae", "gan"]
    tables = {section["name"]: section["table"] for section in comparison.sections}
    assert list(tables) == ["fidelity", "authenticity", "cost", "limits"]
    rows = {row[0]: row[1:] for row in tables["fidelity"].rows}
    assert rows[f"test/{FD}"] == [1.32, 2.64]
    assert rows["test/ratio"] == [3.21, 6.42]
    undefined = [name for name, values in rows.items() if values == [None, None]]
    assert len(undefined) == 1
    rows = {row[0]: row[1:] for row in tables["cost"].rows}
    assert rows["only_here"] == [None, 5]
    models = {row[0]: row[1:] for row in comparison.models.rows}
    assert models["model"] == ["VAE", "GAN"]
    assert models["seed"] == ["0", "3"]
    assert dict(comparison.sections[-1]["summaries"])["gan"].endswith("No formal privacy.")
    assert comparison.notes == [f"vae: {warning}" for warning in hand_made().warnings]


def test_reports_are_named_as_shortly_as_they_differ(runs, tmp_path):
    hand_made().save(tmp_path / "other/vae")
    names = compare([*runs, tmp_path / "other/vae"]).names
    assert names == [f"{tmp_path.name}/vae", f"{tmp_path.name}/gan", "other/vae"]
    assert compare([runs[0] / "report", runs[1]]).names == ["vae", "gan"]


def test_what_all_are_warned_of_is_said_once(runs):
    change(runs[1], warnings=[*hand_made().warnings, "of the second"])
    assert compare(runs).notes == [*hand_made().warnings, "gan: of the second"]


def test_versions_are_told(runs):
    change(runs[1], versions={"keras_medgen": "0.2.0"})
    assert "different versions of keras_medgen: 0.1.0, 0.2.0." in compare(runs).notes[0]


def without_n(metrics):
    return {name.replace("N=312", "N=300"): value for name, value in metrics.items()}


EXTRACTOR = {"sha256": "ab" * 32, "preprocessing": "to 64 by 64"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data": {"split_sha256": {"train": "01" * 32, "test": "45" * 32}}},
            r"other real images \(test\)",
        ),
        ({"data": {"split_sha256": {"test": "23" * 32}}}, r"other real images \(train\)"),
        ({"data": {}}, "does not say which real images"),
        (
            {"features": {"randconv-v1/64": EXTRACTOR | {"sha256": "ef" * 32}}},
            r"extractors randconv-v1/64 are of other weights \(SHA-256\)",
        ),
        (
            {"features": {"randconv-v1/64": EXTRACTOR | {"preprocessing": "to 32 by 32"}}},
            "extractors randconv-v1/64 are of other preprocessing",
        ),
        ({"settings": {"num_images": 500}}, "of 1000 and 500 images"),
        ({"metrics": without_n}, r"test/FD\[randconv-v1/64,N\] is of N=312 and of N=300"),
    ],
)
def test_unlike_figures_are_refused(runs, tmp_path, fields, message):
    change(runs[1], **fields)
    for order in (runs, runs[::-1]):
        with pytest.raises(ValueError, match="cannot be compared"):
            compare(order)
    with pytest.raises(ValueError, match=f"^vae and gan cannot be compared: .*{message}.*[.]$"):
        write_comparison(runs, tmp_path / "comparison.html")
    assert not (tmp_path / "comparison.html").exists()


def test_another_extractor_beside_the_same_ones_is_no_hindrance(runs):
    more = {"radiomics-lite": {"sha256": "12" * 32, "preprocessing": "none"}}
    change(runs[1], features=lambda features: features | more)
    assert compare(runs).names == ["vae", "gan"]


def test_figures_of_another_classifier_are_left_out(runs):
    label = "classifier/64"
    for run, digest in zip(runs, ("12", "34"), strict=True):
        more = {label: {"sha256": digest * 32, "preprocessing": "none"}}
        change(run, features=lambda features, more=more: features | more)
        change(run, metrics=lambda metrics: metrics | {f"fidelity/test/FD[{label},N=312]": 1.0})
    comparison = compare(runs)
    assert comparison.notes[0] == f"No figures of {label}: it is of other weights (SHA-256)."
    rows = {row[0] for row in comparison.sections[0]["table"].rows}
    assert f"test/{FD}" in rows
    assert not any(label in name for name in rows)


@pytest.mark.parametrize("number", [0, 1])
def test_there_must_be_two(runs, number):
    with pytest.raises(ValueError, match="two different ones or more"):
        compare(runs[:number])


@pytest.mark.parametrize("again", ["", "report", "../vae"])
def test_one_report_twice(runs, again):
    with pytest.raises(ValueError, match="two different ones or more"):
        compare([*runs, runs[0] / again])


def test_a_run_that_was_not_evaluated(runs, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no report in .*new: `keras-medgen evaluate`"):
        compare([runs[0], tmp_path / "new"])


class TestPage:
    @pytest.fixture
    def path(self, runs, tmp_path):
        write_comparison(runs, tmp_path / "comparison.html")
        return tmp_path / "comparison.html"

    def test_says_everything(self, path):
        page = Page(path.read_text(encoding="utf-8"))
        for said in ("vae", "gan", f"test/{FD} 1.32 2.64", "VAE GAN", "CC BY-NC 4.0", "n/a 5"):
            assert said in page.text
        assert not page.all("script")
        assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))

    @pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
    def test_in_a_browser(self, browser, path, width, phone):
        browser.open(path, width, phone)
        seen = browser.evaluate(SEEN)
        assert browser.errors == []
        assert seen["wide"] == seen["room"]
