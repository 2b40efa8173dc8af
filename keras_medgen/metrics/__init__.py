"""Figures of images: of pairs, and of whole sets through their features.

Functions of arrays, and Keras metrics that give the same figures batch by batch.
"""

from keras_medgen.metrics.distances import (
    frechet_distance,
    frechet_distance_of_moments,
    kernel_distance,
    subset_kernel_distances,
)
from keras_medgen.metrics.diversity import classifier_score, mean_pairwise_ms_ssim, vendi_score
from keras_medgen.metrics.feature_set import Features
from keras_medgen.metrics.features import (
    ClassifierFeatures,
    FeatureExtractor,
    Inception,
    RandomConvolutions,
)
from keras_medgen.metrics.neighbours import (
    authenticity,
    copying_statistic,
    copying_statistic_of_distances,
    nearest,
    precision_recall_density_coverage,
)
from keras_medgen.metrics.paired import (
    MSSSIM,
    PSNR,
    SSIM,
    Dice,
    MeanAbsoluteError,
    MeanSquaredError,
    dice,
    mae,
    ms_ssim,
    mse,
    psnr,
    ssim,
)
from keras_medgen.metrics.radiomics import RadiomicsLite
from keras_medgen.metrics.streaming import (
    ClassifierScore,
    FrechetDistance,
    KernelDistance,
    MeanPairwiseMSSSIM,
    PrecisionRecallDensityCoverage,
    VendiScore,
)

__all__ = [
    "MSSSIM",
    "PSNR",
    "SSIM",
    "ClassifierFeatures",
    "ClassifierScore",
    "Dice",
    "FeatureExtractor",
    "Features",
    "FrechetDistance",
    "Inception",
    "KernelDistance",
    "MeanAbsoluteError",
    "MeanPairwiseMSSSIM",
    "MeanSquaredError",
    "PrecisionRecallDensityCoverage",
    "RadiomicsLite",
    "RandomConvolutions",
    "VendiScore",
    "authenticity",
    "classifier_score",
    "copying_statistic",
    "copying_statistic_of_distances",
    "dice",
    "frechet_distance",
    "frechet_distance_of_moments",
    "kernel_distance",
    "mae",
    "mean_pairwise_ms_ssim",
    "ms_ssim",
    "mse",
    "nearest",
    "precision_recall_density_coverage",
    "psnr",
    "ssim",
    "subset_kernel_distances",
    "vendi_score",
]
