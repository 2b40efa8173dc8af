import numpy as np
import pytest
from PIL import Image

from keras_medgen.data.found import UnreadableError
from keras_medgen.data.readers.pictures import read_mask, read_picture, scan_picture

# How each of the odd files ends: (pages, shape, 8 bits), or what the reason says.
ODD = {
    "12in16bit.tif": (1, (100, 100, 1), False),
    "16_bit_noise.tif": (1, (32, 32, 1), False),
    "16bit.MM.cropped.tif": (1, (64, 64, 1), False),
    "16bit.cropped.tif": (1, (64, 64, 1), False),
    "apng_mode_16bit.png": (3, (64, 128, 3), True),
    "apng_mode_grayscale_alpha.png": (3, (64, 128, 1), True),
    "bmp_b_badpalettesize.bmp": "Unsupported BMP Palette size",
    "bmp_b_badwidth.bmp": "decompression bomb",
    "broken.png": "not an image that Pillow can read",
    "broken_data_stream.png": "unrecognized data stream",
    "bw_gradient.png": (1, (10, 256, 1), True),
    "crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif": "decoder error",
    "crash-2020-10-test.tif": "Missing dimensions",
    "cross_scan_line_truncated.tga": "truncated",
    "decompression_bomb.gif": "decompression bomb",
    "decompression_bomb.ico": "decompression bomb",
    "exif-ifd-offset.jpg": (1, (200, 200, 3), True),
    "exif_typeerror.jpg": (1, (531, 800, 3), True),
    "hopper.gif": (1, (128, 128, 3), True),
    "hopper.webp": (1, (128, 128, 3), True),
    "hopper_16bit.pgm": (1, (128, 128, 1), False),
    "hopper_bad_exif.jpg": (1, (500, 500, 1), True),
    "hopper_float_dpi_None.tif": (1, (128, 128, 3), True),
    "hopper_gray.jpg": (1, (128, 128, 1), True),
    "hopper_lzma.tif": (1, (128, 128, 3), True),
    "hopper_orientation_6.jpg": (1, (128, 128, 3), True),
    "hopper_unknown_pixel_mode.tif": "not an image that Pillow can read",
    "i_trns.png": (1, (64, 64, 1), False),
    "icc_profile.png": (1, (57, 57, 3), True),
    "invalid-exif.jpg": (1, (200, 200, 3), True),
    "invalid_header_length.jp2": "not an image that Pillow can read",
    "l_trns.png": (1, (64, 64, 1), True),
    "multipage-mmap.tiff": (3, (10, 10, 3), True),
    "multipage.tiff": (3, (10, 10, 3), True),
    "negative_size.ppm": "not an image that Pillow can read",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "not an image that Pillow can read",
    "orientation_rectangle.jpg": (1, (2, 1, 3), True),
    "p_16.png": (1, (128, 128, 3), True),
    "pil123rgba.png": (1, (150, 162, 3), True),
    "pil_sample_cmyk.jpg": (1, (100, 100, 3), True),
    "rgb32bf-rgba.bmp": (1, (64, 127, 3), True),
    "rgb_trns_ycbc.j2k": (1, (64, 64, 3), True),
    "tRNS_null_1x1.png": (1, (1, 1, 3), True),
    "total-pages-zero.tif": (3, (2156, 1728, 1), True),
    "truncated_app14.jpg": (1, (100, 100, 3), True),
    "truncated_end_chunk.png": "Truncated File Read",
    "truncated_image.png": "truncated",
    "truncated_jpeg.jpg": "truncated",
    "unknown_compression_method.png": "not an image that Pillow can read",
    "zero_width.gif": "not an image that Pillow can read",
}


@pytest.mark.parametrize("name", sorted(ODD))
def test_odd_files_end_as_they_should(test_data, name):
    path, expected = test_data / "files" / "odd_images" / name, ODD[name]
    if isinstance(expected, str):
        with pytest.raises(UnreadableError, match=expected):
            scan_picture(path, None)[0].read()
        return
    examples = scan_picture(path, None)
    pages, _, eight_bit = expected
    assert len(examples) == pages
    for example in examples:
        pixels = example.read()
        assert pixels.shape == example.shape
        assert example.eight_bit == eight_bit
        assert pixels.dtype == (np.uint8 if eight_bit else np.float32)
        assert 0 <= pixels.min() <= pixels.max() <= (255 if eight_bit else 1)
        assert str(path.parent) not in example.name
    assert examples[0].shape == expected[1]


def test_every_odd_file_has_its_expectation(test_data):
    assert {path.name for path in (test_data / "files" / "odd_images").iterdir()} == set(ODD)


