"""A training from settings to a run directory."""

import dataclasses
import math
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import typer

from keras_medgen import callbacks, data, evaluation, latents, serving
from keras_medgen.cli import options, runs
from keras_medgen.cli.building import compiled_model
from keras_medgen.cli.export import told_of
from keras_medgen.cli.settings import Settings
from keras_medgen.data.image_data import spread
from keras_medgen.data.readers.patches import PICTURES
from keras_medgen.data.readers.registry import MEDMNIST
from keras_medgen.data.records import is_prepared
from keras_medgen.pictures import save_grid, save_reconstructions
from keras_medgen.precision import dtype_policy

SAMPLES = 64
RECONSTRUCTIONS = 32
GAUGED = 64  # images, and as many samples, of which the gauge of mode collapse takes the similarity
ADVERSARIAL = ("vaegan", "gan")  # models whose samples may collapse
KL_WARM_UP = 0.25  # of the epochs
# Whose defaults the models choose.
CHOSEN = ("kl_weight", "gamma", "gradient_penalty", "r1", "critic_steps")


def run_training(
    settings: Settings, run: runs.RunDirectory, overwrite: bool, data_dir: Path | None = None
) -> None:
    """Trains, measures and exports one model, and says what it wrote.

    Args:
        settings: of the run.
        run: its directory; an interrupted run of the same settings there is taken up.
        overwrite: whether a finished run there may be replaced.
        data_dir: where downloaded data sets are; None for the usual places.
    """
    images = data.load(
        settings.data,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        channels=settings.channels,
        resize=settings.resize,
        window=options.parse_window(settings.window),
        axis=settings.axis,
        deduplicate=settings.deduplicate,
        balance=settings.balance,
        augment=options.parse_augment(settings.augment),
        data_dir=data_dir,
        seed=settings.seed,
    )
    begun = run.record.get("settings", {})
    recorded = dataclasses.asdict(settings) | {
        # The same images may have another name by now.
        "data": begun.get("data", Path(settings.data).name),
        "sha256": images.provenance["sha256"],
    }
    run.check(recorded, overwrite)
    if run.complete:
        _finish(run, run.record)
        return
    # Measured once: a run that goes on computes as it began.
    policy = run.record.get("dtype_policy") or dtype_policy(settings.mixed_precision)
    keras.config.set_dtype_policy(policy)
    model = compiled_model(settings, images)
    checkpoint = callbacks.Checkpoint(run.path / runs.CHECKPOINT, run.path / runs.HISTORY)
    done = checkpoint.restore(model)
    run.begin(
        {"settings": recorded, "dtype_policy": policy},
        {
            "data": _from_anywhere(settings.data),
            "data_dir": None if data_dir is None else str(data_dir.resolve()),
            "overwrite": overwrite,
        },
    )
    counts = images.provenance["counts"]
    typer.echo(
        f"{settings.data}: {counts['train']} images to train on, {counts['val']} to validate, "
        f"{counts['test']} to test; {' x '.join(map(str, images.image_shape))} pixels; {policy}"
        + (f". Going on from epoch {done}" if done else "")
    )
    started = time.monotonic() - checkpoint.seconds  # as if nothing had interrupted it
    try:
        history = _fit(model, images, settings, run, checkpoint, done)
    except BaseException as error:
        kept = run.abandon()
        if isinstance(error, KeyboardInterrupt):
            typer.echo(
                "The training goes on from its last whole epoch with: keras-medgen train "
                f"--resume {run}"
                if kept
                else "There was no whole epoch yet: nothing is kept.",
                err=True,
            )
        raise
    seconds = time.monotonic() - started

    if settings.fit_prior is not None:
        # Read from the arrays, for a data set's order goes on by one pass.
        arrays = images.arrays("train")
        labels = (arrays["labels"],) if settings.conditional else ()
        model.fit_prior((arrays["images"], *labels), settings.fit_prior, settings.seed)
    _measure(model, images, settings.seed, run)
    difference = _export(model, run, images)
    _finish(
        run,
        {
            "settings": recorded,
            "dtype_policy": policy,
            "epochs": len(next(iter(history.values()))),
            "train_seconds": round(seconds, 1),
            "resumed_from_epoch": done or None,
            "parameters": sum(math.prod(v.shape) for v in model.trainable_variables),
            **{name: getattr(model, name) for name in CHOSEN if hasattr(model, name)},
            "versions": runs.versions(),
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "gpus": len(tf.config.list_physical_devices("GPU")),
            },
            "data": images.provenance,
            "class_names": images.class_names,
            "export_largest_difference": difference,
        },
    )


