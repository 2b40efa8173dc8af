"""Reader studies: written by `write_study`, and what the answers show."""

import json
from pathlib import Path

import numpy as np

from keras_medgen._files import written_whole
from keras_medgen.evaluation.agreement import cohen_kappa, fleiss_kappa, wilson_interval
from keras_medgen.evaluation.reader_answers import read_answers, read_key
from keras_medgen.evaluation.reader_page import write_study

__all__ = ["score_study", "write_study"]

RESAMPLES = 2000
FIGURES = ("sensitivity", "specificity", "accuracy", "auc")


def score_study(directory: str | Path, seed: int = 0) -> dict:
    """Scores the filled answers of a study, and writes `scores.json` and `scores.md` beside them.

    Sensitivity is the share of generated images that are called generated, specificity the share of
    real images that are called real.

    Args:
        directory: of `write_study`, with the filled `answers*.csv` of one reader or several in it;
            see `keras_medgen.evaluation.reader_answers.read_answers`.
        seed: of the resamples of images.

    Returns:
        A dict of `images`, the numbers of real and generated ones; `readers`, from a name to
        `sensitivity`, `specificity` and `accuracy`, each a dict of `value`, `low` and `high` with a
        95% interval by Wilson, and where they gave a confidence on every image `auc`, of verdict
        and confidence, with a bootstrap interval; `together`, the same means over several readers,
        with bootstrap intervals, for several readers judge the same images; `agreement`, of several
        readers, with the `kind` of kappa, `value`, `low` and `high`; and `summary`, sentences.
        Bootstrap intervals are over images, drawn anew among the real and the generated ones; None
        stands for what is undefined.

    Raises:
        FileNotFoundError: without a key or answers.
        ValueError: for answers that cannot be taken as they are.
    """
    key = read_key(directory)
    answers = read_answers(directory, key)
    numbers = sorted(key)
    is_generated = np.array([key[number] == "generated" for number in numbers])
    weights = _resamples(is_generated, seed)
    verdicts = {
        reader: np.array([found[number][0] == "generated" for number in numbers])
        for reader, found in answers.items()
    }
    readers = {reader: _of_reader(called, is_generated) for reader, called in verdicts.items()}
    for reader, found in answers.items():
        confidences = [found[number][1] for number in numbers]
        if None not in confidences:
            ratings = np.where(verdicts[reader], 1, -1) * confidences
            readers[reader]["auc"] = _estimate(_auc(ratings, is_generated, weights))
    scores = {
        "images": {"real": int((~is_generated).sum()), "generated": int(is_generated.sum())},
        "readers": readers,
    }
    if len(readers) > 1:
        every = np.stack(list(verdicts.values()))
        scores["together"] = _together(every, is_generated, weights)
        scores["agreement"] = _agreement(every, weights)
    scores["summary"] = _summary(scores)
    directory = Path(directory)
    with written_whole(directory / "scores.json") as path:
        path.write_text(json.dumps(scores, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with written_whole(directory / "scores.md") as path:
        path.write_text(_markdown(scores), encoding="utf-8")
    return scores


def _resamples(is_generated, seed):
    """How often each image counts, (1 + RESAMPLES, n): first each once, then as drawn."""
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + RESAMPLES, len(is_generated)), np.int64)
    for group in (is_generated, ~is_generated):
        size = group.sum()
        weights[1:, group] = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return weights


def _estimate(values):
    """The first of some values, and the 95% interval of the others where they are defined."""
    value, others = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(others, [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _of_reader(called, is_generated):
    groups = {
        "sensitivity": called[is_generated],
        "specificity": ~called[~is_generated],
        "accuracy": called == is_generated,
    }
    found = {}
    for name, right in groups.items():
        low, high = wilson_interval(int(right.sum()), len(right))
        found[name] = {"value": float(right.mean()), "low": low, "high": high}
    return found


def _auc(ratings, is_generated, weights):
    """The share of pairs of a generated and a real image that are rated in their order."""
    difference = ratings[is_generated][:, None] - ratings[~is_generated]
    above = (np.sign(difference) + 1) / 2
    first, second = weights[:, is_generated], weights[:, ~is_generated]
    pairs = first.sum(axis=1) * second.sum(axis=1)
    return np.sum((first @ above) * second, axis=1) / pairs


def _together(verdicts, is_generated, weights):
    right = (verdicts == is_generated).mean(axis=0)  # the share of readers, for each image
    groups = {
        "sensitivity": is_generated,
        "specificity": ~is_generated,
        "accuracy": np.ones_like(is_generated),
    }
    return {
        name: _estimate(weights[:, group] @ right[group] / weights[:, group].sum(axis=1))
        for name, group in groups.items()
    }


def _agreement(verdicts, weights):
    if len(verdicts) == 2:
        return {"kind": "Cohen's kappa", **_estimate(cohen_kappa(*verdicts, weights))}
    called = verdicts.sum(axis=0)
    counts = np.stack([called, len(verdicts) - called], axis=1)
    return {"kind": "Fleiss' kappa", **_estimate(fleiss_kappa(counts, weights))}


def _summary(scores):
    sentences = [
        f"{reader} called {_text(found['accuracy'])} of the pictures what they are: "
        f"{_against_guessing(found['accuracy'])}."
        for reader, found in scores["readers"].items()
    ]
    if "together" in scores:
        accuracy = scores["together"]["accuracy"]
        sentences.append(
            f"The {len(scores['readers'])} readers together called {_text(accuracy)} of the "
            f"pictures what they are: {_against_guessing(accuracy)}."
        )
        agreement = scores["agreement"]
        sentences.append(
            f"Their agreement beyond chance, {agreement['kind']}, is {_text(agreement)}."
            if agreement["value"] is not None
            else "Their agreement beyond chance is undefined: all verdicts are one."
        )
    return sentences


def _against_guessing(accuracy):
    if accuracy["low"] > 0.5:
        return "better than guessing"
    if accuracy["high"] < 0.5:
        return "worse than guessing"
    return "no better than guessing, as far as this many pictures show"


def _text(figure):
    if figure is None or figure["value"] is None:
        return "-"
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


def _markdown(scores):
    rows = {name.replace("|", "\\|"): found for name, found in scores["readers"].items()}
    if "together" in scores:
        rows["**all readers**"] = scores["together"]
    counts = scores["images"]
    return "\n".join(
        [
            "# Reader study",
            "",
            *(f"- {sentence}" for sentence in scores["summary"]),
            "",
            "| reader | " + " | ".join(name.replace("auc", "AUC") for name in FIGURES) + " |",
            "|---|" + "---:|" * len(FIGURES),
            *(
                f"| {name} | " + " | ".join(_text(found.get(of)) for of in FIGURES) + " |"
                for name, found in rows.items()
            ),
            "",
            f"{counts['real']} real and {counts['generated']} generated pictures. Sensitivity: the "
            "share of generated pictures called generated; specificity: the share of real ones "
            "called real; AUC: of verdicts and confidences together. In brackets 95% intervals: of "
            "a reader's sensitivity, specificity and accuracy by Wilson, else by bootstrap over "
            "pictures.",
            "",
        ]
    )
