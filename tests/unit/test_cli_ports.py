"""Ports on the command line: what ``-p``, ``--expose`` and ``--publish-from`` mean, and how ports are shown."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_fake_daemon import FakeDaemon

from linkspan.cli.commands.container_list import shown_ports
from linkspan.cli.documents import Json
from linkspan.cli.jsontext import encode
from linkspan.cli.main import main
from linkspan.cli.port_option import bindings_document, exposed, published
from linkspan.cli.publish_from import with_sources

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "fake.sock")
    monkeypatch.setenv("LINKSPAN_HOST", fake.host)
    yield fake
    fake.close()


@pytest.fixture
def typed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs one command line; (exit status, output, error output)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("127.0.0.1:8080:80", {"80/tcp": [("127.0.0.1", "8080")]}),
        ("127.0.0.1::80/udp", {"80/udp": [("127.0.0.1", "")]}),
        ("[::1]:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("::1:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("[fd00::1]::80", {"80/tcp": [("fd00::1", "")]}),
        ("8000-8001:80-81/udp", {"80/udp": [("", "8000")], "81/udp": [("", "8001")]}),
        ("80-81", {"80/tcp": [("", "")], "81/tcp": [("", "")]}),
        ("8000-8010:80", {"80/tcp": [("", "8000-8010")]}),
        ("target=80", {"80/tcp": [("", "")]}),
        ("target=80,published=8080,protocol=udp", {"80/udp": [("", "8080")]}),
        ("mode=host,target=80-81,published=90-91", {"80/tcp": [("", "90")], "81/tcp": [("", "91")]}),
    ],
)
def test_a_published_port_is_read_as_docker_reads_it(text: str, found: object) -> None:
    assert published([text]) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "8000-8010:80-81",
            "port ranges of unequal length in 8000-8010:80-81: 8000-8010 on the host has 11 ports, "
            "80-81 in the container has 2",
        ),
        ("8000:80-82", "8000 on the host has 1 port, 80-82 in the container has 3"),
        ("80:0", "invalid containerPort: 0"),
        ("80:http", "invalid containerPort or hostPort: http"),
        ("70000:80", "above 65535"),
        ("9-8:80", "invalid range"),
        ("localhost:80:80", "invalid IP address: localhost"),
        ("80:80/quic", "invalid proto: quic"),
        ("80:", "no port specified"),
        ("published=80", "has no target"),
        ("target=80,colour=red", "invalid field 'colour=red'"),
    ],
)
def test_a_bad_port_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        published([text])


def test_a_refused_port_ends_a_run_before_the_daemon_is_asked(daemon: FakeDaemon, typed: Typed) -> None:
    status, _, errors = typed("run", "-p", "8000-8010:80-81", "busybox")
    assert (status, daemon.requests) == (125, [])
    assert errors.startswith("linkspan: port ranges of unequal length in 8000-8010:80-81")


def test_exposed_ports_are_single_ones() -> None:
    assert exposed(["80", "90-91/udp"]) == ["80/tcp", "90/udp", "91/udp"]
    with pytest.raises(ValueError, match="invalid port format for --expose"):
        exposed(["80:80"])


def test_who_may_come_becomes_labels() -> None:
    found = with_sources(
        {"a": "b"}, ["10.0.0.0/8,fd00::/8", "80=192.0.2.1", "80/tcp=192.0.2.2", "53/udp=10.0.0.0/8", "81-83=::1"]
    )
    assert found == {
        "a": "b",
        "linkspan.publish-from": "10.0.0.0/8,fd00::/8",
        "linkspan.publish-from.80/tcp": "192.0.2.1,192.0.2.2",
        "linkspan.publish-from.53/udp": "10.0.0.0/8",
        "linkspan.publish-from.81-83/tcp": "::1",
    }


@pytest.mark.parametrize("wish", ["", "80=", "=10.0.0.0/8"])
def test_a_source_without_a_port_or_a_network_is_refused(wish: str) -> None:
    with pytest.raises(ValueError, match="write it as network,network or port/protocol=network,network"):
        with_sources({}, [wish])


def test_who_may_come_reaches_the_daemon_with_the_other_labels(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["POST /containers/create"] = (201, {"Id": "c" * 64})
    words = ["-l", "tier=front", "-p", "80:80", "--publish-from", "10.0.0.0/8", "--publish-from", "80=192.0.2.1"]
    assert typed("create", *words, "busybox")[0] == 0
    (body,) = daemon.bodies("POST", "/containers/create")
    assert body["Labels"] == {
        "tier": "front",
        "linkspan.publish-from": "10.0.0.0/8",
        "linkspan.publish-from.80/tcp": "192.0.2.1",
    }


def test_ten_thousand_ports_are_written_and_shown_without_a_pause() -> None:
    """The bounds are ten times what it takes: other tests run at the same time."""
    start = time.perf_counter()
    found = published(["10000-19999:10000-19999"])
    assert len(encode({"PortBindings": bindings_document(found)})) > 400_000
    assert time.perf_counter() - start < 0.5
    ports: list[Json] = [
        {"IP": address, "PrivatePort": port, "PublicPort": port, "Type": "tcp"}
        for port in range(10000, 20000)
        for address in ("0.0.0.0", "::")
    ]
    start = time.perf_counter()
    assert shown_ports(ports) == "0.0.0.0:10000-19999->10000-19999/tcp, [::]:10000-19999->10000-19999/tcp"
    assert time.perf_counter() - start < 1


PORTS = {
    "443/tcp": None,
    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
    "9/udp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["web"], "9/udp -> 127.0.0.1:32768\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"),
        (["web", "80"], "0.0.0.0:8080\n[::]:8080\n"),
        (["web", "9/udp"], "127.0.0.1:32768\n"),
    ],
)
def test_port_shows_every_host_address(daemon: FakeDaemon, typed: Typed, words: list[str], shown: str) -> None:
    daemon.routes["GET /containers/web/json"] = (200, {"NetworkSettings": {"Ports": PORTS}})
    assert typed("port", *words) == (0, shown, "")


@pytest.mark.parametrize("port", ["443", "80/udp", "1"])
def test_port_names_the_port_that_is_not_published(daemon: FakeDaemon, typed: Typed, port: str) -> None:
    daemon.routes["GET /containers/web/json"] = (200, {"NetworkSettings": {"Ports": PORTS}})
    status, output, errors = typed("port", "web", port)
    assert (status, output) == (1, "")
    assert "No public port" in errors
    assert port in errors
