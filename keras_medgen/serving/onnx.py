"""Export of a decoder as ONNX."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_medgen.models.latent_model import LatentModel

TOLERANCE = 1e-4  # largest difference between the exported decoder and the model
ROWS = (1, 7)  # of the batches that are compared


def write_decoder(model: LatentModel, path: Path) -> dict[str, dict[str, dict]]:
    """Writes a model's decoder, and compares it with the model in onnxruntime.

    Args:
        model: VAE, VAEGAN or GAN.
        path: of the .onnx file.

    Returns:
        The `inputs` and `outputs` of "decode", specs by name: `latents` and, of a conditional
        model, `labels`, to `images`; see `keras_medgen.serving.export`.

    Raises:
        ImportError: if the extra `onnx` is not installed.
        ValueError: for a model of diffusion, whose decoder is a loop.
        RuntimeError: if the two differ by more than 1e-4.
    """
    if hasattr(model, "num_timesteps"):
        raise ValueError(
            'format="onnx" is for models whose decoder is one network: VAE, VAEGAN, GAN. '
            f"Received: a {type(model).__name__}."
        )
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            "export as ONNX needs the extra 'onnx': pip install 'keras_medgen[onnx]'."
        ) from error

    inputs = {"latents": tf.TensorSpec((None, *model.latent_shape), tf.float32, name="latents")}
    if model.num_classes is not None:
        inputs["labels"] = tf.TensorSpec((None, model.num_classes), tf.float32, name="labels")

    @tf.function(input_signature=tuple(inputs.values()), autograph=False)
    def decode(latents, labels=None):
        return {"images": model.decoded(latents, labels)}

    tf2onnx.convert.from_function(
        decode, input_signature=tuple(inputs.values()), output_path=str(path)
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for rows in ROWS:
        given = {"latents": random.standard_normal((rows, *model.latent_shape), np.float32)}
        if model.num_classes is not None:
            given["labels"] = np.eye(model.num_classes, dtype=np.float32)[
                np.arange(rows) % model.num_classes
            ]
        (images,) = session.run(["images"], given)
        difference = np.abs(images - model.decode(**given)).max()
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"the ONNX decoder differs from the model by {difference:g}, more than "
                f"{TOLERANCE:g}, so it was not exported."
            )
    return {
        "decode": {"inputs": inputs, "outputs": decode.get_concrete_function().structured_outputs}
    }
