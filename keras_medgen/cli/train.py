"""`keras-medgen train` and `keras-medgen demo`."""

import dataclasses
import enum
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
import typer

from keras_medgen import callbacks, data, evaluation, models, serving
from keras_medgen._pictures import save_grid, save_reconstructions
from keras_medgen.cli import options, runs

SAMPLES = 64
RECONSTRUCTIONS = 32
STEPS_PER_EXECUTION = 8  # between two returns to Python: a tenth faster on small images
DEMO_SECONDS = 100  # of training, so that with the rest it stays within two minutes


class Model(enum.StrEnum):
    """The models that can be trained."""

    vae = "vae"


class Precision(enum.StrEnum):
    """Keras dtype policies."""

    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what a run's model will be, but the versions."""

    data: str
    model: str = "vae"
    image_size: int | None = None
    channels: int | None = None
    resize: str = "pad"
    window: str | None = None
    axis: int | None = None
    deduplicate: str = "report"
    balance: bool = False
    augment: str | None = None
    batch_size: int = 64
    latent_dim: int = 64
    kl_weight: float = 5.0
    learning_rate: float = 1e-3
    epochs: int = 20
    max_minutes: float | None = None
    precision: str = "float32"
    seed: int = 0


DEFAULTS = Settings(data="")


def train(
    data: Annotated[str, typer.Option(help=options.SOURCE_HELP)],
    model: Annotated[Model, typer.Option(help="What to train.")] = Model.vae,
    out: Annotated[
        Path | None, typer.Option(help="Run directory. Default: runs/MODEL-DATA.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(min=1)] = DEFAULTS.batch_size,
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    resize: options.ResizeOption = options.Resize.pad,
    window: options.Window = None,
    axis: options.Axis = None,
    deduplicate: options.DeduplicateOption = options.Deduplicate.report,
    balance: Annotated[
        bool, typer.Option("--balance", help="Repeat images of the smaller classes.")
    ] = False,
    augment: Annotated[
        str | None,
        typer.Option(help="Changes to training images: flip_horizontal,rotation=10,gamma=1.2 ..."),
    ] = None,
    data_dir: options.DataDir = None,
    latent_dim: Annotated[int, typer.Option(min=1)] = DEFAULTS.latent_dim,
    kl_weight: Annotated[
        float,
        typer.Option(min=0, help="More: better samples. Less: sharper reconstructions."),
    ] = DEFAULTS.kl_weight,
    learning_rate: Annotated[
        float, typer.Option(min=1e-8, help="At the start; it falls to 0 along a cosine.")
    ] = DEFAULTS.learning_rate,
    precision: Annotated[Precision, typer.Option(help="Keras dtype policy.")] = Precision.float32,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=1e-3, help="End the training by the clock, after a whole epoch."),
    ] = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a finished run.")] = False,
):
    """Train a model and leave a run directory: model, curves, samples, metrics and export.

    \b
    Examples:
      keras-medgen train --data retina_patches --epochs 5
      keras-medgen train --data pneumoniamnist.npz --model vae --seed 0 --out runs/pneumonia
      keras-medgen train --data scans.npz --image-size 64 --channels 1 --kl-weight 2

    A training that was stopped goes on from its last whole epoch when the same command is given
    again.
    """
    settings = Settings(
        data=data,
        model=model.value,
        image_size=image_size,
        channels=channels,
        resize=resize.value,
        window=window,
        axis=axis,
        deduplicate=deduplicate.value,
        balance=balance,
        augment=augment,
        batch_size=batch_size,
        latent_dim=latent_dim,
        kl_weight=kl_weight,
        learning_rate=learning_rate,
        epochs=epochs,
        max_minutes=max_minutes,
        precision=precision.value,
        seed=seed,
    )
    out = out or Path("runs") / f"{model.value}-{Path(data).stem}"
    run_training(settings, out, overwrite, data_dir)
    typer.echo(f"\nNext: keras-medgen generate {out} --num 16 --seed 0")


def demo(
    out: Annotated[Path, typer.Option(help="Run directory; an older demo there is replaced.")] = (
        Path("runs/demo")
    ),
    seed: options.Seed = 0,
):
    """Train a VAE on patches of a real fundus photograph, in two minutes and with no download.

    \b
    Examples:
      keras-medgen demo
      keras-medgen demo --out runs/another --seed 1
    """
    settings = Settings(
        data="retina_patches",
        image_size=64,
        # Small batches and the plain bound: as many steps, and as much of the vessels, as fit.
        batch_size=16,
        kl_weight=1.0,
        epochs=5,
        max_minutes=DEMO_SECONDS / 60,
        seed=seed,
    )
    # An older demo is replaced, any other run is not.
    older = runs.read_settings(out) or {}
    run_training(settings, out, overwrite=older.get("max_minutes") == settings.max_minutes)
    typer.echo(
        "\nThree commands to try next:\n"
        f"  keras-medgen generate {out} --num 16 --seed 1 --out {out}-images\n"
        "  keras-medgen train --data histology_patches --epochs 10\n"
        f"  keras-medgen export {out} saved_models/retina_vae"
    )


