"""Cyclical annealing of the KL term."""

from keras_medgen.callbacks.kl_schedule import KLSchedule


class KLCycles(KLSchedule):
    """Raises the weight of the KL term from 0 to 1 several times over.

    Each cycle starts from what the latents have learned to say in the one before, and again at
    no price.

    Args:
        cycles: how many. Default 4.
        ratio: the part of each cycle, in (0, 1], in which the weight rises in a straight line;
            in the rest it is 1. Default 0.5.
        steps: of all cycles together, from the model's first; then the weight is 1. Default:
            those of the epochs of `fit`.

    Raises:
        ValueError: for arguments out of their range, or fewer than two steps in a cycle.

    Example:
    ```python
    model.fit(data.train, epochs=40, callbacks=[kmg.callbacks.KLCycles(cycles=4)])
    ```

    Reference:
        Fu et al., Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing,
        2019, https://arxiv.org/abs/1903.10145
    """

    def __init__(self, cycles: int = 4, ratio: float = 0.5, steps: int | None = None):
        super().__init__()
        if cycles < 1:
            raise ValueError(f"cycles must be positive. Received: cycles={cycles}.")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1]. Received: ratio={ratio}.")
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be positive. Received: steps={steps}.")
        self.cycles = cycles
        self.ratio = ratio
        self.steps = steps

    def on_train_begin(self, logs=None):
        """Counts the steps of the training."""
        super().on_train_begin(logs)
        self._total = self.steps or self.steps_of(self.params["epochs"])
        if self._total < 2 * self.cycles:
            raise ValueError(
                f"{self.cycles} cycles need at least {2 * self.cycles} steps. "
                f"Received: {self._total} steps."
            )

    def scale(self, step):
        """Equations 6 and 7 of Fu et al., the step counted from 0."""
        if step >= self._total:
            return 1.0
        part = step % -(-self._total // self.cycles) / (self._total / self.cycles)
        return min(1.0, part / self.ratio)
