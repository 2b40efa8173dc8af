import base64
import io
import itertools
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_medgen.evaluation.figures import facts, figure_text, headlines
from keras_medgen.evaluation.page import load_metrics, write_report
from keras_medgen.evaluation.report import Picture, Report, Section, Table
from tests.evaluation.hand_made import FD, hand_made

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page; fails where one is not closed in its turn."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), attributes
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def saved(tmp_path):
    hand_made().save(tmp_path / "report")
    return tmp_path / "report"


def page_of(folder, name="report.html"):
    return Page((folder / name).read_text(encoding="utf-8"))


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


class TestMetrics:
    def test_is_strict_json_with_null_for_what_is_undefined(self, saved):
        content = json.loads((saved / "metrics.json").read_text(), parse_constant=refuse)
        report = hand_made()
        assert content["metrics"].keys() == report.metrics.keys()
        assert content["metrics"][f"fidelity/test/{FD}"] == 1.32
        assert content["metrics"][f"fidelity/test/{FD}/floor"] == 0.411
        assert content["metrics"]["authenticity/exact_copies"] == 3
        undefined = [name for name, value in content["metrics"].items() if value is None]
        assert undefined == [name for name, value in report.metrics.items() if np.isnan(value)]
        assert len(undefined) == 1
        for name in ("features", "settings", "model", "versions", "date", "warnings"):
            assert content[name] == getattr(report, name)
        assert content["data"] == report.data | {"report": {"found": 5334}}

    def test_infinite_figures_and_arrays(self, tmp_path):
        section = Section("fidelity", metrics={"psnr": np.inf, "of": np.float32(0.5)})
        hand_made(sections=[section], settings={"seeds": np.arange(2)}).save(tmp_path)
        content = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
        assert content["metrics"] == {"fidelity/psnr": None, "fidelity/of": 0.5}
        assert content["settings"] == {"seeds": [0, 1]}

    def test_load_of_a_report_and_of_its_run(self, tmp_path, saved):
        assert load_metrics(saved) == load_metrics(tmp_path)
        assert load_metrics(saved)["sections"][0]["name"] == "fidelity"

    @pytest.mark.parametrize("content", [None, '{"test_psnr": 28.2}', "{", "[1]"])
    def test_load_without_a_report(self, tmp_path, content):
        if content is not None:  # a run has figures of its own under this name
            (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(FileNotFoundError, match="There is no report in"):
            load_metrics(tmp_path)

    def test_a_report_replaces_another_whole(self, saved, monkeypatch):
        other = hand_made(title="another")
        with monkeypatch.context() as patched:
            patched.setattr("keras_medgen.evaluation.page.render", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                write_report(other, saved)
        assert load_metrics(saved)["title"] == hand_made().title
        write_report(other, saved)
        assert load_metrics(saved)["title"] == "another"
        names = {"metrics.json", "report.html", "model_card.md"}
        assert {path.name for path in saved.iterdir()} == names


class TestPage:
    def test_says_everything(self, saved):
        text = page_of(saved).text
        report = hand_made()
        for section in report.sections:
            for sentence in section.summary + section.reading + section.warnings:
                assert sentence in text
            for table in section.tables:
                assert table.caption in text
        for said in (
            *("<28 x 28>", "pneumonia <bacterial & viral>", "CC BY-NC 4.0", "2025-01-31"),
            *("ab" * 32, "01" * 32, "4,708", "0.0003", "keras 3.15.1", "Functional"),
            *("1.32 1.21 to 1.44", "1,623,169", "1 warning"),
        ):
            assert said in text, said

    def test_names_nobody_and_no_undefined_number(self, saved):
        assert "jones" in str(hand_made().data)
        for name in ("report.html", "model_card.md", "metrics.json"):
            text = (saved / name).read_text()
            assert not re.search("jones|smith", text)
            assert name == "metrics.json" or not re.search(r"\b(nan|None|inf)\b", text)
        assert "n/a" in page_of(saved).text

    def test_figures_stand_beside_those_of_real_images(self, saved):
        text = page_of(saved).text
        assert "AuthPct[pixels] (real images: 70.0) 43.1" in text
        assert "over its floor (real training images: 1.05) 3.21" in text

    def test_says_what_ranges_are(self, saved, tmp_path):
        said = "from the 2.5th to the 97.5th percentile over subsamples"
        assert page_of(saved).text.count(f"In small print under a figure: {said}") == 1
        assert (saved / "model_card.md").read_text().count(f"\nIn brackets: {said}") == 1
        section = Section("fidelity", tables=[Table("of no ranges", ["a", "b"], [["c", 1.0]])])
        hand_made(sections=[section]).save(tmp_path / "other")
        assert said not in page_of(tmp_path / "other").text

    def test_says_where_real_images_are_shown(self, saved, tmp_path):
        said = "shows real training images: share it as you would share those."
        assert f"This page {said}" in page_of(saved).text
        assert f"report.html {said}" in (saved / "model_card.md").read_text()
        report = hand_made()
        for picture in report.section("authenticity").pictures:
            picture.real = False
        report.save(tmp_path / "other")
        for name in ("report.html", "model_card.md"):
            assert "share it" not in (tmp_path / "other" / name).read_text()
        marks = [attributes.get("class") for attributes in page_of(saved).all("span")]
        assert (marks.count("synthetic"), marks.count("real")) == (4, 3)  # the first explains

    def test_stands_alone(self, saved):
        page = page_of(saved)
        assert not page.all("script")
        assert "@import" not in (saved / "report.html").read_text()
        for _, attributes in page.elements:
            for name in ("src", "href", "srcset", "action", "data", "poster"):
                assert attributes.get(name, "#").startswith(("#", "data:"))
            assert "url(" not in attributes.get("style", "")

    def test_is_accessible(self, saved):
        page = page_of(saved)
        assert page.all("html") == [{"lang": "en"}]
        images = page.all("img")
        assert len(images) == 4
        assert all(len(image["alt"]) > 20 for image in images)
        kinds = [re.search(r"in a row, (.*?)\.", image["alt"])[1] for image in images]
        assert kinds == ["synthetic and real", "real", "synthetic and real", "synthetic"]
        assert [table["aria-label"] for table in page.all("table")] == [
            *(table.caption for table in hand_made().section("fidelity").tables),
            *("Figures", "Figures", "Splits of the real images"),
            "Feature extractors: figures of different ones are not comparable",
        ]
        assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
        headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(headings))
        ids = [element["id"] for _, element in page.elements if "id" in element]
        assert len(ids) == len(set(ids))
        for _, element in page.elements:
            for name in ("href", "aria-labelledby"):
                if not element.get(name, "data:").startswith("data:"):
                    assert element[name].removeprefix("#") in ids

    def test_its_templates_are_installed_with_the_package(self):
        root = Path(__file__).parents[2]
        setup = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
        folder = root / "keras_medgen/evaluation"
        patterns = setup["package-data"]["keras_medgen.evaluation"]
        packaged = {path for pattern in patterns for path in folder.glob(pattern)}
        assert packaged == {p for p in folder.rglob("*.*") if p.suffix not in (".py", ".pyc")}

    def test_code_in_sentences(self, tmp_path):
        sentence = "Run `keras-medgen compare <RUN>` & read."
        hand_made(sections=[Section("limits", summary=[sentence])]).save(tmp_path)
        html = (tmp_path / "report.html").read_text()
        assert "Run <code>keras-medgen compare &lt;RUN&gt;</code> &amp; read." in html

    def test_of_given_images(self, tmp_path):
        hand_made(model={"class": "images"}).save(tmp_path)
        assert "none: images were given" in page_of(tmp_path).text
        assert "These images were generated" in (tmp_path / "model_card.md").read_text()

    def test_of_nothing(self, tmp_path):
        empty = Report("nothing", [], {}, {}, {"class": "VAE"}, {}, {}, "2025-01-31")
        empty.save(tmp_path)
        assert "nothing" in page_of(tmp_path).text
        assert load_metrics(tmp_path)["metrics"] == {}


class TestPictures:
    @pytest.fixture
    def shown(self, saved):
        return [self.decoded(image["src"]) for image in page_of(saved).all("img")]

    @staticmethod
    def decoded(uri):
        head, data = uri.split(",", 1)
        assert head == "data:image/png;base64"
        return Image.open(io.BytesIO(base64.b64decode(data)))

    def test_rows_of_images_on_white(self, shown):
        images = hand_made().section("authenticity").pictures[0].images
        pixels = np.asarray(shown[0])
        assert pixels.shape == (4 * 30 - 2, 8 * 30 - 2)
        for i, image in enumerate(images):
            top, left = i // 8 * 30, i % 8 * 30
            place = np.s_[top : top + 28, left : left + 28]
            np.testing.assert_array_equal(pixels[place], (image[..., 0] * 255).round())
        assert (pixels[28:30] == 255).all()
        assert (pixels[:, 28:30] == 255).all()

    def test_one_row_and_the_first_channel(self, shown):
        pictures = hand_made().section("authenticity").pictures
        assert np.asarray(shown[1]).shape == (28, 5 * 30 - 2)
        pixels = np.asarray(shown[2])
        assert pixels.shape == (28, 3 * 30 - 2)
        first = pictures[2].images[0, ..., 0]
        np.testing.assert_array_equal(pixels[:, :28], (first * 255).round())
        assert np.asarray(shown[3]).shape == (2 * 30 - 2, 20 * 30 - 2, 3)

    def test_generated_ones_carry_a_mark_for_programs(self, shown):
        marks = [picture.text.get("Synthetic") for picture in shown]
        assert marks == ["partly", None, "partly", "true"]

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_of_any_number_of_channels(self, channels, rng, tmp_path):
        images = rng.random((3, 20, 12, channels), np.float32)
        section = Section("authenticity", pictures=[Picture("of channels.", images)])
        hand_made(sections=[section]).save(tmp_path)
        page = page_of(tmp_path)
        pixels = np.asarray(self.decoded(page.all("img")[0]["src"]))
        assert pixels.shape == ((20, 40, 3) if channels == 3 else (20, 40))
        assert ("The first channel is shown." in page.text) == (channels in (2, 4))
        shown = images if channels == 3 else images[..., 0]
        for i in range(3):
            np.testing.assert_array_equal(pixels[:, i * 14 : i * 14 + 12], (shown[i] * 255).round())


class TestCard:
    def test_says_what_a_user_must_know(self, saved):
        text = (saved / "model_card.md").read_text()
        for heading in (
            *("Model", "Real images", "Intended use", "Prohibited use", "Figures", "Limits"),
            "How it was measured",
        ):
            assert f"\n## {heading}\n" in text
        for said in (
            *("**Synthetic.**", "CC BY-NC 4.0", "01" * 32, "ab" * 32, "num images: 1000"),
            *("latent dim: 64", "keras 3.15.1", "No reader study was done.", "2025-01-31"),
            *hand_made().warnings,
            "| test | 624 |",
            "| split | images | SHA-256 of the pixels |\n|---|---:|---|\n",
            "| name | preprocessing | SHA-256 |\n|---|---|---|\n",
            "| parameters | 1,623,169 |",
            "1.32 (1.21 to 1.44)",
        ):
            assert said in text, said

    def test_tables_are_markdown(self, tmp_path):
        table = Table("of a pipe", ["a | b", "c"], [["d | <e>\nf", 1.0], ["g", (1.0, 0.5, 2.0)]])
        hand_made(sections=[Section("utility", tables=[table])]).save(tmp_path)
        lines = (tmp_path / "model_card.md").read_text().splitlines()
        at = lines.index("of a pipe")
        assert lines[at - 1] == lines[at + 1] == ""
        assert lines[at + 2 : at + 6] == [
            r"| a \| b | c |",
            "|---|---:|",
            r"| d \| &lt;e> f | 1.00 |",
            "| g | 1.00 (0.500 to 2.00) |",
        ]
        blocks = "\n".join(lines).split("\n\n")
        tables = [block.splitlines() for block in blocks if block.startswith("|")]
        assert len(tables) == 3
        for rows in tables:
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("word", "word"),
        (None, "n/a"),
        (float("nan"), "n/a"),
        (float("inf"), "n/a"),
        (True, "yes"),
        (np.False_, "no"),
        (312, "312"),
        (np.int64(1623169), "1,623,169"),
        (1623.7, "1,624"),
        (412.34, "412"),
        (43.21, "43.2"),
        (1.0, "1.00"),
        (0.9, "0.900"),
        (np.float32(0.0412), "0.0412"),
        (-0.00012, "-1.2e-04"),
        (0.0, "0"),
        ((0.4, 0.3, 0.5), "0.400 (0.300 to 0.500)"),
        ((0.4, float("nan"), 0.5), "0.400"),
        ((float("nan"), None, None), "n/a"),
    ],
)
def test_figures_as_text(value, text):
    assert figure_text(value) == text


