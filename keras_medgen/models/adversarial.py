"""What the models with a discriminator share."""

import contextlib
import numbers

import keras
import tensorflow as tf


def judge(discriminator, feature_layer=None):
    """A function that runs a discriminator.

    Args:
        discriminator: functional `keras.Model` from images, or a dict of `images` and `labels`, to
            logits (batch, 1).
        feature_layer: name of the layer whose outputs are wanted too, or None.

    Returns:
        A function of images in [-1, 1], labels (batch, num_classes) or None, and `training`, to
        logits, float32 (batch,), and, where a layer is named, a pair of these and the outputs of
        that layer, float32 (batch, ...).

    Raises:
        ValueError: if there is no such layer.
    """
    outputs = {"logits": discriminator.output}
    if feature_layer is not None:
        names = [layer.name for layer in discriminator.layers]
        if feature_layer not in names:
            raise ValueError(
                f"feature_layer must name a layer of the discriminator: {', '.join(names)}. "
                f"Received: feature_layer={feature_layer!r}."
            )
        outputs["features"] = discriminator.get_layer(feature_layer).output
    # The same layers with one output more; no part of the model, which would save them twice.
    network = keras.Model(discriminator.input, outputs)

    def run(images, labels=None, training=False):
        inputs = images if labels is None else {"images": images, "labels": labels}
        results = network(inputs, training=training)
        logits = tf.cast(results["logits"], tf.float32)[:, 0]
        if feature_layer is None:
            return logits
        return logits, tf.cast(results["features"], tf.float32)

    return run


@contextlib.contextmanager
def statistics_kept(network):
    """Within it, a network's passes leave its state, such as batch statistics, as it was."""
    variables = network.non_trainable_variables
    before = [tf.identity(variable) for variable in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def discriminator_rates(optimizer, rate, default):
    """What the learning rate of the discriminator's default optimizer is multiplied by.

    Args:
        optimizer: what `compile` was given for it.
        rate: a positive float; "auto" for the default.
        default: float.

    Returns:
        A dict from the name of that optimizer, for `GenerativeModel._compile`.

    Raises:
        ValueError: for another rate, or one beside an optimizer that is given.
    """
    if rate == "auto":
        return {"discriminator_optimizer": default}
    if optimizer != "auto":
        raise ValueError(
            "discriminator_rate is for the default optimizer: an optimizer that is given has its "
            "own learning rate."
        )
    if not isinstance(rate, numbers.Real) or not rate > 0:
        raise ValueError(
            f"discriminator_rate must be positive. Received: discriminator_rate={rate!r}."
        )
    return {"discriminator_optimizer": rate}
