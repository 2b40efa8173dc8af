"""`load`: from a name, a file or a folder to `ImageData`."""

import difflib
import sys
from pathlib import Path

import numpy as np

from keras_medgen.data.augment import Augment
from keras_medgen.data.copies import settle_splits
from keras_medgen.data.found import Found
from keras_medgen.data.image_data import ImageData
from keras_medgen.data.readers.files import Entry, find_images
from keras_medgen.data.readers.folder import list_folder
from keras_medgen.data.readers.manifest import read_manifest
from keras_medgen.data.readers.medmnist import read_medmnist
from keras_medgen.data.readers.npz import read_npz
from keras_medgen.data.readers.patches import PICTURES, cut_patches
from keras_medgen.data.readers.registry import MEDMNIST
from keras_medgen.data.reading import read_pixels
from keras_medgen.data.records import is_prepared, read_shards
from keras_medgen.data.settings import Settings
from keras_medgen.data.splits import SPLITS
from keras_medgen.data.store import Store

FEWEST_IMAGES = 10


def load(
    source: str | Path,
    image_size: int | None = None,
    batch_size: int = 64,
    *,
    channels: int | None = None,
    resize: str = "pad",
    window: str | tuple[float, float] | None = None,
    axis: int | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    deduplicate: str = "report",
    on_error: str = "skip",
    balance: bool = False,
    augment: Augment | None = None,
    cache: str = "auto",
    decoding: str = "exact",
    data_dir: str | Path | None = None,
    seed: int = 0,
) -> ImageData:
    """Loads medical images as three splits, and says what these share if the source cut them.

    Every file is read once at the start: what cannot be used is listed in `data.report` with the
    reason, copies and near copies are found, and one line on stderr says so. A split that the
    source lacks is cut by patient where patients are known, else class by class, and copies of
    one picture stay on one side. Of splits that the source brings along, patients and pictures
    that stand in two are reported; `deduplicate="drop"` takes such pictures out.

    Args:
        source: one of

            - a name of MedMNIST ("pneumoniamnist", "organmnist3d", ...; `keras-medgen datasets`
              lists them), `"retina_patches"` or `"histology_patches"` (cut from the photographs
              that scikit-image ships; no download);
            - a folder of images, with or without folders of classes, and of splits (train / val
              / test, Training / Testing) above them;
            - a .csv with the column `path` and any of `label`, `patient`, `mask`, `text`, `split`;
            - an .npz with MedMNIST's keys;
            - an image, DICOM (extra `dicom`) or NIfTI (extra `nifti`) file;
            - a folder that `keras-medgen data prepare` wrote.
        image_size: side of the images in pixels. None keeps their own size, takes MedMNIST's 28,
            and cuts patches of 64.
        batch_size: images in a batch.
        channels: 1 or 3 to convert to grey or to RGB, None to keep what the source has (3 where
            some images have colour).
        resize: how an image that is not of `image_size` gets there: "pad" (to a square, in
            black), "crop" (to the central square) or "stretch".
        window: of the grey values of DICOM, NIfTI and images of more than 8 bits: a name ("lung",
            "brain", ..., in Hounsfield units: DICOM files of other modalities than CT are left
            out) or (centre, width). None for the file's own window, or the rule of its format.
        axis: that volumes are cut along. NIfTI: 0 sagittal, 1 coronal, 2 axial (the default);
            MedMNIST's volumes: 0 (the default), 1 or 2 of the array.
        validation_fraction: share that becomes `val` where the source has none.
        test_fraction: share that becomes `test` where the source has none.
        deduplicate: "report" copies that stand in two splits of the source, or "drop" them (from
            train before val before test) and all exact copies within a split.
        on_error: "skip" files that cannot be used, or "raise" the first.
        balance: repeat images of the smaller classes in `train` until all are as large.
        augment: what `kmg.data.augment(...)` returns, applied to `train`.
        cache: where decoded images are kept: "memory", "file" (in `data_dir` or the temporary
            folder, gone when the process ends), "none" (decoded anew in every epoch) or "auto",
            the first of these with room.
        decoding: "exact", or "fast": JPEGs of twice the size or more are decoded at half scale
            (within one grey level in 256 on average).
        data_dir: where downloaded files are looked for and put; None for ~/.medmnist.
        seed: of the splits, of the order of the training images, and of augmentation. The order
            depends on TensorFlow's global seed too, where one is set.

    Returns:
        `ImageData`.

    Raises:
        ValueError: for an unknown name, for images that cannot be used, or for arguments out of
            their range; the message names the file or the argument.
        OSError: for a path that does not exist, or a download that fails.
        ImportError: for files whose reader is an extra that is not installed.

    Example:
    ```python
    import keras_medgen as kmg

    data = kmg.data.load("retina_patches", image_size=64, batch_size=64)
    for batch in data.train.take(1):
        print(batch["images"].shape)  # (64, 64, 64, 3)
    ```
    """
    settings = Settings(
        image_size=image_size,
        batch_size=batch_size,
        channels=channels,
        resize=resize,
        window=window,
        axis=axis,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        deduplicate=deduplicate,
        on_error=on_error,
        balance=balance,
        augment=augment,
        cache=cache,
        decoding=decoding,
        data_dir=None if data_dir is None else Path(data_dir).expanduser(),
        seed=seed,
    )
    return load_with(source, settings)


