"""The page "a container network in a hundred lines" runs, and is what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

DOCS = Path(__file__).parents[2] / "docs"


def test_the_hundred_lines_build_heal_and_remove_a_network() -> None:
    done = subprocess.run([sys.executable, DOCS / "hundred_lines.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("an answer") == 3
    assert "# 0 steps" in done.stdout


def test_the_hundred_lines_are_a_hundred() -> None:
    assert len((DOCS / "hundred_lines.py").read_text().splitlines()) <= 105


def test_the_page_shows_the_program_as_it_is() -> None:
    program = (DOCS / "hundred_lines.py").read_text()
    page = (DOCS / "hundred-lines.md").read_text()
    shown = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert shown
    for part in shown:
        assert part in program, f"docs/hundred-lines.md shows other lines:\n{part}"
