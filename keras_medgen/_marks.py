"""The mark of generated images in PNG files, for programs to read."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_medgen._version import __version__

KEY = "Synthetic"
# Of the IPTC's vocabulary, https://cv.iptc.org/newscodes/digitalsourcetype/.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
KINDS = {
    "true": (
        "Made by a generative model: no image of a patient, and not for diagnosis.",
        "trainedAlgorithmicMedia",
    ),
    "partly": (
        "Images made by a generative model beside or over real ones: not for diagnosis.",
        "compositeWithTrainedAlgorithmicMedia",
    ),
}
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{source}"/>'
    "</rdf:RDF></x:xmpmeta>"
)


def synthetic_mark(kind: str | bool) -> PngInfo | None:
    """What a PNG file says of the images that it shows.

    Text chunks hold `Synthetic`, "true" or "partly", `Software`, `Description`, and
    `DigitalSourceType`, the IPTC's name for what trained models make; that stands in an XMP packet
    too, where programs that know the IPTC's standard look for it.

    Args:
        kind: "true" or True: all that is shown is generated. "partly": generated images, or
            reconstructions, stand beside or over real ones. False: no mark.

    Returns:
        For Pillow's `save(..., pnginfo=...)`.
    """
    if kind is False:
        return None
    value = "true" if kind is True else kind
    if value not in KINDS:
        raise ValueError(f"kind must be a bool or one of {', '.join(KINDS)}. Received: {kind!r}.")
    description, source = KINDS[value]
    mark = PngInfo()
    mark.add_text(KEY, value)
    mark.add_text("Software", f"keras_medgen {__version__}")
    mark.add_text("Description", description)
    mark.add_text("DigitalSourceType", SOURCE_TYPE + source)
    mark.add_itxt("XML:com.adobe.xmp", XMP.format(source=SOURCE_TYPE + source))
    return mark


def is_synthetic(path: str | Path) -> bool:
    """Whether a picture carries the mark of images that are generated, in whole or in part.

    Any program that reads text chunks of PNG files can do this: it is the text `Synthetic`.

    Args:
        path: of the picture.
    """
    with Image.open(path) as picture:
        return picture.info.get(KEY) in KINDS
