"""The distance that a VAE-GAN's discriminator sees between an image and its reconstruction."""

import tensorflow as tf

from keras_medgen.anomaly.batches import in_batches
from keras_medgen.models.adversarial import judge
from keras_medgen.ops.ranges import signed


def feature_distance(model, images, labels):
    """Squared differences of the features that the model is trained to reconstruct.

    Args:
        model: a `VAEGAN` whose `feature_layer` is a convolution.
        images: np.ndarray float32 (n, height, width, channels) in [0, 1].
        labels: np.ndarray float32 (n, num_classes), or None.

    Returns:
        Maps (n, height, width), the mean over the layer's channels, enlarged bilinearly; and
        scores (n,), half the sum of squares: in nats, the negative log-likelihood of Larsen et
        al. 2015 but for its constant. Float32.
    """
    run = judge(model.discriminator, model.feature_layer)
    layer = model.discriminator.get_layer(model.feature_layer).output
    if len(layer.shape) != 4:
        raise ValueError(
            "method='features' needs a feature_layer of feature maps (batch, height, width, "
            f"channels). Received: feature_layer={model.feature_layer!r}, of shape {layer.shape}."
        )

    def compare(images, labels):
        decoded = model(images, labels)
        pair = (run(signed(batch), labels)[1] for batch in (images, decoded))
        squared = tf.math.squared_difference(*pair)
        maps = tf.reduce_mean(squared, axis=-1, keepdims=True)
        maps = tf.image.resize(maps, images.shape[1:3])  # bilinear
        return maps[..., 0], 0.5 * tf.reduce_sum(squared, axis=(1, 2, 3))

    return in_batches(compare, images, labels)
