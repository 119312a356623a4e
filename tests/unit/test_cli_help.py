"""Every help text against tests/golden/help."""

from __future__ import annotations

import pytest

import golden
from linkspan.cli.main import main
from linkspan.cli.tree import COMMANDS, GROUPS

PATHS = ["", *GROUPS, *(path for path, (_, text) in COMMANDS.items() if text and path != "daemon")]


def name_of(path: str) -> str:
    return f"{path.replace(' ', '-') or 'linkspan'}.txt"


@pytest.mark.parametrize("path", PATHS)
def test_the_help_is_what_was_agreed(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path.split(), "--help"]) == 0
    golden.check(f"help/{name_of(path)}", capsys.readouterr().out)


def test_no_golden_help_is_left_of_a_command_that_went() -> None:
    assert {file.name for file in (golden.FOLDER / "help").glob("*.txt")} == {name_of(path) for path in PATHS}
