"""The examples, run as users run them: each in a process of its own."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# A fast run takes 90 seconds on two cores at most: so many of processor time, whatever else runs.
MOST_SECONDS, TIMEOUT = 180, 600
PRINTED_LINES = 60  # of each stream, where an example fails


@pytest.fixture
def run_example(tmp_path):
    """Runs `examples/NAME.py --fast --out FOLDER ARGUMENTS` elsewhere, and returns the folder.

    Every example must leave a PNG and a JSON there, and say where at the end.
    """

    def run(name: str, *arguments) -> Path:
        out = tmp_path / "out"
        command = [sys.executable, EXAMPLES / f"{name}.py", "--fast", "--out", out, *arguments]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,  # nothing may depend on where it is run, nor be left in the checkout
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
        )
        if done.returncode:
            pytest.fail(
                f"{name}.py ended with {done.returncode}\n"
                f"--- its output\n{_end(done.stdout)}\n--- its errors\n{_end(done.stderr)}",
                pytrace=False,
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used < MOST_SECONDS, f"{name}.py took {used:.0f} seconds of processor time"
        assert str(out) in done.stdout, f"{name}.py does not say where its files are"
        pictures, reports = sorted(out.rglob("*.png")), sorted(out.rglob("*.json"))
        assert pictures, f"{name}.py left no PNG"
        assert reports, f"{name}.py left no JSON"
        for report in reports:
            json.loads(report.read_text(encoding="utf-8"))
        return out

    return run


def _end(text):
    return "\n".join(text.splitlines()[-PRINTED_LINES:])
