"""The files that a sandbox gives to its containers."""

from __future__ import annotations

import pytest

from linkspan.engine import files
from linkspan.engine.files import HostsEntry, Resolver


def test_the_hosts_file_has_loopback_then_extra_names_then_the_sandbox_itself() -> None:
    text = files.hosts_text([HostsEntry("10.0.0.9", ("db",))], [HostsEntry("10.0.0.2", ("web.example", "web"))])
    lines = text.splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-2:] == ["10.0.0.9\tdb", "10.0.0.2\tweb.example web"]
    assert text.endswith("\n")


def test_resolv_conf_is_read_as_glibc_reads_it() -> None:
    text = """
    # a comment
    ; another
    nameserver 10.0.0.1
    nameserver\tfd00::1
    domain old.example
    search one.example two.example
    options ndots:2 timeout:1
    options rotate
    sortlist 130.155.160.0
    nameserver
    """
    assert files.parse_resolver(text) == Resolver(
        servers=("10.0.0.1", "fd00::1"),
        search=("one.example", "two.example"),
        options=("ndots:2", "timeout:1", "rotate"),
    )


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53", "::1", "::1%lo"])
def test_a_name_server_on_the_hosts_loopback_is_left_out(server: str) -> None:
    host = Resolver(servers=(server, "10.0.0.1"))
    assert files.reachable_servers(host, {4}) == ("10.0.0.1",)


def test_a_host_with_nothing_but_loopback_servers_falls_back_to_dockers() -> None:
    host = Resolver(servers=("127.0.0.53",))
    assert files.reachable_servers(host, {4}) == ("8.8.8.8", "8.8.4.4")
    assert files.reachable_servers(host, {6}) == ("2001:4860:4860::8888", "2001:4860:4860::8844")


def test_a_container_is_given_servers_of_its_own_families() -> None:
    host = Resolver(servers=("10.0.0.1", "fd00::1", "fe80::1%eth0"))
    assert files.reachable_servers(host, {4}) == ("10.0.0.1",)
    assert files.reachable_servers(host, {6}) == ("fd00::1",)
    assert files.reachable_servers(host, {4, 6}) == ("10.0.0.1", "fd00::1")


@pytest.mark.parametrize(
    ("options", "dots"), [((), 0), (("edns0", "ndots:2"), 2), (("ndots:5", "ndots:0"), 0), (("ndots:x",), 0)]
)
def test_the_last_word_on_dots_counts(options: tuple[str, ...], dots: int) -> None:
    assert files.most_dots(options) == dots


def test_the_hosts_own_namespace_reaches_its_loopback() -> None:
    host = Resolver(servers=("127.0.0.53",), search=("example.org",), options=("edns0",))
    text = files.resolver_text(host, Resolver(), None)
    assert text == "nameserver 127.0.0.53\nsearch example.org\noptions edns0\n"


def test_what_was_asked_for_replaces_what_the_host_has_part_by_part() -> None:
    host = Resolver(servers=("10.0.0.1",), search=("example.org",), options=("edns0",))
    wanted = Resolver(servers=("9.9.9.9",), options=("ndots:3",))
    text = files.resolver_text(host, wanted, {4})
    assert text == "nameserver 9.9.9.9\nsearch example.org\noptions ndots:3\n"


def test_a_search_list_of_a_dot_is_no_search_list() -> None:
    host = Resolver(servers=("10.0.0.1",), search=("example.org",))
    assert "search" not in files.resolver_text(host, Resolver(search=(".",)), {4})


def test_a_server_that_was_asked_for_may_be_on_loopback() -> None:
    text = files.resolver_text(Resolver(), Resolver(servers=("127.0.0.1",)), {4})
    assert text == "nameserver 127.0.0.1\n"


def test_extra_hosts_know_both_families_and_the_gateway() -> None:
    entries = files.extra_entries(
        ["db:10.0.0.9", "six:fd00::9", "bracketed:[fd00::8]", "host.docker.internal:host-gateway"],
        ["10.0.0.1", "fd00::1"],
    )
    assert [(entry.address, entry.names[0]) for entry in entries] == [
        ("10.0.0.9", "db"),
        ("fd00::9", "six"),
        ("fd00::8", "bracketed"),
        ("10.0.0.1", "host.docker.internal"),
        ("fd00::1", "host.docker.internal"),
    ]
