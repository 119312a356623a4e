"""For all tests: who may run where, a network namespace of one's own, and the proof that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import traces
from namespaces import Namespace

PATIENCE = 10.0
"""Seconds until what is going on its own (namespaces, veth pairs, reaped processes) must be gone."""

before = pytest.StashKey[set[str]]()
left_over = pytest.StashKey[set[str]]()
own_folder = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("linkspan")
    group.addoption("--full", action="store_true", help="also run tests marked fullkernel and long")
    group.addoption("--keep-files", action="store_true", help="keep the folder with the tests' temporary files")
    group.addoption("--strict-traces", action="store_true", help="count every new link, table, mount, cgroup, process")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A short folder of our own for all temporary files: its name marks what belongs to this run."""
    # The same examples in every ordinary run, so that a failure is the change's own; --full explores.
    hypothesis.settings.register_profile("ordinary", derandomize=True, database=None)
    hypothesis.settings.register_profile("exploring", print_blob=True)
    hypothesis.settings.load_profile("exploring" if config.option.full else "ordinary")
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.stash[own_folder] = Path(tempfile.mkdtemp(prefix="linkspan-test-", dir="/tmp"))
        config.option.basetemp = str(config.stash[own_folder] / "t")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that cannot run here are skipped, saying why."""
    root = pytest.mark.skip(reason="needs root: run it with sudo ./scripts/test")
    full = pytest.mark.skip(reason="needs a full distribution kernel: run it with ./scripts/test --full")
    long = pytest.mark.skip(reason="takes minutes: run it with ./scripts/test --full")
    for item in items:
        if os.geteuid() != 0 and (item.get_closest_marker("kernel") or item.get_closest_marker("scenario")):
            item.add_marker(root)
        if item.get_closest_marker("fullkernel") and not config.option.full:
            item.add_marker(full)
        if item.get_closest_marker("long") and not config.option.full:
            item.add_marker(long)


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.stash[before] = look(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run that left something on the machine."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    at_start: set[str] = config.stash[before]
    deadline = time.monotonic() + PATIENCE
    while (found := look(config) - at_start) and time.monotonic() < deadline:
        time.sleep(0.2)
    config.stash[left_over] = found
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif own_folder in config.stash and not config.option.keep_files:
        shutil.rmtree(config.stash[own_folder], ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(left_over, set())
    if found:
        terminalreporter.section("left behind by the tests", red=True, bold=True)
        for line in sorted(found):
            terminalreporter.line(line)


def look(config: pytest.Config) -> set[str]:
    folder = Path(config.option.basetemp)
    return traces.snapshot(folder, strict=config.option.strict_traces)


@pytest.fixture
def private_netns() -> Iterator[Namespace]:
    """This thread, and the threads and programs that it starts, in a fresh network namespace with loopback up."""
    with Namespace() as namespace, namespace.entered():
        yield namespace
