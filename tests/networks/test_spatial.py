import numpy as np
import pytest
import tensorflow as tf

from keras_medgen.networks import spatial_decoder, spatial_encoder


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((16, 16, 1), (8, 8, 1)),
        ((28, 28, 1), (14, 14, 2)),
        ((28, 28, 1), (7, 7, 4)),
        ((31, 57, 4), (4, 8, 3)),
        ((64, 64, 3), (32, 32, 1)),
        ((64, 64, 3), (8, 8, 16)),
        ((256, 256, 1), (32, 32, 4)),
    ],
)
def test_shapes(shape, grid):
    encoder, decoder = spatial_encoder(shape, grid, width=8), spatial_decoder(shape, grid, width=8)
    size = int(np.prod(grid))
    outputs = encoder(np.zeros((2, *shape), np.float32))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "mean": (2, size),
        "log_var": (2, size),
    }
    images = decoder(np.zeros((2, size), np.float32)).numpy()
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize(("shape", "grid"), [((28, 28, 1), (7, 7, 4)), ((24, 40, 1), (6, 10, 2))])
@pytest.mark.parametrize("build", [spatial_encoder, spatial_decoder])
def test_a_grid_or_shape_that_does_not_fit_is_refused(build, shape, grid):
    rows, columns, channels = grid
    for wrong in [(rows + 1, columns, channels), (rows, columns, 0), (rows, columns), shape]:
        with pytest.raises(ValueError, match=r"latent_grid must be \(rows, columns, channels\) of"):
            build(shape, wrong)
    with pytest.raises(ValueError, match="16 to 256"):
        build((15, 28, 1), grid)


def test_the_error_names_the_grids_that_fit():
    with pytest.raises(ValueError, match=r"of 14x14 or 7x7 places .* latent_grid=\(6, 6, 4\)"):
        spatial_encoder((28, 28, 1), (6, 6, 4))


def test_parameters_at_the_default_width():
    def block(n):  # scale and offset, then a 3x3 convolution
        return 2 * n + (9 * n * n + n)

    encoder = 16 * 32 + 32 + 2 * block(32)
    encoder += 16 * 32 * 64 + 64 + 2 * block(64)
    encoder += 2 * 64 + 2 * (64 * 4 + 4)  # normalised, then two heads for each place
    decoder = 9 * 4 * 64 + 64 + 2 * block(64)
    decoder += 16 * 64 * 32 + 32 + 2 * block(32)
    decoder += 16 * 32 * 32 + 32 + (9 * 32 + 1)
    assert spatial_encoder((28, 28, 1), (7, 7, 4)).count_params() == encoder
    assert spatial_decoder((28, 28, 1), (7, 7, 4)).count_params() == decoder


@pytest.mark.parametrize(("row", "column"), [(1, 6), (3, 2)])
def test_a_latent_is_of_its_place(rng, row, column):
    """Latents stand row by row, channels last; a place is of 4x4 pixels."""
    shape, grid = (20, 36, 1), (5, 9, 3)
    number = (row * 9 + column) * 3 + 1
    place = np.array([row, column]) * 4 + 1.5

    encoder = spatial_encoder(shape, grid, width=8)
    images = tf.constant(rng.random((8, *shape), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(images)
        latent = encoder(images)["mean"][:, number]
    seen = np.abs(tape.gradient(latent, images)).sum(axis=(0, 3))
    np.testing.assert_allclose(centre(seen), place, atol=3)

    decoder = spatial_decoder(shape, grid, width=8)
    latents = rng.standard_normal((8, 5 * 9 * 3)).astype(np.float32)
    changed = latents.copy()
    changed[:, number] += 1
    difference = np.abs(decoder(changed) - decoder(latents)).sum(axis=(0, 3))
    np.testing.assert_allclose(centre(difference), place, atol=3)


def centre(values):
    """Of mass, in pixels; borders far from the largest values weigh little."""
    weights = values**4
    places = np.indices(weights.shape)
    return (places * weights).sum(axis=(1, 2)) / weights.sum()