def test_native_images_are_all_read(test_data):
    paths = [p for p in (test_data / "files" / "images").rglob("*.*") if p.is_file()]
    assert len(paths) == 49
    for path in paths:
        (example,) = scan_picture(path, None)
        assert example.read().shape == example.shape


@pytest.fixture
def picture(rng):
    return rng.integers(0, 256, (20, 30, 3), np.uint8)


class TestPixels:
    def save(self, tmp_path, array, name="a.png", **options):
        path = tmp_path / name
        Image.fromarray(array).save(path, **options)
        return path

    def test_eight_bits_stay_as_they_are(self, tmp_path, picture):
        np.testing.assert_array_equal(read_picture(self.save(tmp_path, picture)), picture)
        grey = read_picture(self.save(tmp_path, picture[..., 0]))
        np.testing.assert_array_equal(grey, picture[..., :1])

    def test_sixteen_bits_are_divided_by_65535(self, tmp_path, picture):
        deep = picture[..., 0].astype(np.uint16) * 100
        for name in ("a.png", "a.tif"):
            read = read_picture(self.save(tmp_path, deep, name))
            np.testing.assert_allclose(read[..., 0], deep / 65535, atol=1e-7)

    def test_floating_point_is_taken_as_it_is_or_by_a_window(self, tmp_path, picture):
        unit = picture[..., 0] / np.float32(255)
        np.testing.assert_array_equal(
            read_picture(self.save(tmp_path, unit, "a.tif"))[..., 0], unit
        )
        units = self.save(tmp_path, unit * 2000 - 1000, "b.tif")
        with pytest.raises(UnreadableError, match=r"-1000 to 1000, lie outside.*a window"):
            read_picture(units)
        read = read_picture(units, window=(0, 1000))[..., 0]
        expected = np.clip((unit * 2000 - 1000 + 0.5) / 999 + 0.5, 0, 1)
        np.testing.assert_allclose(read, expected, atol=1e-6)

    def test_nan_is_refused(self, tmp_path):
        path = self.save(tmp_path, np.full((8, 8), np.nan, np.float32), "a.tif")
        with pytest.raises(UnreadableError, match="NaN"):
            read_picture(path)

    def test_alpha_is_dropped_and_palettes_are_resolved(self, tmp_path, picture):
        alpha = np.concatenate([picture, np.full((20, 30, 1), 7, np.uint8)], axis=-1)
        np.testing.assert_array_equal(read_picture(self.save(tmp_path, alpha)), picture)
        colours = Image.fromarray(picture).quantize(16)
        colours.save(tmp_path / "p.png")
        np.testing.assert_array_equal(
            read_picture(tmp_path / "p.png"), np.asarray(colours.convert("RGB"))
        )
        grey = Image.fromarray(picture[..., 0]).convert("P")
        grey.save(tmp_path / "g.png")
        np.testing.assert_array_equal(read_picture(tmp_path / "g.png"), picture[..., :1])

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, tmp_path, picture, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = self.save(tmp_path, picture, exif=exif)
        (example,) = scan_picture(path, None)
        turns = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
        turns |= {5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1)}
        turns |= {7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90}
        np.testing.assert_array_equal(example.read(), turns[orientation](picture))
        assert example.shape == example.read().shape

    def test_tensorflow_decodes_upright_grey_and_rgb_jpegs_alone(self, tmp_path, picture):
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = self.save(tmp_path, picture, "t.jpg", exif=exif)
        plain = self.save(tmp_path, picture, "p.jpg")
        assert scan_picture(turned, None)[0].jpeg is None
        assert scan_picture(plain, None)[0].jpeg == plain


class TestMasks:
    def test_of_two_values_become_0_and_1(self, tmp_path, rng):
        mask = rng.integers(0, 2, (9, 9), np.uint8)
        Image.fromarray(mask * 255).save(tmp_path / "m.png")
        read = read_mask(tmp_path / "m.png")
        np.testing.assert_array_equal(read, mask)
        assert read.dtype == np.int32

    def test_of_several_values_keep_them(self, tmp_path, rng):
        mask = rng.integers(0, 5, (9, 9), np.uint8)
        Image.fromarray(mask).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)

    def test_in_colour_say_whether_it_is_lit(self, tmp_path, rng):
        mask = rng.integers(0, 2, (9, 9), np.uint8)
        Image.fromarray(np.repeat(mask[..., None] * 255, 3, -1)).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)

    def test_that_cannot_be_read_say_so(self, tmp_path):
        with pytest.raises(UnreadableError, match=r"its mask m.png cannot be read: No such file"):
            read_mask(tmp_path / "m.png")
