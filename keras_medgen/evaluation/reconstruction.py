"""How near reconstructions come to their originals."""

import numpy as np

from keras_medgen.metrics.features import checked_images
from keras_medgen.ops import ms_ssim

BATCH_SIZE = 128


def reconstruction_quality(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, float]:
    """Mean PSNR, SSIM and MS-SSIM over pairs of images.

    Args:
        images: (n, height, width, channels), uint8, or numbers in [0, 1]; sides of at least 16.
        reconstructions: as `images`.

    Returns:
        A dict of means over the images: `psnr` in dB, in which identical pairs, whose PSNR is
        infinite, count as 100 dB; `ssim` by scikit-image with the settings of Wang et al. 2004
        (Gaussian window of standard deviation 1.5, population covariance, data range 1);
        `ms_ssim` on as many scales as the images have room for, by `keras_medgen.ops.ms_ssim`.

    Raises:
        ValueError: for no images, other shapes, or values outside of [0, 1].

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to
        Structural Similarity, IEEE Transactions on Image Processing 13 (4), 2004.
    """
    from skimage.metrics import structural_similarity  # slow to import

    shape = np.shape(images)
    if shape != np.shape(reconstructions) or len(shape) != 4 or not shape[0]:
        raise ValueError(
            "images and reconstructions must be of one shape (n, height, width, channels). "
            f"Received: {shape} and {np.shape(reconstructions)}."
        )
    images = checked_images(images).astype(np.float64)
    reconstructions = checked_images(reconstructions, "reconstructions").astype(np.float64)
    errors = np.mean(np.square(images - reconstructions), axis=(1, 2, 3))
    similarities = [
        structural_similarity(
            image,
            reconstruction,
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for image, reconstruction in zip(images, reconstructions, strict=True)
    ]
    multi_scale = [
        ms_ssim(images[start : start + BATCH_SIZE], reconstructions[start : start + BATCH_SIZE])
        for start in range(0, len(images), BATCH_SIZE)
    ]
    return {
        "psnr": float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10)))),
        "ssim": float(np.mean(similarities)),
        "ms_ssim": float(np.mean(np.concatenate(multi_scale))),
    }
