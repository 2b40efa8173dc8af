"""Diffusion models, of images or of an autoencoder's latents."""

import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_medgen.models.arguments import check_at_least
from keras_medgen.models.averages import averaged_copy, check_ema_decay, update_average
from keras_medgen.models.denoising_model import DenoisingModel, predicted
from keras_medgen.networks import unet
from keras_medgen.ops import distribution
from keras_medgen.ops.denoising import PREDICTIONS, loss_weight, prediction_target
from keras_medgen.ops.noise_schedules import alpha_bars
from keras_medgen.ops.random import uniform_of_normal
from keras_medgen.ops.simplex import simplex_noise_size

NOISES = ("gaussian", "simplex")
SHORTEST_DEVIATION = 1e-6  # of latents, below which they are left as they are


@keras.saving.register_keras_serializable(package="keras_medgen")
class Diffusion(DenoisingModel):
    """Denoising diffusion model.

    Each step noises every image to a timestep of its own, and descends the squared error of what
    the network predicts of it. Images are drawn by denoising noise, with a moving average of the
    network. With an autoencoder this happens in its latents (latent diffusion).

    A latent of this model is the noise that an image is denoised from by 25 deterministic steps
    of "ddim", as a vector: `decode` and export go by it.

    Args:
        image_shape: (height, width, channels): sides of 4 to 256.
        num_classes: None, or the number of classes on whose labels the network is conditioned.
        autoencoder: a trained `kmg.models.VAE` with a spatial latent, `latent_dim=(7, 7, 4)` say,
            of which the model keeps a copy that is not trained. Its latents are posterior means,
            not samples, whose noise would put a floor under the loss, and are scaled to mean 0
            and variance 1 in each channel, as they are in the first batch of the first training.
            Default None: images.
        schedule: "linear", "scaled_linear" or "cosine"; see `keras_medgen.ops.noise_schedules`.
            The same timestep is more noise with "linear" than with "cosine".
        prediction: what the network predicts: "noise", "velocity" or "image".
        noise: "gaussian", or "simplex", smooth noise of several scales, for anomaly detection
            (AnoDDPM): Gaussian noise leaves large lesions standing at timesteps that keep the
            anatomy.
        num_timesteps: of the schedule. Default 1,000.
        min_snr: limit of the weight of a timestep, or None for the mean squared error as it is;
            see `keras_medgen.ops.denoising.loss_weight`. Default 5.
        label_dropout: share of the images of a conditional model that are trained without their
            label, for guidance. Default 0.1.
        ema_decay: of the network's moving average, once it has taken enough steps for that.
            Default 0.999.
        seed: of the initial weights and of the training noise.
        denoiser: `keras.Model` from a dict of `images`, `timesteps`, int32 (batch,), and of a
            conditional model `labels` (batch, num_classes + 1), the last for no label, to
            predictions like the images. Default: `keras_medgen.networks.unet`.

    Raises:
        ValueError: for arguments out of their range, or networks of other shapes.

    Example:
    ```python
    model = kmg.models.Diffusion(data.image_shape, seed=0)
    model.compile()
    model.fit(data.train, validation_data=data.val, epochs=50)
    samples = model.generate(16, num_steps=25, sampler="ddim", seed=0)
    restored = model.reconstruct(samples, timestep=100, seed=0)
    ```

    Reference:
        Ho et al., Denoising Diffusion Probabilistic Models, 2020,
        https://arxiv.org/abs/2006.11239; latents: Rombach et al., High-Resolution Image Synthesis
        with Latent Diffusion Models, 2022, https://arxiv.org/abs/2112.10752; guidance: Ho and
        Salimans, Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598;
        simplex noise: Wyatt et al., AnoDDPM, CVPR Workshops 2022
    """

    default_learning_rate = 5e-4

    def __init__(
        self,
        image_shape,
        num_classes=None,
        *,
        autoencoder=None,
        schedule="cosine",
        prediction="velocity",
        noise="gaussian",
        num_timesteps=1000,
        min_snr=5.0,
        label_dropout=0.1,
        ema_decay=0.999,
        seed=0,
        denoiser=None,
        **kwargs,
    ):
        for name, given, known in (
            ("prediction", prediction, PREDICTIONS),
            ("noise", noise, NOISES),
        ):
            if given not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}. Received: {name}={given!r}."
                )
        if min_snr is not None and not min_snr > 0:
            raise ValueError(f"min_snr must be None or positive. Received: min_snr={min_snr}.")
        check_at_least(2, numbers.Integral, num_timesteps=num_timesteps)
        if not 0 <= label_dropout <= 1:
            raise ValueError(
                f"label_dropout must lie in [0, 1]. Received: label_dropout={label_dropout}."
            )
        check_ema_decay(ema_decay)
        grid = tuple(image_shape) if autoencoder is None else _latent_grid(autoencoder)
        size = simplex_noise_size(*grid[:2]) if noise == "simplex" else grid[0] * grid[1]
        super().__init__(image_shape, size * grid[2], num_classes, seed, **kwargs)
        if autoencoder is not None:
            _check_autoencoder(autoencoder, self.image_shape, num_classes)
        self.grid = grid
        self.denoiser = denoiser or unet(grid, num_classes=num_classes, seed=seed)
        inputs = {"images": (None, *grid), "timesteps": (None,)}
        if num_classes is not None:
            inputs["labels"] = (None, num_classes + 1)
        self._check_shapes("denoiser", inputs, (None, *grid))
        self.average_denoiser = averaged_copy(self.denoiser)
        self.autoencoder = autoencoder and _frozen_copy(autoencoder)
        if autoencoder is not None:
            channels = {"shape": (grid[2],), "trainable": False, "dtype": "float32"}
            self.latent_mean = self.add_weight(initializer="zeros", name="mean", **channels)
            self.latent_deviation = self.add_weight(initializer="ones", name="std", **channels)
            self.latents_measured = self.add_weight(
                shape=(), initializer="zeros", trainable=False, dtype="float32", name="measured"
            )
        self.schedule = schedule
        self.prediction = prediction
        self.noise_kind = noise
        self.num_timesteps = num_timesteps
        self.min_snr = min_snr
        self.label_dropout = label_dropout
        self.ema_decay = ema_decay
        self.alpha_bars = alpha_bars(schedule, num_timesteps)

    def default_optimizer(self, name, learning_rate, weight_decay=None, clip_norm=None):
        """Adam."""
        return keras.optimizers.Adam(
            learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm
        )

    def networks(self):
        """One optimizer moves the denoiser."""
        return {"optimizer": [self.denoiser]}

    # Training.

    def compute_losses(self, batch, training):
        """The weighted squared error of the prediction, averaged over pixels.

        Algorithm 1 of Ho et al. In evaluation it is that of the averaged network.
        """
        clean = self.clean(batch["images"], batch.get("labels"), training)
        count = tf.shape(clean)[0]
        noise = self.shaped(self.noise((count, self.latent_dim), training))
        uniform = uniform_of_normal(self.noise((count,), training, stream=1))
        timesteps = tf.cast(uniform * self.num_timesteps, tf.int32)
        timesteps = tf.minimum(timesteps, self.num_timesteps - 1)  # uniform may be 1
        signal, sigma = (
            tf.gather(tf.constant(column, tf.float32), timesteps)[:, None, None, None]
            for column in (np.sqrt(self.alpha_bars), np.sqrt(1 - self.alpha_bars))
        )
        labels = batch.get("labels")
        if labels is not None:
            dropped = self.noise((count,), training, stream=2)
            dropped = tf.cast(uniform_of_normal(dropped) < self.label_dropout, tf.float32)[:, None]
            labels = tf.concat([labels * (1 - dropped), dropped], axis=1)
        network = self.denoiser if training else self.average_denoiser
        output = predicted(network, signal * clean + sigma * noise, timesteps, labels, training)
        target = prediction_target(self.prediction, clean, noise, signal, sigma)
        weight = loss_weight(self.prediction, signal, sigma, self.min_snr)
        loss = tf.reduce_mean(weight * tf.square(output - target), axis=(1, 2, 3))
        return {"optimizer": loss}, {"loss": loss}

    def train_step(self, data):
        """One step of the optimizer, and of the average."""
        logs = super().train_step(data)
        steps = self.optimizer.iterations
        update_average(self.average_denoiser, self.denoiser, steps, self.ema_decay)
        return logs

    def measure(self, latents):
        """Takes the scale of the first batch that is ever trained on."""
        count = distribution.global_count(latents) * (self.grid[0] * self.grid[1])
        sums = (tf.reduce_sum(power, axis=(0, 1, 2)) for power in (latents, tf.square(latents)))
        mean, square = (distribution.replica_sum(total) / count for total in sums)
        deviation = tf.sqrt(tf.maximum(square - tf.square(mean), SHORTEST_DEVIATION**2))
        first = self.latents_measured == 0
        self.latent_mean.assign(tf.where(first, mean, self.latent_mean))
        self.latent_deviation.assign(tf.where(first, deviation, self.latent_deviation))
        self.latents_measured.assign(1.0)

    def get_config(self):
        """The arguments of the model, its networks included."""
        config = super().get_config()
        del config["latent_dim"]  # follows from the others
        autoencoder = self.autoencoder and keras.saving.serialize_keras_object(self.autoencoder)
        return config | {
            "autoencoder": autoencoder,
            "schedule": self.schedule,
            "prediction": self.prediction,
            "noise": self.noise_kind,
            "num_timesteps": self.num_timesteps,
            "min_snr": self.min_snr,
            "label_dropout": self.label_dropout,
            "ema_decay": self.ema_decay,
            "denoiser": keras.saving.serialize_keras_object(self.denoiser),
        }


def _latent_grid(autoencoder):
    grid = getattr(autoencoder, "latent_grid", None)
    if grid is None:
        raise ValueError(
            "autoencoder must be a VAE with a spatial latent, such as latent_dim=(7, 7, 4). "
            f"Received: {autoencoder}."
        )
    return grid


def _check_autoencoder(autoencoder, image_shape, num_classes):
    if autoencoder.image_shape != image_shape:
        raise ValueError(
            f"autoencoder must be of images of {image_shape}. "
            f"Received: one of {autoencoder.image_shape}."
        )
    if autoencoder.num_classes not in (None, num_classes):
        raise ValueError(
            "autoencoder must be of as many classes as the model, or of none. "
            f"Received: one of {autoencoder.num_classes}, num_classes={num_classes}."
        )


def _frozen_copy(autoencoder):
    """A copy without an optimizer, whose state would be saved with every model."""
    copied = type(autoencoder).from_config(autoencoder.get_config())
    copied.set_weights(autoencoder.get_weights())
    copied.trainable = False
    return copied
