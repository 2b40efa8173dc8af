"""`load`: from a name or a file to `ImageData`."""

from pathlib import Path

import numpy as np

from keras_medgen.data.image_data import SPLITS, ImageData, LoadReport
from keras_medgen.data.npz import read_npz
from keras_medgen.data.patches import PICTURES, cut_patches
from keras_medgen.data.resizing import convert_channels, resize_images

FEWEST_IMAGES = 10


def load(
    source: str | Path,
    image_size: int | None = None,
    batch_size: int = 64,
    *,
    channels: int | None = None,
    resize: str = "pad",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> ImageData:
    """Loads medical images as three splits that share none.

    Args:
        source: `"retina_patches"` or `"histology_patches"` (cut from the photographs that
            scikit-image ships; no download), or the path of an .npz with MedMNIST's keys.
        image_size: side of the images in pixels. None keeps a file's own size, and cuts patches
            of 64.
        batch_size: images in a batch.
        channels: 1 or 3 to convert to grey or to RGB, None to keep what the source has.
        resize: how an image that is not of `image_size` gets there: "pad" (to a square, in
            black), "crop" (to the central square) or "stretch".
        validation_fraction: share that becomes `val` where the source has none.
        test_fraction: share that becomes `test` where the source has none.
        seed: of the splits and of the order of the training images.

    Returns:
        `ImageData`.

    Raises:
        ValueError: for an unknown name, for images that cannot be used, or for arguments out of
            their range; the message names the file or the argument.
        FileNotFoundError: for a path that does not exist.

    Example:
    ```python
    import keras_medgen as kmg

    data = kmg.data.load("retina_patches", image_size=64, batch_size=64)
    for batch in data.train.take(1):
        print(batch["images"].shape)  # (64, 64, 64, 3)
    ```
    """
    _check_arguments(image_size, batch_size, channels, resize, validation_fraction, test_fraction)
    fractions = {"val": validation_fraction, "test": test_fraction}
    name = str(source)
    if name in PICTURES:
        found = cut_patches(name, image_size or 64, fractions, seed)
    else:
        found = read_npz(_existing_npz(name), fractions, seed)

    splits, preprocessing = found.splits, list(found.preprocessing)
    if image_size is not None and splits["train"]["images"].shape[1:3] != (image_size,) * 2:
        preprocessing.append(f"resized to {image_size} x {image_size} ({resize}, Lanczos)")
        for split in splits.values():
            split["images"] = resize_images(split["images"], image_size, resize)
    if channels is not None and splits["train"]["images"].shape[-1] != channels:
        preprocessing.append(f"converted to {channels} channels")
        for split in splits.values():
            split["images"] = convert_channels(split["images"], channels)
    _check_images(splits, name)

    used = sum(len(splits[split]["images"]) for split in SPLITS)
    return ImageData(
        splits,
        batch_size=batch_size,
        seed=seed,
        task=found.task,
        class_names=found.class_names,
        provenance={**found.provenance, "preprocessing": preprocessing, "seed": seed},
        report=LoadReport(used + len(found.left_out), used, found.left_out),
    )


def _existing_npz(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix != ".npz" and not path.exists():
        raise ValueError(
            f"source must be one of {sorted(PICTURES)} or the path of an .npz. "
            f"Received: source={name!r}."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no file {name}.")
    if path.suffix != ".npz" or not path.is_file():
        raise ValueError(f"{name} is not an .npz file.")
    return path


def _check_arguments(image_size, batch_size, channels, resize, validation_fraction, test_fraction):
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be positive. Received: image_size={image_size}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive. Received: batch_size={batch_size}.")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be None, 1 or 3. Received: channels={channels}.")
    if resize not in ("pad", "crop", "stretch"):
        raise ValueError(f'resize must be "pad", "crop" or "stretch". Received: resize={resize!r}.')
    for name, fraction in (
        ("validation_fraction", validation_fraction),
        ("test_fraction", test_fraction),
    ):
        if not 0 < fraction < 0.5:
            raise ValueError(f"{name} must lie between 0 and 0.5. Received: {name}={fraction}.")


def _check_images(splits: dict[str, dict[str, np.ndarray]], name: str):
    """Refuses what no model could learn from, in one sentence each."""
    total = sum(len(split["images"]) for split in splits.values())
    if total < FEWEST_IMAGES:
        raise ValueError(f"{name} gives {total} images; at least {FEWEST_IMAGES} are needed.")
    for split_name in SPLITS:
        images = splits[split_name]["images"]
        if not len(images):
            raise ValueError(f"{name} leaves no image for the split {split_name!r}.")
        if images.min() == images.max():
            raise ValueError(
                f"{name} holds constant images: every pixel of the {split_name} split is "
                f"{images.flat[0]}."
            )
