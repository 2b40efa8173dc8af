"""How near reconstructions come to their originals."""

import numpy as np


def reconstruction_quality(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, float]:
    """Mean PSNR and SSIM over pairs of images, by scikit-image.

    Args:
        images: (n, height, width, channels) in [0, 1], sides of at least 11.
        reconstructions: as `images`.

    Returns:
        A dict of `psnr` in dB and `ssim` with the settings of Wang et al. 2004 (Gaussian window
        of standard deviation 1.5, population covariance, data range 1), each the mean over the
        images; identical pairs, whose PSNR is infinite, count as 100 dB.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to
        Structural Similarity, IEEE Transactions on Image Processing 13 (4), 2004.
    """
    from skimage.metrics import structural_similarity  # slow to import

    images, reconstructions = (np.asarray(a, np.float64) for a in (images, reconstructions))
    if images.shape != reconstructions.shape or images.ndim != 4 or not len(images):
        raise ValueError(
            "images and reconstructions must be of one shape (n, height, width, channels). "
            f"Received: {images.shape} and {reconstructions.shape}."
        )
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
    return {
        "psnr": float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10)))),
        "ssim": float(np.mean(similarities)),
    }
