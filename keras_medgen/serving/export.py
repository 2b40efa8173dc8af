"""Export of a model as a SavedModel."""

from pathlib import Path

import keras
import tensorflow as tf

from keras_medgen._files import folder_written_whole


def export(model: keras.Model, directory: str | Path, version: int | None = None) -> Path:
    """Writes a model as the SavedModel `directory/version`, the layout of TF Serving.

    It loads without Keras and without keras_medgen. Its signatures take and return float32, at
    any batch size:

    - `serving_default`: `latents` (batch, latent_dim) to `images`
      (batch, height, width, channels) in [0, 1];
    - `encode`: `images` to `mean` and `log_var`, each (batch, latent_dim);
    - `reconstruct`: `images` to `images`; these two of a model with an encoder.

    Those of a conditional model also take `labels`, (batch, num_classes) of 0 and 1.

    The folder is written beside its place and renamed into it: a server that polls `directory`
    never sees half a model.

    Args:
        model: a `kmg.models.LatentModel`: VAE, VAEGAN, GAN or Diffusion, whose `latents` are the
            noise that 25 deterministic steps denoise.
        directory: of the model's versions, made if it does not exist.
        version: a positive int. Default: one more than the highest there, from 1.

    Returns:
        The path of the SavedModel.

    Raises:
        FileExistsError: if that version is there already.

    Example:
    ```python
    kmg.serving.export(model, "saved_models/pneumonia_vae", version=1)
    decode = tf.saved_model.load("saved_models/pneumonia_vae/1").signatures["serving_default"]
    images = decode(latents=tf.random.normal((4, 64)))["images"]
    ```
    """
    directory = Path(directory)
    if version is None:
        version = 1 + max(_versions(directory), default=0)
    if version < 1:
        raise ValueError(f"version must be a positive integer. Received: version={version}.")
    path = directory / str(version)

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, *inputs) in _endpoints(model).items():
        archive.add_endpoint(name, function, input_signature=inputs)
    with folder_written_whole(path) as beside:
        archive.write_out(str(beside), verbose=False)
    return path


def _versions(directory: Path) -> list[int]:
    """The versions that stand in a model's folder."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]


def _endpoints(model):
    """From the name of each signature to its function and the specs of its inputs."""
    latents = tf.TensorSpec((None, *model.latent_shape), tf.float32, name="latents")
    images = tf.TensorSpec((None, *model.image_shape), tf.float32, name="images")
    labels = ()
    if model.num_classes is not None:
        labels = (tf.TensorSpec((None, model.num_classes), tf.float32, name="labels"),)

    def decode(latents, labels=None):
        return {"images": model.decoded(latents, labels)}

    def encode(images, labels=None):
        return model.posterior_parameters(images, labels)

    def reconstruct(images, labels=None):
        return {"images": model(images, labels=labels, training=False)}

    endpoints = {"serving_default": (decode, latents, *labels)}
    if hasattr(model, "encoder"):
        endpoints["encode"] = (encode, images, *labels)
        endpoints["reconstruct"] = (reconstruct, images, *labels)
    return endpoints
