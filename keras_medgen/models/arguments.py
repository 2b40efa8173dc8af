"""Checks of the arguments of models."""

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
