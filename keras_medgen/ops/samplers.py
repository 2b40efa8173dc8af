"""Samplers of diffusion models, each as a table of coefficients.

A step of every sampler here is a sum: of the noised image, of the clean image that the network sees
in it, of the noise that it sees, of the clean image that it saw the step before, and of fresh
noise. A sampler is no more than the weights in that sum, so that one loop runs them all, and they
are known in float64 before it begins.
"""

import numbers

import numpy as np
import tensorflow as tf

from keras_medgen.ops.denoising import clean_and_noise

SAMPLERS = ("ddpm", "ddim", "dpm_solver++")
SPACINGS = {"even": 1, "quadratic": 2}  # powers of the share of steps that are left


def spaced_timesteps(num_steps, start, spacing="even"):
    """The timesteps of a sampler, the last first: from `start`, in strides down to 0.

    A whole stride lies between the last of them and the clean image, so that no stride is wasted
    on noise that cannot be told from that of the first timestep (Lin et al. 2024,
    https://arxiv.org/abs/2305.08891).

    Args:
        num_steps: int, from 1 to `start` + 1.
        start: the first timestep.
        spacing: "even" strides, or "quadratic" ones, shorter where there is less noise, which
            takes more care of fine detail (Song et al. 2021, https://arxiv.org/abs/2010.02502,
            appendix D).

    Returns:
        np.ndarray int (num_steps,), falling.

    Raises:
        ValueError: for another number of steps or spacing.
    """
    if spacing not in SPACINGS:
        raise ValueError(
            f"spacing must be one of {', '.join(SPACINGS)}. Received: spacing={spacing!r}."
        )
    if not isinstance(num_steps, numbers.Integral) or not 1 <= num_steps <= start + 1:
        raise ValueError(
            f"num_steps must be an integer from 1 to {start + 1}, the timesteps that there are. "
            f"Received: num_steps={num_steps}."
        )
    left = np.arange(num_steps, 0, -1)
    timesteps = np.round((start + 1) * (left / num_steps) ** SPACINGS[spacing]).astype(int)
    return np.maximum(timesteps, left) - 1


def sampler_steps(sampler, alpha_bars, next_alpha_bars, eta=0.0):
    """The coefficients of a sampler's steps.

    Args:
        sampler: one of

            - "ddpm": ancestral sampling from the posterior of the next timestep given the clean
              image, with its variance (Ho et al. 2020, "fixed small"), also where timesteps are
              left out: the variance is that of the whole stride (Nichol and Dhariwal 2021);
            - "ddim": Song et al. 2021; deterministic for an `eta` of 0, "ddpm" for 1 but that
              clipping the clean image does not change the noise;
            - "dpm_solver++": the second-order multistep solver of Lu et al. 2022, first order in
              its first step, and in its last if that is to the clean image.
        alpha_bars: float64 (steps,), at the timestep of each step; see `noise_schedules`.
        next_alpha_bars: float64 (steps,), where each step goes; 1 is the clean image.
        eta: of "ddim": share of the variance that "ddpm" adds, as a standard deviation.

    Returns:
        A dict of float64 (steps,): `signal` and `sigma`, the shares of image and noise at the
        step's start, and the weights of `noised`, `clean`, `noise`, `previous_clean` and
        `fresh_noise`.

    Raises:
        ValueError: for another sampler, or an `eta` that is out of [0, 1] or not for it.

    Reference:
        https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/2010.02502,
        https://arxiv.org/abs/2211.01095
    """
    if sampler not in SAMPLERS:
        raise ValueError(
            f"sampler must be one of {', '.join(SAMPLERS)}. Received: sampler={sampler!r}."
        )
    if not 0 <= eta <= 1 or (eta and sampler != "ddim"):
        raise ValueError(
            "eta must be 0, or with the sampler ddim at most 1. "
            f"Received: eta={eta}, sampler={sampler!r}."
        )
    now, after = np.asarray(alpha_bars, np.float64), np.asarray(next_alpha_bars, np.float64)
    zero = np.zeros_like(now)
    weights = {
        "signal": np.sqrt(now),
        "sigma": np.sqrt(1 - now),
        "noised": zero,
        "clean": zero,
        "noise": zero,
        "previous_clean": zero,
        "fresh_noise": zero,
    }
    variance = (1 - after) / (1 - now) * (1 - now / after)  # of the posterior given the image
    if sampler == "ddpm":
        return weights | {
            "noised": np.sqrt(now / after) * (1 - after) / (1 - now),
            "clean": np.sqrt(after) * (1 - now / after) / (1 - now),
            "fresh_noise": np.sqrt(variance),
        }
    if sampler == "ddim":
        return weights | {
            "clean": np.sqrt(after),
            "noise": np.sqrt(np.maximum(1 - after - eta**2 * variance, 0)),
            "fresh_noise": eta * np.sqrt(variance),
        }
    # exp(-h), where h is the step in half the log of the signal-to-noise ratio.
    decay = np.sqrt((1 - after) * now / ((1 - now) * after))
    clean = np.sqrt(after) * (1 - decay)
    step = -np.log(decay, out=zero.copy(), where=decay > 0)  # 0 stands for a step to the image
    extrapolated = zero.copy()
    extrapolated[1:] = 0.5 * step[1:] / step[:-1]
    return weights | {
        "noised": np.sqrt((1 - after) / (1 - now)),
        "clean": clean * (1 + extrapolated),
        "previous_clean": -clean * extrapolated,
    }


def run_steps(steps, noised, previous_clean, predict, prediction, clip=None, fresh_noise=None):
    """Takes steps of a sampler, in a loop of the graph.

    Args:
        steps: as `sampler_steps` returns them, of the images' dtype, with `timestep`, int32
            (steps,), beside them.
        noised: float32 (batch, ...), at the first timestep.
        previous_clean: the clean image that was seen the step before; zeros at the start.
        predict: from noised images and a timestep, int32 (), to what the network says.
        prediction: what that is; see `denoising.prediction_target`.
        clip: (lowest, highest) value of a clean image, or None.
        fresh_noise: from a timestep to noise like `noised`; None for samplers without.

    Returns:
        What to go on with: the noised images after the steps, and the clean ones of the last.
    """

    def body(number, noised, previous_clean):
        step = {name: column[number] for name, column in steps.items()}
        output = predict(noised, step["timestep"])
        clean, noise = clean_and_noise(prediction, output, noised, step["signal"], step["sigma"])
        if clip is not None:
            clean = tf.clip_by_value(clean, *clip)
        after = (
            step["noised"] * noised
            + step["clean"] * clean
            + step["noise"] * noise
            + step["previous_clean"] * previous_clean
        )
        if fresh_noise is not None:
            after += step["fresh_noise"] * fresh_noise(step["timestep"])
        # A network may forget that the batch is of one, say, and a loop must keep its shapes.
        return (
            number + 1,
            tf.ensure_shape(after, noised.shape),
            tf.ensure_shape(clean, noised.shape),
        )

    steps = {name: tf.convert_to_tensor(column) for name, column in steps.items()}
    count = tf.shape(steps["timestep"])[0]
    start = (tf.constant(0), noised, previous_clean)
    return tf.while_loop(lambda number, *_: number < count, body, start)[1:]