def run_training(
    settings: Settings, out: Path, overwrite: bool, data_dir: Path | None = None
) -> None:
    """Trains, measures and exports one model, and says what it wrote.

    Args:
        settings: of the run.
        out: the run directory.
        overwrite: whether a finished run there may be replaced.
        data_dir: where downloaded data sets are; None for the usual places.
    """
    keras.config.set_dtype_policy(settings.precision)
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
    model = models.VAE(
        images.image_shape,
        latent_dim=settings.latent_dim,
        kl_weight=settings.kl_weight,
        seed=settings.seed,
    )
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, decay_steps=settings.epochs * len(images.train)
    )
    model.compile(
        model.default_optimizer("optimizer", schedule), steps_per_execution=STEPS_PER_EXECUTION
    )

    recorded = {**dataclasses.asdict(settings), "data": Path(settings.data).name}
    run = runs.RunDirectory(out, {**recorded, "sha256": images.provenance["sha256"]}, overwrite)
    done = run.begin()
    counts = images.provenance["counts"]
    typer.echo(
        f"{settings.data}: {counts['train']} images to train on, {counts['val']} to validate, "
        f"{counts['test']} to test; {' x '.join(map(str, images.image_shape))} pixels"
        + (f". Going on from epoch {done}" if done else "")
    )
    started = time.monotonic()
    try:
        history = _fit(model, images, settings, run, done)
    except BaseException:
        run.abandon()
        raise
    seconds = time.monotonic() - started

    _measure(model, images, settings.seed, run)
    difference = _export(model, run)
    run.write_json(
        runs.RUN,
        {
            "settings": run.settings,
            "epochs": len(history["loss"]),
            "train_seconds": round(seconds, 1),
            "resumed_from_epoch": done or None,
            "parameters": model.count_params(),
            "versions": runs.versions(),
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "gpus": len(tf.config.list_physical_devices("GPU")),
            },
            "data": images.provenance,
            "export_largest_difference": difference,
        },
    )
    run.finish()
    _say_what_was_written(out, seconds)


def _fit(model, images, settings, run, done) -> dict[str, list[float]]:
    # Each iterator over the training images has an order of its own, and Keras makes two an
    # epoch: a run that goes on starts with the one that would have come next.
    for _ in range(2 * done):
        iter(images.train)
    history = run.path / runs.HISTORY
    if done:  # without the epoch that was logged but not backed up
        lines = history.read_text().splitlines(keepends=True)
        history.write_text("".join(lines[: 1 + done]))
        if done >= settings.epochs:
            return callbacks.read_history(history)
    shown = sorted({1, *(round(settings.epochs * part) for part in (0.25, 0.5, 0.75, 1))})
    watchers = [
        keras.callbacks.CSVLogger(history, append=done > 0),
        callbacks.LossCurves(run.path / runs.LOSS, csv=history),
        callbacks.SampleGrid(run.path / runs.PROGRESS, epochs=shown, seed=settings.seed),
        keras.callbacks.TerminateOnNaN(raise_error=False),
        # Kept until the run is finished: what follows the training can be interrupted too.
        keras.callbacks.BackupAndRestore(run.path / runs.BACKUP, delete_checkpoint=False),
    ]
    if settings.max_minutes is not None:
        watchers.append(callbacks.TimeLimit(settings.max_minutes * 60))
    model.fit(
        images.train,
        validation_data=images.val,
        epochs=settings.epochs,
        verbose=1 if sys.stdout.isatty() else 2,  # a bar, or a line an epoch
        callbacks=watchers,
    )
    losses = callbacks.read_history(history)
    if not np.isfinite(list(losses.values())).all():
        shutil.rmtree(run.path / runs.BACKUP, ignore_errors=True)
        raise ValueError(
            "the training diverged: its loss is no longer a number. Try a smaller --learning-rate."
        )
    return losses


def _measure(model, images, seed, run) -> None:
    model.save(run.path / runs.MODEL)
    losses = model.evaluate(images.test, return_dict=True, verbose=0)
    originals = images.arrays("test")["images"]
    reconstructions = model.reconstruct(originals)
    quality = evaluation.reconstruction_quality(originals, reconstructions)
    run.write_json(
        runs.METRICS,
        {f"test_{name}": value for name, value in {**losses, **quality}.items()},
    )
    shown = np.linspace(0, len(originals) - 1, min(RECONSTRUCTIONS, len(originals))).astype(int)
    save_reconstructions(run.path / runs.RECONSTRUCTIONS, originals[shown], reconstructions[shown])
    save_grid(run.path / runs.SAMPLES, model.generate(SAMPLES, seed=seed), columns=8)


def _export(model, run) -> float:
    """Exports the model, loads the export and samples from it: the largest difference seen."""
    path = serving.export(model, run.path / runs.EXPORT, version=1)
    decode = tf.saved_model.load(str(path)).signatures["serving_default"]
    latents = tf.random.stateless_normal((7, *model.noise_shape), seed=(0, 0))
    exported = decode(latents=latents)["images"].numpy()
    difference = float(np.max(np.abs(exported - model.decode(latents))))
    if not difference <= 1e-3:
        raise RuntimeError(f"the export differs from the model by {difference:g}.")
    return difference


def _say_what_was_written(out: Path, seconds: float) -> None:
    typer.echo(f"\nTrained in {seconds:.0f} s. {out} holds:")
    for path in sorted(out.iterdir()):
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        size = sum(file.stat().st_size for file in files)
        typer.echo(f"  {path.name + ('/' if path.is_dir() else ''):24}{size / 1024:10,.0f} KB")
    typer.echo((out / runs.METRICS).read_text().strip())