def test_headlines():
    metrics = hand_made().section("fidelity").metrics
    assert headlines("fidelity", metrics) == [
        (
            "distance to test images over its floor (real training images: 1.05)",
            "test/ratio",
            3.21,
        ),
        ("distance to test images (real images: 0.411)", f"test/{FD}", 1.32),
        ("kernel distance to test images", "test/KD[randconv-v1/64,N=312]", -0.00012),
    ]
    unknown = {f"figure_{i}": i for i in range(9)}
    found = headlines("another", unknown)
    assert found == [(f"figure {i}", f"figure_{i}", i) for i in range(4)]


@pytest.mark.parametrize(
    ("section", "metrics", "labels"),
    [
        ("diversity", {"recall_real": 0.96, "recall": 0.1}, ["recall (real images: 0.960)"]),
        ("diversity", {"recall": 0.1, "recall_real": float("nan")}, ["recall"]),
        (
            "authenticity",
            {
                **{"auth_pct[pixels]": 90, "auth_pct_held_out[pixels]": 46.2, "copied_share": 0.0},
                **{"auth_pct_held_out[randconv-v1/64]": 1.0, "blind_auc": 0.51},
                **{"membership_auc[distance]": 0.4, "membership_auc": 0.476, "exact_copies": 0},
            },
            [
                *("exact copies", "share of near copies beyond that of real images"),
                *("AuthPct[pixels] (real images: 46.2)", "membership AUC (blind to the model: "),
            ],
        ),
        (
            "utility",
            {"trtr_accuracy": 0.825, "tstr_accuracy": 0.6, "tstr_accuracy_low": 0.5}
            | {"label_agreement": 0.7, "tstr_auc": 0.5, "trtr_auc": 0.91},
            [
                "accuracy, trained on synthetic images (real images: 0.825)",
                "AUC, trained on synthetic images (real images: 0.910)",
                "label agreement (real images: 0.825)",
            ],
        ),
        (
            "segmentation",
            {"real_dice": 0.5, "both_dice": 0.6, "both_dice_low": 0.55},
            ["Dice, trained on both (real images: 0.500)"],
        ),
    ],
)
def test_headlines_stand_beside_real_images(section, metrics, labels):
    found = [label for label, _, _ in headlines(section, metrics)]
    assert len(found) == len(labels)
    assert all(map(str.startswith, found, labels)), found


