"""Features that have names: intensities, edges and texture."""

import numpy as np

from keras_medgen.metrics.features import FeatureExtractor

PERCENTILES = (5, 25, 50, 75, 95)
ENTROPY_BINS = 32
LEVELS = 16  # grey levels of the co-occurrence matrix
DISTANCES = (1, 2)  # pixels
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
TEXTURES = ("contrast", "homogeneity", "energy", "correlation")
PATTERNS = 10  # uniform local binary patterns of 8 neighbours


class RadiomicsLite(FeatureExtractor):
    """Intensity, gradient and texture statistics of images, each with a name: "radiomics-lite".

    Of each channel: mean, standard deviation, skewness, excess kurtosis, five percentiles and the
    entropy of its histogram. Of the mean over the channels: mean, standard deviation and 95th
    percentile of the Sobel gradient, and the variance of the Laplacian; contrast, homogeneity,
    energy and correlation of the grey-level co-occurrence matrix (16 levels from 0 to 1, mean over
    four directions) at one and two pixels; and the histogram of uniform local binary patterns. By
    scikit-image.

    Reference:
        Haralick, Shanmugam and Dinstein, Textural Features for Image Classification, IEEE
        Transactions on Systems, Man, and Cybernetics 3 (6), 1973; Ojala, Pietikäinen and
        Mäenpää, Multiresolution Gray-Scale and Rotation Invariant Texture Classification with
        Local Binary Patterns, IEEE Transactions on Pattern Analysis 24 (7), 2002
    """

    kind = "radiomics-lite"
    preprocessing = "as they are in [0, 1]; standardised by real training images"

    def __init__(self, components=None):
        super().__init__(components)

    @staticmethod
    def names(channels):
        """The features of images of so many channels, in order: a list of str."""
        first = ["mean", "deviation", "skewness", "kurtosis"]
        first += [f"percentile_{p}" for p in PERCENTILES] + ["entropy"]
        names = [f"{name}_{channel}" for channel in range(channels) for name in first]
        names += ["gradient_mean", "gradient_deviation", "gradient_percentile_95"]
        names += ["laplacian_variance"]
        names += [f"{texture}_{distance}" for texture in TEXTURES for distance in DISTANCES]
        return names + [f"pattern_{number}" for number in range(PATTERNS)]

    def describe(self, images):
        """See `FeatureExtractor.describe`."""
        grey = images.mean(axis=-1, dtype=np.float64)
        columns = [_intensities(images), _gradients(grey), _textures(grey)]
        return np.concatenate(columns, axis=1)


def _intensities(images):
    count, *_, channels = images.shape
    pixels = images.reshape(count, -1, channels).astype(np.float64)
    mean, deviation = pixels.mean(axis=1), pixels.std(axis=1)
    centred = (pixels - mean[:, None]) / np.maximum(deviation, 1e-6)[:, None]
    bins = np.minimum((pixels * ENTROPY_BINS).astype(int), ENTROPY_BINS - 1)
    shares = np.stack([(bins == number).mean(axis=1) for number in range(ENTROPY_BINS)])
    entropy = -np.sum(shares * np.log2(np.maximum(shares, 1e-12)), axis=0)
    moments = [mean, deviation, (centred**3).mean(axis=1), (centred**4).mean(axis=1) - 3]
    columns = [*moments, *np.percentile(pixels, PERCENTILES, axis=1), entropy]
    return np.stack(columns, axis=-1).reshape(count, -1)


def _gradients(grey):
    from scipy.ndimage import correlate1d

    def curvature(axis):
        return correlate1d(grey, [1.0, -2.0, 1.0], axis=axis, mode="nearest")

    def slope(axis, other):  # Sobel's, per pixel
        smooth = correlate1d(grey, [0.25, 0.5, 0.25], axis=other, mode="nearest")
        return correlate1d(smooth, [-0.5, 0.0, 0.5], axis=axis, mode="nearest")

    edges = np.hypot(slope(1, 2), slope(2, 1)).reshape(len(grey), -1)
    laplacian = curvature(1) + curvature(2)
    columns = [edges.mean(1), edges.std(1), np.percentile(edges, 95, axis=1)]
    return np.stack([*columns, laplacian.reshape(len(grey), -1).var(axis=1)], axis=1)


def _textures(grey):
    from skimage.feature import graycomatrix, graycoprops, local_binary_pattern  # slow to import

    pixels = np.round(grey * 255).astype(np.uint8)
    levels = np.minimum((grey * LEVELS).astype(np.uint8), LEVELS - 1)
    rows = []
    for image, quantised in zip(pixels, levels, strict=True):
        matrix = graycomatrix(quantised, DISTANCES, ANGLES, LEVELS, symmetric=True, normed=True)
        textures = [graycoprops(matrix, name).mean(axis=1) for name in TEXTURES]
        patterns = local_binary_pattern(image, 8, 1, "uniform").astype(int)
        shares = np.bincount(patterns.ravel(), minlength=PATTERNS) / patterns.size
        rows.append(np.concatenate([*textures, shares]))
    return np.array(rows)
