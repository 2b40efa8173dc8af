"""Learning rates in proportion to others."""

import keras


def times(learning_rate, factor):
    """A learning rate, a float or a Keras schedule, times a number."""
    if factor == 1:
        return learning_rate
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
