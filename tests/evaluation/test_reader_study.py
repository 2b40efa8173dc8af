import base64
import csv
import io
import json
import re

import numpy as np
import pytest
import scipy.stats
from PIL import Image
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from keras_medgen.evaluation import agreement
from keras_medgen.evaluation.reader_page import COLUMNS
from keras_medgen.evaluation.reader_study import score_study, write_study


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(rng):
    """Real and generated ones, of 8 bits, no two alike."""
    return tuple(rng.integers(0, 256, (2, 12, 10, 8, 1), np.uint8))


@pytest.fixture
def study(images, tmp_path):
    write_study(tmp_path / "study", *images, num_each=10, seed=3)
    return tmp_path / "study"


def key_of(study):
    return {int(row["image"]): row["truth"] for row in read_csv(study / "key/key.csv")}


def fill(study, name, verdicts, reader="", confidence=None, separator=","):
    """Writes the answers of one reader: a dict from image to verdict."""
    rows = [
        (reader, image, verdict, "" if confidence is None else confidence[image], "")
        for image, verdict in verdicts.items()
    ]
    with (study / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([COLUMNS, *rows])


def guessed(rng, study, right=0.7):
    """Verdicts that are right so often."""
    other = {"real": "generated", "generated": "real"}
    return {
        image: truth if rng.random() < right else other[truth]
        for image, truth in key_of(study).items()
    }


class TestWriting:
    def pictures(self, study):
        text = (study / "study.html").read_text(encoding="utf-8")
        found = re.findall(r'src="data:image/png;base64,([^"]+)" alt="Picture (\d+)"', text)
        return {int(number): base64.b64decode(data) for data, number in found}

    def test_shows_what_the_key_says(self, study, images):
        pictures = self.pictures(study)
        key = read_csv(study / "key/key.csv")
        assert [int(row["image"]) for row in key] == list(range(1, 21))
        assert sorted(row["truth"] for row in key) == ["generated"] * 10 + ["real"] * 10
        assert [row["truth"] for row in key] != sorted(row["truth"] for row in key)
        for row in key:
            of = images[row["truth"] == "generated"]
            with Image.open(io.BytesIO(pictures[int(row["image"])])) as picture:
                np.testing.assert_array_equal(np.asarray(picture), of[int(row["row"]), ..., 0])
        assert len({(row["truth"], row["row"]) for row in key}) == 20

    def test_pictures_tell_nothing_but_their_pixels(self, study):
        headers = set()
        for data in self.pictures(study).values():
            headers.add(data[:33])  # signature and header: size, bits, colours, settings
            with Image.open(io.BytesIO(data)) as picture:
                assert picture.info == {}
        assert len(headers) == 1

    def test_the_folder(self, study):
        names = sorted(str(p.relative_to(study)) for p in study.rglob("*") if p.is_file())
        assert names == [
            "answers.csv",
            "instructions.md",
            "key/README.md",
            "key/key.csv",
            "study.html",
        ]
        form = read_csv(study / "answers.csv")
        assert [row["image"] for row in form] == [str(n) for n in range(1, 21)]
        assert {value for row in form for name, value in row.items() if name != "image"} == {""}
        page = (study / "study.html").read_text(encoding="utf-8")
        assert not re.search(r"(src|href)=\"(?!data:)|url\(|https?:", page)
        assert "same settings" in (study / "instructions.md").read_text()

    def test_the_seed_draws_and_orders(self, images, tmp_path):
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            write_study(tmp_path / name, *images, num_each=5, seed=seed, title="CT <5 mm>")
        keys, pages = (
            [(tmp_path / name / file).read_text() for name in "abc"]
            for file in ("key/key.csv", "study.html")
        )
        assert (keys[0], pages[0]) == (keys[1], pages[1])
        assert keys[2] != keys[0]
        assert "<h1>CT &lt;5 mm&gt;</h1>" in pages[0]

    def test_floats_colours_and_two_channels(self, rng, tmp_path):
        for channels, mode in ((1, "L"), (2, "L"), (3, "RGB")):
            real = rng.random((2, 9, 9, channels), np.float32)
            folder = tmp_path / str(channels)
            write_study(folder, real, 1 - real, num_each=2)
            for data in self.pictures(folder).values():
                with Image.open(io.BytesIO(data)) as picture:
                    assert (picture.mode, picture.size) == (mode, (9, 9))

    def test_arguments_are_checked(self, images, study, tmp_path):
        real, generated = images
        with pytest.raises(ValueError, match=r"12 real and 12 generated\. Received: num_each=50"):
            write_study(tmp_path / "new", real, generated)
        with pytest.raises(ValueError, match="must be of one shape"):
            write_study(tmp_path / "new", real, generated[:, :5], num_each=1)
        with pytest.raises(ValueError, match=r"generated: images must lie in \[0, 1\]"):
            write_study(tmp_path / "new", real, generated.astype(float), num_each=1)
        with pytest.raises(ValueError, match="real must be images"):
            write_study(tmp_path / "new", real[0], generated)
        with pytest.raises(FileExistsError):
            write_study(study, real, generated, num_each=1)
        assert not (tmp_path / "new").exists()


class TestScoring:
    def test_one_reader(self, study, rng):
        verdicts, key = guessed(rng, study), key_of(study)
        confidence = {image: int(rng.integers(1, 6)) for image in verdicts}
        fill(study, "answers.csv", verdicts, "Anna", confidence)
        scores = score_study(study)
        found = scores["readers"]["Anna"]
        right = {image: verdicts[image] == key[image] for image in key}
        for name, of in (
            ("sensitivity", ("generated",)),
            ("specificity", ("real",)),
            ("accuracy", ("real", "generated")),
        ):
            chosen = [right[image] for image in key if key[image] in of]
            assert found[name]["value"] == pytest.approx(np.mean(chosen))
            test = scipy.stats.binomtest(sum(chosen), len(chosen))
            expected = test.proportion_ci(0.95, method="wilson")
            assert (found[name]["low"], found[name]["high"]) == pytest.approx(tuple(expected))
        ratings = [confidence[i] * (1 if verdicts[i] == "generated" else -1) for i in key]
        truth = [key[i] == "generated" for i in key]
        assert found["auc"]["value"] == pytest.approx(roc_auc_score(truth, ratings))
        assert found["auc"]["low"] < found["auc"]["value"] < found["auc"]["high"]
        assert scores["images"] == {"real": 10, "generated": 10}
        assert "agreement" not in scores
        assert json.loads((study / "scores.json").read_text()) == scores

    def test_two_readers_and_a_form_that_nobody_filled(self, study, rng):
        key = key_of(study)
        first, second = guessed(rng, study), guessed(rng, study)
        fill(study, "answers-anna.csv", first)
        fill(study, "answers ben.csv", second, separator=";")
        scores = score_study(study)
        assert list(scores["readers"]) == ["ben", "anna"]  # by the names of the files
        kappa = scores["agreement"]
        columns = [[verdicts[image] for image in key] for verdicts in (first, second)]
        assert kappa["kind"] == "Cohen's kappa"
        assert kappa["value"] == pytest.approx(cohen_kappa_score(*columns))
        assert kappa["low"] < kappa["value"] < kappa["high"]
        means = [one["accuracy"]["value"] for one in scores["readers"].values()]
        assert scores["together"]["accuracy"]["value"] == pytest.approx(np.mean(means))
        text = (study / "scores.md").read_text()
        assert f"Cohen's kappa, is {kappa['value']:.2f}" in text
        assert text.count("| anna |") == 1

    def test_three_readers_in_one_file_as_a_spreadsheet_writes_it(self, study, rng):
        lines = ["Reader;Image;Verdict;Confidence;Comment\r\n"]
        columns = []
        for reader in ("Anna", "Zoë", "Carl"):
            verdicts = guessed(rng, study)
            columns.append([verdicts[image] for image in sorted(verdicts)])
            for place, (image, verdict) in enumerate(verdicts.items()):
                name = reader if place == 0 else ""
                lines.append(f'{name};{image:03};{verdict.upper()} ;;"für mich; so"\r\n')
            lines.append(";;;;\r\n")
        (study / "answers.csv").write_bytes("".join(lines).encode("cp1252"))
        scores = score_study(study)
        assert list(scores["readers"]) == ["Anna", "Zoë", "Carl"]
        kappa = scores["agreement"]
        assert kappa["kind"] == "Fleiss' kappa"
        called = np.sum(np.array(columns) == "generated", axis=0)
        counts = np.stack([called, 3 - called], axis=1)
        value = agreement.fleiss_kappa(counts, np.ones((1, 20)))[0]
        assert kappa["value"] == pytest.approx(value)

    def test_what_is_said(self, study):
        key = key_of(study)
        fill(study, "answers-right.csv", key)
        fill(study, "answers-same.csv", dict.fromkeys(key, "real"))
        scores = score_study(study)
        assert scores["summary"] == [
            "right called 1.00 (0.84 to 1.00) of the pictures what they are: better than guessing.",
            "same called 0.50 (0.30 to 0.70) of the pictures what they are: no better than "
            "guessing, as far as this many pictures show.",
            "The 2 readers together called 0.75 (0.75 to 0.75) of the pictures what they are: "
            "better than guessing.",
            "Their agreement beyond chance, Cohen's kappa, is 0.00 (0.00 to 0.00).",
        ]
        (study / "answers-right.csv").rename(study / "others.csv")
        fill(study, "answers-too.csv", dict.fromkeys(key, "real"))
        assert score_study(study)["summary"][-1].endswith("is undefined: all verdicts are one.")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda rows: rows.pop(4), r"answers-x\.csv: x has not judged picture 4: every"),
            (lambda rows: rows.append(rows[2]), r"line 22: x has judged picture 2 already, in .*3"),
            (lambda rows: rows[5].__setitem__(1, "21"), "line 6: image must be .* 1 to 20.*'21'"),
            (lambda rows: rows[5].__setitem__(1, "five"), "line 6: image must be .*'five'"),
            (lambda rows: rows[7].__setitem__(2, ""), "line 8: verdict of picture 7 must be"),
            (lambda rows: rows[7].__setitem__(2, "fake"), "line 8: .*Received: verdict='fake'"),
            (lambda rows: rows[9].__setitem__(3, "6"), "line 10: confidence must be 1 to 5"),
            (lambda rows: rows[0].__setitem__(2, "answer"), "line 1: there must be the columns"),
        ],
    )
    def test_rows_that_cannot_be_taken(self, study, change, message):
        rows = [list(COLUMNS), *(["", str(i), "real", "", ""] for i in range(1, 21))]
        change(rows)
        with (study / "answers-x.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(ValueError, match=message):
            score_study(study)
        assert not (study / "scores.json").exists()

    def test_nothing_to_score(self, study):
        with pytest.raises(FileNotFoundError, match="holds no answers"):
            score_study(study)
        fill(study, "answers.csv", key_of(study))
        key = study / "key/key.csv"
        text = key.read_text()
        key.write_text(text.replace("generated", "real", 1).replace("generated", "fake", 1))
        with pytest.raises(ValueError, match=r"key\.csv, line \d+: each image must be there once"):
            score_study(study)
        key.unlink()
        with pytest.raises(FileNotFoundError, match="nobody knows which"):
            score_study(study)


class TestAgreement:
    def test_wilson_is_that_of_scipy(self):
        for successes, count in ((0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (81, 263)):
            expected = scipy.stats.binomtest(successes, count).proportion_ci(method="wilson")
            found = agreement.wilson_interval(successes, count)
            assert found == pytest.approx((expected.low, expected.high), abs=1e-12)

    def test_cohen_of_resamples_is_that_of_scikit_learn(self, rng):
        first, second = rng.random((2, 60)) < 0.4
        second |= first & (rng.random(60) < 0.5)
        weights = rng.integers(0, 3, (5, 60))
        found = agreement.cohen_kappa(first, second, weights)
        expected = [
            cohen_kappa_score(np.repeat(first, row), np.repeat(second, row)) for row in weights
        ]
        np.testing.assert_allclose(found, expected)

    def test_fleiss_of_a_worked_example(self):
        # Fourteen raters, ten subjects, five categories, as in the article on Fleiss' kappa of
        # Wikipedia: 0.210.
        counts = np.array(
            [
                [0, 0, 0, 0, 14],
                [0, 2, 6, 4, 2],
                [0, 0, 3, 5, 6],
                [0, 3, 9, 2, 0],
                [2, 2, 8, 1, 1],
                [7, 7, 0, 0, 0],
                [3, 2, 6, 3, 0],
                [2, 5, 3, 2, 2],
                [6, 5, 2, 1, 0],
                [0, 2, 2, 3, 7],
            ]
        )
        whole, first = agreement.fleiss_kappa(counts, np.array([[1] * 10, [3] + [0] * 9]))
        assert whole == pytest.approx(0.210, abs=5e-4)
        assert np.isnan(first)  # one subject, on which all agree

    def test_the_bootstrap_interval_is_as_wide_as_theory_has_it(self, tmp_path, rng):
        real, generated = rng.integers(0, 256, (2, 200, 2, 2, 1), np.uint8)
        write_study(tmp_path / "study", real, generated, num_each=200)
        study = tmp_path / "study"
        for name in ("answers-a.csv", "answers-b.csv"):
            fill(study, name, guessed(rng, study, right=0.85))
        kappa = score_study(study)["agreement"]
        # Half the verdicts of each reader are "real": the chance agreement is 0.5, and kappa
        # 2 p - 1 of the observed agreement p.
        observed = (kappa["value"] + 1) / 2
        error = 2 * np.sqrt(observed * (1 - observed) / 400)
        assert kappa["high"] - kappa["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
