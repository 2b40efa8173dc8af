"""Each option of a model: one step, save, load and export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.models.contract import SHAPE

OPTIONS = {
    **{name: {"reconstruction": name} for name in kmg.losses.RECONSTRUCTIONS},
    "keras loss": {"reconstruction": keras.losses.MeanAbsoluteError(), "mask_weight": 3.0},
    "mixture": {"prior": "mixture", "prior_components": 3},
    "vamp": {"prior": "vamp", "prior_components": 3},
    "vamp, conditional": {"prior": "vamp", "prior_components": 3, "num_classes": 2},
    "free bits, warmed up": {"free_bits": 0.2, "kl_weight": 0.5},
    "capacity": {"capacity": 4.0},
    "denoising": {"input_noise": 0.1},
    "larsen": {"networks": "larsen"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_one_step_save_load_and_export(rng, tmp_path, name):
    options = {"networks": "dense", **OPTIONS[name]}
    pair = options.pop("networks")
    for part in ("encoder", "decoder"):
        build = getattr(kmg.networks, f"{pair}_{part}")
        options[part] = build(SHAPE, 4, num_classes=options.get("num_classes"))
    model = kmg.models.VAE(SHAPE, 4, **options)
    model.compile()
    labels = np.arange(8) % 2
    batch = {
        "images": rng.random((8, *SHAPE), np.float32),
        "labels": labels,
        "masks": rng.integers(0, 2, (8, 16, 16)),
    }
    data = tf.data.Dataset.from_tensors(batch)
    before = [np.asarray(v) for v in model.trainable_variables]
    history = model.fit(data, validation_data=data, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    assert any(
        (value != np.asarray(v)).any()
        for value, v in zip(before, model.trainable_variables, strict=True)
    )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    left_alone = {"encoder", "decoder", "reconstruction"}  # networks and layers have names anew
    configs = [
        {k: v for k, v in one.get_config().items() if k not in left_alone} for one in (model, again)
    ]
    assert configs[0] == configs[1]
    np.testing.assert_array_equal(again.generate(3, seed=1), model.generate(3, seed=1))
    assert again.evaluate(data, verbose=0) == pytest.approx(model.evaluate(data, verbose=0))
    for one in (model, again):
        one.fit(data, verbose=0)
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)

    decode = tf.saved_model.load(str(kmg.serving.export(model, tmp_path / "export"))).signatures[
        "serving_default"
    ]
    latents = rng.standard_normal((3, 4)).astype(np.float32)
    given = {} if model.num_classes is None else {"labels": tf.one_hot(labels[:3], 2)}
    expected = model.decode(latents, labels[:3] if given else None)
    np.testing.assert_allclose(decode(latents=latents, **given)["images"], expected, atol=1e-5)
