"""Which precision pays on this machine."""

import statistics
import time
from pathlib import Path

import keras
import tensorflow as tf

POLICIES = {"off": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls the instructions
BFLOAT16_CAPABILITY = (8, 0)  # NVIDIA's Ampere and later
CPU_INFO = Path("/proc/cpuinfo")
GAIN = 1.1  # a difference smaller than this is within the noise of a short measurement
IMAGES, SIDE, CHANNELS = 8, 32, 64  # of the convolution that is timed: milliseconds on a core
ROUNDS = 9


def dtype_policy(mixed_precision: str) -> str:
    """The Keras dtype policy of a setting.

    Args:
        mixed_precision: "off", "bfloat16", "float16", or "auto": bfloat16 where the processor
            or the GPU computes in it, and a convolution is faster for it; this is measured, in
            about a second.

    Returns:
        "float32", "mixed_bfloat16" or "mixed_float16".

    Raises:
        ValueError: for any other setting.
    """
    if mixed_precision == "auto":
        return "mixed_bfloat16" if _has_bfloat16() and _speedup() > GAIN else "float32"
    if mixed_precision not in POLICIES:
        raise ValueError(
            f"mixed_precision must be auto or one of {', '.join(POLICIES)}. "
            f"Received: mixed_precision={mixed_precision!r}."
        )
    return POLICIES[mixed_precision]


def _has_bfloat16() -> bool:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:  # not Linux
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not BFLOAT16_FLAGS.isdisjoint(flags.split())


def _speedup() -> float:
    """How many times as fast as in float32 a training step of a convolution is in bfloat16."""
    steps = [_step(policy) for policy in ("float32", "mixed_bfloat16")]
    seconds = [[], []]
    for _ in range(ROUNDS):  # in turn, so that what else the machine does meets both
        for step, times in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step().numpy()
            times.append(time.perf_counter() - started)
    single, half = map(statistics.median, seconds)
    return single / half


def _step(policy: str):
    """The forward and backward pass of a convolution; traced, and run once."""
    convolution = keras.layers.Conv2D(CHANNELS, 3, padding="same", dtype=policy)
    images = tf.random.stateless_normal((IMAGES, SIDE, SIDE, CHANNELS), seed=(0, 0))
    convolution.build(images.shape)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(tf.cast(convolution(images), tf.float32) ** 2)
        gradients = tape.gradient(loss, [images, convolution.kernel.value])
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])

    step().numpy()
    return step
