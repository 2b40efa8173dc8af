import functools
import gzip
import re
import threading
import warnings

import numpy as np
import pytest

from keras_medgen.data.found import UnreadableError
from keras_medgen.data.readers.dicom import scan_dicom

pydicom = pytest.importorskip("pydicom", minversion="3.0")

NAME, PATIENT = "Doe^Jane^Q", "ID-4711-X"


@pytest.fixture(autouse=True)
def _clean_keras():
    """Nothing here uses Keras, and clearing its session takes longer than these tests."""


# file: shape, number of images, dtype; or the reason why it gives none.
GREY, COLOUR = "float32", "uint8"
EXPECTED = {
    "693_J2KI.dcm": ((512, 512, 1), 1, GREY),
    "693_J2KR.dcm": ((512, 512, 1), 1, GREY),
    "CT_small.dcm": ((128, 128, 1), 1, GREY),
    "ExplVR_BigEnd.dcm": ((60, 80, 3), 1, COLOUR),
    "J2K_pixelrep_mismatch.dcm": ((512, 512, 1), 1, GREY),
    "JPEG-LL.dcm": ((1024, 256, 1), 1, GREY),
    "JPEG-lossy.dcm": ((1024, 256, 1), 1, GREY),
    "JPEG2000.dcm": ((1024, 256, 1), 1, GREY),
    "MR2_J2KI.dcm": ((1024, 1024, 1), 1, GREY),
    "MR_small.dcm": ((64, 64, 1), 1, GREY),
    "MR_small_RLE.dcm": ((64, 64, 1), 1, GREY),
    "MR_small_bigendian.dcm": ((64, 64, 1), 1, GREY),
    "MR_small_implicit.dcm": ((64, 64, 1), 1, GREY),
    "MR_small_jp2klossless.dcm": ((64, 64, 1), 1, GREY),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64, 1), 1, GREY),
    "MR_small_padded.dcm": ((64, 64, 1), 1, GREY),
    "MR_truncated.dcm": "pixel data is cut short",
    "OBXXXX1A_rle_2frame.dcm": ((600, 800, 3), 2, GREY),  # colours of 16 bits
    "RG1_J2KI.dcm": ((1955, 1841, 1), 1, GREY),
    "RG3_J2KI.dcm": ((1760, 1760, 1), 1, GREY),
    "SC_rgb_jpeg.dcm": ((256, 256, 3), 1, COLOUR),
    "SC_rgb_rle_16bit_2frame.dcm": ((100, 100, 3), 2, GREY),
    "SC_rgb_small_odd.dcm": ((3, 3, 3), 1, COLOUR),
    "SC_ybr_full_422_uncompressed.dcm": ((100, 100, 3), 1, COLOUR),
    "US1_J2KI.dcm": ((480, 640, 3), 1, COLOUR),
    "badVR.dcm": "NumberOfFrames tag .* no number",
    "color-pl.dcm": ((120, 256, 3), 1, COLOUR),
    "decimal_rescale.dcm": "all pixels are -4096",
    "eCT_Supplemental.dcm": ((512, 512, 1), 2, GREY),
    "emri_small.dcm": ((64, 64, 1), 10, GREY),
    "emri_small_RLE.dcm": ((64, 64, 1), 10, GREY),
    "examples_jpeg2k.dcm": ((480, 640, 3), 1, COLOUR),
    "examples_overlay.dcm": ((300, 484, 1), 1, GREY),
    "examples_palette.dcm": ((350, 800, 3), 1, GREY),
    "examples_ybr_color.dcm": ((240, 320, 3), 30, COLOUR),
    "image_dfl.dcm": ((512, 512, 1), 1, COLOUR),
    "liver_1frame.dcm": "segmentation object",
    "liver_rle.dcm": "segmentation object",
    "mlut_18.dcm": ((512, 512, 1), 1, GREY),
    "no_meta.dcm": "not a DICOM file",
    "parametric_map_float.dcm": ((128, 128, 1), 1, GREY),
    "rtdose.dcm": "radiotherapy dose",
    "rtplan.dcm": "no pixel data .a radiotherapy plan",
    "test-SR.dcm": "no pixel data .a structured report",
    "vlut_04.dcm": ((512, 512, 1), 1, GREY),
    "zipMR.gz": ((64, 64, 1), 1, GREY),
}
USED = [name for name, outcome in EXPECTED.items() if not isinstance(outcome, str)]