def test_facts():
    content = {"a_b": {"c": [1, True], "f": ["x", 2], "d": {}}, "rate": 3e-4, "e": None, "first": 1}
    assert facts(content, ("first",)) == [
        ("a b: c", "1, yes"),
        ("a b: f", "x; 2"),
        ("rate", "0.0003"),
    ]


SEEN = """({
  wide: document.documentElement.scrollWidth,
  room: document.documentElement.clientWidth,
  images: [...document.images].map(image => image.naturalWidth),
  small: [...document.querySelectorAll("p, li, td, th, dd, dt, figcaption, a")]
    .map(element => parseFloat(getComputedStyle(element).fontSize))
    .reduce((a, b) => Math.min(a, b)),
})"""


class TestInABrowser:
    @pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
    def test_every_picture_and_no_scrolling(self, browser, saved, width, phone):
        path = saved / "report.html"
        browser.open(path, width, phone)
        seen = browser.evaluate(SEEN)
        assert browser.errors == []
        assert browser.requests == [path.resolve().as_uri()]
        assert seen["wide"] == seen["room"] >= width - 16  # beside a scroll bar
        assert seen["images"] == [238, 148, 88, 598]
        assert seen["small"] >= 12

    def test_wide_tables_scroll_in_their_own_box(self, browser, saved):
        browser.open(saved / "report.html", 390, phone=True)
        boxes = browser.evaluate(
            "[...document.querySelectorAll('.box')].map(b => [b.scrollWidth, b.clientWidth])"
        )
        assert any(inner > outer for inner, outer in boxes)
        assert all(outer <= 390 - 2 * 16 for _, outer in boxes)
        widest = max(range(len(boxes)), key=lambda i: boxes[i][0] - boxes[i][1])
        names, scrolled = browser.evaluate(
            f"""(box => {{
              box.scrollLeft = 200;
              const left = cell => cell.getBoundingClientRect().left - box.offsetLeft;
              return [[...box.querySelectorAll("th:first-child")].map(left), box.scrollLeft];
            }})(document.querySelectorAll('.box')[{widest}])"""
        )
        assert scrolled == 200
        assert names == pytest.approx([0] * len(names), abs=1)

    def test_what_is_wrong_would_be_seen(self, browser, tmp_path):
        page = tmp_path / "wrong.html"
        page.write_text(
            "<!doctype html><meta name=viewport content='width=device-width, initial-scale=1'>"
            "<p style='width: 600px'>wide</p><img src='data:image/png;base64,AAAA'>"
            "<img src='nowhere.png'><script>console.error('mistake'); undefined.x</script>"
        )
        browser.open(page, 390, phone=True)
        seen = browser.evaluate(SEEN)
        assert seen["wide"] > 390
        assert seen["images"] == [0, 0]
        assert any("mistake" in error for error in browser.errors)
        assert len(browser.errors) >= 3
        assert any(url.endswith("nowhere.png") for url in browser.requests)
