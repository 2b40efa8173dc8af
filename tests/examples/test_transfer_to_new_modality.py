"""Three ways to a new modality, each measured after as many steps."""

import json
import math

import pytest


@pytest.mark.slow
def test_it_measures_every_way_at_equal_steps(run_example):
    out = run_example("transfer_to_new_modality")
    report = json.loads((out / "report.json").read_text())
    assert report["seed"] == 0
    assert report["seconds"] > 0
    assert report["real_training_images"] > 0
    assert set(report["ways"]) == {"from nothing", "fine-tuned", "matched"}
    for runs in report["ways"].values():
        assert [list(run) for run in runs] == [["2", "4"]]
        for figures in runs[0].values():
            assert 0 < figures["fd_over_floor"] < math.inf
            assert 3 < figures["psnr"] < 50
    found = [json.dumps(runs) for runs in report["ways"].values()]
    assert len(set(found)) == len(found)  # weights and losses do differ
    assert {path.name for path in out.glob("*.png")} == {"after_2_steps.png", "after_4_steps.png"}
