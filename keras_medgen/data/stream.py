"""Images that are decoded whenever they are asked for."""

import copy

import numpy as np
import tensorflow as tf

from keras_medgen.data.found import Example, UnreadableError
from keras_medgen.data.resizing import convert_channels, resize_image, resize_mask
from keras_medgen.data.store import Store, mapped

LARGEST_BATCH = 2**23  # pixels, of images before they are resized
PARALLEL = 4  # images decoded at a time: two cores are busy while others wait for the disk


class Stream(Store):
    """Examples as a `Store`: files of any format, brought to one shape.

    Args:
        examples: list of `Example`.
        size: (height, width) of the images, or None if the examples have one size already.
        resize: "pad", "crop" or "stretch".
        channels: of the images.
        eight_bit: uint8 images, else float32 in [0, 1].
        fast: decode large JPEGs at half scale.
        masked: also read the masks.
    """

    def __init__(
        self,
        examples: list[Example],
        *,
        size: tuple[int, int] | None,
        resize: str,
        channels: int,
        eight_bit: bool,
        fast: bool,
        masked: bool,
    ):
        self.examples = examples
        self.size = size or examples[0].size
        self.resize = resize
        self.shape = (len(examples), *self.size, channels)
        self.dtype = np.dtype(np.uint8 if eight_bit else np.float32)
        self.fast = fast
        self.masked = masked
        self.reasons = {}  # row -> why it cannot be read
        self.lenient = False  # whether such a row gives a black pixel, in place of an error
        self._set_paths()

    def __len__(self):
        return len(self.examples)

    def _set_paths(self):
        self._paths = np.array([str(e.jpeg) if e.jpeg else "" for e in self.examples], dtype=object)
        # At half scale an image must still be as large as what is asked for.
        short = np.array([min(example.shape[:2]) for example in self.examples])
        self._halved = short // 2 >= max(self.size)

    def keep(self, rows: np.ndarray) -> "Stream":
        """The same for some of the examples."""
        chosen = copy.copy(self)
        chosen.examples = [self.examples[row] for row in rows]
        chosen.shape = (len(rows), *self.shape[1:])
        chosen.reasons = {}
        chosen._set_paths()
        return chosen

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """See `Store`."""
        if not len(rows):
            found = {"images": np.empty((0, *self.shape[1:]), self.dtype)}
            return found | ({"masks": np.empty((0, *self.size), np.int32)} if self.masked else {})
        dataset = self.examples_at(tf.data.Dataset.from_tensor_slices(rows))
        found = [{name: v.numpy() for name, v in example.items()} for example in dataset]
        return {name: np.stack([f[name] for f in found]) for name in found[0] if name != "rows"}

    def batches(self, rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """See `Store`."""
        decoded = self._decoded_size()
        if decoded is None or batch_size * decoded[0] * decoded[1] > LARGEST_BATCH:
            return self.examples_at(rows).batch(batch_size)
        # Images of one size are resized a batch at a time: half as fast again.
        examples = self.examples_at(rows, fit=False).batch(batch_size)
        return mapped(examples, lambda batch: {**batch, "images": self._fit(batch["images"])})

    def _decoded_size(self) -> tuple[int, int] | None:
        """The size that all examples have when they are decoded, if they are JPEGs of one size."""
        if not all(self._paths) or len({example.shape[:2] for example in self.examples}) > 1:
            return None  # what other readers give may differ from what the header says
        height, width = self.examples[0].shape[:2]
        if self.fast and self._halved[0]:
            return -(-height // 2), -(-width // 2)  # as libjpeg rounds
        return height, width

    def examples_at(self, rows: tf.data.Dataset, fit: bool = True) -> tf.data.Dataset:
        """A dataset of row numbers to one of dicts: `rows`, `images` and, if asked for, `masks`.

        Images are brought to their size if `fit`, and are as they were decoded if not.
        """
        paths, halved = tf.constant(self._paths.tolist(), tf.string), tf.constant(self._halved)
        kinds = {"jpeg" if path else "read" for path in self._paths}
        decoded = self._decoded_size() or (None, None)

        def example(row):
            path, half = paths[row], halved[row]
            if kinds == {"read"}:
                image = self._decode(row)
            elif kinds == {"jpeg"}:
                image = self._decode_jpeg(path, half if self.fast else None)
            else:
                image = tf.cond(
                    path == "",
                    lambda: self._decode(row),
                    lambda: self._decode_jpeg(path, half if self.fast else None),
                )
            image = tf.ensure_shape(image, (*decoded, self.shape[-1]))
            if fit:
                image = tf.ensure_shape(self._fit(image), self.shape[1:])
            found = {"rows": row, "images": image}
            if self.masked:
                mask = tf.numpy_function(self._read_mask, [row], tf.int32, stateful=False)
                found["masks"] = tf.ensure_shape(mask, self.size)
            return found

        return mapped(rows, example, PARALLEL)

    def example(self, row: int) -> dict[str, tf.Tensor]:
        """One example by its own reader, as `examples_at` gives it."""
        found = {"images": self._fit(tf.constant(self._read(row)))}
        if self.masked:
            found["masks"] = tf.constant(self._read_mask(row))
        return found

    def _decode_jpeg(self, path, half):
        def decode(ratio):
            return tf.io.decode_jpeg(
                tf.io.read_file(path),
                channels=self.shape[-1],  # grey is the luma that the file holds
                ratio=ratio,
                dct_method="INTEGER_ACCURATE",  # as Pillow decodes
            )

        image = decode(1) if half is None else tf.cond(half, lambda: decode(2), lambda: decode(1))
        return image if self.dtype == np.uint8 else tf.cast(image, tf.float32) / 255.0

    def _decode(self, row):
        image = tf.numpy_function(self._read, [row], self.dtype, stateful=False)
        return tf.ensure_shape(image, (None, None, self.shape[-1]))

    def _read(self, row) -> np.ndarray:
        try:
            image = convert_channels(self.examples[row].read(), self.shape[-1])
        except UnreadableError as error:
            self.reasons[int(row)] = str(error)
            if self.lenient:
                return np.zeros((1, 1, self.shape[-1]), self.dtype)
            raise UnreadableError(f"{self.examples[row].name}: {error}") from None
        if image.dtype != self.dtype:  # 8 bits among images of more
            image = image.astype(np.float32) / np.float32(255)
        example = self.examples[row]
        if example.size != example.shape[:2]:
            image = resize_image(tf.constant(image), example.size, "stretch").numpy()
        return image

    def _fit(self, image):
        return resize_image(image, self.size, self.resize)

    def _read_mask(self, row) -> np.ndarray:
        example = self.examples[row]
        if example.read_mask is None:
            return np.zeros(self.size, np.int32)
        try:
            mask = example.read_mask()
            if mask.shape != tuple(example.shape[:2]):
                raise UnreadableError(
                    f"its mask is of {mask.shape[0]} x {mask.shape[1]} pixels, "
                    f"the image of {example.shape[0]} x {example.shape[1]}"
                )
            mask = resize_mask(mask, example.size, "stretch")  # square pixels
            return resize_mask(mask, self.size, self.resize)
        except UnreadableError as error:
            self.reasons[int(row)] = str(error)
            if self.lenient:
                return np.zeros(self.size, np.int32)
            raise UnreadableError(f"{example.name}: {error}") from None
