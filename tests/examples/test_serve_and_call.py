"""A model, exported and served, answers as it does by itself."""

import json

import pytest
from PIL import Image

pytest.importorskip("tensorflow_serving", reason="the extra serve is not installed")


@pytest.mark.slow
def test_every_call_gives_what_the_model_gives(run_example):
    out = run_example("serve_and_call")
    report = json.loads((out / "report.json").read_text())
    assert report["seed"] == 0
    assert report["ready"] == "ready"
    assert report["wrong_call"] == 400
    calls = report["calls"]
    for kind in ("REST", "gRPC"):
        for name in ("generate", "reconstruct", "detect"):
            assert calls[f"{kind} {name}"]["seconds"] > 0
            assert calls[f"{kind} {name}"]["largest_difference"] < 1e-4
    assert calls["requests generate_png"]["bytes"] > 0
    assert (out / "models" / "vae" / "1" / "saved_model.pb").is_file()
    with Image.open(out / "by_requests.png") as picture:
        assert picture.size == (16, 16)
        assert picture.text["Synthetic"] == "true"
