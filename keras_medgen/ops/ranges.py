"""Images in [0, 1], as users see them, and in [-1, 1], as networks with tanh do."""


def signed(images):
    """From [0, 1] to [-1, 1]."""
    return 2.0 * images - 1.0


def unsigned(images):
    """From [-1, 1] to [0, 1]."""
    return 0.5 * (images + 1.0)