def load_with(source: str | Path, settings: Settings) -> ImageData:
    """As `load`, with its arguments in one."""
    path = Path(source).expanduser()
    name = path.resolve().name
    if path.is_dir() and is_prepared(path):
        found, store, report = read_shards(path, settings)
    else:
        found = _find(str(source), path, settings)
        store, digests, thumbnails = read_pixels(found, settings)
        _check_enough(found, name, FEWEST_IMAGES if settings.split else 1)
        report = settle_splits(found, digests, thumbnails, settings, name)
    if settings.split:
        _check_images(found, store, name)
    if settings.balance and found.task not in ("multi-class", "ordinal"):
        raise ValueError(
            f"balance=True needs one label an image. Received: {name}, whose task is "
            f"{found.task!r}."
        )
    if settings.augment is not None:
        found.provenance["augmentation"] = f"train only: {settings.augment.description}"
    data = ImageData(
        found,
        store,
        batch_size=settings.batch_size,
        seed=settings.seed,
        report=report,
        balance=settings.balance,
        augment=settings.augment,
    )
    print(f"{name}: {report.summary(data.provenance['counts'])}", file=sys.stderr)
    return data


def _find(source: str, path: Path, settings: Settings) -> Found:
    """Lists what the source holds."""
    if source.casefold() in MEDMNIST:
        source = source.casefold()
    if source in PICTURES:
        fractions = {"val": settings.validation_fraction, "test": settings.test_fraction}
        return cut_patches(source, settings.image_size or 64, fractions, settings.seed)
    if source in MEDMNIST:
        return read_medmnist(source, settings.image_size, settings.axis, settings.data_dir)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise FileNotFoundError(f"There is no file or folder {source}.")
        names = [*sorted(PICTURES), *MEDMNIST]
        near = difflib.get_close_matches(source.casefold(), names, 1)
        raise ValueError(
            f"source must be one of {', '.join(names)}, or the path of a folder or a file. "
            f"Received: source={source!r}" + (f"; is it {near[0]}?" if near else ".")
        )
    name = path.resolve().name
    suffix = path.suffix.casefold()
    if suffix == ".npz":
        return read_npz(path)
    left_out, folders_are_classes = [], False
    if path.is_dir():
        entries, left_out, folders_are_classes = list_folder(path)
    elif suffix == ".csv":
        entries = read_manifest(path)
    else:
        entries = [Entry(path)]
    found = find_images(
        entries,
        source=name,
        window=settings.window_range,
        preset=settings.preset,
        axis=settings.axis,
        channels=settings.channels,
        folders_are_classes=folders_are_classes,
    )
    found.left_out += left_out
    if settings.on_error == "raise":
        found.raise_first()
    if not found.images:
        reasons = "; ".join(f"{file}: {reason}" for file, reason in found.left_out[:3])
        raise ValueError(f"{name} gives no image ({reasons}).")
    return found


def _check_enough(found: Found, name: str, least: int) -> None:
    total = int((found.splits != "out").sum())
    if total < least:
        reasons = "; ".join(f"{file}: {reason}" for file, reason in found.left_out[:3])
        raise ValueError(
            f"{name} gives {total} images; at least {least} must be usable"
            + (f" ({len(found.left_out)} left out: {reasons})." if reasons else ".")
        )


def _check_images(found: Found, store: Store, name: str) -> None:
    """Refuses what no model could learn from, in one sentence each."""
    for split in SPLITS:
        rows = np.flatnonzero(found.splits == split)
        if not len(rows):
            raise ValueError(f"{name} leaves no image for the split {split!r}.")
        some = store.read(rows[:64])["images"]
        if some.min() == some.max():
            images = some if len(rows) <= 64 else store.read(rows)["images"]
            if images.min() == images.max():
                raise ValueError(
                    f"{name} holds constant images: every pixel of the {split} split is "
                    f"{images.flat[0]}."
                )
