"""Export of a model as a SavedModel, or of its decoder as ONNX."""

from pathlib import Path

import tensorflow as tf

from keras_medgen._files import folder_written_whole
from keras_medgen.models.latent_model import LatentModel
from keras_medgen.serving import onnx
from keras_medgen.serving.assets import write_assets
from keras_medgen.serving.signatures import endpoints, traced_once
from keras_medgen.serving.versions import version_folders
from keras_medgen.serving.warmup import write_warmup

FORMATS = ("saved_model", "onnx")


def export(
    model: LatentModel,
    directory: str | Path,
    version: int | None = None,
    *,
    format: str = "saved_model",
    class_names: list[str] | None = None,
    provenance: dict | None = None,
    card: str | Path | None = None,
) -> Path:
    """Writes a model as the SavedModel `directory/version`, the layout of TF Serving.

    It loads without Keras and without keras_medgen. Its signatures take and return float32, int32
    and strings, a row for each image, at any batch size. Images are (n, height, width, channels)
    in [0, 1]; latents (n, latent_dim).

    - `serving_default`: `latents` to `images`.
    - `sample_latents`: `seed`, int32 (n,), to the `latents` of which `serving_default` makes the
      images of `generate`. A row depends on its own seed alone, on every machine.
    - `generate`: `seed` to `images`; that of seed s is `model.generate(1, seed=s)[0]`, within
      1e-4 for a model of float32.
    - `generate_png`: `seed` to `image_bytes`, string (n,): PNG files that say of themselves that
      they are generated. Of images of 2 or 4 channels they show the first.
    - `encode`: `images` to `mean` and `log_var`, (n, latent_dim); of a model with an encoder.
    - `reconstruct`: `images` to `images`; of every model but a GAN. One of diffusion noises each
      image to a tenth of its timesteps, with the noise of `model.reconstruct(image[None])`, the
      same for every row.
    - `reconstruct_png`: `images` to `image_bytes`, marked as generated too.
    - `detect`: `images` to `maps` (n, height, width) and `scores` (n,): what
      `kmg.anomaly.detect(model, image[None])` finds in each. Of a model of diffusion the noise of
      a row does not depend on its place in the batch, as it does there. Not of a GAN, which would
      have to search its latents in hundreds of steps for each image.
    - `encode_bytes`, `reconstruct_bytes`, `reconstruct_png_bytes`, `detect_bytes`: the same of
      `image_bytes`, string (n,), PNG or JPEG files of up to 16 million pixels, and 67 million in
      a call, read, resized and padded as `kmg.data.load` does it (but EXIF's orientation is not
      looked at); of a model of 1 or 3 channels.
    - `class_name`: `label`, int32 (n,), to `name`; where `class_names` are given.

    A conditional model also takes, with latents or images, `labels`, float32 (n, num_classes) of
    0 and 1, and with seeds `label`, int32 (n,): a class, or -1 for a row of zeros. A model of
    diffusion restores images without a label, unless its autoencoder is conditional. Images out
    of [0, 1], `labels` out of it, a `label` of no class and files that are no images are refused,
    as INVALID_ARGUMENT.

    A model of diffusion denoises by 25 deterministic steps of "ddim", as `model.decode` does.

    `assets.extra` holds model.json (what the model is, its signatures, provenance, the files'
    hashes), model_card.md, and where the extra `serve` is installed the requests that TF Serving
    warms up by.

    The folder is written beside its place and renamed into it: a server that polls `directory`
    never sees half a model.

    Args:
        model: a `kmg.models.LatentModel`: VAE, VAEGAN, GAN or Diffusion, whose `latents` are the
            noise that it denoises.
        directory: of the model's versions, made if it does not exist.
        version: a positive int. Default: one more than the highest there, from 1.
        format: "saved_model"; or "onnx", the decoder alone, `latents` to `images`, as model.onnx,
            compared with the model in onnxruntime (extra `onnx`; not of a model of diffusion).
        class_names: of a conditional model, in the order of its labels.
        provenance: of the training images, for model.json: `source`, `licence`, ...; as JSON.
        card: the model card: a `Path` to read, or Markdown. Default: a short one.

    Returns:
        The path of the folder.

    Raises:
        FileExistsError: if that version is there already.
        ValueError: for arguments that do not fit the model.
        ImportError: for "onnx" without its extra.
        RuntimeError: if the ONNX model differs from this one.

    Example:
    ```python
    kmg.serving.export(model, "saved_models/pneumonia_vae", version=1)
    generate = tf.saved_model.load("saved_models/pneumonia_vae/1").signatures["generate"]
    images = generate(seed=tf.constant([0, 1, 2]))["images"]
    ```
    """
    directory = Path(directory)
    if version is None:
        version = 1 + max(version_folders(directory), default=0)
    if version < 1:
        raise ValueError(f"version must be a positive integer. Received: version={version}.")
    if format not in FORMATS:
        raise ValueError(
            f"format must be one of {', '.join(FORMATS)}. Received: format={format!r}."
        )
    _check_class_names(class_names, model.num_classes)
    if isinstance(card, Path):
        card = card.read_text(encoding="utf-8")

    path = directory / str(version)
    with folder_written_whole(path) as beside:
        if format == "onnx":
            signatures = onnx.write_decoder(model, beside / "model.onnx")
        else:
            signatures = _write_saved_model(model, beside, class_names)
        assets = beside / "assets.extra"
        write_assets(assets, model, signatures, class_names, provenance, card)
        if format == "saved_model":
            write_warmup(assets, directory.resolve().name, signatures)
    return path


def _check_class_names(class_names, num_classes):
    if class_names is None:
        return
    if num_classes is None:
        raise ValueError("class_names are for a conditional model, one with num_classes.")
    if len(class_names) != num_classes or not all(isinstance(name, str) for name in class_names):
        raise ValueError(
            f"class_names must be {num_classes} names, one a class. "
            f"Received: class_names={class_names!r}."
        )


def _write_saved_model(model, path, class_names):
    """Writes it; returns the inputs and outputs of each signature, specs by name."""
    functions = {
        name: traced_once(function, *inputs)
        for name, (function, *inputs) in endpoints(model, class_names).items()
    }
    # What no signature uses is not written: a discriminator, the network that an average was
    # taken of, the state of optimizers.
    module = tf.Module()
    used = {id(v): v for function in functions.values() for v in function.variables}
    module.served = list(used.values())
    # Gradients of our own making would be traced for every layer, and nobody trains an export.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(path), signatures=functions, options=options)
    return {
        name: {
            "inputs": {
                spec.name: spec
                for spec in function.structured_input_signature[0]
                if spec is not None
            },
            "outputs": function.structured_outputs,
        }
        for name, function in functions.items()
    }
