"""Optimizers of models: how they are configured, saved and applied."""

import keras
import tensorflow as tf

from keras_medgen.models.gradients import apply_gradients, gradient_norm


class OptimizedModel(keras.Model):
    """Base of models whose optimizers are attributes, each moving networks of its own."""

    default_learning_rate = 1e-3

    def networks(self):
        """A dict from the name of an optimizer to the list of the networks that it moves."""
        raise NotImplementedError

    def compile(
        self,
        optimizer="auto",
        *,
        learning_rate=None,
        weight_decay=None,
        clip_norm=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
    ):
        """Configures training with one optimizer; a model with several has its own `compile`.

        Args:
            optimizer: a Keras optimizer, or the name of one. Default: `default_optimizer`.
            learning_rate: of the default optimizer: a float or a Keras schedule.
            weight_decay: of the default optimizer, decoupled from the gradient.
            clip_norm: of the default optimizer: the largest norm of all gradients together.
            run_eagerly: as in `keras.Model.compile`.
            steps_per_execution: as in `keras.Model.compile`.
            jit_compile: as in `keras.Model.compile`.
        """
        self._compile(
            {"optimizer": optimizer},
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )

    def _compile(
        self,
        optimizers,
        own=None,
        *,
        learning_rate=None,
        weight_decay=None,
        clip_norm=None,
        learning_rates=None,
        **kwargs,
    ):
        """Sets every optimizer as the attribute of its name, built; see `keras.Model.compile`.

        Args:
            optimizers: a dict from name to a Keras optimizer, the name of one, or "auto".
            own: the model's own arguments of `compile`, as they are saved.
            learning_rate: of the optimizers that are "auto"; a float or a schedule.
            weight_decay: of the same.
            clip_norm: of the same: the largest norm of all gradients together.
            learning_rates: from the names of the optimizers that have another, to theirs.
            **kwargs: for `keras.Model.compile`.
        """
        arguments = {
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
        }
        arguments = {name: value for name, value in arguments.items() if value is not None}
        if arguments and "auto" not in optimizers.values():
            raise ValueError(
                f"{', '.join(arguments)} are for the default optimizer: an optimizer that is "
                "given has its own."
            )
        arguments.setdefault("learning_rate", self.default_learning_rate)
        differing = {name: {"learning_rate": rate} for name, rate in (learning_rates or {}).items()}
        optimizers = {
            name: self._optimizer(name, given, {**arguments, **differing.get(name, {})})
            for name, given in optimizers.items()
        }
        if len({id(optimizer) for optimizer in optimizers.values()}) < len(optimizers):
            raise ValueError(
                f"{', '.join(optimizers)} must each be an optimizer of its own. Received: one "
                "object for several."
            )
        # Keras' own compile makes an optimizer if it gets none, and callbacks read
        # `model.optimizer`: it gets the first of ours.
        super().compile(optimizer=next(iter(optimizers.values())), **kwargs)
        for name, optimizer in optimizers.items():
            setattr(self, name, optimizer)
            # Unbuilt at the first trace, a loss scale is baked in as a constant; unbuilt at
            # load, the optimizer's state is skipped.
            optimizer.build(self._variables_of(name))
        self._optimizer_names = list(optimizers)
        self._compile_arguments = {**(own or {}), **kwargs}

    def _optimizer(self, name, given, arguments):
        if given == "auto":
            given = self.default_optimizer(name, **arguments)
        optimizer = keras.optimizers.get(given)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if self.dtype_policy.compute_dtype == "float16" and not scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        return optimizer

    def default_optimizer(self, name, learning_rate, weight_decay=None, clip_norm=None):
        """The optimizer that "auto" stands for under that name.

        Args:
            name: an optimizer's name.
            learning_rate: a float or a Keras schedule.
            weight_decay: decoupled from the gradient (Loshchilov and Hutter 2019), or None.
            clip_norm: the largest norm of all gradients together, or None.
        """
        raise NotImplementedError

    def get_compile_config(self):
        """The optimizers and the other arguments of `compile`."""
        if not self.compiled:
            return None
        optimizers = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in self._optimizer_names
        }
        return {**optimizers, **self._compile_arguments}

    def compile_from_config(self, config):
        """Compiles with what `get_compile_config` returned."""
        self.compile(
            **{
                name: keras.saving.deserialize_keras_object(value)
                if isinstance(value, dict)
                else value
                for name, value in config.items()
            }
        )

    def _variables_of(self, name):
        return [v for network in self.networks()[name] for v in network.trainable_variables]

    def _apply(self, **gradients):
        """Lets each optimizer take its step: `encoder` names `encoder_optimizer`.

        Returns:
            The norms of the gradients, as `encoder_gradient_norm`, for `_log`.
        """
        norms = {}
        for network, given in gradients.items():
            name = f"{network}_optimizer"
            optimizer = getattr(self, name)
            norm, weight = gradient_norm(optimizer, given), 1.0
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                # A step that overflows is skipped by the optimizer, and in the mean.
                weight = tf.cast(tf.math.is_finite(norm), tf.float32)
                norm = tf.where(weight > 0, norm, 0.0)
            norms[f"{network}_gradient_norm"] = norm, weight
            apply_gradients(optimizer, given, self._variables_of(name))
        return norms
