"""What stands beside an exported model: what it is, in words and for programs."""

import json
from pathlib import Path

import keras
import tensorflow as tf

from keras_medgen._files import file_digest
from keras_medgen._version import __version__

FORMAT = "keras_medgen export 1"
DESCRIPTION, CARD = "model.json", "model_card.md"
SHORT_CARD = """# Model card: {title}

> **Synthetic.** Every image that this model makes is synthetic. Keep it marked as such wherever it
> goes, and never diagnose from it.

- Model: {model_class} of images of {shape} pixels and channels, float32 in [0, 1]{classes}
- Trained on: {source}
- Licence of the training images: {licence}
- Evaluation: none came with this export; `keras-medgen evaluate` makes one
- Exported by: keras_medgen {version}

Not for diagnosis, nor for any decision on the care of a patient. Whether images of patients can be
recovered from the model was not looked at.
"""


def write_assets(
    folder: Path,
    model: keras.Model,
    signatures: dict[str, dict[str, dict]],
    class_names: list[str] | None,
    provenance: dict | None,
    card: str | None,
) -> None:
    """Writes model.json and model_card.md.

    Args:
        folder: to make, inside that of the exported model, whose files are there already.
        model: what was exported.
        signatures: from each name to `inputs` and `outputs`, a `tf.TensorSpec` by name.
        class_names: of a conditional model, or None.
        provenance: of the training images, or None.
        card: Markdown; None for a short one.
    """
    exported = folder.parent
    hashes = {
        str(path.relative_to(exported)): file_digest(path)
        for path in sorted(exported.rglob("*"))
        if path.is_file()
    }
    description = {
        "format": FORMAT,
        "model_class": type(model).__name__,
        "image_shape": model.image_shape,
        "latent_dim": model.latent_dim,
        "num_classes": model.num_classes,
        "class_names": class_names,
        "value_range": [0, 1],
        "signatures": {
            name: {
                side: {key: _described(spec) for key, spec in specs.items()}
                for side, specs in sides.items()
            }
            for name, sides in signatures.items()
        },
        "provenance": provenance,
        "versions": {
            "keras_medgen": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
        "sha256": hashes,
    }
    folder.mkdir()
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    if card is None:
        card = _short_card(model, class_names, provenance or {})
    (folder / CARD).write_text(card, encoding="utf-8")


def _described(spec):
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _short_card(model, class_names, provenance):
    source = provenance.get("source", "not stated")
    classes = ""
    if model.num_classes is not None:
        classes = f", of {model.num_classes} classes"
        if class_names is not None:
            classes += f": {', '.join(class_names)}"
    return SHORT_CARD.format(
        title=f"{type(model).__name__} on {source}" if provenance else type(model).__name__,
        model_class=type(model).__name__,
        shape=" x ".join(map(str, model.image_shape)),
        classes=classes,
        source=source,
        licence=provenance.get("licence", "not stated"),
        version=__version__,
    )
