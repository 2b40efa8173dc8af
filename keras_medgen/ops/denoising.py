"""What a denoising network predicts of a noised image, and what it costs to be wrong.

Everywhere here a noised image is `signal` times the clean one plus `sigma` times noise, where
signal² + sigma² = 1.
"""

import tensorflow as tf

PREDICTIONS = ("noise", "velocity", "image")


def prediction_target(prediction, clean, noise, signal, sigma):
    """What the network ought to say.

    Args:
        prediction: "noise" (Ho et al. 2020), "velocity", which is signal times the noise minus
            sigma times the image (Salimans and Ho 2022, https://arxiv.org/abs/2202.00512), or
            "image".
        clean: the image.
        noise: of the same shape.
        signal: of the image in the noised one; broadcast.
        sigma: of the noise.
    """
    if prediction == "noise":
        return noise
    if prediction == "image":
        return clean
    return signal * noise - sigma * clean


def clean_and_noise(prediction, output, noised, signal, sigma):
    """The clean image and the noise that a network's output amounts to; see `prediction_target`."""
    if prediction == "noise":
        return (noised - sigma * output) / signal, output
    if prediction == "image":
        return output, (noised - signal * output) / sigma
    return signal * noised - sigma * output, sigma * noised + signal * output


def loss_weight(prediction, signal, sigma, min_snr):
    """The weight of the squared error of a prediction, by its noise.

    The error of the clean image counts by the signal-to-noise ratio, as in Ho et al.'s loss, but
    by no more than `min_snr`, so that timesteps of little noise do not take all of the training.

    Args:
        prediction: of `PREDICTIONS`.
        signal: > 0.
        sigma: > 0.
        min_snr: the limit γ, or None for a weight of 1 on whatever is predicted.

    Reference:
        Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023,
        https://arxiv.org/abs/2303.09556
    """
    if min_snr is None:
        return tf.ones_like(signal)
    ratio = tf.square(signal / sigma)
    limited = tf.minimum(ratio, min_snr)
    return limited / {"noise": ratio, "velocity": ratio + 1, "image": 1.0}[prediction]
