"""An end to a training that has diverged."""

import keras
import numpy as np


class StopAtNaN(keras.callbacks.Callback):
    """Stops the training at the first logged value that is not finite, and says which and where.

    What is logged are means over the epoch so far, so a value that is not finite stays so: none
    is missed. Under `steps_per_execution` the logs come once in a block of steps, and the step is
    known to within a block.

    Args:
        verbose: whether to print `message`.

    Attributes:
        terms: names of the values that were not finite, `loss`, the total of the others, last;
            with `val_` before their names if it was the validation that showed them. Empty for
            a training that did not diverge.
        term: the first of them, or None.
        epoch: counted from 1, or None.
        step: counted from 1 in its epoch, or None: the last step of the block that the
            value came up in.
        message: all this in a sentence, or None.
    """

    def __init__(self, verbose: bool = True):
        super().__init__()
        self.verbose = verbose
        self._forget()

    def _forget(self):
        self.terms = []
        self.term = self.epoch = self.step = self.message = None

    def on_train_begin(self, logs=None):
        """Forgets an earlier training."""
        self._forget()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts to count the steps."""
        self._epoch, self._steps = epoch + 1, 0

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the means of the terms up to here."""
        # The last block of an epoch may be a short one, which Keras numbers like a whole one.
        last = min(batch + 1, self.params.get("steps") or batch + 1)
        first, self._steps = self._steps + 1, last
        self._look_at(logs, f"in step {last}" if first == last else f"in steps {first} to {last}")

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the validation."""
        self._look_at(logs, f"after step {self._steps}")

    def _look_at(self, logs, where):
        if self.terms:
            return
        bad = {k: v for k, v in (logs or {}).items() if not np.isfinite(v).all()}
        if not bad:
            return
        # The total is not finite because one of the terms is not: those first.
        self.terms = sorted(bad, key=lambda name: name.removeprefix("val_") == "loss")
        self.term, self.epoch, self.step = self.terms[0], self._epoch, self._steps
        values = ", ".join(f"{name} is {np.ravel(bad[name])[0]:g}" for name in self.terms)
        self.message = f"the training diverged {where} of epoch {self.epoch}: {values}."
        self.model.stop_training = True
        if self.verbose:
            print(f"\n{self.message}")
