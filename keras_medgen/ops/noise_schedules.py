"""How much of an image is left at each timestep of a diffusion."""

import math

import numpy as np

SCHEDULES = ("linear", "scaled_linear", "cosine")
LARGEST_BETA = 0.999  # of the cosine schedule, whose last step would leave nothing


def alpha_bars(schedule, num_timesteps):
    """The share of the clean image's variance in the noised one, at each timestep.

    At timestep t an image x of unit scale has become sqrt(ᾱ_t) x + sqrt(1 - ᾱ_t) noise.

    Args:
        schedule: "linear" (Ho et al. 2020), "scaled_linear" (Rombach et al. 2022, for latents) or
            "cosine" (Nichol and Dhariwal 2021, for small images). The first two are of
            1,000 timesteps: another number of them stands at as many places of the same curve.
        num_timesteps: int.

    Returns:
        np.ndarray float64 (num_timesteps,), falling from nearly 1 to nearly 0.

    Raises:
        ValueError: for another schedule, or fewer than 2 timesteps.

    Reference:
        https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/2112.10752,
        https://arxiv.org/abs/2102.09672
    """
    if num_timesteps < 2:
        raise ValueError(f"num_timesteps must be at least 2. Received: {num_timesteps}.")
    if schedule == "cosine":
        time = (np.arange(num_timesteps + 1) / num_timesteps + 0.008) / 1.008
        share = np.cos(time * math.pi / 2) ** 2
        return np.cumprod(1 - np.minimum(1 - share[1:] / share[:-1], LARGEST_BETA))
    if schedule == "linear":
        betas = np.linspace(1e-4, 0.02, 1000)
    elif schedule == "scaled_linear":
        betas = np.linspace(math.sqrt(8.5e-4), math.sqrt(0.012), 1000) ** 2
    else:
        raise ValueError(
            f"schedule must be one of {', '.join(SCHEDULES)}. Received: schedule={schedule!r}."
        )
    logarithms = np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])
    places = np.arange(1, num_timesteps + 1) * (1000 / num_timesteps)
    return np.exp(np.interp(places, np.arange(1001), logarithms))
