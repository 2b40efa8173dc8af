"""Reconstruction and adversarial losses, by name or as objects."""

import keras

from keras_medgen.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
    get_adversarial,
)
from keras_medgen.losses.calibrated import (
    MSSSIM,
    MSSSIML1,
    CalibratedGaussian,
    Perceptual,
    QuantizedLogistic,
)
from keras_medgen.losses.pixelwise import AbsoluteError, Bernoulli, SquaredError
from keras_medgen.losses.reconstruction import KerasReconstruction, ReconstructionLoss
from keras_medgen.losses.tfgan import TFGAN_LOSSES, TFGANLoss, from_tfgan

__all__ = [
    "ADVERSARIAL_LOSSES",
    "MSSSIM",
    "MSSSIML1",
    "RECONSTRUCTIONS",
    "TFGAN_LOSSES",
    "AbsoluteError",
    "AdversarialLoss",
    "Bernoulli",
    "CalibratedGaussian",
    "Hinge",
    "KerasReconstruction",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Perceptual",
    "QuantizedLogistic",
    "ReconstructionLoss",
    "Relativistic",
    "SquaredError",
    "TFGANLoss",
    "Wasserstein",
    "from_tfgan",
    "get",
    "get_adversarial",
]

RECONSTRUCTIONS = {
    "gaussian": CalibratedGaussian,
    "mse": SquaredError,
    "mae": AbsoluteError,
    "bernoulli": Bernoulli,
    "quantized_logistic": QuantizedLogistic,
    "ms_ssim": MSSSIM,
    "ms_ssim_l1": MSSSIML1,
}


def get(reconstruction):
    """The reconstruction loss that is meant.

    Args:
        reconstruction: a name of `RECONSTRUCTIONS`, a `ReconstructionLoss` such as
            `Perceptual(network)`, or a `keras.losses.Loss`.

    Returns:
        A `ReconstructionLoss`.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(reconstruction, ReconstructionLoss):
        return reconstruction
    if isinstance(reconstruction, keras.losses.Loss):
        return KerasReconstruction(reconstruction)
    if reconstruction == "perceptual":
        raise ValueError(
            "a perceptual reconstruction needs a network: "
            "give reconstruction=keras_medgen.losses.Perceptual(network)."
        )
    if isinstance(reconstruction, str) and reconstruction in RECONSTRUCTIONS:
        return RECONSTRUCTIONS[reconstruction](name=reconstruction)
    raise ValueError(
        f"reconstruction must be one of {', '.join(RECONSTRUCTIONS)}, a ReconstructionLoss or a "
        f"keras.losses.Loss. Received: reconstruction={reconstruction!r}."
    )
