"""KL warm-up."""

from keras_medgen.callbacks.kl_schedule import KLSchedule


class KLWarmUp(KLSchedule):
    """Raises the weight of the KL term from 0, in a straight line, and leaves it at 1.

    The decoder learns to use the latents before they have a price; without it, the posteriors of
    images that differ little may fall back to the prior at once.

    Args:
        steps: of the rise. Give this or `epochs`.
        epochs: of the rise; may be a fraction.

    Raises:
        ValueError: unless just one of the two is given, and is positive.

    Example:
    ```python
    model.fit(data.train, epochs=20, callbacks=[kmg.callbacks.KLWarmUp(epochs=5)])
    ```

    Reference:
        Bowman et al., Generating Sentences from a Continuous Space, 2016,
        https://arxiv.org/abs/1511.06349; Sønderby et al., Ladder Variational Autoencoders, 2016,
        https://arxiv.org/abs/1602.02282
    """

    def __init__(self, steps: int | None = None, epochs: float | None = None):
        super().__init__()
        given = [n for n in (steps, epochs) if n is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ValueError(
                "KLWarmUp takes either steps or epochs, a positive number. "
                f"Received: steps={steps}, epochs={epochs}."
            )
        self.steps = steps
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        """Counts the steps of the rise."""
        super().on_train_begin(logs)
        self._rise = self.steps or self.steps_of(self.epochs)

    def scale(self, step):
        """Of Bowman et al., the linear one."""
        return min(1.0, step / self._rise)
