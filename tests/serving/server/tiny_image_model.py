"""A SavedModel of a few operations with the names and shapes of an exported image model."""

import tensorflow as tf

SHAPE, LATENT_DIM = (4, 4, 1), 3


class TinyImageModel(tf.Module):
    def __init__(self, version):
        self.version = tf.Variable(float(version))
        self.weights = tf.Variable(tf.random.stateless_normal((LATENT_DIM, 16), (1, 2)))

    def decoded(self, latents):
        return tf.reshape(tf.sigmoid(latents @ self.weights), (-1, *SHAPE)) / self.version

    def decode(self, latents):
        return {"images": self.decoded(latents)}

    def generate(self, seed, label):
        seed, label = tf.cast(seed, tf.float32), tf.cast(label, tf.float32)
        return {"images": self.decoded(tf.stack([tf.sin(seed), tf.cos(seed), label], axis=1))}

    def generate_png(self, seed, label):
        return {"image_bytes": pngs(self.generate(seed, label)["images"])}

    def encode(self, images):
        flat = tf.reshape(images, (-1, 16))
        mean = flat @ tf.transpose(self.weights)
        return {"mean": mean, "log_var": -tf.abs(mean)}

    def reconstruct(self, images):
        return {"images": self.decoded(self.encode(images)["mean"])}

    def detect(self, images):
        maps = tf.abs(images - self.reconstruct(images)["images"])[..., 0]
        return {"maps": maps, "scores": tf.reduce_max(maps, (1, 2))}

    def slow(self, seconds):
        """Comes back after the longest of some times."""
        end = tf.timestamp() + tf.cast(tf.reduce_max(seconds), tf.float64)
        count = tf.while_loop(lambda i: tf.timestamp() < end, lambda i: (i + 1,), (0,))
        with tf.control_dependencies(count):
            return {"seconds": tf.identity(seconds)}


def pngs(images):
    grey = tf.cast(tf.round(255 * images), tf.uint8)
    return tf.map_fn(tf.io.encode_png, grey, fn_output_signature=tf.string)


def from_files(function):
    def decoded(data):
        return tf.ensure_shape(tf.io.decode_png(data, SHAPE[-1]), SHAPE)

    def of_files(image_bytes):
        grey = tf.map_fn(decoded, image_bytes, fn_output_signature=tf.TensorSpec(SHAPE, tf.uint8))
        return function(tf.cast(grey, tf.float32) / 255)

    return of_files


def save(path, version=1):
    """Writes the model, whose images are the fainter, the higher its version."""
    model = TinyImageModel(version)

    def spec(name, *shape, dtype=tf.float32):
        return tf.TensorSpec((None, *shape), dtype, name)

    latents, images = spec("latents", LATENT_DIM), spec("images", *SHAPE)
    drawn = spec("seed", dtype=tf.int32), spec("label", dtype=tf.int32)
    functions = {
        "serving_default": (model.decode, latents),
        "generate": (model.generate, *drawn),
        "generate_png": (model.generate_png, *drawn),
        "slow": (model.slow, spec("seconds")),
    }
    for name in ("encode", "reconstruct", "detect"):
        function = getattr(model, name)
        functions[name] = (function, images)
        functions[f"{name}_bytes"] = (from_files(function), spec("image_bytes", dtype=tf.string))
    signatures = {
        name: tf.function(function, input_signature=specs).get_concrete_function()
        for name, (function, *specs) in functions.items()
    }
    tf.saved_model.save(model, str(path), signatures)
