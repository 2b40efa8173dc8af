"""The stages of networks for images of any side from 16 to 256: halved until they are small."""

import keras

from keras_medgen.networks.seeded_layers import check_image_shape

SMALLEST_SIDE, LARGEST_SIDE = 16, 256
COARSEST_SIDE = 8  # the images are halved until they are no larger than this


def check_staged_image_shape(image_shape):
    """Raises ValueError for an image shape other than sides of 16 to 256, 1 to 4 channels."""
    check_image_shape(
        image_shape,
        f"with sides of {SMALLEST_SIDE} to {LARGEST_SIDE} and 1 to 4 channels",
        lambda height, width, channels: (
            SMALLEST_SIDE <= min(height, width) <= max(height, width) <= LARGEST_SIDE
            and channels <= 4
        ),
    )


def stage_sides(image_shape):
    """(height, width) of the image and after each stage: [(28, 28), (14, 14), (7, 7)]."""
    sides = [tuple(image_shape[:2])]
    while max(sides[-1]) > COARSEST_SIDE:
        sides.append(tuple(-(-side // 2) for side in sides[-1]))
    return sides


def stage_widths(image_shape, width, limit):
    """Channels after each stage: doubling from `width` up to `limit` times it."""
    return [width * min(2**stage, limit) for stage in range(len(stage_sides(image_shape)) - 1)]


def cropped(x, rows, columns, dtype=None):
    """`x` without the last row or column that doubling a side adds where that side is odd."""
    extra = x.shape[1] - rows, x.shape[2] - columns
    if extra == (0, 0):
        return x
    return keras.layers.Cropping2D(((0, extra[0]), (0, extra[1])), dtype=dtype)(x)
