"""A SavedModel of a few operations, with a signature for each of the server's rules."""

import tensorflow as tf


class TinyModel(tf.Module):
    def __init__(self, version):
        self.version = tf.Variable(float(version))

    def half_plus_three(self, x):
        """The example of TF Serving's documentation."""
        return {"y": x / 2 + 3}

    def which(self, x):
        return {"version": self.version + 0 * x}

    def sensors(self, tag, signal, sensor):
        return {"tag": tag, "sums": tf.reduce_sum(signal, 1), "doubled": 2 * sensor}

    def echo(self, text):
        return {"text": text}

    def echo_bytes(self, data_bytes):
        return {"data_bytes": data_bytes}

    def scale(self, x, factor):
        return {"y": x * factor}

    def total(self, x):
        return {"sum": tf.reduce_sum(x)}

    def types(self, flag, small, large):
        return {"flag": flag, "small": small, "large": large}

    def pick(self, label):
        message = "label must be from 0 to 3."
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(label < 4), [message])]):
            return {"picked": tf.gather([0.1, 0.2, 0.3, 0.4], label)}

    def decode(self, image_bytes):
        def decoded(data):
            return tf.io.decode_image(data, channels=1, expand_animations=False)

        sizes = tf.map_fn(lambda data: tf.shape(decoded(data))[0], image_bytes, tf.int32)
        return {"height": sizes}


def save(path, version=1):
    """Writes the model whose signature `which` answers with `version`."""
    model = TinyModel(version)

    def spec(name, dtype, *shape):
        return tf.TensorSpec((None, *shape), dtype, name)

    x = spec("x", tf.float32)
    inputs = {
        "half_plus_three": [x],
        "which": [x],
        "sensors": [
            spec("tag", tf.string),
            spec("signal", tf.float32, 5),
            spec("sensor", tf.float32, 2, 2),
        ],
        "echo": [spec("text", tf.string)],
        "echo_bytes": [spec("data_bytes", tf.string)],
        "scale": [x, tf.TensorSpec((), tf.float32, "factor")],
        "total": [x],
        "types": [
            spec("flag", tf.bool),
            spec("small", tf.uint8),
            spec("large", tf.int64),
        ],
        "pick": [spec("label", tf.int32)],
        "decode": [spec("image_bytes", tf.string)],
    }
    signatures = {
        name: tf.function(getattr(model, name), input_signature=specs).get_concrete_function()
        for name, specs in inputs.items()
    }
    signatures["serving_default"] = signatures.pop("half_plus_three")
    tf.saved_model.save(model, str(path), signatures)
