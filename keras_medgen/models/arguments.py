"""Checks of the arguments of models."""

import math
import numbers


def check_at_least(least, kind=numbers.Real, **argument):
    """Raises ValueError unless an argument, given by its name, is a number of at least `least`.

    Args:
        least: the smallest value allowed.
        kind: `numbers.Real` or `numbers.Integral`.
        **argument: one, by its name.
    """
    ((name, value),) = argument.items()
    if not (isinstance(value, kind) and value >= least):
        word = "an integer" if kind is numbers.Integral else "a number"
        raise ValueError(f"{name} must be {word} of at least {least}. Received: {name}={value!r}.")


def check_latent_dim(latent_dim):
    """Raises ValueError for anything but a positive integer."""
    check_at_least(1, numbers.Integral, latent_dim=latent_dim)


def latent_sizes(latent_dim):
    """The number of latent dimensions, and their grid (rows, columns, channels) or None.

    Raises:
        ValueError: for anything but a positive integer or three.
    """
    if not isinstance(latent_dim, (tuple, list)):
        check_latent_dim(latent_dim)
        return latent_dim, None
    positive = all(isinstance(size, numbers.Integral) and size >= 1 for size in latent_dim)
    if len(latent_dim) != 3 or not positive:
        raise ValueError(
            "latent_dim must be a positive integer, or (rows, columns, channels). "
            f"Received: latent_dim={latent_dim}."
        )
    return math.prod(latent_dim), tuple(int(size) for size in latent_dim)
