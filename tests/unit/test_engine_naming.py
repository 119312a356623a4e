"""Who is asked about names that are not known here."""

from __future__ import annotations

import pytest

from linkspan.dns.names import Server
from linkspan.engine.files import Resolver
from linkspan.engine.naming import servers_of


@pytest.mark.parametrize("server", ["127.0.0.53", "127.0.0.11", "::1", "fe80::1%eth0"])
def test_a_server_that_only_the_host_reaches_is_asked_from_the_host(server: str) -> None:
    assert servers_of(Resolver(), Resolver(servers=(server,)), {4, 6}) == (Server(address=server, from_host=True),)


def test_the_hosts_other_servers_are_asked_from_the_sandbox_where_it_has_their_family() -> None:
    host = Resolver(servers=("192.0.2.1", "2001:DB8::0:1"))
    assert servers_of(Resolver(), host, {4}) == (
        Server(address="192.0.2.1"),
        Server(address="2001:db8::1", from_host=True),
    )
    assert servers_of(Resolver(), host, {4, 6}) == (Server(address="192.0.2.1"), Server(address="2001:db8::1"))


def test_servers_that_a_person_named_are_asked_from_the_sandbox_and_the_hosts_are_not() -> None:
    wanted = Resolver(servers=("2001:DB8:0:0::9", "127.0.0.1"))
    host = Resolver(servers=("192.0.2.1",))
    assert servers_of(wanted, host, {4}) == (Server(address="2001:db8::9"), Server(address="127.0.0.1"))


def test_the_resolver_is_never_told_to_ask_itself() -> None:
    host = Resolver(servers=("192.0.2.1",))
    assert servers_of(Resolver(servers=("127.0.0.11", "192.0.2.9")), host, {4}) == (Server(address="192.0.2.9"),)
    assert servers_of(Resolver(servers=("127.0.0.11",)), host, {4}) == (Server(address="192.0.2.1"),)


def test_what_is_no_address_and_what_is_said_twice_is_left_out() -> None:
    host = Resolver(servers=("names", "192.0.2.1", "192.0.2.1"))
    assert servers_of(Resolver(), host, {4}) == (Server(address="192.0.2.1"),)
