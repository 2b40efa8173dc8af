"""What the models with a discriminator share."""

import contextlib
import math
import numbers

import keras
import tensorflow as tf


def check_is_signed(name: str, network: keras.Model) -> None:
    """Raises ValueError if what makes images ends in a sigmoid: none would be darker than grey."""
    shaping = (keras.layers.Reshape, keras.layers.Cropping2D)
    last = [layer for layer in network.layers if not isinstance(layer, shaping)][-1]
    if getattr(last, "activation", None) is keras.activations.sigmoid:
        raise ValueError(
            f"{name} must make images in [-1, 1], as with output_activation='tanh'. "
            f"Received: a {name} that ends in a sigmoid."
        )


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


def discriminator_learning_rate(optimizer, learning_rate, rate, default, updates=1):
    """The learning rate of a discriminator's default optimizer.

    Args:
        optimizer: what `compile` was given for it.
        learning_rate: of the other networks: a float, a Keras schedule, or a function.
        rate: what it is multiplied by; "auto" for the default.
        default: float.
        updates: of the discriminator for each of the others. A schedule is theirs: it goes by
            their steps.

    Returns:
        A float, a schedule or a function.

    Raises:
        ValueError: for a rate that is not positive, or one beside an optimizer that is given.
    """
    if rate == "auto":
        rate = default
    elif optimizer != "auto":
        raise ValueError(
            "discriminator_rate is for the default optimizer of the discriminator. Received: "
            f"discriminator_rate={rate}, discriminator_optimizer={optimizer!r}."
        )
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 < rate < math.inf:
        raise ValueError(
            f"discriminator_rate must be positive. Received: discriminator_rate={rate!r}."
        )
    if rate == updates == 1:
        return learning_rate
    if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        return ScaledSchedule(learning_rate, rate, updates)
    if callable(learning_rate):
        return lambda: rate * learning_rate()
    return rate * learning_rate


@keras.saving.register_keras_serializable(package="keras_medgen")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule times a number, for an optimizer that takes several steps for one.

    Args:
        schedule: a Keras schedule.
        factor: float, by which it is multiplied.
        updates: steps of the optimizer to one of the schedule. Default 1.
    """

    def __init__(self, schedule, factor, updates=1):
        super().__init__()
        self.schedule = schedule
        self.factor = factor
        self.updates = updates

    def __call__(self, step):
        """The learning rate of a step."""
        return self.factor * self.schedule(step // self.updates)

    def get_config(self):
        """The arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor, "updates": self.updates}

    @classmethod
    def from_config(cls, config):
        """The schedule of `get_config`."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["factor"], config["updates"])
