"""Models that denoise images, or an autoencoder's latents: what they do once trained."""

import math
import numbers

import numpy as np
import tensorflow as tf

from keras_medgen.models.base import GENERATE_BATCH
from keras_medgen.models.batches import checked_images, checked_labels
from keras_medgen.models.latent_model import LatentModel
from keras_medgen.models.progress import Progress
from keras_medgen.ops.random import normal_rows
from keras_medgen.ops.ranges import signed, unsigned
from keras_medgen.ops.samplers import run_steps, sampler_steps, spaced_timesteps
from keras_medgen.ops.simplex import simplex_noise

DEFAULT_STEPS = 25
PARTS = 2  # of a batch, side by side: a CPU makes more of two small operations than of a large one
CHUNK = 25  # steps between two signs of progress
TENTH = 10  # of the timesteps: to which images are noised by default
LATENT_LIMIT = 8.0  # standard deviations, of clean latents: a network is less sure at first


class DenoisingModel(LatentModel):
    """Base of the models that draw images by denoising noise.

    A subclass has a `grid`, the shape of what is diffused, a `latent_dim`, a `denoiser`, its
    `average_denoiser`, an `autoencoder` or None, the `alpha_bars` of its timesteps, and says in
    `prediction` and `noise_kind` what is predicted, of which noise.
    """

    def clean(self, images, labels=None, training=False):
        """What is diffused, (batch, *grid): images in [-1, 1], or scaled latents."""
        if self.autoencoder is None:
            return signed(images)
        parameters = self.autoencoder.posterior_parameters(images, labels)
        latents = tf.reshape(parameters["mean"], (-1, *self.grid))
        if training:
            self.measure(latents)
        return (latents - self.latent_mean) / self.latent_deviation

    def measure(self, latents):
        """Takes the scale of latents in training, where it is not known yet."""
        raise NotImplementedError

    def images(self, clean, labels=None):
        """Images in [0, 1] of what is diffused."""
        if self.autoencoder is None:
            return unsigned(tf.clip_by_value(clean, -1.0, 1.0))
        latents = clean * self.latent_deviation + self.latent_mean
        flat = tf.reshape(latents, (-1, self.autoencoder.latent_dim))
        return self.autoencoder.decoded(flat, labels)

    def shaped(self, noise):
        """Noise of unit variance (n, *grid), of standard normal vectors (n, latent_dim)."""
        if self.noise_kind == "gaussian":
            return tf.reshape(noise, (-1, *self.grid))
        rows, columns, channels = self.grid
        normals = tf.reshape(noise, (-1, self.latent_dim // channels, channels))
        return simplex_noise(normals, rows, columns)

    # Sampling.

    def _steps(self, sampler, num_steps, start, spacing="quadratic", eta=0.0):
        """Steps from timestep `start` to the clean image, np.ndarrays for `run_steps`."""
        if num_steps is None:
            num_steps = min(DEFAULT_STEPS, start + 1)
        timesteps = spaced_timesteps(num_steps, start, spacing)
        bars = np.append(self.alpha_bars[timesteps], 1.0)
        steps = sampler_steps(sampler, bars[:-1], bars[1:], eta)
        return {name: column.astype(np.float32) for name, column in steps.items()} | {
            "timestep": timesteps.astype(np.int32)
        }

    def _run(self, steps, noised, previous, labels=None, guidance_scale=None, fresh_noise=None):
        """See `run_steps`; a conditional model is without a label where `labels` are None."""
        count = tf.shape(noised)[0]
        given = None
        if self.num_classes is not None:
            given = none = tf.one_hot(tf.fill([count], self.num_classes), self.num_classes + 1)
            if labels is not None:
                given = tf.pad(labels, ((0, 0), (0, 1)))

        def predict(noised, timestep):
            timesteps = tf.fill([count], timestep)
            if guidance_scale is None:
                return predicted(self.average_denoiser, noised, timesteps, given)
            both = [
                tf.concat(pair, axis=0)
                for pair in ((noised, noised), (timesteps, timesteps), (given, none))
            ]
            with_label, without = tf.split(predicted(self.average_denoiser, *both), 2)
            return without + guidance_scale * (with_label - without)

        limit = 1.0 if self.autoencoder is None else LATENT_LIMIT
        clip = (-limit, limit)
        return run_steps(steps, noised, previous, predict, self.prediction, clip, fresh_noise)

    def decoded(self, latents, labels=None, training=False):
        """Images of noise, by 25 steps of "ddim"; see `LatentModel.decoded`."""
        return self._denoised(self.shaped(latents), self.num_timesteps - 1, labels)

    def call(self, images, labels=None, training=False):
        """Restores images in [0, 1] (not checked): a tenth of the way to noise and back again."""
        noise = self.noise((tf.shape(images)[0], self.latent_dim), training=False)
        return self.restored(images, self.shaped(noise), labels)

    def restored(self, images, noise, labels=None):
        """Images noised to the default timestep, and denoised again by the default steps.

        What `reconstruct` does by default, for tensors that are not checked, in one graph.

        Args:
            images: (batch, *image_shape) in [0, 1].
            noise: (batch, *grid), of unit variance, of `shaped`; or (*grid), the same for all.
            labels: (batch, num_classes) of 0 and 1, of a conditional model. Default: without a
                label.

        Returns:
            Tensor float32 (batch, *image_shape) in [0, 1].
        """
        timestep = self._checked_timestep(None)
        signal, sigma = self._shares(timestep)
        noised = signal * self.clean(images, labels) + sigma * noise
        return self._denoised(noised, timestep, labels)

    def _shares(self, timestep):
        """Of the image and of the noise, in what is noised to that timestep."""
        bar = self.alpha_bars[timestep]
        return math.sqrt(bar), math.sqrt(1 - bar)

    def _denoised(self, noised, start, labels):
        """Images by the default steps, all in one graph: tensors."""
        steps = self._steps("ddim", None, start)
        return self.images(self._run(steps, noised, tf.zeros_like(noised), labels)[0], labels)

    def generate(
        self,
        num,
        labels=None,
        seed=0,
        *,
        num_steps=None,
        sampler="ddim",
        spacing="quadratic",
        eta=0.0,
        guidance_scale=1.0,
        verbose="auto",
    ):
        """Draws images from the model, by denoising noise.

        Args:
            num: how many.
            labels: of a conditional model; see `GenerativeModel.generate`.
            seed: int; image i depends on `(seed, i)` alone.
            num_steps: of the sampler, at most `num_timesteps`. Default 25, or all where there are
                fewer.
            sampler: "ddpm", "ddim" or "dpm_solver++"; see `keras_medgen.ops.samplers`. "ddpm"
                wants hundreds of steps.
            spacing: of the timesteps of fewer steps than that: "quadratic" takes more of them
                where there is less noise, "even" does not.
            eta: of "ddim": 0 is deterministic, given the first noise; 1 adds as much noise as
                "ddpm".
            guidance_scale: of a conditional model: how far to go beyond what is predicted
                without the label, to what is predicted with it. 1 is the model itself, and needs
                half the time; more is more typical of the class, and less diverse.
            verbose: 1 shows progress, 0 does not, "auto" does where it takes long.

        Returns:
            np.ndarray float32 (num, height, width, channels) in [0, 1].

        Raises:
            ValueError: for a negative number, labels that do not fit, or arguments of a sampler
                out of their range.
        """
        if guidance_scale != 1 and self.num_classes is None:
            raise ValueError(
                "guidance_scale is for a conditional model, one with num_classes. "
                f"Received: guidance_scale={guidance_scale}."
            )
        steps = self._steps(sampler, num_steps, self.num_timesteps - 1, spacing, eta)
        advance = self._advance(steps, guidance_scale, num, verbose)
        shaped = self._function("noise", self._noise_rows)
        finish = self._function("images", self.images)

        def rows(seed, start, labels):
            return finish(advance(shaped(seed, start), labels, seed, start), labels)

        return self._generate(rows, num, labels, seed)

    def noised(self, images, timestep=None, labels=None, *, seed=0):
        """Images as `reconstruct` noises them before it restores them.

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.
            timestep: see `reconstruct`.
            labels: of a model whose autoencoder is conditional.
            seed: int; the noise of image i depends on `(seed, i)` alone.

        Returns:
            np.ndarray float32 (n, height, width, channels). Noise reaches beyond [0, 1]. Of a
            latent diffusion model, what its autoencoder decodes noised latents to.
        """

        def finish(noised, labels):
            return unsigned(noised) if self.autoencoder is None else self.images(noised, labels)

        timestep = self._checked_timestep(timestep)
        finish = self._function("noised images", finish)
        return self._in_noise(images, labels, timestep, seed, lambda x, y, *_: finish(x, y))

    def reconstruct(
        self,
        images,
        timestep=None,
        labels=None,
        *,
        num_steps=None,
        sampler="ddim",
        spacing="quadratic",
        eta=0.0,
        seed=0,
        verbose="auto",
    ):
        """Each image as the model would have it: noised up to a timestep, and denoised again.

        What the noise hides is made up anew, after the images that the model was trained on: of
        a model of healthy anatomy, without the lesion (Wyatt et al., AnoDDPM, 2022).

        Args:
            images: (n, height, width, channels), float in [0, 1] or uint8.
            timestep: int, from 0 to below `num_timesteps`: how much noise. Default: a tenth of
                `num_timesteps`, 100 of 1,000.
            labels: of a conditional model: int (n,), or (n, num_classes) of 0 and 1. Default:
                restored without a label.
            num_steps: from the timestep back. Default 25, or all where there are fewer.
            sampler: see `generate`.
            spacing: see `generate`.
            eta: see `generate`.
            seed: int; the noise of image i depends on `(seed, i)` alone.
            verbose: see `generate`.

        Returns:
            np.ndarray float32 (n, height, width, channels) in [0, 1].

        Raises:
            ValueError: for a timestep or number of steps out of its range, images or labels that
                do not fit.
        """
        timestep = self._checked_timestep(timestep)
        steps = self._steps(sampler, num_steps, timestep, spacing, eta)
        advance = self._advance(steps, 1.0, len(images), verbose)
        finish = self._function("images", self.images)

        def restored(noised, labels, seed, start):
            return finish(advance(noised, labels, seed, start), labels)

        return self._in_noise(images, labels, timestep, seed, restored)

    def _checked_timestep(self, timestep):
        if timestep is None:
            return self.num_timesteps // TENTH
        if not isinstance(timestep, numbers.Integral) or not 0 <= timestep < self.num_timesteps:
            raise ValueError(
                f"timestep must be an integer from 0 to {self.num_timesteps - 1}. "
                f"Received: timestep={timestep}."
            )
        return timestep

    def _in_noise(self, images, labels, timestep, seed, function):
        """Applies a function of (noised, labels, seed, first number) to batches of one size."""
        images = checked_images(images, self.image_shape)
        if labels is not None or getattr(self.autoencoder, "num_classes", None) is not None:
            labels = checked_labels(labels, len(images), self.num_classes)
        shares = tf.constant(self._shares(timestep), tf.float32)
        add_noise = self._function("add noise", self._add_noise)
        seed = tf.constant(seed)
        parts = [np.zeros((0, *self.image_shape), np.float32)]
        for start in range(0, len(images), GENERATE_BATCH):
            part, given = (_padded(rows, start) for rows in (images, labels))
            first = tf.constant(start)
            noised = add_noise(part, given, seed, first, shares)
            parts.append(function(noised, given, seed, first).numpy())
        return np.concatenate(parts)[: len(images)]

    def _noise_rows(self, seed, start):
        numbers = start + tf.range(GENERATE_BATCH)
        return self.shaped(normal_rows(seed, numbers, self.noise_shape))

    def _add_noise(self, images, labels, seed, start, shares):
        clean = self.clean(images, labels)
        return shares[0] * clean + shares[1] * self._noise_rows(seed, start)

    def _advance(self, steps, guidance_scale, num, verbose):
        """A function that takes a batch through all steps, compiled for any number of them.

        Args:
            steps: of `_steps`.
            guidance_scale: see `generate`.
            num: how many images there will be.
            verbose: see `generate`.

        Returns:
            A function of noised images, labels, seed and the number of the first image.
        """
        count = len(steps["timestep"])
        fresh, guided = bool(steps["fresh_noise"].any()), guidance_scale != 1

        def run(steps, noised, previous, labels, scale, seed, start):
            @tf.function  # so that the network is traced once for all parts
            def part(noised, previous, labels, start):
                def fresh_noise(timestep):
                    numbers = start + tf.range(GENERATE_BATCH // PARTS)
                    return self.shaped(normal_rows(seed, numbers, self.noise_shape, timestep))

                arguments = {"fresh_noise": fresh_noise if fresh else None}
                if guided:
                    arguments["guidance_scale"] = scale
                return self._run(steps, noised, previous, labels, **arguments)

            columns = [
                [None] * PARTS if column is None else tf.split(column, PARTS)
                for column in (noised, previous, labels)
            ]
            starts = [start + number * (GENERATE_BATCH // PARTS) for number in range(PARTS)]
            parts = [part(*arguments) for arguments in zip(*columns, starts, strict=True)]
            return tuple(tf.concat(column, axis=0) for column in zip(*parts, strict=True))

        function = self._function(f"run, fresh={fresh}, guided={guided}", run)
        scale = tf.constant(guidance_scale, tf.float32)
        progress = Progress(-(-num // GENERATE_BATCH) * count, verbose)

        def advance(noised, labels, seed, start):
            previous = tf.zeros_like(noised)
            for first in range(0, count, CHUNK):
                part = {k: tf.constant(v[first : first + CHUNK]) for k, v in steps.items()}
                noised, previous = function(part, noised, previous, labels, scale, seed, start)
                progress.add(len(part["timestep"]))
            return noised

        return advance


def predicted(network, noised, timesteps, labels=None, training=False):
    """What a denoiser says, float32 like `noised`; `labels` with a column for none, or None."""
    inputs = {"images": noised, "timesteps": timesteps}
    if labels is not None:
        inputs["labels"] = labels
    return tf.cast(network(inputs, training=training), tf.float32)


def _padded(rows, start):
    """A batch of the one size that sampling is compiled for: rows from `start` on, then zeros."""
    if rows is None:
        return None
    rows = rows[start : start + GENERATE_BATCH]
    missing = [(0, GENERATE_BATCH - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return tf.constant(np.pad(rows, missing))
