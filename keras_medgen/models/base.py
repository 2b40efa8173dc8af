"""What every generative model shares: batches, optimizers, steps, logs and sampling."""

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.models.batches import (
    checked_images,
    checked_labels,
    unpack,
    with_plain_errors,
)
from keras_medgen.models.gradients import apply_gradients
from keras_medgen.models.optimized import OptimizedModel
from keras_medgen.ops import distribution
from keras_medgen.ops.random import normal, normal_rows

GENERATE_BATCH = 32  # images are always made so many at a time: see `generate`
INFERENCE_BATCH = 256


class GenerativeModel(OptimizedModel):
    """Base of the trainable models.

    A subclass names its `loss_terms` and its `default_learning_rate`, says in `networks` which
    sub-networks each optimizer moves, states their losses in `compute_losses`, and makes images of
    noise in `images_from_noise`.

    Args:
        image_shape: (height, width, channels).
        num_classes: of a model that is conditioned on labels; None for one that is not.
        seed: of the training noise. The initial weights have their seeds from the subclass.
    """

    loss_terms = ("loss",)
    training_terms = ()  # what is logged of training steps alone

    def __init__(self, image_shape, num_classes=None, seed=0, **kwargs):
        if num_classes is not None and num_classes < 1:
            raise ValueError(
                f"num_classes must be None or positive. Received: num_classes={num_classes}."
            )
        super().__init__(**kwargs)
        self.image_shape = tuple(int(n) for n in image_shape)
        self.num_classes = num_classes
        self.seed = seed
        names = (*self.loss_terms, *self.training_terms)
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self._steps_logged = keras.metrics.Sum(name="steps_logged")  # of training, in this epoch
        self._functions = {}
        self._example_source = None
        self.built = True  # the sub-networks are, from construction

    # What a model states.

    def compute_losses(self, batch, training):
        """The losses of one batch.

        Args:
            batch: dict of `images`, float32 in [0, 1], and what else the data set has.
            training: bool.

        Returns:
            Two dicts of float32 (batch,): from the name of each optimizer to the loss that its
            networks descend, and from each of `loss_terms` to what is logged.
        """
        raise NotImplementedError

    @property
    def noise_shape(self):
        """The shape of the noise that one image is made of."""
        raise NotImplementedError

    def images_from_noise(self, noise, labels=None):
        """Images, float32 (n, height, width, channels) in [0, 1].

        Args:
            noise: float32 (n, *noise_shape), standard normal.
            labels: float32 (n, num_classes) of 0 and 1, of a conditional model.
        """
        raise NotImplementedError

    # Steps.

    def train_step(self, data):
        """One step of every optimizer, all from the gradients at the weights before the step."""
        batch = self.unpack_batch(data)
        networks = self.networks()
        with tf.GradientTape(persistent=len(networks) > 1) as tape:
            losses, terms = self.compute_losses(batch, training=True)
            objectives = {
                name: getattr(self, name).scale_loss(self._objective(loss, networks[name]))
                for name, loss in losses.items()
            }
        gradients = {
            name: tape.gradient(objective, self._variables_of(name))
            for name, objective in objectives.items()
        }
        for name, gradient in gradients.items():
            apply_gradients(getattr(self, name), gradient, self._variables_of(name))
        return self._log(terms)

    def test_step(self, data):
        """The losses of a batch, with the same noise for every batch of every evaluation.

        They repeat to the last digit for batches of the same size, not for others.
        """
        batch = self.unpack_batch(data)
        _, terms = self.compute_losses(batch, training=False)
        return self._log(terms)

    def predict_step(self, data):
        """What `call` makes of a batch."""
        batch = self.unpack_batch(data)
        return self(batch["images"], labels=batch.get("labels"), training=False)

    def unpack_batch(self, data):
        """The batch dict of one element of a data set, checked; see `models.batches.unpack`."""
        batch = unpack(data, self.image_shape, self.num_classes)
        if self.num_classes is None:
            batch.pop("labels", None)  # what a model does not use, it cannot be misled by
        return batch

    def _objective(self, loss, networks):
        # Gradients are summed over replicas: each one's share of the mean over the whole batch.
        share = tf.reduce_sum(loss) / distribution.global_count(loss)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        penalties = [penalty for network in networks for penalty in network.losses]
        return share + sum(penalties) / replicas if penalties else share

    def _log(self, terms):
        """Adds to the means: values, or pairs of a value and its weight."""
        logs = {}
        for name, value in terms.items():
            pair = value if isinstance(value, tuple) else (value,)
            self._trackers[name].update_state(*pair)
            # Of shape (1,): under several workers Keras reduces logs along their first axis.
            logs[name] = tf.reshape(self._trackers[name].result(), (1,))
        if set(self.training_terms) & set(terms):
            self._steps_logged.update_state(1.0)
        return logs

    @property
    def metrics(self):
        """A mean for each of `loss_terms` and `training_terms`, reset at each epoch."""
        return [*self._trackers.values(), self._steps_logged]

    def get_metrics_result(self):
        """The means of this epoch: of `training_terms` only where there was training."""
        is_training = self._steps_logged.result() > 0
        names = self._trackers if is_training else self.loss_terms
        return {name: self._trackers[name].result() for name in names}

    def noise(self, shape, training, stream=0):
        """Standard normal noise: new at each training step and replica, repeated by the seed.

        Args:
            shape: of the noise.
            training: bool; where False, the noise is the same at every call.
            stream: int; a step that needs noise for several ends draws each from its own.
        """
        if not training:
            return normal(shape, tf.stack([self.seed, -1 - stream]))
        seed = tf.stack([self.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        if stream:
            seed = tf.random.experimental.stateless_fold_in(seed, -stream, alg="philox")
        replica = distribution.replica_id()
        return normal(shape, tf.random.experimental.stateless_fold_in(seed, replica, alg="philox"))

    # What users call.

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """Trains the model: as `keras.Model.fit`.

        `x` is a dataset of batch dicts, of images or of (images, labels), or an array of images:
        float32 in [0, 1] or uint8, (n, height, width, channels). No other targets are needed.

        The order of an array's images follows Keras' own seed (`keras.utils.set_random_seed`),
        that of a data set its own.

        Raises:
            ValueError: for images of another shape, or outside [0, 1].
        """
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # the data set's own affair; Keras warns of True
        is_array = isinstance(x, (np.ndarray, tf.Tensor))
        if is_array and y is not None and self.num_classes is not None:
            y = checked_labels(y, len(x), self.num_classes)
        source = (x, y) if validation_data is None and is_array else validation_data
        is_array = isinstance(source, (np.ndarray, tf.Tensor))
        self._example_source = (source,) if is_array else source
        try:
            return with_plain_errors(
                super().fit,
                self._checked(x),
                y,
                *args,
                validation_data=self._checked(validation_data),
                **kwargs,
            )
        finally:
            self._example_source = None

    def evaluate(self, x=None, *args, **kwargs):
        """The mean of each loss over a data set: as `keras.Model.evaluate`; `x` as for `fit`."""
        return with_plain_errors(super().evaluate, self._checked(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """What `call` makes of a data set's images: as `keras.Model.predict`; `x` as for `fit`."""
        return with_plain_errors(super().predict, self._checked(x), *args, **kwargs)

    def _checked(self, x):
        # An array can be looked at before the first step; a data set only as it goes.
        if isinstance(x, (np.ndarray, tf.Tensor)):
            return checked_images(x, self.image_shape)
        if isinstance(x, tf.data.Dataset) and self.jit_compile:
            return x.map(self._check_element)  # XLA drops the checks of the steps
        return x

    def _check_element(self, *element):
        element = element if len(element) > 1 else element[0]
        self.unpack_batch(element)
        return element

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras would reduce a batch over the workers to build the model, and fails on a dict.
        # There is nothing to build.
        pass

    def example_batch(self, num):
        """Up to `num` images of the data that `fit` is at work on, for callbacks to show.

        Returns:
            A dict of `images`, float32 (n, height, width, channels), and of a conditional model
            `labels`, from the validation data, or from training data that are arrays: to read a
            training data set would change its order. Else None.
        """
        source = self._example_source
        if isinstance(source, tf.data.Dataset):
            batch = self.unpack_batch(next(iter(source.unbatch().batch(num))))
        elif isinstance(source, (tuple, list)) and source[0] is not None:
            batch = self.unpack_batch(tuple(part[:num] for part in source[:2] if part is not None))
        else:
            return None
        names = ("images",) if self.num_classes is None else ("images", "labels")
        return {name: batch[name].numpy()[:num] for name in names}

    def generate(self, num, labels=None, seed=0):
        """Draws images from the model.

        Args:
            num: how many.
            labels: of a conditional model: the class of each image, int (num,), or 0 and 1 for
                each class, (num, num_classes). By default the classes in turn: 0, 1, 2, 0, ...
            seed: int. Image i depends on `(seed, i)` alone: `generate(16, seed=0)[:4]` equals
                `generate(4, seed=0)`.

        Returns:
            np.ndarray float32 (num, height, width, channels) in [0, 1].

        Raises:
            ValueError: for a negative number, or labels that do not fit.
        """
        return self._generate(self._function("generate", self._generate_rows), num, labels, seed)

    def _generate(self, function, num, labels, seed):
        """Images from a function of (seed, number of the first row, labels or None)."""
        if num < 0:
            raise ValueError(f"num must not be negative. Received: num={num}.")
        if labels is None and self.num_classes is not None:
            labels = np.arange(num) % self.num_classes
        labels = checked_labels(labels, num, self.num_classes)
        # A convolution may round differently in batches of different sizes. In batches of one
        # fixed size, the last one cut, an image's pixels depend on nothing but its number.
        images = [np.zeros((0, *self.image_shape), np.float32)]
        for start in range(0, num, GENERATE_BATCH):
            part = None
            if labels is not None:
                rows = labels[start : start + GENERATE_BATCH]
                part = tf.constant(np.pad(rows, ((0, GENERATE_BATCH - len(rows)), (0, 0))))
            images.append(function(tf.constant(seed), tf.constant(start), part).numpy())
        return np.concatenate(images)[:num]

    def _generate_rows(self, seed, start, labels):
        noise = normal_rows(seed, start + tf.range(GENERATE_BATCH), self.noise_shape)
        return self.images_from_noise(noise, labels)

    def _function(self, name, python_function):
        """A compiled function of this model, made at its first use."""
        if name not in self._functions:
            self._functions[name] = tf.function(python_function, reduce_retracing=True)
        return self._functions[name]

    def _in_batches(self, name, python_function, *arrays, batch_size=INFERENCE_BATCH):
        """Applies a function of a batch to arrays of one length.

        Args:
            name: of the function, under which it is compiled once.
            python_function: of tensors (batch, ...), returning a tensor or a dict of them.
            *arrays: np.ndarrays, or None for an argument that stays None.
            batch_size: rows at a time.
        """
        function = self._function(name, python_function)
        count = len(arrays[0])

        def part(array, start):
            # Convolutions on a CPU give an empty batch a wrong shape: it is of one row, and cut.
            rows = array if count else np.zeros((1, *array.shape[1:]), array.dtype)
            return tf.constant(rows[start : start + batch_size])

        parts = [
            function(*(None if array is None else part(array, start) for array in arrays))
            for start in range(0, max(count, 1), batch_size)
        ]
        return tf.nest.map_structure(lambda *t: tf.concat(t, 0).numpy()[:count], *parts)
