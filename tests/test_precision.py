import pytest
import tensorflow as tf

from keras_medgen import precision
from keras_medgen.precision import dtype_policy


@pytest.mark.parametrize(
    ("setting", "policy"),
    [("off", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")],
)
def test_what_is_asked_for(setting, policy):
    assert dtype_policy(setting) == policy


@pytest.mark.parametrize(
    ("there", "speedup", "policy"),
    [(True, 1.5, "mixed_bfloat16"), (True, 1.0, "float32"), (False, 1.5, "float32")],
)
def test_auto_takes_bfloat16_where_it_is_there_and_faster(monkeypatch, there, speedup, policy):
    monkeypatch.setattr(precision, "_has_bfloat16", lambda: there)
    monkeypatch.setattr(precision, "_speedup", lambda: speedup)
    assert dtype_policy("auto") == policy


def test_anything_else():
    with pytest.raises(ValueError, match=r"auto or one of off.*Received: mixed_precision='half'"):
        dtype_policy("half")


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_tile", True),
        ("flags\t\t: amx_bf16", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx512f", False),
        (None, False),
    ],
)
def test_what_a_processor_says(monkeypatch, tmp_path, flags, there):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\nbugs : none\n")
    assert precision._has_bfloat16() is there


@pytest.mark.parametrize(("capability", "there"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_what_a_gpu_says(monkeypatch, capability, there):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert precision._has_bfloat16() is there


def test_the_measurement(monkeypatch):
    """One of a thing against itself is 1, whatever the machine; within a wide margin for it."""
    step = precision._step
    monkeypatch.setattr(precision, "_step", lambda policy: step("float32"))
    assert 1 / 3 < precision._speedup() < 3
