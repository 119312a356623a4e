"""Unknown names: whose servers are asked, from where, and how changes of the host's resolv.conf are followed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from daemons import Daemon, Launch, eventually
from names_lab import (
    RESOLVER,
    NameServer,
    ask,
    code,
    contents,
    figures,
    found,
    host_of,
    lookup,
    on_names_host,
    resolv_conf_of,
    resolver_figures,
    texts,
    within,
)
from network_lab import HOST4, HOST6, OUTSIDE4, OUTSIDE6, Outside, address4, sleeper

pytestmark = pytest.mark.scenario

STUB = "127.0.0.53"
SECOND = 4.0
"""Seconds in which a change of the host's file is followed; the daemon looks twice a second."""


@pytest.fixture
def town(launch: Launch) -> Daemon:
    """A daemon whose host has a name server on its loopback, with ``ann`` and ``web`` on a network."""
    daemon = launch(prepare=on_names_host(f"nameserver {STUB}", "search corp.example", "options edns0"))
    daemon.linkspan("network", "create", "one")
    sleeper(daemon, "web", "--network", "one")
    sleeper(daemon, "ann", "--network", "one")
    return daemon


@pytest.fixture
def stub(town: Daemon) -> Iterator[NameServer]:
    """The server on the host's loopback: everything is 192.0.2.1."""
    with NameServer(town.namespace, STUB, "192.0.2.1") as server:
        yield server


@pytest.fixture
def outside(town: Daemon) -> Iterator[Outside]:
    with Outside(town) as world:
        yield world


@pytest.fixture
def far(outside: Outside) -> Iterator[NameServer]:
    """A server on a host outside: everything is 192.0.2.2."""
    with NameServer(outside.namespace, OUTSIDE4, "192.0.2.2") as server:
        yield server


def servers_of(daemon: Daemon, container: str) -> list[str]:
    """The servers in the container's own file."""
    lines = contents(daemon, container, "/etc/resolv.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver")]


def test_a_server_on_the_hosts_loopback_is_asked_from_the_host(town: Daemon, stub: NameServer) -> None:
    """moby#34972, aardvark-dns#248: hosts whose only server is their own."""
    assert found(town, "ann", "example.org") == ["192.0.2.1"]
    assert stub.asked == [("example.org.", "A", "127.0.0.1")]
    assert lookup(town, "ann", "www.example.org") == "192.0.2.1"


def test_known_names_are_never_asked_elsewhere(town: Daemon, stub: NameServer) -> None:
    """moby#20335: the IPv6 address of a neighbour was asked of the world, and its silence made all connections slow."""
    for kind in ("A", "AAAA", "MX", "TXT"):
        assert code(ask(town, "ann", "web", kind)) == "NOERROR"
    assert stub.asked == []


def test_answers_are_kept_as_long_as_they_may_be(town: Daemon, stub: NameServer) -> None:
    for _ in range(5):
        assert found(town, "ann", "example.org") == ["192.0.2.1"]
    assert found(town, "web", "example.org") == ["192.0.2.1"]
    assert stub.names() == ["example.org."]


def test_a_server_outside_is_asked_from_the_sandbox(town: Daemon, far: NameServer) -> None:
    host_of(town).resolv_conf(f"nameserver {OUTSIDE4}")
    eventually(lambda: found(town, "ann", "example.org") == ["192.0.2.2"], "the new server answers", SECOND)
    assert far.asked[0] == ("example.org.", "A", HOST4), "masqueraded, as all that leaves"


def test_a_server_of_a_family_that_the_container_lacks_is_asked_from_the_host(town: Daemon, outside: Outside) -> None:
    host_of(town).resolv_conf(f"nameserver {OUTSIDE6}")
    with NameServer(outside.namespace, OUTSIDE6, "192.0.2.6") as six:
        eventually(lambda: found(town, "ann", "example.org") == ["192.0.2.6"], "the new server answers", SECOND)
        assert {peer for _, _, peer in six.asked} == {HOST6}


def test_servers_of_a_container_are_asked_instead_of_the_hosts(town: Daemon, stub: NameServer, far: NameServer) -> None:
    words = ("--dns", OUTSIDE4, "--dns-search", "corp.test", "--dns-option", "timeout:3")
    sleeper(town, "ben", "--network", "one", *words)
    assert found(town, "ben", "example.org") == ["192.0.2.2"]
    assert stub.asked == []
    assert contents(town, "ben", "/etc/resolv.conf").splitlines() == [
        f"nameserver {RESOLVER}",
        "search corp.test",
        "options timeout:3 ndots:0",
    ]
    assert found(town, "ben", "web") == [address4(town, "web", "one")]


