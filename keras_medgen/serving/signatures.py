"""The signatures of an exported model, by what the model can do."""

import functools

import tensorflow as tf

from keras_medgen.layers.priors import VampPrior
from keras_medgen.models.batches import OUTSIDE_MESSAGE, TOLERANCE
from keras_medgen.ops.random import normal
from keras_medgen.serving.checks import checked
from keras_medgen.serving.detection import difference_maps, map_scores
from keras_medgen.serving.image_codec import CHANNELS, decode_images, encode_pngs
from keras_medgen.serving.restoration import restoration_noise


def endpoints(model, class_names=None):
    """From the name of each signature to its function and the specs of its inputs.

    What takes time to trace is a function of its own, which the signatures share.

    Args:
        model: a `kmg.models.LatentModel`.
        class_names: list of str, or None.

    Returns:
        A dict of lists: a function of tensors that returns a dict of tensors, and a
        `tf.TensorSpec` for each of its arguments.
    """
    specs = {
        "latents": tf.TensorSpec((None, *model.latent_shape), tf.float32, name="latents"),
        "images": tf.TensorSpec((None, *model.image_shape), tf.float32, name="images"),
        "image_bytes": tf.TensorSpec((None,), tf.string, name="image_bytes"),
        "seed": tf.TensorSpec((None,), tf.int32, name="seed"),
        "label": tf.TensorSpec((None,), tf.int32, name="label"),
        "labels": tf.TensorSpec((None, model.num_classes), tf.float32, name="labels"),
    }
    decoded = _shared(model.decoded, specs["latents"], *_given(model, specs["labels"]))
    png = _shared(encode_pngs, specs["images"])
    found = _of_latents(model, specs, decoded, png) | _of_images(model, specs, decoded, png)
    if class_names is not None:
        names = tf.constant(["", *class_names])

        def class_name(label):
            return {"name": tf.gather(names, _checked_label(label, model.num_classes) + 1)}

        found["class_name"] = [class_name, specs["label"]]
    return found


def traced_once(function, *specs):
    """A function of tensors as a `ConcreteFunction`.

    A `tf.function` is traced again at its second call.

    Args:
        function: of as many tensors as there are `specs`.
        specs: a `tf.TensorSpec` each.
    """
    traced = tf.function(function, input_signature=specs, autograph=False)
    return traced.get_concrete_function()


def _shared(function, *specs):
    """The same function, traced; where an argument is None, it is left out."""
    concrete = traced_once(function, *specs)
    return lambda *tensors: concrete(*(tensor for tensor in tensors if tensor is not None))


def _given(model, spec):
    """What only the signatures of a conditional model take."""
    return [] if model.num_classes is None else [spec]


def _checked_label(label, num_classes):
    message = f"label must be a class from 0 to {num_classes - 1}, or -1 for none."
    return checked(label, (label >= -1) & (label < num_classes), message)


def _in_range(labels):
    """Labels as indicators, checked; None as it is."""
    if labels is None:
        return None
    return checked(labels, (labels >= 0) & (labels <= 1), "labels must lie in [0, 1].")


def _of_latents(model, specs, decoded, png):
    """What makes images of latents, and latents of seeds."""
    latents_of_noise = _latents_of_noise(model)

    def indicators(label):
        if label is None:
            return None
        return tf.one_hot(_checked_label(label, model.num_classes), model.num_classes)

    def draw(seed, label=None):
        # The noise of the first image of each seed, as `model.generate` draws it.
        noise = tf.map_fn(
            lambda one: normal(model.noise_shape, tf.stack([one, 0])),
            tf.cast(seed, tf.int64),
            fn_output_signature=tf.TensorSpec(model.noise_shape, tf.float32),
        )
        return latents_of_noise(noise, indicators(label))

    inputs = [specs["seed"], *_given(model, specs["label"])]
    drawn = _shared(draw, *inputs)

    def decode(latents, labels=None):
        return {"images": decoded(latents, _in_range(labels))}

    def sample_latents(seed, label=None):
        return {"latents": drawn(seed, label)}

    def generate(seed, label=None):
        return {"images": decoded(drawn(seed, label), indicators(label))}

    def generate_png(seed, label=None):
        return {"image_bytes": png(generate(seed, label)["images"])}

    return {
        "serving_default": [decode, specs["latents"], *_given(model, specs["labels"])],
        "sample_latents": [sample_latents, *inputs],
        "generate": [generate, *inputs],
        "generate_png": [generate_png, *inputs],
    }


def _latents_of_noise(model):
    """A function of noise and labels."""
    if not hasattr(model, "latents_from_noise"):
        return lambda noise, labels: noise
    prior = model.fitted_prior or model.prior
    encode = model.posterior_parameters
    if isinstance(prior, VampPrior):
        # Its pseudo-images do not change any more: they are encoded now, not at every request.
        _, mean, stddev = prior.components(encode)
        posterior = {"mean": mean.numpy(), "log_var": 2 * tf.math.log(stddev).numpy()}

        def encode(images, labels):
            return posterior

    return lambda noise, labels: prior.latents(noise, labels, encode)


def _of_images(model, specs, decoded, png):
    """What takes images, each signature in a second form that takes files."""
    labels = _given(model, specs["labels"])
    functions = {}
    if hasattr(model, "encoder"):
        encoded = _shared(model.posterior_parameters, specs["images"], *labels)
        functions["encode"] = encoded

        def restored(images, labels):
            return decoded(encoded(images, labels)["mean"], labels)

        expected = restored
    elif hasattr(model, "num_timesteps"):
        if getattr(model.autoencoder, "num_classes", None) is None:
            labels = []
        noise = [tf.constant(one) for one in restoration_noise(model)]
        inputs = [specs["images"], tf.TensorSpec(model.grid, tf.float32), *labels]
        restore = _shared(model.restored, *inputs)

        def restored(images, labels):
            return restore(images, noise[0], labels)

        def expected(images, labels):
            return tf.add_n([restore(images, one, labels) for one in noise]) / len(noise)

    else:
        return {}

    def reconstruct(images, labels):
        return {"images": restored(images, labels)}

    def reconstruct_png(images, labels):
        return {"image_bytes": png(restored(images, labels))}

    def detect(images, labels):
        maps = difference_maps(images, expected(images, labels))
        return {"maps": maps, "scores": map_scores(maps)}

    functions |= {
        "reconstruct": reconstruct,
        "reconstruct_png": reconstruct_png,
        "detect": detect,
    }
    found = {
        name: [_of_arrays(function), specs["images"], *labels]
        for name, function in functions.items()
    }
    if model.image_shape[-1] in CHANNELS:
        decode = functools.partial(decode_images, image_shape=model.image_shape)
        images_of = _shared(decode, specs["image_bytes"])
        found |= {
            f"{name}_bytes": [_of_files(function, images_of), specs["image_bytes"], *labels]
            for name, function in functions.items()
        }
    return found


def _of_arrays(function):
    def call(images, labels=None):
        inside = (images >= -TOLERANCE) & (images <= 1 + TOLERANCE)  # not from 0 to 255, say
        return function(checked(images, inside, f"{OUTSIDE_MESSAGE}."), _in_range(labels))

    return call


def _of_files(function, images_of):
    def call(image_bytes, labels=None):
        return function(images_of(image_bytes), _in_range(labels))

    return call
