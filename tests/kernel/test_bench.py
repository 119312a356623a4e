"""The benchmarks run; what they measure is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

BENCH = Path(__file__).parents[2] / "bench"


def test_the_benchmark_of_an_attach_runs_to_its_end() -> None:
    words = [sys.executable, BENCH / "attach.py", "--present", "3", "--samples", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 leave" in done.stdout
