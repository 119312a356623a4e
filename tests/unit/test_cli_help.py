"""Every help text against tests/golden/help; LINKSPAN_UPDATE_GOLDEN=1 writes them again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linkspan.cli.main import main
from linkspan.cli.tree import COMMANDS, GROUPS

FOLDER = Path(__file__).parent.parent / "golden" / "help"
PATHS = ["", *GROUPS, *(path for path, (_, text) in COMMANDS.items() if text and path != "daemon")]


def name_of(path: str) -> str:
    return f"{path.replace(' ', '-') or 'linkspan'}.txt"


@pytest.mark.parametrize("path", PATHS)
def test_the_help_is_what_was_agreed(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    if os.environ.get("LINKSPAN_UPDATE_GOLDEN") == "1":
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / name_of(path)).write_text(shown)
    assert shown == (FOLDER / name_of(path)).read_text()


def test_no_golden_help_is_left_of_a_command_that_went() -> None:
    assert {file.name for file in FOLDER.glob("*.txt")} == {name_of(path) for path in PATHS}
