"""`keras-medgen detect`."""

import csv
import enum
import json
import shutil
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from keras_medgen import anomaly
from keras_medgen._files import folder_written_whole
from keras_medgen.anomaly.detection import METHODS
from keras_medgen.anomaly.differences import SIGNS, of_channel
from keras_medgen.anomaly.evaluation import found_by, tabulated
from keras_medgen.anomaly.sweep import validation_arguments
from keras_medgen.cli import options, runs
from keras_medgen.cli.sources import read_again
from keras_medgen.pictures import save_panels

SCORES, PICTURE, DETECTOR = "scores.csv", "found.png", "detector.json"
SPLITS = ("val", "test")

Method = enum.StrEnum("Method", {name: name for name in ("auto", *METHODS)})
Sign = enum.StrEnum("Sign", {name: name for name in SIGNS})


def detect(
    run: Annotated[Path, typer.Argument(help="Run directory, or a .keras file.")],
    source: Annotated[str, typer.Option("--data", help=options.SOURCE_HELP)],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    method: Annotated[
        Method, typer.Option(help="What a map is made of. Default: the model's best.")
    ] = Method.auto,
    timestep: Annotated[
        int | None,
        typer.Option(min=0, help="diffusion: how far images are noised. Default: 100 of 1,000."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, help="diffusion: restorations, of which the mean counts.")
    ] = 4,
    healthy: Annotated[
        str | None, typer.Option(help="The healthy class, a name or a number. Default: 0.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(min=0, help="Of the maps. Default: the mean over all.")
    ] = None,
    sign: Annotated[
        Sign, typer.Option(help="Which differences count: brighter than expected, say.")
    ] = Sign.absolute,
    brain_mask: Annotated[
        float | None,
        typer.Option(help="Intensity that the brain exceeds; outside of it nothing is found."),
    ] = None,
    erosion: Annotated[int, typer.Option(min=0, help="Pixels off the brain mask's edge.")] = 0,
    median: Annotated[
        int | None, typer.Option(min=1, help="Side of a median filter of the maps, odd.")
    ] = None,
    min_region: Annotated[
        int, typer.Option(min=0, help="Pixels that a region of a mask must have.")
    ] = 0,
    intensity: Annotated[
        str,
        typer.Option(
            help="Weight of the intensity in the maps, 0 to 1; auto: by the lesions of the "
            "validation images."
        ),
    ] = "0",
    shown: Annotated[int, typer.Option(min=1, help="Images in the picture.")] = 16,
    data_dir: options.DataDir = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that folder.")] = False,
):
    """Find what does not look healthy: scores, pictures, and how far they can be trusted.

    \b
    Examples:
      keras-medgen detect runs/healthy --data brains.npz --out found
      keras-medgen detect runs/diffusion --data brains.npz --out found --timestep 200 --median 3
      keras-medgen detect runs/vae --data pneumoniamnist --out found --method reconstruction+kl

    The thresholds are those of the healthy validation images (and of the lesions among them, where
    there are masks). scores.csv has a line for each validation and test image. Where there are
    labels or masks, table.md says how well the test images were told apart, and how well the mere
    intensity and a blurred image do that.
    """
    options.check_free(out, overwrite)
    if out.exists() and not (out / SCORES).is_file():
        raise FileExistsError(f"{out} holds no {SCORES}; it is left as it is.")
    model = runs.load_model(run)
    images, same = read_again(run, source, model, data_dir)
    if not same:
        warnings.warn(
            f"{run} was trained on another source than {source}: see to it that none of its "
            "images are among those that are tested here.",
            stacklevel=2,
        )
    number = _healthy_class(healthy, images)
    splits = {name: _told_apart(images.arrays(name), images, number) for name in SPLITS}
    detector = anomaly.AnomalyDetector(
        model,
        method.value,
        channel=channel,
        sign=sign.value,
        brain_mask=brain_mask,
        erosion=erosion,
        median=median,
        min_region=min_region,
        intensity=_weight(intensity),
        condition=_condition(model, images, number),
        timestep=timestep,
        num_draws=draws,
        seed=seed,
    ).fit(**validation_arguments(splits["val"]))
    test = splits["test"]
    name = f"{type(model).__name__}, {detector.method}"
    of_test = found_by({name: detector}, test["images"])
    found = {"val": detector.detect(splits["val"]["images"]), "test": of_test[name]}
    known = {key: test[key] for key in ("labels", "masks") if key in test}
    table = None
    if known:
        weights = {name: detector.fitted["weight"]}
        table = tabulated(of_test, weights, test["images"], **known)
    if out.exists():
        shutil.rmtree(out)
    with folder_written_whole(out) as folder:
        _write_scores(folder / SCORES, splits, found)
        rows = _chosen(found["test"]["scores"], shown, seed)
        _save_picture(folder / PICTURE, detector, test, found["test"], rows)
        (folder / DETECTOR).write_text(json.dumps(detector.get_config(), indent=2) + "\n")
        if table is not None:
            (folder / "table.md").write_text(table.to_markdown())
            text = json.dumps(table.as_dict(), indent=2, allow_nan=False)
            (folder / "table.json").write_text(text + "\n")
    flags = found["test"]["flags"]
    names = images.class_names or []
    known = number < len(names) and images.task != "multi-label"
    like = f" (healthy: {names[number]})" if known else ""
    typer.echo(f"{out}: {flags.sum()} of {len(flags)} test images do not look healthy{like}")
    if table is not None:
        typer.echo("\n" + table.to_markdown(), nl=False)


def _condition(model, images, healthy):
    """What a conditional model is asked for: the healthy class, or to have no finding."""
    if model.num_classes is None:
        return None
    return [0] * model.num_classes if images.task == "multi-label" else healthy


def _healthy_class(text, images):
    """The number of a class that is named or numbered; 0 by default."""
    if text is None:
        return 0
    if images.task == "multi-label":
        raise ValueError("--healthy is for classes: of findings, healthy is to have none of them.")
    names = images.class_names or []
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise ValueError(
        f"--healthy must be a class: {', '.join(names) or 'there is none'}. "
        f"Received: --healthy {text}."
    )


def _told_apart(arrays, images, healthy):
    """A split whose `labels` are 0 where healthy, and else 1; its classes are `classes`."""
    classes = arrays.get("labels")
    if classes is None:
        return arrays
    # Of findings that can come together, none is healthy.
    lesion = classes.any(axis=1) if images.task == "multi-label" else classes != healthy
    return arrays | {"classes": classes, "labels": lesion.astype(np.int32)}


def _weight(text):
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--intensity must be a number from 0 to 1, or auto. Received: --intensity {text}."
        ) from None


