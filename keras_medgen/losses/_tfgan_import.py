"""The import of TF-GAN, which counts on modules that today's TensorFlow and Python lack."""

import contextlib
import importlib.util
import sys
import types

import tensorflow as tf


def import_tfgan():
    """The module `tensorflow_gan`.

    Its last release asks, while it is imported, for `tf.estimator`, `pkg_resources` and
    `distutils`. It gets stand-ins, which are taken away again; its losses use none of them.

    Raises:
        ImportError: where TF-GAN is not installed.
    """
    if "tensorflow_gan" in sys.modules:
        return sys.modules["tensorflow_gan"]
    if importlib.util.find_spec("tensorflow_gan") is None:
        raise ImportError(
            "TF-GAN is not installed: install it with `pip install keras_medgen[tfgan]`."
        )
    with tf.init_scope():  # what it makes at import belongs to no graph of ours
        # TF-GAN imports it, and it shall find the modules that there are.
        import tensorflow_probability  # noqa: F401

        with _stand_ins():
            import tensorflow_gan

    return tensorflow_gan


@contextlib.contextmanager
def _stand_ins():
    from packaging.version import Version

    estimator = types.ModuleType("estimator")
    estimator.SessionRunHook = type("SessionRunHook", (), {})
    estimator.Estimator = type("Estimator", (), {})
    estimator.tpu = types.ModuleType("tpu")
    estimator.tpu.TPUEstimator = type("TPUEstimator", (), {})

    modules = {name: types.ModuleType(name) for name in ("distutils", "distutils.version")}
    modules["distutils"].version = modules["distutils.version"]
    modules["distutils.version"].LooseVersion = Version
    modules["pkg_resources"] = types.ModuleType("pkg_resources")
    modules["pkg_resources"].parse_version = Version

    holders = [holder for holder in (tf, tf.compat.v1) if not hasattr(holder, "estimator")]
    before = {name: sys.modules.get(name) for name in modules}
    for holder in holders:
        holder.estimator = estimator
    sys.modules.update(modules)
    try:
        yield
    finally:
        for holder in holders:
            del holder.estimator
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
