"""Host ports are chosen and reserved, on a host in memory; the kernel's own part is in tests/kernel."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from fake_host_ports import FakeHost
from linkspan.engine.ports import Ports, Reserved
from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel.holders import Holder
from linkspan.kernel.reservation import DynamicPorts, port_set
from linkspan.model.port import MOST_HELD, Publication, Transport
from linkspan.model.publishing import ANY4, ANY6, Wish

SOME = DynamicPorts(first=40000, last=40004, reserved=frozenset({40001}))


def wish(
    host: str = "",
    port: int = 80,
    *,
    addresses: tuple[str, ...] = ("0.0.0.0", "::"),
    protocol: Transport = "tcp",
    count: int = 1,
    routed: bool = False,
) -> Wish:
    first, _, last = host.partition("-")
    return Wish(
        protocol=protocol,
        addresses=tuple(map(ip_address, addresses)),
        port=port,
        count=count,
        first=int(first or 0),
        last=int(last or first or 0),
        routed=routed,
    )


def ports_of(host: FakeHost, most_sockets: int = 10_000) -> Ports:
    return Ports(host, host.in_use, host.holders, most_sockets=most_sockets)


def publish(host: FakeHost, ports: Ports, sandbox: str, *wishes: Wish) -> Reserved:
    """As the engine does: reserved, held by the keeper, our own descriptors closed."""
    with ports.reserve(sandbox, f"name-of-{sandbox}", wishes) as reserved:
        host.keep(reserved.sockets)
    return reserved


def unpublish(host: FakeHost, ports: Ports, sandbox: str) -> None:
    host.let_go(ports.keys(sandbox))
    ports.release(sandbox)


def host_ports(reserved: Reserved) -> list[int]:
    return [item.host_port for item in reserved.publications]


def test_a_fixed_port_is_reserved_on_both_families() -> None:
    host = FakeHost()
    ports = ports_of(host)
    with ports.reserve("a", "web", [wish("8080")]) as reserved:
        assert [(str(item.address), item.host_port) for item in reserved.publications] == [
            ("0.0.0.0", 8080),
            ("::", 8080),
        ]
        assert sorted(reserved.sockets) == ["a/tcp/0.0.0.0/8080", "a/tcp/::/8080"]
        assert len(host.open) == 2
    assert not host.open
    assert ports.keys("a") == ("a/tcp/0.0.0.0/8080", "a/tcp/::/8080")


def test_a_second_container_hears_who_has_the_port() -> None:
    host = FakeHost()
    ports = ports_of(host)
    publish(host, ports, "a", wish("8080"))
    with pytest.raises(Conflict) as refusal:
        ports.reserve("b", "other", [wish("8080", addresses=("127.0.0.1",))])
    assert str(refusal.value) == (
        "port 8080/tcp on 127.0.0.1 is already published by container name-of-a; choose another host port"
    )
    assert refusal.value.whose == "a"


def test_a_renamed_container_is_named_as_it_is_called_now() -> None:
    host = FakeHost()
    ports = ports_of(host)
    publish(host, ports, "a", wish("8080"))
    ports.rename("a", "shop")
    with pytest.raises(Conflict, match="by container shop"):
        ports.reserve("b", "other", [wish("8080")])


def test_two_containers_share_a_number_on_different_addresses_families_and_protocols() -> None:
    host = FakeHost()
    ports = ports_of(host)
    publish(host, ports, "a", wish("8080", addresses=("127.0.0.1",)))
    publish(host, ports, "b", wish("8080", addresses=("192.0.2.10",)))
    publish(host, ports, "c", wish("8080", addresses=("::",)))
    publish(host, ports, "d", wish("8080", protocol="udp"))


def test_a_range_meets_a_single_port_inside_it_and_the_other_way_round() -> None:
    host = FakeHost()
    ports = ports_of(host)
    publish(host, ports, "a", wish("8005"))
    with pytest.raises(Conflict, match=r"port 8005/tcp .* container name-of-a"):
        ports.reserve("b", "other", [wish("8000-8009", count=10)])
    publish(host, ports, "c", wish("9000-9009", count=10))
    with pytest.raises(Conflict, match=r"port 9009/tcp .* container name-of-c"):
        ports.reserve("b", "other", [wish("9009")])


def test_a_program_of_the_host_is_named() -> None:
    host = FakeHost()
    host.program("nginx", "tcp", "127.0.0.1", 8080)
    with pytest.raises(Conflict) as refusal:
        ports_of(host).reserve("a", "web", [wish("8080")])
    assert str(refusal.value) == (
        "port 8080/tcp on 0.0.0.0 is in use by nginx (pid 123); stop it or choose another host port"
    )
    assert not host.open


def test_of_several_programs_one_is_named_and_the_rest_counted() -> None:
    host = FakeHost()
    host.program("nginx", "tcp", "127.0.0.1", 8080)
    host.program("caddy", "tcp", "192.0.2.10", 8080, pid=7)
    with pytest.raises(Conflict, match=r"nginx \(pid 123\) and 1 more; stop them"):
        ports_of(host).reserve("a", "web", [wish("8080")])


def test_a_port_that_only_ended_connections_keep_is_free_in_a_minute() -> None:
    host = FakeHost()
    host.programs["tcp", ANY4, 8080] = Holder(address="0.0.0.0", port=8080, state="time-wait")
    with pytest.raises(Conflict, match="ended less than a minute ago; wait a minute"):
        ports_of(host).reserve("a", "web", [wish("8080")])


def test_a_holder_that_nobody_can_name_still_keeps_the_port() -> None:
    host = FakeHost()
    host.program("nginx", "tcp", "0.0.0.0", 8080)

    def refused(protocol: Transport, address: object, port: int) -> list[Holder]:
        raise OSError(1, "Operation not permitted")

    ports = Ports(host, host.in_use, refused, most_sockets=100)
    with pytest.raises(Conflict, match="a program that cannot be seen"):
        ports.reserve("a", "web", [wish("8080")])


def test_what_failed_half_way_leaves_nothing() -> None:
    host = FakeHost()
    host.program("nginx", "tcp", "0.0.0.0", 8085)
    ports = ports_of(host)
    with pytest.raises(Conflict, match="8085"):
        ports.reserve("a", "web", [wish("7000"), wish(""), wish("8080-8089", count=10)])
    assert not host.open
    assert ports.keys("a") == ()
    publish(host, ports, "b", wish("7000"))


def test_a_second_round_that_fails_leaves_the_first_alone() -> None:
    host = FakeHost()
    host.program("nginx", "tcp", "0.0.0.0", 8085)
    ports = ports_of(host)
    publish(host, ports, "a", wish("8080"))
    with pytest.raises(Conflict, match="nginx"):
        ports.reserve("a", "web", [wish("8081"), wish("8085")])
    assert ports.keys("a") == ("a/tcp/0.0.0.0/8080", "a/tcp/::/8080")
    with pytest.raises(Conflict, match="name-of-a"):
        ports.reserve("b", "other", [wish("8080")])


def test_a_released_port_is_free() -> None:
    host = FakeHost()
    ports = ports_of(host)
    publish(host, ports, "a", wish("8080"), wish("9000-9010", count=11), wish(""))
    unpublish(host, ports, "a")
    assert not host.open
    publish(host, ports, "b", wish("8080"), wish("9000-9010", count=11))
    ports.release("nobody")


def test_random_ports_go_upwards_past_reserved_ones_and_start_again() -> None:
    host = FakeHost(dynamic=SOME)
    ports = ports_of(host)
    assert host_ports(publish(host, ports, "a", wish(), wish(port=81))) == [40000, 40000, 40002, 40002]
    assert host_ports(publish(host, ports, "b", wish())) == [40003, 40003]
    unpublish(host, ports, "a")
    assert host_ports(publish(host, ports, "c", wish())) == [40004, 40004]
    assert host_ports(publish(host, ports, "d", wish())) == [40000, 40000]


def test_a_random_port_is_free_in_both_families() -> None:
    host = FakeHost(dynamic=SOME)
    host.program("sshd", "tcp", "::", 40000)
    assert host_ports(publish(host, ports_of(host), "a", wish())) == [40002, 40002]
    assert len(host.open) == 2


def test_when_no_dynamic_port_is_left_that_is_said() -> None:
    host = FakeHost(dynamic=SOME)
    ports = ports_of(host)
    publish(host, ports, "a", *[wish(port=port) for port in range(80, 84)])
    with pytest.raises(Conflict, match="none of the host's dynamic ports is free"):
        ports.reserve("b", "other", [wish()])


def test_of_a_range_the_lowest_free_port_is_taken() -> None:
    host = FakeHost()
    ports = ports_of(host)
    host.program("nginx", "tcp", "0.0.0.0", 8000)
    assert host_ports(publish(host, ports, "a", wish("8000-8002"))) == [8001, 8001]
    assert host_ports(publish(host, ports, "b", wish("8000-8002"))) == [8002, 8002]
    with pytest.raises(Conflict) as refusal:
        ports.reserve("c", "other", [wish("8000-8002")])
    assert "none of the ports 8000-8002/tcp is free on 0.0.0.0 and ::" in str(refusal.value)
    assert "port 8000/tcp on 0.0.0.0 is in use by nginx (pid 123)" in str(refusal.value)


def test_free_picks_keep_out_of_the_way_of_fixed_ports_whatever_comes_first() -> None:
    host = FakeHost(dynamic=SOME)
    reserved = publish(host, ports_of(host), "a", wish(), wish("40000-40002"), wish("40000"))
    assert host_ports(reserved) == [40002, 40002, 40001, 40001, 40000, 40000]


def test_a_routed_port_takes_nothing() -> None:
    host = FakeHost()
    ports = ports_of(host)
    reserved = publish(host, ports, "a", wish(routed=True))
    assert host_ports(reserved) == [0, 0]
    assert not host.open
    publish(host, ports, "b", wish(routed=True))


def test_sockets_that_will_be_relayed_listen() -> None:
    host = FakeHost()
    wishes = [wish("8080"), wish("53", protocol="udp")]
    with ports_of(host).reserve("a", "web", wishes, relayed=lambda item: item.address == ANY6):
        assert host.listening == {("tcp", ANY6, 8080)}


def test_an_address_that_is_not_there_yet_is_taken_with_one_warning() -> None:
    host = FakeHost()
    addresses = ("198.51.100.1", "127.0.0.1")
    reserved = publish(host, ports_of(host), "a", wish("80", addresses=addresses), wish("81", addresses=addresses))
    assert reserved.warnings == [
        "the host does not have the address 198.51.100.1 now: ports published on it open when it comes"
    ]
    assert len(reserved.publications) == 4


def test_a_wide_range_has_no_sockets_and_is_compared_with_those_in_use() -> None:
    host = FakeHost()
    ports = ports_of(host)
    wide = wish(f"8000-{8000 + MOST_HELD}", count=MOST_HELD + 1)
    assert publish(host, ports, "a", wide).warnings == []
    assert not host.open
    with pytest.raises(Conflict, match=r"port 8500/tcp .* name-of-a"):
        ports.reserve("b", "other", [wish("8500")])
    unpublish(host, ports, "a")
    host.program("nginx", "tcp", "::", 8500)
    with pytest.raises(Conflict, match=r"port 8500/tcp on :: is in use by nginx \(pid 123\)"):
        ports.reserve("b", "other", [wide])


def test_a_wide_range_that_would_be_relayed_is_not_and_that_is_said() -> None:
    host = FakeHost()
    wide = wish(f"8000-{8000 + MOST_HELD}", count=MOST_HELD + 1)
    with ports_of(host).reserve("a", "web", [wide], relayed=lambda item: item.address == ANY6) as reserved:
        (warning,) = reserved.warnings
    assert warning.startswith(f"ports 8000-{8000 + MOST_HELD}/tcp on :: published without a relay")


def test_as_many_sockets_as_allowed_and_then_a_warning() -> None:
    host = FakeHost()
    ports = ports_of(host, most_sockets=12)
    assert publish(host, ports, "a", wish("8000-8004", count=5)).warnings == []
    reserved = publish(host, ports, "b", wish("9000-9004", count=5))
    assert len(host.open) == 10
    assert ["LimitNOFILE" in text for text in reserved.warnings] == [True, True]
    unpublish(host, ports, "a")
    assert publish(host, ports, "c", wish("7000-7004", count=5)).warnings == []


def test_a_full_table_of_files_is_no_conflict_and_leaves_nothing() -> None:
    host = FakeHost(most=5)
    with pytest.raises(KernelFailure, match="too many open files; raise the daemon's limit"):
        ports_of(host).reserve("a", "web", [wish("8000-8004", count=5)])
    assert not host.open


def test_a_new_daemon_takes_over_what_the_keeper_held() -> None:
    host = FakeHost()
    before = publish(host, ports_of(host), "a", wish("8080"), wish())
    ports = ports_of(host)
    again = ports.adopt("a", "web", before.publications, host.kept)
    assert again.publications == before.publications
    assert (again.sockets, again.warnings) == ({}, [])
    assert ports.keys("a") == tuple(host.kept)
    with pytest.raises(Conflict, match="container web"):
        ports.reserve("b", "other", [wish("8080")])
    unpublish(host, ports, "a")
    assert not host.open


def test_a_new_daemon_binds_again_what_no_keeper_held_and_tells_what_it_cannot_have() -> None:
    host = FakeHost()
    before = publish(host, ports_of(host), "a", wish("8080"), wish("8081"))
    host.let_go(list(host.kept))
    host.program("nginx", "tcp", "0.0.0.0", 8081)
    ports = ports_of(host)
    with ports.adopt("a", "web", before.publications, {}) as again:
        assert sorted(again.sockets) == ["a/tcp/0.0.0.0/8080", "a/tcp/::/8080", "a/tcp/::/8081"]
        host.keep(again.sockets)
    assert again.warnings == ["port 8081/tcp on 0.0.0.0 is in use by nginx (pid 123), and container web publishes it"]
    unpublish(host, ports, "a")
    assert not host.open


def test_what_the_keeper_holds_for_nobody_is_told() -> None:
    host = FakeHost()
    publication = Publication(protocol="tcp", address=ANY4, host_port=80, port=80)
    ports = ports_of(host)
    ports.adopt("a", "web", [publication], {"a/tcp/0.0.0.0/80": (5,)})
    assert ports.strays({"a/tcp/0.0.0.0/80": (5,), "gone/tcp/0.0.0.0/81": (6,)}) == ("gone/tcp/0.0.0.0/81",)


@pytest.mark.parametrize(
    ("text", "expected"), [("", set()), ("8080\n", {8080}), ("8080,30000-30002", {8080, 30000, 30001, 30002})]
)
def test_the_kernels_sets_of_ports_are_read(text: str, expected: set[int]) -> None:
    assert port_set(text) == expected
