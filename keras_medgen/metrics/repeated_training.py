"""Training for a fixed number of steps, again and again, compiled once."""

from collections.abc import Callable

import keras
import numpy as np

BATCH = 256  # of what is not trained on


class RepeatedTraining:
    """Trains a small network from one beginning after another, for as many steps each time.

    What is compared differs in the images alone: a small set is seen more often, a large one less
    often, in as many steps of as many images, with Adam and a learning rate that falls as a cosine.

    Args:
        build: function of a seed: a `keras.Model` from images to one tensor. The seed must set
            the initial weights and nothing else.
        loss: a Keras loss of the targets and that tensor.
        steps: of the optimizer.
        batch_size: images in a step.
        learning_rate: of the first step.
        checks: how often the loss of the validation images is taken, evenly over the steps.

    Attributes:
        network: the one network that is trained, as the last `fit` left it.
    """

    def __init__(
        self,
        build: Callable[[int], keras.Model],
        loss: keras.losses.Loss,
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
        checks: int = 10,
    ):
        if steps < 1:
            raise ValueError(f"steps must be positive. Received: steps={steps}.")
        self._build = build
        self.steps = steps
        self.batch_size = batch_size
        self.checks = {round(steps * (i + 1) / checks) for i in range(checks)} - {0}
        self.network = build(0)
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        self.network.compile(optimizer=keras.optimizers.Adam(schedule), loss=loss)
        self.network.optimizer.build(self.network.trainable_variables)
        self._beginning = {}
        self.network.optimizer.save_own_variables(self._beginning)

    def fit(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        val_images: np.ndarray,
        val_targets: np.ndarray,
        *,
        seed: int = 0,
        rows: np.ndarray | None = None,
    ) -> float:
        """Trains `network` from the beginning, and leaves it as it was at its best check.

        Args:
            images: (n, height, width, channels).
            targets: (n, ...), what the loss takes.
            val_images: the checkpoint with the lowest loss on them is kept.
            val_targets: of `val_images`.
            seed: of the initial weights and of the order of the images.
            rows: int, numbers of the images to train on, repeated where they count more. Default:
                each once.

        Returns:
            The loss of the validation images at that checkpoint.

        Raises:
            ValueError: without images to train on or to validate on.
        """
        rows = np.arange(len(images)) if rows is None else np.asarray(rows)
        if not len(rows) or not len(val_images):
            raise ValueError(
                "there must be images to train on and to validate on. "
                f"Received: {len(rows)} and {len(val_images)}."
            )
        self.network.set_weights(self._build(seed).get_weights())
        self.network.optimizer.load_own_variables(self._beginning)
        rng = np.random.default_rng(seed)
        epochs = -(-self.steps * self.batch_size // len(rows))
        order = np.concatenate([rng.permutation(rows) for _ in range(epochs)])
        lowest, best = np.inf, None
        for step in range(1, self.steps + 1):
            part = order[(step - 1) * self.batch_size : step * self.batch_size]
            self.network.train_on_batch(images[part], targets[part])
            if step in self.checks:
                loss = self._loss(val_images, val_targets)
                # What is compared with NaN is never lower.
                if best is None or loss < lowest or np.isnan(lowest):
                    lowest, best = loss, self.network.get_weights()
        self.network.set_weights(best)
        return lowest

    def _loss(self, images, targets):
        """The mean over images, in batches of one size or less."""
        total = 0.0
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            loss = self.network.test_on_batch(images[part], targets[part])
            total += float(loss) * len(images[part])
        return total / len(images)


def outputs_of(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a network makes of images, batch by batch.

    Args:
        network: from images to one tensor.
        images: (n, height, width, channels).

    Returns:
        (n, ...).
    """
    parts = [
        network.predict_on_batch(images[start : start + BATCH])
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)
