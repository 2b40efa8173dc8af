"""Pure tensor functions."""

from keras_medgen.ops.random import normal_rows
from keras_medgen.ops.similarity import (
    MS_SSIM_LOSS_FLOOR,
    ms_ssim,
    ms_ssim_l1,
    ms_ssim_levels,
    ssim,
)

__all__ = ["MS_SSIM_LOSS_FLOOR", "ms_ssim", "ms_ssim_l1", "ms_ssim_levels", "normal_rows", "ssim"]