def _write_scores(path, splits, found):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "image", "label", "score", "flag"))
        for name, one in found.items():
            classes = splits[name].get("classes")
            for i, (score, flag) in enumerate(zip(one["scores"], one["flags"], strict=True)):
                label = "" if classes is None else " ".join(map(str, np.ravel(classes[i])))
                writer.writerow((name, i, label, f"{score:.6g}", int(flag)))


def _chosen(scores, count, seed):
    """The numbers of the images to show: half of the highest scores, half at random."""
    order = np.argsort(-scores, kind="stable")
    highest, others = np.split(order, [-(-min(count, len(order)) // 2)])
    some = np.random.default_rng(seed).permutation(others)[: count - len(highest)]
    return np.concatenate([highest, np.sort(some)])


def _save_picture(path, detector, test, found, rows):
    images, masks = test["images"], test.get("masks")
    channel = detector.shown_channel(images)
    columns = {"input": of_channel(images[rows], channel)}
    if "restored" in found:
        columns["restored"] = of_channel(found["restored"][rows], channel)
    columns["map"] = found["maps"][rows]
    columns["predicted mask"] = found["masks"][rows].astype(float)
    if masks is not None:
        columns["true mask"] = (masks[rows] != 0).astype(float)
    names = [f"{row}: {found['scores'][row]:.3g}" for row in rows]
    planes = list(zip(*columns.values(), strict=True))
    synthetic = "partly" if "restored" in columns else False
    save_panels(path, planes, names, list(columns), synthetic)