@functools.cache
def _scanned(folder):
    """Examples by file, and reasons by file, of the whole set in one scan."""
    for decoder in ("openjpeg", "jpeg_ls", "gdcm"):
        pytest.importorskip(decoder)
    examples, left_out = scan_dicom(sorted(folder.iterdir()), None)
    by_file = {}
    for example in examples:
        by_file.setdefault(example.name.split(" frame ")[0], []).append(example)
    return by_file, dict(left_out)


@pytest.fixture
def real(test_data):
    return test_data / "files" / "dicom"


def test_every_real_file_is_expected(real):
    assert {path.name for path in real.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_real_files_end_as_they_should(real, name):
    by_file, left_out = _scanned(real)
    outcome = EXPECTED[name]
    if isinstance(outcome, str):
        if name in by_file:
            with pytest.raises(UnreadableError, match=outcome):
                by_file[name][0].read()
        else:
            assert re.search(outcome, left_out[name])
        return
    shape, count, dtype = outcome
    assert name not in left_out
    assert len(by_file[name]) == count
    for example in by_file[name]:
        image = example.read()
        assert image.shape == example.shape == shape
        assert image.dtype == dtype
        assert example.eight_bit == (dtype == "uint8")
        assert image.min() >= 0
        assert image.max() <= (255 if example.eight_bit else 1)
        assert image.min() < image.max()


def _dataset(path):
    """A file as pydicom reads it; what an enhanced file says of all frames, at the top."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    for group in dataset.get("SharedFunctionalGroupsSequence", []):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(macro, []):
                dataset.update(item)
    return dataset


def _decoded(path, dataset):
    if path.name == "JPEG-lossy.dcm":  # pydicom does not hand 12-bit JPEG to GDCM
        gdcm = pytest.importorskip("gdcm")
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        data = reader.GetImage().GetBuffer().encode("utf-8", errors="surrogateescape")
        return np.frombuffer(data, "u2").reshape(dataset.Rows, dataset.Columns)
    return dataset.pixel_array


def _by_pydicom(path):
    """All frames in [0, 1] by pydicom's own functions, (frames, height, width, channels).

    Files without a window or VOI LUT take the stated range.
    """
    pixels = pydicom.pixels
    dataset = _dataset(path)
    stored = _decoded(path, dataset)
    if dataset.get("NumberOfFrames", 1) == 1 and stored.ndim == 2 + (dataset.SamplesPerPixel == 3):
        stored = stored[None]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return pixels.apply_color_lut(stored, dataset) / 65535
    if dataset.SamplesPerPixel == 3:
        return stored / (2**dataset.BitsStored - 1)
    values = pixels.apply_modality_lut(stored, dataset)
    if "FloatPixelData" in dataset:
        # pydicom's windowing asks for these; the range cancels out. Its LINEAR is for integers.
        dataset.BitsStored, dataset.PixelRepresentation = 16, 0
        dataset.VOILUTFunction = "LINEAR_EXACT"
    shown = pixels.apply_voi_lut(values, dataset)
    if "VOILUTSequence" in dataset:
        low, high = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowCenter" in dataset:
        low, high = _window_output(dataset)
    elif dataset.Modality == "CT":
        low, high = -1024, 3071
    elif dataset.BitsStored == 8:
        low, high = 0, 255
    else:
        low, high = np.percentile(_series_values(path, dataset), [0.5, 99.5])
    scaled = np.clip((shown - low) / (high - low), 0, 1)[..., None]
    return 1 - scaled if dataset.PhotometricInterpretation == "MONOCHROME1" else scaled


def _window_output(dataset):
    """The range that pydicom's windowing maps onto: what the stored bits hold, rescaled."""
    signed, bits = dataset.PixelRepresentation, dataset.BitsStored
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    return [end * float(slope) + float(intercept) for end in ends]


def _series_values(path, dataset):
    values = []
    for other in sorted(path.parent.glob("*.dcm")):
        header = pydicom.dcmread(other, force=True)
        if header.get("SeriesInstanceUID") == dataset.SeriesInstanceUID:
            found = pydicom.pixels.apply_modality_lut(_decoded(other, header), header)
            values.append(found.ravel())
    return np.concatenate(values)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", USED)
def test_pixels_are_pydicoms(real, name):
    by_file, _ = _scanned(real)
    expected = _by_pydicom(real / name)
    assert len(expected) == len(by_file[name])
    for example, reference in zip(by_file[name], expected, strict=True):
        image = example.read()
        scaled = image / 255 if example.eight_bit else image
        np.testing.assert_allclose(scaled, reference, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KR.dcm", "eCT_Supplemental.dcm"])
def test_a_window_given_is_pydicoms(real, name):
    pytest.importorskip("openjpeg")
    example = scan_dicom([real / name], (40.0, 400.0))[0][0]
    dataset = _dataset(real / name)
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    values = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    shown = pydicom.pixels.apply_windowing(values, dataset)
    shown = shown if shown.ndim == 2 else shown[0]
    low, high = _window_output(dataset)
    scaled = (shown - low) / (high - low)
    np.testing.assert_allclose(example.read()[..., 0], scaled, rtol=0, atol=1e-6)


@pytest.fixture
def write_dicom(tmp_path):
    """Writes a file of one or several frames and returns its path; `None` drops a tag."""

    def write(name, pixels, bits=None, syntax=None, **tags):
        dataset = pydicom.Dataset()
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        dataset.file_meta = meta
        dataset.SOPClassUID = meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.PatientName, dataset.PatientID = NAME, PATIENT
        dataset.StudyInstanceUID = "1.2.3"
        dataset.SeriesInstanceUID = pydicom.uid.generate_uid()
        dataset.Modality = "OT"
        if pixels is not None:
            pixels = np.asarray(pixels)
            colour = pixels.shape[-1] == 3 and pixels.ndim > 2
            dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
            frames = pixels.ndim - (3 if colour else 2)
            if frames:
                dataset.NumberOfFrames = len(pixels)
            dataset.SamplesPerPixel = 3 if colour else 1
            dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
            if colour:
                dataset.PlanarConfiguration = 0
            dataset.BitsAllocated = 1 if pixels.dtype == bool else pixels.itemsize * 8
            if pixels.dtype.kind == "f":
                keyword = "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData"
                setattr(dataset, keyword, pixels.tobytes())
            else:
                dataset.BitsStored = bits or dataset.BitsAllocated
                dataset.HighBit = dataset.BitsStored - 1
                dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
                if pixels.dtype == bool:
                    data = np.packbits(pixels.ravel(), bitorder="little").tobytes()
                else:
                    data = pixels.tobytes()
                dataset.add_new("PixelData", "OW", data + b"\0" * (len(data) % 2))
        for keyword, value in tags.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


def _only(path, window=None):
    examples, left_out = scan_dicom([path], window)
    assert not left_out
    assert len(examples) == 1
    image = examples[0].read()
    assert image.shape == examples[0].shape
    assert examples[0].eight_bit == (image.dtype == np.uint8)
    return image[..., 0] if image.shape[-1] == 1 else image


def _lut(entries, first, bits):
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return [item]


RAMP = np.arange(12).reshape(3, 4)


class TestValues:
    def test_eight_bits_stay(self, write_dicom):
        image = _only(write_dicom("a.dcm", (RAMP * 20).astype(np.uint8)))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, RAMP * 20)
        same = write_dicom(
            "b.dcm", (RAMP * 20).astype(np.uint8), RescaleSlope=1, RescaleIntercept=0
        )
        np.testing.assert_array_equal(_only(same), RAMP * 20)

    def test_monochrome1_is_inverted(self, write_dicom):
        pixels = (RAMP * 20).astype(np.uint8)
        path = write_dicom("a.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
        np.testing.assert_array_equal(_only(path), 255 - pixels)
        np.testing.assert_allclose(
            _only(path, (100, 201)), 1 - np.clip((pixels - 99.5) / 200 + 0.5, 0, 1), atol=1e-6
        )

    def test_fewer_bits_fill_their_range(self, write_dicom):
        six = _only(write_dicom("a.dcm", (RAMP * 5).astype(np.uint8), bits=6))
        np.testing.assert_allclose(six, RAMP * 5 / 63, atol=1e-6)
        signed = _only(write_dicom("b.dcm", (RAMP * 20 - 128).astype(np.int8)))
        np.testing.assert_allclose(signed, RAMP * 20 / 255, atol=1e-6)

    def test_one_bit(self, write_dicom):
        pixels = RAMP % 3 == 0
        image = _only(write_dicom("a.dcm", pixels))
        np.testing.assert_array_equal(image, pixels.astype(np.float32))

    def test_ct_shows_12_bits_of_hounsfield_units(self, write_dicom):
        stored = (RAMP * 100 - 200).astype(np.int16)
        path = write_dicom("a.dcm", stored, Modality="CT", RescaleSlope=2, RescaleIntercept=-500)
        units = stored * 2.0 - 500
        np.testing.assert_allclose(_only(path), np.clip((units + 1024) / 4095, 0, 1), atol=1e-6)
        np.testing.assert_allclose(
            _only(path, (40.0, 400.0)), np.clip((units - 39.5) / 399 + 0.5, 0, 1), atol=1e-6
        )

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, "f4", "f8"])
    def test_others_take_percentiles(self, write_dicom, dtype, rng):
        pixels = rng.integers(0, 4000, (30, 40)).astype(dtype)
        low, high = np.percentile(pixels.astype(float), [0.5, 99.5])
        expected = np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(_only(write_dicom("a.dcm", pixels)), expected, atol=1e-6)

    def test_percentiles_are_the_series(self, write_dicom, rng):
        images = [rng.integers(0, top, (30, 40), np.uint16) for top in (100, 4000)]
        paths = [
            write_dicom(f"{n}.dcm", image, bits=12, SeriesInstanceUID="1.5")
            for n, image in enumerate(images)
        ]
        low, high = np.percentile(images, [0.5, 99.5])
        for example, image in zip(scan_dicom(paths, None)[0], images, strict=True):
            expected = np.clip((image - low) / (high - low), 0, 1)[..., None]
            np.testing.assert_allclose(example.read(), expected, atol=1e-6)

    def test_padding_is_black_and_outside_the_percentiles(self, write_dicom, rng):
        pixels = rng.integers(100, 900, (30, 40)).astype(np.int16)
        padding = np.zeros(pixels.shape, bool)
        padding[:, :20] = True
        low, high = np.percentile(pixels[~padding], [0.5, 99.5])
        pixels[padding] = 3000
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            path = write_dicom(
                "a.dcm", pixels, PixelPaddingValue=3000, PhotometricInterpretation=photometric
            )
            image = _only(path)
            assert not image[padding].any()
            expected = np.clip((pixels - low) / (high - low), 0, 1)
            expected = 1 - expected if photometric == "MONOCHROME1" else expected
            np.testing.assert_allclose(image[~padding], expected[~padding], atol=1e-6)

    def test_padding_of_signed_pixels_written_as_unsigned(self, write_dicom, rng):
        pixels = rng.integers(100, 900, (30, 40)).astype(np.int16)
        pixels[0] = -2000
        path = write_dicom("a.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.save_as(path)
        assert not _only(path)[0].any()

    def test_not_a_number_is_black(self, write_dicom, rng):
        pixels = rng.uniform(1, 2, (30, 40)).astype(np.float32)
        pixels[0] = np.nan
        image = _only(write_dicom("a.dcm", pixels))
        assert np.isfinite(image).all()
        assert not image[0].any()

    @pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
    def test_the_files_first_window(self, write_dicom, function):
        pixels = (RAMP * 300).astype(np.uint16)
        path = write_dicom(
            "a.dcm",
            pixels,
            bits=12,
            WindowCenter=[1500, 40],
            WindowWidth=[2000, 80],
            VOILUTFunction=function,
        )
        expected = pydicom.pixels.apply_windowing(pixels, pydicom.dcmread(path)) / 4095
        np.testing.assert_allclose(_only(path), expected, atol=1e-6)

    def test_a_window_that_dicom_forbids_is_none(self, write_dicom):
        pixels = (RAMP * 20).astype(np.uint8)
        path = write_dicom("a.dcm", pixels, WindowCenter=100, WindowWidth=0)
        np.testing.assert_array_equal(_only(path), pixels)

    @pytest.mark.parametrize("bits", [8, 12, 16])
    def test_lookup_tables(self, write_dicom, rng, bits):
        entries = rng.integers(0, 2**bits, 4096)
        pixels = rng.integers(-100, 4200, (30, 40)).astype(np.int16)
        index = np.clip(pixels.astype(int) - 10, 0, 4095)
        path = write_dicom("a.dcm", pixels, VOILUTSequence=_lut(entries, 10, bits))
        np.testing.assert_allclose(_only(path), entries[index] / (2**bits - 1), atol=1e-6)
        modality = write_dicom(
            "b.dcm",
            pixels,
            ModalityLUTSequence=_lut(entries, 10, bits),
            ModalityLUTType="US",
        )
        expected = np.clip((entries[index] - 9.5) / 99 + 0.5, 0, 1)
        np.testing.assert_allclose(_only(modality, (10.0, 100.0)), expected, atol=1e-6)

    def test_window_and_rescale_of_each_frame(self, write_dicom):
        def group(**tags):
            transformation, window = pydicom.Dataset(), pydicom.Dataset()
            transformation.RescaleSlope = tags["slope"]
            transformation.RescaleIntercept = 0
            window.WindowCenter, window.WindowWidth = tags["window"]
            item = pydicom.Dataset()
            item.PixelValueTransformationSequence = [transformation]
            item.FrameVOILUTSequence = [window]
            return item

        pixels = np.stack([RAMP * 10, RAMP * 20]).astype(np.uint16)
        path = write_dicom(
            "a.dcm",
            pixels,
            PerFrameFunctionalGroupsSequence=[
                group(slope=1, window=(50, 101)),
                group(slope=2, window=(200, 301)),
            ],
        )
        examples, _ = scan_dicom([path], None)
        assert [example.name for example in examples] == ["a.dcm frame 1", "a.dcm frame 2"]
        for example, frame, slope, (centre, width) in zip(
            examples, pixels, (1, 2), ((50, 101), (200, 301)), strict=True
        ):
            expected = np.clip((frame * float(slope) - centre + 0.5) / (width - 1) + 0.5, 0, 1)
            np.testing.assert_allclose(example.read()[..., 0], expected, atol=1e-6)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_colours(self, write_dicom, rng, dtype):
        pixels = rng.integers(0, np.iinfo(dtype).max, (5, 6, 3), dtype, endpoint=True)
        image = _only(write_dicom("a.dcm", pixels), (40.0, 80.0))  # a window is for grey values
        if dtype == np.uint8:
            np.testing.assert_array_equal(image, pixels)
        else:
            np.testing.assert_allclose(image, pixels / 65535, atol=1e-6)

    @pytest.mark.parametrize(
        ("entry", "bits", "white"), [("u1", 8, None), ("<u2", 16, 65535), ("<u2", 8, 255)]
    )
    def test_palettes(self, write_dicom, rng, entry, bits, white):
        tables = rng.integers(0, 2**bits, (3, 256)).astype(entry)
        tags = {}
        for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
            tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
        pixels = rng.integers(0, 300, (5, 6), np.uint16)  # beyond the last entry, too
        path = write_dicom("a.dcm", pixels, PhotometricInterpretation="PALETTE COLOR", **tags)
        expected = np.moveaxis(tables[:, np.minimum(pixels, 255)], 0, -1)
        if white is None:
            np.testing.assert_array_equal(_only(path), expected)
        else:
            np.testing.assert_allclose(_only(path), expected / white, atol=1e-6)

    def test_big_endian_and_implicit(self, write_dicom):
        plain = _only(write_dicom("a.dcm", (RAMP * 300).astype("<u2")))
        implicit = write_dicom(
            "b.dcm", (RAMP * 300).astype("<u2"), syntax=pydicom.uid.ImplicitVRLittleEndian
        )
        np.testing.assert_array_equal(_only(implicit), plain)


class TestUnreadable:
    @pytest.mark.parametrize(
        ("pixels", "window", "reason"),
        [
            (np.full((4, 5), 7, np.uint8), None, "all pixels are 7"),
            (np.full((4, 5), 7, np.uint16), None, "all pixels are 7"),
            (np.full((4, 5), np.nan, np.float32), None, "all pixels are NaN"),
            (np.full((4, 5, 3), (1, 2, 3), np.uint8), None, r"all pixels are \(1, 2, 3\)"),
            (RAMP.astype(np.uint16), (1000.0, 10.0), "one side of the window"),
        ],
    )
    def test_one_value_throughout(self, write_dicom, pixels, window, reason):
        examples, left_out = scan_dicom([write_dicom("a.dcm", pixels)], window)
        assert not left_out
        with pytest.raises(UnreadableError, match=reason):
            examples[0].read()

    def test_frames_that_are_cut_off(self, write_dicom):
        pixels = np.stack([RAMP] * 4).astype(np.uint8)
        path = write_dicom("a.dcm", pixels)
        path.write_bytes(path.read_bytes()[:-20])
        examples, _ = scan_dicom([path], None)
        np.testing.assert_array_equal(examples[0].read()[..., 0], RAMP)
        with pytest.raises(UnreadableError, match=r"cut short|cannot be decoded"):
            examples[3].read()

    @pytest.mark.parametrize(
        ("tags", "reason"),
        [
            ({"Modality": "SEG"}, "a segmentation object"),
            ({"Modality": "RTDOSE"}, "a radiotherapy dose"),
            ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "a segmentation object"),
            ({"Rows": None}, "Rows tag is missing"),
            ({"Rows": 0}, "0 x 4 pixels"),
            ({"Rows": 65535, "Columns": 65535}, "too large"),
            ({"NumberOfFrames": 2**31 - 1}, "2147483647 frames"),
            ({"BitsAllocated": None}, "BitsAllocated tag is missing"),
            ({"PhotometricInterpretation": None}, "colours of 1 samples as None"),
            ({"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3}, "as HSV are not read"),
            ({"SamplesPerPixel": 4}, "colours of 4 samples"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette is missing"),
        ],
    )
    def test_headers(self, write_dicom, tags, reason):
        path = write_dicom("a.dcm", RAMP.astype(np.uint8), **tags)
        examples, left_out = scan_dicom([path], None)
        assert not examples
        assert len(left_out) == 1
        assert left_out[0][0] == "a.dcm"
        assert re.search(reason, left_out[0][1])

    def test_no_pixels_and_no_dicom(self, write_dicom, tmp_path):
        paths = [write_dicom("report.dcm", None, Modality="SR"), write_dicom("bare.dcm", None)]
        for name, data in [
            ("empty.dcm", b""),
            ("text.dcm", b"no image at all, only words" * 20),
            ("noise.dcm", bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))),
            ("start.dcm", b"\0" * 128 + b"DICM" + b"\xff" * 50),
            ("cut.gz", gzip.compress(b"DICM" * 1000)[:20]),
        ]:
            paths.append(tmp_path / name)
            paths[-1].write_bytes(data)
        paths.append(tmp_path / "absent.dcm")
        examples, left_out = scan_dicom(paths, None)
        assert not examples
        reasons = dict(left_out)
        assert reasons["report.dcm"] == "no pixel data (a structured report)"
        assert reasons["bare.dcm"] == "no pixel data"
        assert reasons["empty.dcm"] == "an empty file"
        assert reasons["text.dcm"] == reasons["noise.dcm"] == "not a DICOM file"
        assert "header" in reasons["start.dcm"] or "no pixel data" in reasons["start.dcm"]
        assert "cannot be opened" in reasons["cut.gz"]
        assert "cannot be opened" in reasons["absent.dcm"]

    def test_a_transfer_syntax_without_decoder(self, write_dicom):
        path = write_dicom("a.dcm", RAMP.astype(np.uint8))
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        _, left_out = scan_dicom([path], None)
        assert "MPEG2" in left_out[0][1]
        assert "not read" in left_out[0][1]

    def test_damaged_compressed_pixels(self, real, tmp_path):
        pytest.importorskip("openjpeg")
        data = (real / "MR_small_jp2klossless.dcm").read_bytes()
        path = tmp_path / "a.dcm"
        start = data.index(b"\xff\x4f\xff\x51") + 4  # of the JPEG 2000 stream's own header
        for damaged, reason in [
            (data[:start] + bytes(200) + data[start + 200 :], "cannot be decoded .JPEG 2000"),
            (data[:-2000], "cut short"),
        ]:
            path.write_bytes(damaged)
            examples, _ = scan_dicom([path], None)
            with pytest.raises(UnreadableError, match=reason):
                examples[0].read()

    @pytest.mark.parametrize("error", [RuntimeError, BaseException])  # Rust's panics are the latter
    def test_decoders_that_fail(self, write_dicom, monkeypatch, error):
        examples, _ = scan_dicom([write_dicom("a.dcm", RAMP.astype(np.uint8))], None)

        def fail(*args, **kwargs):
            raise error(PATIENT)

        monkeypatch.setattr(pydicom.pixels, "pixel_array", fail)
        with pytest.raises(UnreadableError, match=r"cannot be decoded \(Explicit VR Little"):
            examples[0].read()


class TestFiles:
    def test_without_a_preamble(self, write_dicom, tmp_path):
        path = write_dicom("a.dcm", (RAMP * 20).astype(np.uint8))
        dataset = pydicom.dcmread(path)
        data = pydicom.filebase.DicomBytesIO()
        data.is_implicit_VR, data.is_little_endian = False, True
        pydicom.filewriter.write_dataset(data, pydicom.Dataset(dataset))
        bare = tmp_path / "bare.dcm"
        bare.write_bytes(data.getvalue())
        np.testing.assert_array_equal(_only(bare), RAMP * 20)

    def test_zipped_frames(self, write_dicom, tmp_path):
        pixels = np.stack([RAMP * 10, RAMP * 20]).astype(np.uint8)
        zipped = tmp_path / "a.dcm.gz"
        zipped.write_bytes(gzip.compress(write_dicom("a.dcm", pixels).read_bytes()))
        examples, _ = scan_dicom([zipped], None)
        for example, frame in zip(examples, pixels, strict=True):
            np.testing.assert_array_equal(example.read()[..., 0], frame)

    def test_patients_and_volumes(self, write_dicom):
        pixels = (RAMP * 20).astype(np.uint8)
        paths = [
            write_dicom("a1.dcm", pixels, PatientID="A", SeriesInstanceUID="1.1"),
            write_dicom("a2.dcm", pixels, PatientID="A", SeriesInstanceUID="1.1"),
            write_dicom("a3.dcm", pixels, PatientID="A", SeriesInstanceUID="1.2"),
            write_dicom("b.dcm", np.stack([pixels] * 2), PatientID="B", SeriesInstanceUID="1.3"),
            write_dicom("c.dcm", pixels, PatientID="  ", StudyInstanceUID="1.9"),
            write_dicom("d.dcm", pixels, PatientID=None, StudyInstanceUID=None),
        ]
        examples, left_out = scan_dicom(paths, None)
        assert not left_out
        assert [e.path for e in examples] == [*paths[:4], *paths[3:]]
        assert [e.patient for e in examples[:6]] == ["A", "A", "A", "B", "B", "1.9"]
        assert examples[6].patient not in ("A", "B", "1.9", None)
        volumes = [e.volume for e in examples]
        assert volumes[0] == volumes[1] != volumes[3] == volumes[4]
        assert None not in (volumes[0], volumes[3])
        assert volumes[2] is volumes[5] is volumes[6] is None

    def test_no_tag_of_the_patient_gets_out(self, write_dicom, capfd):
        paths = [
            write_dicom("a.dcm", RAMP.astype(np.uint8)),
            write_dicom("b.dcm", RAMP.astype(np.uint8), Rows=0),
            write_dicom("c.dcm", None),
            write_dicom("d.dcm", np.zeros((3, 4), np.uint8)),
        ]
        damaged = paths[0].with_name("e.dcm")
        damaged.write_bytes(paths[0].read_bytes()[:-6])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            examples, left_out = scan_dicom([*paths, damaged], None)
            said = [example.name for example in examples] + [str(pair) for pair in left_out]
            for example in examples:
                try:
                    example.read()
                except UnreadableError as error:
                    said.append(str(error))
        said += [str(warning.message) for warning in caught] + list(capfd.readouterr())
        assert len(left_out) == 2
        for secret in (NAME, PATIENT, str(paths[0].parent), "Jane"):
            assert not any(secret in text for text in said)
        assert examples[0].patient == PATIENT

    def test_threads_read_alike_and_leave_the_warning_filters(self, real):
        (example,), _ = scan_dicom([real / "SC_rgb_jpeg.dcm"], None)
        expected = example.read()
        before = list(warnings.filters)
        images = []

        def work():
            images.extend(example.read() for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == before
        assert len(images) == 20
        for image in images:
            np.testing.assert_array_equal(image, expected)
