"""The weight of the KL term over a training."""

import keras


class KLSchedule(keras.callbacks.Callback):
    """Base of the schedules that scale a model's KL term: a subclass states `scale`.

    At the start of each batch, under `steps_per_execution` of each block of them, the model's
    `kl_scale` is set by the number of steps that its optimizer has taken, so that a training that
    was interrupted goes on in the right place. The model's own `kl_weight` multiplies it.

    The steps count from the model's first: another `fit` goes on where the last one ended.

    Validation is at full scale, so that its losses compare from epoch to epoch, and so is the
    model after each epoch, for a callback behind this one to save.
    """

    def scale(self, step: int) -> float:
        """The scale, in [0, 1], of the step that follows `step` others."""
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        """Raises ValueError for a model without a `kl_scale`."""
        if not hasattr(self.model, "kl_scale"):
            raise ValueError(
                f"{type(self).__name__} needs a model with a kl_scale, such as VAE. "
                f"Received: model={type(self.model).__name__}."
            )

    def on_train_batch_begin(self, batch, logs=None):
        """Sets the scale of the steps to come."""
        self.model.kl_scale.assign(self.scale(int(self.model.optimizer.iterations)))

    def on_test_begin(self, logs=None):
        """Sets the full scale."""
        self.model.kl_scale.assign(1.0)

    def on_epoch_end(self, epoch, logs=None):
        """Sets the full scale."""
        self.model.kl_scale.assign(1.0)

    def steps_of(self, epochs: int) -> int:
        """The number of steps in so many epochs.

        Raises:
            ValueError: for a data set whose length is not known.
        """
        steps = self.params.get("steps")
        if steps is None:
            raise ValueError(
                f"{type(self).__name__} needs a data set of known length, or steps=. "
                "Received: a data set of unknown length."
            )
        return steps * epochs