def resume_training(
    run: runs.RunDirectory, source: str | None = None, data_dir: Path | None = None
) -> None:
    """Goes on with a run that was stopped, by the settings that it began with.

    Args:
        run: an interrupted run.
        source: of the images, if they have moved.
        data_dir: where downloaded data sets are, if they have moved.

    Raises:
        ValueError: if the run was begun by a version with other settings, or its images are
            not known or not the same.
    """
    if run.complete:
        _finish(run, run.record)
        return
    where = runs.read_json(run.path / runs.SOURCE)
    source, data_dir = source or where.get("data"), data_dir or where.get("data_dir")
    if source is None:
        raise ValueError(f"{run.path} does not say where its images are: give --data too.")
    given = {name: value for name, value in run.record["settings"].items() if name != "sha256"}
    if given.keys() != {field.name for field in dataclasses.fields(Settings)}:
        raise ValueError(f"{run.path} was begun by another version of keras_medgen.")
    settings = Settings(**given | {"data": source})
    run_training(
        settings, run, where.get("overwrite", False), None if data_dir is None else Path(data_dir)
    )


def _from_anywhere(source: str) -> str:
    """A source as another working directory finds it."""
    path = Path(source)
    known = source in PICTURES or source.casefold() in MEDMNIST
    return source if known and not is_prepared(path) else str(path.resolve())


def _fit(model, images, settings, run, checkpoint, done) -> dict[str, list[float]]:
    history = run.path / runs.HISTORY
    if run.record.get("trained"):  # and then interrupted
        return callbacks.read_history(history)
    # Each iterator over the training images has an order of its own, and Keras makes two an
    # epoch: a run that goes on starts with the one that would have come next.
    for _ in range(2 * done):
        iter(images.train)
    shown = sorted({1, *(round(settings.epochs * part) for part in (0.25, 0.5, 0.75, 1))})
    divergence = callbacks.StopAtNaN(verbose=False)
    watchers = [
        *_kl_schedule(settings),
        *([_gauge(images, settings.seed)] if settings.model in ADVERSARIAL else []),
        keras.callbacks.CSVLogger(history, append=done > 0),
        callbacks.LossCurves(run.path / runs.LOSS, csv=history),
        callbacks.SampleGrid(run.path / runs.PROGRESS, epochs=shown, seed=settings.seed),
        divergence,
        # Kept until the run is finished: what follows the training can be interrupted too.
        checkpoint,
    ]
    if settings.max_minutes is not None:
        watchers.append(callbacks.TimeLimit(settings.max_minutes * 60))
    model.fit(
        images.train,
        validation_data=images.val,
        epochs=settings.epochs,
        initial_epoch=done,
        verbose=1 if sys.stdout.isatty() else 2,  # a bar, or a line an epoch
        callbacks=watchers,
    )
    if divergence.message:
        checkpoint.path.unlink(missing_ok=True)  # it would diverge again
        raise ValueError(f"{divergence.message} Try a smaller --learning-rate, or --clip-norm 1.")
    run.write_json(runs.RUN, {**run.record, "trained": True})  # the clock shall not start anew
    return callbacks.read_history(history)


