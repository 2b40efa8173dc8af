"""PNG and JPEG files in a graph: what a server is sent, and what it answers."""

import io

import tensorflow as tf
from PIL import Image

from keras_medgen._marks import synthetic_mark
from keras_medgen.data.resizing import LUMA, resize_image
from keras_medgen.serving.checks import checked

CHANNELS = (1, 3)  # of the images that such files hold
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
AFTER_HEADER = 33  # where a PNG's second chunk begins: after its signature and IHDR
LARGEST = 2**24  # pixels of a file: a small one may claim to hold gigabytes
MOST = 4 * LARGEST  # of all the files of a call: else small ones could take minutes to decode
PARALLEL = 4  # files decoded at a time
END = 2**31 - 1


def encode_pngs(images):
    """Images as PNG files that carry the mark of generated ones; see `synthetic_mark`.

    Args:
        images: float32 (n, height, width, channels) in [0, 1]; of 2 or 4 channels the first is
            shown.

    Returns:
        string (n,).
    """
    shown = images if images.shape[-1] in CHANNELS else images[..., :1]
    pixels = tf.cast(tf.round(tf.clip_by_value(shown, 0.0, 1.0) * 255.0), tf.uint8)
    files = tf.io.encode_png(pixels)
    header, rest = (
        tf.strings.substr(files, start, length)
        for start, length in ((0, AFTER_HEADER), (AFTER_HEADER, END))
    )
    return tf.strings.join([header, tf.constant(mark_chunks()), rest])


def mark_chunks():
    """The chunks that mark a PNG as generated, as bytes, with their checksums."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG", pnginfo=synthetic_mark("true"))
    png = file.getvalue()
    return png[AFTER_HEADER : png.index(b"IDAT") - 4]


def decode_images(files, image_shape):
    """Images of PNG and JPEG files, as `keras_medgen.data.load` reads them.

    Turned into grey or RGB, padded to the proportions of `image_shape` and resized. Alpha channels
    are dropped, grey PNGs of 16 bits keep their depth. EXIF's orientation is not looked at. JPEG
    files of CMYK are read as RGB, and refused where grey is wanted.

    Args:
        files: string (n,).
        image_shape: (height, width, 1 or 3).

    Returns:
        float32 (n, height, width, channels) in [0, 1]. When it runs, InvalidArgumentError for
        what is no such file, is damaged, or is of more than 16 million pixels, and for files of
        more than 67 million pixels together.
    """
    begin_as = {start: tf.strings.substr(files, 0, len(start)) == start for start in (JPEG, PNG)}
    # Shorter ones would make TensorFlow quote them in its errors, which go to clients and logs.
    known = (begin_as[JPEG] | begin_as[PNG]) & (tf.strings.length(files) > AFTER_HEADER)
    files = checked(files, known, "image_bytes must be PNG or JPEG files.")
    pixels = tf.map_fn(_pixels, files, fn_output_signature=tf.int64)
    message = f"image_bytes must be files of at most {LARGEST} pixels."
    pixels = checked(pixels, pixels <= LARGEST, message)  # after which no sum overflows
    message = f"image_bytes must be files of at most {MOST} pixels in all."
    files = checked(files, tf.reduce_sum(pixels) <= MOST, message)
    return tf.map_fn(
        lambda file: _decode(file, image_shape),
        files,
        fn_output_signature=tf.TensorSpec(image_shape, tf.float32),
        parallel_iterations=PARALLEL,
    )


def _decode(file, image_shape):
    *size, channels = image_shape

    def jpeg():
        image = tf.io.decode_jpeg(file, channels=channels, dct_method="INTEGER_ACCURATE")
        return _of_eight_bits(image, size)

    def png():
        image = tf.io.decode_png(file, channels=3)
        if channels == 1:  # libpng has a luma of its own
            grey = tf.tensordot(tf.cast(image, tf.float32), LUMA, axes=1)
            image = tf.cast(tf.round(grey), tf.uint8)[..., None]
        return _of_eight_bits(image, size)

    def deep():
        image = tf.io.decode_png(file, channels=1, dtype=tf.uint16)
        image = resize_image(tf.cast(image, tf.float32) / 65535.0, size, "pad")
        return tf.repeat(image, channels, axis=-1)

    # The depth and the kind of colour stand at the end of IHDR; 0 is grey without alpha.
    is_deep = tf.strings.substr(file, 24, 2) == b"\x10\x00"
    kind = tf.where(_is_jpeg(file), 0, tf.where(is_deep, 2, 1))
    image = tf.switch_case(kind, [jpeg, png, deep])
    return tf.ensure_shape(image, image_shape)


def _is_jpeg(file):
    return tf.strings.substr(file, 0, len(JPEG)) == JPEG


def _pixels(file):
    """How many a file says that it has, int64."""
    rows_and_columns = tf.cond(
        _is_jpeg(file),
        lambda: tf.image.extract_jpeg_shape(file)[:2],
        lambda: tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.int32, little_endian=False),
    )
    return tf.reduce_prod(tf.abs(tf.cast(rows_and_columns, tf.int64)))


def _of_eight_bits(image, size):
    return tf.cast(resize_image(image, size, "pad"), tf.float32) / 255.0
