import struct
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from keras_medgen import pictures
from keras_medgen._marks import is_synthetic, synthetic_mark

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def chunks(path):
    """(type, data) of each chunk of a PNG, by the specification of the format."""
    data, found, place = path.read_bytes(), [], 8
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        found.append((kind.decode(), data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def texts(path):
    """The texts of a PNG."""
    found = {}
    for kind, data in chunks(path):
        name, _, rest = data.partition(b"\0")
        if kind == "tEXt":
            found[name.decode("latin-1")] = rest.decode("latin-1")
        elif kind == "iTXt":  # not compressed, no language, no translated keyword
            assert rest[:4] == b"\0\0\0\0"
            found[name.decode("latin-1")] = rest[4:].decode("utf-8")
    return found


@pytest.fixture
def images(rng):
    return rng.random((5, 8, 8, 1), np.float32)


def test_images_of_8_bits_look_as_in_floats(images, tmp_path):
    pixels = (images * 255).round().astype(np.uint8)
    pictures.save_reconstructions(tmp_path / "floats.png", pixels / np.float32(255), images, 4)
    pictures.save_reconstructions(tmp_path / "both.png", pixels, images, 4)
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "floats.png").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_other_numbers_up_to_255_are_refused(images, tmp_path, dtype):
    with pytest.raises(ValueError, match=rf"uint8, or in \[0, 1\]. Received: {dtype} up to 25"):
        pictures.save_grid(tmp_path / "grid.png", (images * 255).astype(dtype), 4)
    assert not (tmp_path / "grid.png").exists()


def test_panels_show_one_channel_or_three(rng, tmp_path):
    plane = rng.random((8, 8))
    for channels in (1, 2, 4):
        image = np.repeat(plane[..., None], channels, axis=-1)
        for name, shown in (("planes", plane), (channels, image)):
            pictures.save_panels(tmp_path / f"{name}.png", [[shown]], ["a"], ["input"])
        found = [(tmp_path / f"{name}.png").read_bytes() for name in ("planes", channels)]
        assert found[0] == found[1]


@pytest.mark.parametrize(
    ("synthetic", "value", "source"),
    [
        (True, "true", "trainedAlgorithmicMedia"),
        ("partly", "partly", "compositeWithTrainedAlgorithmicMedia"),
    ],
)
def test_a_grid_of_generated_images_says_so(images, tmp_path, synthetic, value, source):
    path = tmp_path / "grid.png"
    pictures.save_grid(path, images, 3, synthetic)
    found = texts(path)
    assert found["Synthetic"] == value
    assert found["Software"] == f"keras_medgen {kmg.__version__}"
    assert "not for diagnosis" in found["Description"]
    assert found["DigitalSourceType"] == SOURCES + source
    packet = ElementTree.fromstring(found["XML:com.adobe.xmp"])
    (description,) = packet.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert description.attrib[name] == SOURCES + source
    assert is_synthetic(path)


def test_a_mark_leaves_the_pixels_alone_and_real_images_have_none(images, tmp_path):
    marked, plain = tmp_path / "marked.png", tmp_path / "plain.png"
    pictures.save_grid(marked, images, 3, synthetic=True)
    pictures.save_grid(plain, images, 3)
    with Image.open(marked) as one, Image.open(plain) as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert {kind for kind, _ in chunks(plain)} == {"IHDR", "IDAT", "IEND"}
    assert not is_synthetic(plain)


def test_every_kind_of_picture(images, tmp_path):
    pictures.save_reconstructions(tmp_path / "reconstructions.png", images, images)
    panels = [[images[0, ..., 0], images[1, ..., 0]]]
    for name, synthetic in (("restored.png", "partly"), ("maps.png", False)):
        pictures.save_panels(tmp_path / name, panels, ["row"], ["input", "map"], synthetic)
    pictures.save_picture(tmp_path / "generated.png", images[0], synthetic=True)
    pictures.save_picture(tmp_path / "real.png", images[0], synthetic=False)
    kmg.latents.save_rows(tmp_path / "path.png", images)
    pictures.save_curves(tmp_path / "curves.png", {"loss": [2.0, 1.0]})
    found = {path.stem: texts(path).get("Synthetic") for path in tmp_path.iterdir()}
    assert found == {
        "reconstructions": "partly",
        "restored": "partly",
        "maps": None,
        "generated": "true",
        "real": None,
        "path": "true",
        "curves": None,
    }


def test_other_pictures_have_no_mark(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "scan.jpg")
    assert not is_synthetic(tmp_path / "scan.jpg")
    with pytest.raises(ValueError, match=r"one of true, partly\. Received: 'yes'"):
        synthetic_mark("yes")