def _gauge(images, seed) -> callbacks.CollapseGauge:
    return callbacks.CollapseGauge(images.arrays("val", limit=GAUGED)["images"], seed=seed)


def _kl_schedule(settings) -> list[keras.callbacks.Callback]:
    # A VampPrior follows posteriors that say nothing yet, and keeps them so.
    name = settings.kl_schedule or ("warm-up" if settings.prior == "vamp" else "constant")
    if name == "warm-up":
        return [callbacks.KLWarmUp(epochs=KL_WARM_UP * settings.epochs)]
    return [callbacks.KLCycles()] if name == "cyclical" else []


def _measure(model, images, seed, run) -> None:
    model.save(run.path / runs.MODEL)
    measured = model.evaluate(images.test, return_dict=True, verbose=0)
    samples = model.generate(SAMPLES, seed=seed)
    save_grid(run.path / runs.SAMPLES, samples, columns=8, synthetic=True)
    if hasattr(model, "encoder"):
        measured |= _measure_reconstructions(model, images, run)
    elif hasattr(model, "reconstruct"):
        test = images.arrays("test")
        originals, labels = spread(test["images"], RECONSTRUCTIONS), test.get("labels")
        labels = None if model.num_classes is None else spread(labels, RECONSTRUCTIONS)
        reconstructions = model.reconstruct(originals, labels=labels, seed=seed)
        save_reconstructions(run.path / runs.RECONSTRUCTIONS, originals, reconstructions)
    run.write_json(runs.METRICS, {f"test_{name}": value for name, value in measured.items()})


def _measure_reconstructions(model, images, run) -> dict:
    test = images.arrays("test")
    originals, labels = test["images"], test.get("labels")
    given = None if model.num_classes is None else labels
    reconstructions = model.reconstruct(originals, given)
    measured = evaluation.reconstruction_quality(originals, reconstructions)
    if len(originals) > 1:
        statistics = latents.statistics(model, originals, given)
        measured |= {k: statistics[k] for k in ("active_units", "kl_per_dimension")}
    shown = spread(originals, RECONSTRUCTIONS), spread(reconstructions, RECONSTRUCTIONS)
    save_reconstructions(run.path / runs.RECONSTRUCTIONS, *shown)
    if min(len(originals), model.latent_dim) > 1:
        latents.save_map(run.path / runs.LATENTS, model, originals, labels, images.class_names)
    return measured


def _export(model, run, images) -> float:
    """Exports the model, loads the export and samples from it: the largest difference seen."""
    folder = run.path / runs.EXPORT
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed after this
    record = {"class_names": images.class_names, "data": images.provenance}
    path = serving.export(model, folder, version=1, **told_of(model, record))
    decode = tf.saved_model.load(str(path)).signatures["serving_default"]
    given = {"latents": tf.random.stateless_normal((7, *model.latent_shape), seed=(0, 0))}
    if model.num_classes is not None:
        given["labels"] = tf.one_hot(np.arange(7) % model.num_classes, model.num_classes)
    exported = decode(**given)["images"].numpy()
    difference = float(np.max(np.abs(exported - model.decode(**given))))
    # Batches of other sizes round otherwise, in half precision by more than an eye would see.
    if not difference <= (1e-3 if model.compute_dtype == "float32" else 5e-2):
        raise RuntimeError(f"the export differs from the model by {difference:g}.")
    return difference


def _finish(run: runs.RunDirectory, record: dict) -> None:
    run.finish(record)
    typer.echo(f"\nTrained in {record['train_seconds']:.0f} s. {run} holds:")
    for path in sorted(run.out.iterdir()):
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        size = sum(file.stat().st_size for file in files)
        typer.echo(f"  {path.name + ('/' if path.is_dir() else ''):24}{size / 1024:10,.0f} KB")
    for name, value in runs.read_json(run.out / runs.METRICS).items():
        if not isinstance(value, list):
            typer.echo(f"  {name:24}{value:10.4g}")
