"""What the models with a discriminator share."""

import contextlib

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


def rates_by_optimizer(defaults, learning_rate):
    """The learning rate of each default optimizer.

    Args:
        defaults: from the optimizers' names to floats.
        learning_rate: of the first of them, a float or a schedule; the others keep their ratio to
            it. None for the defaults.
    """
    if learning_rate is None:
        return defaults
    first = next(iter(defaults.values()))
    return {
        name: learning_rate if rate == first else _times(learning_rate, rate / first)
        for name, rate in defaults.items()
    }


def _times(learning_rate, factor):
    if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        return ScaledSchedule(learning_rate, factor)
    return learning_rate * factor


@keras.saving.register_keras_serializable(package="keras_medgen")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule times a number.

    Args:
        schedule: a Keras schedule.
        factor: float.
    """

    def __init__(self, schedule, factor):
        super().__init__()
        self.schedule = schedule
        self.factor = factor

    def __call__(self, step):
        """The learning rate of a step."""
        return self.factor * self.schedule(step)

    def get_config(self):
        """The arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        """The schedule of `get_config`."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["factor"])