def test_search_domains_complete_names_and_ndots_keeps_single_words_here(
    town: Daemon, stub: NameServer, outside: Outside
) -> None:
    records = {("shop.corp.test.", "A"): ["192.0.2.50"]}
    with NameServer(outside.namespace, OUTSIDE4, records=records) as server:
        words = ("--dns", OUTSIDE4, "--dns-search", "corp.test")
        sleeper(town, "ben", "--network", "one", *words)
        sleeper(town, "cat", "--network", "one", *words, "--dns-option", "ndots:1")
        assert lookup(town, "cat", "shop") == "192.0.2.50"
        assert "shop." not in server.names()
        assert lookup(town, "ben", "shop") == "192.0.2.50"
        assert "shop." in server.names(), "with ndots:0 a name is tried as it stands"
        message = ask(town, "cat", "nobody")
        assert (code(message), texts(message)) == ("NOERROR", [])
        assert lookup(town, "cat", "web") == address4(town, "web", "one")


def test_a_network_gives_its_containers_servers_search_domains_and_options(
    town: Daemon, stub: NameServer, outside: Outside, far: NameServer
) -> None:
    options = (f"linkspan.dns={OUTSIDE4}", "linkspan.dns_search=net.test", "linkspan.dns_options=timeout:2")
    town.linkspan("network", "create", *(word for text in options for word in ("--opt", text)), "two")
    sleeper(town, "ben", "--network", "two")
    sleeper(town, "cat", "--network", "two", "--dns-search", "own.test")
    assert found(town, "ben", "example.org") == ["192.0.2.2"]
    assert stub.asked == []
    for container, domain in (("ben", "net.test"), ("cat", "own.test")):
        lines = contents(town, container, "/etc/resolv.conf").splitlines()
        assert lines == [f"nameserver {RESOLVER}", f"search {domain}", "options timeout:2 ndots:0"]


def test_servers_of_the_daemon_are_for_all_that_name_none(launch: Launch) -> None:
    words = ("--dns", OUTSIDE4, "--dns-search", "all.test", "--dns-opt", "attempts:3")
    daemon = launch(*words, prepare=on_names_host(f"nameserver {STUB}"))
    daemon.linkspan("network", "create", "one")
    sleeper(daemon, "ann", "--network", "one")
    sleeper(daemon, "ben")
    with Outside(daemon) as world, NameServer(world.namespace, OUTSIDE4, "192.0.2.2"):
        assert found(daemon, "ann", "example.org") == ["192.0.2.2"]
    for container, server, options in (("ann", RESOLVER, "attempts:3 ndots:0"), ("ben", OUTSIDE4, "attempts:3")):
        lines = contents(daemon, container, "/etc/resolv.conf").splitlines()
        assert lines == [f"nameserver {server}", "search all.test", f"options {options}"]


def test_the_resolver_is_not_its_own_server(town: Daemon, stub: NameServer) -> None:
    """moby#47716: --dns 127.0.0.11, which asked itself without end."""
    sleeper(town, "ben", "--network", "one", "--dns", RESOLVER)
    assert found(town, "ben", "example.org") == ["192.0.2.1"]


