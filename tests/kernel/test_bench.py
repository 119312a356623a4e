"""The benchmarks run; what they measure is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

BENCH = Path(__file__).parents[2] / "bench"


def said(program: str, *words: str) -> str:
    """What a benchmark prints when it runs to its end."""
    done = subprocess.run([sys.executable, BENCH / program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_benchmark_of_an_attach_runs_to_its_end() -> None:
    assert "5 leave" in said("attach.py", "--present", "3", "--samples", "2")


def test_the_benchmark_of_published_ports_runs_to_its_end() -> None:
    told = said("ports.py", "--present", "200", "--rounds", "1")
    assert "elements of ranges: 1 for IPv4, 1 for IPv6; of single ports: 1; new processes: 0" in told
    assert "201 ports present (201 elements" in told
    assert told.endswith("0 elements stay\n")


def test_the_benchmark_of_healing_runs_to_its_end() -> None:
    told = said("healing.py", "--present", "3", "--rounds", "1", "--bridges", "1")
    assert "nft flush ruleset: everything is back" in told
    assert "a bridge with 3 ports deleted: everything is back" in told


def test_the_benchmark_of_throughput_runs_to_its_end() -> None:
    told = said("throughput.py", "--present", "1", "--rounds", "1", "--seconds", "0.02")
    assert told.count("Gbit/s") == 10 * 4 + 3 * 2
