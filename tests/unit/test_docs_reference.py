"""docs/reference.md against the code: what stands in its tables is what there is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from linkspan import errors
from linkspan.api import config, config_foreign, routes, versions
from linkspan.api.router import Handler, Router
from linkspan.engine import containers, events, listing, networks, volumes
from linkspan.engine.config import DaemonConfig
from linkspan.images import selection
from linkspan.model import endpoint_options, options

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """From this headline to the next one of its rank or a higher one."""
    head = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    assert head is not None, f"docs/reference.md has no section {title!r}"
    following = re.compile(rf"^#{{1,{len(head[1])}}} ", re.MULTILINE).search(PAGE, head.end())
    return PAGE[head.end() : following.start() if following else len(PAGE)]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, headlines left out."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for at, cells in enumerate(found) if set(cells[0]) != {"-"} and not _is_head(found, at)]


def _is_head(found: list[list[str]], at: int) -> bool:
    return at + 1 < len(found) and set(found[at + 1][0]) == {"-"}


def words(cell: str) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]*)`", cell)


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[str, str]], set[str]]:
    """(method, path) of all that is served, and the paths that are refused."""
    served: list[tuple[str, str]] = []
    refused: set[str] = set()

    class Recorder(Router):
        def add(self, method: str, template: str, handler: Handler, *, cancellable: bool = False) -> None:
            if handler.__qualname__.startswith("_refusal"):
                refused.add(template)
            else:
                served.append((method, template))

    monkeypatch.setattr(routes, "Router", Recorder)
    routes.router()
    return served, refused


def test_the_endpoints_that_are_served_are_listed(endpoints: tuple[list[tuple[str, str]], set[str]]) -> None:
    listed = {(cells[0], words(cells[1])[0]) for cells in rows(section("Endpoints"))}
    assert listed == set(endpoints[0])


def test_the_endpoints_that_are_refused_are_listed(endpoints: tuple[list[tuple[str, str]], set[str]]) -> None:
    listed = {words(cells[0])[0] for cells in rows(section("What is answered 501"))}
    assert listed == {path.removesuffix("/{rest*}") for path in endpoints[1]}


def test_the_versions_of_the_api_are_told() -> None:
    assert f"versions {versions.text(versions.OLDEST)} to {versions.text(versions.NEWEST)}" in section("The API")


def test_every_flag_of_the_daemon_is_listed_with_its_key_and_meaning() -> None:
    listed = {words(cells[0])[0]: cells for cells in rows(section("Flags and daemon.json"))}
    for each in config.SETTINGS:
        flags, key, _, meaning = listed.pop(f"--{each.option}")
        assert (f"`-{each.short}`" in flags) == bool(each.short), flags
        assert key == f"`{each.key}`"
        assert meaning.startswith(each.help.partition(" (")[0]), f"{flags}: {each.help!r}"
        assert ("may be repeated" in meaning) == (each.kind == "list"), flags
    assert listed.keys() == {"--debug", "--live-restore", "--userland-proxy", "--config-file", "--validate"}


def test_the_defaults_of_the_daemon_are_the_real_ones() -> None:
    listed = {words(cells[0])[0]: cells[2] for cells in rows(section("Flags and daemon.json"))}
    defaults = DaemonConfig()
    for each in config.SETTINGS:
        value = getattr(defaults, each.field)
        if isinstance(value, bool):
            assert listed[f"--{each.option}"] == f"`{str(value).lower()}`"
        elif value and not isinstance(value, tuple):
            assert listed[f"--{each.option}"] == f"`{value}`"
    assert listed["--host"] == f"`{defaults.hosts[0]}`"


def test_docker_s_other_keys_are_listed() -> None:
    listed = {key for cells in rows(section("Keys of Docker's")) for key in words(cells[0])}
    assert listed == set(config_foreign.KEYS)


def test_every_option_of_networks_and_endpoints_is_listed() -> None:
    listed = {words(cells[0])[0] for cells in rows(section("Driver options"))}
    assert listed == {*options._READ, *options._LATER, *endpoint_options.KEYS}


def test_the_filters_of_every_command_are_listed() -> None:
    listed = {words(cells[0])[0]: keys(cells[1]) for cells in rows(section("Filters"))}
    assert listed == {
        "network ls": set(networks.FILTERS),
        "network prune": set(networks.PRUNE_FILTERS),
        "ps": set(listing.FILTERS),
        "container prune": set(containers.PRUNE_FILTERS),
        "images": set(selection._LIST_KEYS),
        "image prune": set(selection._PRUNE_KEYS),
        "volume ls": set(volumes.FILTERS),
        "volume prune": set(volumes.PRUNE_FILTERS),
        "events": set(events.KEYS),
    }


def keys(cell: str) -> set[str]:
    """The keys in a cell; what stands in brackets behind one is its values."""
    return set(words(re.sub(r"\([^)]*\)", "", cell)))


def test_every_error_is_listed_with_its_status() -> None:
    listed = {words(cells[1])[0]: int(cells[0]) for cells in rows(section("Errors"))}
    assert listed == {each.__name__: each.status for each in descendants(errors.LinkspanError)}


def descendants(base: type[errors.LinkspanError]) -> Iterable[type[errors.LinkspanError]]:
    for each in base.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from descendants(each)


@pytest.mark.parametrize("page", sorted((Path(__file__).parents[2] / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Also to the headline, if a link names one (as GitHub and GitLab make anchors of headlines)."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor and there.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{page.name} links to {target}"
