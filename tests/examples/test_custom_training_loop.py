"""The hand-written loop takes the steps of `fit`; the subclass those of its own loss."""

import json

import pytest


@pytest.mark.slow
def test_the_loop_by_hand_is_that_of_fit(run_example):
    out = run_example("custom_training_loop")
    report = json.loads((out / "report.json").read_text())
    fit, by_hand, edges = (report["models"][name] for name in ("fit", "by_hand", "edges"))
    assert report["gap"] < 1e-4
    assert by_hand["psnr"] == pytest.approx(fit["psnr"], abs=0.1)
    assert edges["edge_error"] != pytest.approx(fit["edge_error"], rel=1e-3)
    for figures in (fit, by_hand, edges):
        assert 5 < figures["psnr"] < 50
        assert 0 < figures["edge_error"] < 0.1
        assert figures["seconds"] > 0
    assert report["seed"] == 0
    assert report["epochs"] == 2
    assert (out / "reconstructions.png").is_file()