def test_a_server_that_is_silent_is_followed_by_the_next_and_delays_nobody_else(town: Daemon, outside: Outside) -> None:
    """moby#20335: time-outs of other servers that became everybody's."""
    sleeper(town, "ben", "--network", "one", "--dns", "203.0.113.9", "--dns", OUTSIDE4)
    outside.namespace.run("ip", "route", "add", "blackhole", "203.0.113.9")
    here = address4(town, "web", "one")
    server = NameServer(outside.namespace, OUTSIDE4, "192.0.2.2")
    with server, within(town, "ben") as inside, within(town, "ann") as neighbour:
        began = time.monotonic()
        assert texts(inside.ask("example.org")) == ["192.0.2.2"]
        assert time.monotonic() - began < 4, "before the client gives up"
        waiting = [inside.opened() for _ in range(50)]
        for number, each in enumerate(waiting):
            name = b"".join(len(part).to_bytes(1) + part for part in (b"n%d" % number, b"example"))
            each.sendto(
                bytes([0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + name + bytes([0, 0, 1, 0, 1]), (RESOLVER, 53)
            )
        began = time.monotonic()
        for _ in range(20):
            assert texts(inside.ask("web")) == [here]
            assert texts(neighbour.ask("web")) == [here]
        assert time.monotonic() - began < 1
        for each in waiting:
            each.close()


def test_a_server_behind_a_zone_and_words_that_are_none_are_no_trouble(town: Daemon, stub: NameServer) -> None:
    """aardvark-dns#535: a link-local address with a zone in resolv.conf, and no container started."""
    host_of(town).resolv_conf("nameserver fe80::1%up9", "nameserver nonsense", "nameserver", f"nameserver {STUB}")
    eventually(lambda: contents(town, "ann", "/etc/resolv.conf").count("corp") == 0, "the file is read", SECOND)
    assert found(town, "ann", "other.example") == ["192.0.2.1"]
    sleeper(town, "ben", "--network", "one")
    assert found(town, "ben", "another.example") == ["192.0.2.1"]


def test_without_any_server_unknown_names_fail_at_once(town: Daemon) -> None:
    host_of(town).resolv_conf("# nobody")

    def fails_at_once() -> bool:
        began = time.monotonic()
        return code(ask(town, "ann", "example.org")) == "SERVFAIL" and time.monotonic() - began < 0.5

    eventually(fails_at_once, "it fails at once", SECOND)
    assert found(town, "ann", "web") == [address4(town, "web", "one")]


# --- internal networks ---------------------------------------------------------------------------------------------


def test_an_internal_network_asks_nobody_outside(town: Daemon, stub: NameServer, far: NameServer) -> None:
    """CVE-2024-29018: names as a way out."""
    town.linkspan("network", "create", "--internal", "inner")
    sleeper(town, "eve", "--network", "inner", "--dns", OUTSIDE4)
    sleeper(town, "fay", "--network", "inner")
    for container in ("eve", "fay"):
        for tcp in (False, True):
            assert code(ask(town, container, "secret.example.org", tcp=tcp)) == "NXDOMAIN"
            assert code(ask(town, container, "secret.example.org", "TXT", tcp=tcp)) == "NXDOMAIN"
    assert found(town, "eve", "fay") == [address4(town, "fay", "inner")]
    assert stub.asked == far.asked == []
    town.linkspan("network", "connect", "one", "fay")
    assert found(town, "fay", "example.org") == ["192.0.2.1"], "another network of it reaches out"
    town.linkspan("network", "disconnect", "one", "fay")
    assert code(ask(town, "fay", "example.org")) == "NXDOMAIN", "not out of the memory either"


def test_a_server_on_the_internal_network_itself_is_asked(town: Daemon, stub: NameServer) -> None:
    """moby#47822: --dns with the address of a neighbour; that is no way out."""
    town.linkspan("network", "create", "--internal", "inner")
    sleeper(town, "names", "--network", "inner")
    neighbour = address4(town, "names", "inner")
    sleeper(town, "eve", "--network", "inner", "--dns", neighbour, "--dns", OUTSIDE4)
    with within(town, "names") as there, NameServer(there, neighbour, "192.0.2.3") as server:
        assert found(town, "eve", "inside.test") == ["192.0.2.3"]
        assert server.names() == ["inside.test."]
    assert stub.asked == []


# --- the host's file changes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by another file"])
def test_a_running_container_follows_the_hosts_servers(
    town: Daemon, stub: NameServer, outside: Outside, far: NameServer, in_place: bool
) -> None:
    """moby#42752: a VPN or another Wi-Fi while containers run."""
    assert found(town, "ann", "example.org") == ["192.0.2.1"]
    host_of(town).resolv_conf(f"nameserver {OUTSIDE4}", "search vpn.example", in_place=in_place)
    eventually(lambda: found(town, "ann", "example.org") == ["192.0.2.2"], "the new server answers", SECOND)
    assert "search vpn.example" in contents(town, "ann", "/etc/resolv.conf").splitlines()
    host_of(town).resolv_conf(f"nameserver {STUB}", "search corp.example")
    eventually(lambda: found(town, "ann", "other.example") == ["192.0.2.1"], "and back", SECOND)
    assert "search corp.example" in contents(town, "ann", "/etc/resolv.conf").splitlines()


def test_a_file_on_the_default_bridge_follows_unless_the_container_edited_it(launch: Launch) -> None:
    """moby#42752, for containers without a resolver of their own."""
    daemon = launch(prepare=on_names_host("nameserver 192.0.2.10"))
    sleeper(daemon, "ann")
    sleeper(daemon, "ben")
    daemon.linkspan("exec", "ben", "sh", "-c", "echo nameserver 192.0.2.99 >/etc/resolv.conf")
    host_of(daemon).resolv_conf("nameserver 192.0.2.20", "nameserver fd00::20")
    eventually(lambda: servers_of(daemon, "ann") == ["192.0.2.20"], "the file follows", SECOND)
    assert servers_of(daemon, "ben") == ["192.0.2.99"]

    daemon.stop()
    host_of(daemon).resolv_conf("nameserver 192.0.2.30")
    daemon.start()
    eventually(lambda: servers_of(daemon, "ann") == ["192.0.2.30"], "also what changed meanwhile", SECOND)
    assert servers_of(daemon, "ben") == ["192.0.2.99"]
    host_of(daemon).resolv_conf("nameserver 192.0.2.40")
    eventually(lambda: servers_of(daemon, "ann") == ["192.0.2.40"], "and on", SECOND)
    assert servers_of(daemon, "ben") == ["192.0.2.99"]


def test_what_changed_while_the_daemon_was_away_is_followed_by_the_resolver(
    town: Daemon, stub: NameServer, outside: Outside, far: NameServer
) -> None:
    town.stop()
    host_of(town).resolv_conf(f"nameserver {OUTSIDE4}")
    town.start()
    eventually(lambda: found(town, "ann", "example.org") == ["192.0.2.2"], "the new server answers", SECOND)


def test_the_default_bridge_gets_what_is_behind_systemd_resolveds_stub(launch: Launch) -> None:
    real = "/run/systemd/resolve/resolv.conf"
    daemon = launch(prepare=on_names_host(f"nameserver {STUB}", "options edns0 trust-ad"))
    host_of(daemon).resolv_conf("nameserver 192.0.2.10", "search lan", path=real)
    sleeper(daemon, "ann")
    assert servers_of(daemon, "ann") == ["192.0.2.10"]
    host_of(daemon).resolv_conf("nameserver 192.0.2.20", path=real)
    eventually(lambda: servers_of(daemon, "ann") == ["192.0.2.20"], "it follows what is behind", SECOND)
    host_of(daemon).run("rm", real)
    eventually(lambda: servers_of(daemon, "ann") == ["8.8.8.8", "8.8.4.4"], "as Docker without any", SECOND)


def test_the_hosts_own_network_has_the_hosts_file_and_follows_it(town: Daemon) -> None:
    """moby#46199: a container on the host's network that kept the file of its start."""
    sleeper(town, "guest", "--network", "host")
    assert contents(town, "guest", "/etc/resolv.conf") == f"nameserver {STUB}\nsearch corp.example\noptions edns0\n"
    host_of(town).resolv_conf("nameserver 192.0.2.44")
    eventually(lambda: servers_of(town, "guest") == ["192.0.2.44"], "it follows", SECOND)


def test_the_file_that_inspect_names_is_the_one_that_the_container_sees(town: Daemon) -> None:
    path = resolv_conf_of(town, "ann")
    assert town.namespace.run("cat", str(path)).stdout == contents(town, "ann", "/etc/resolv.conf")


# --- figures -------------------------------------------------------------------------------------------------------


def test_the_figures_tell_who_asked_what(town: Daemon, stub: NameServer) -> None:
    before = figures(town, "ann")
    for _ in range(3):
        found(town, "ann", "web")
    for _ in range(2):
        found(town, "ann", "example.org")
    after = figures(town, "ann")
    grown = {key: after[key] - before[key] for key in ("Queries", "Local", "Cached", "Forwarded", "Failed")}
    assert grown == {"Queries": 5, "Local": 3, "Cached": 1, "Forwarded": 1, "Failed": 0}
    assert figures(town, "web")["Queries"] == 0
    lines = {str(line["Container"]): line for line in resolver_figures(town)}
    assert lines["ann"]["Queries"] == str(after["Queries"])
    assert "ann" in town.linkspan("names")
    stub.close()
    assert code(ask(town, "ann", "unreachable.example")) == "SERVFAIL"
    assert figures(town, "ann")["Failed"] == 1
