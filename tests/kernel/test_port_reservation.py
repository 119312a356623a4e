"""Ports of the host are kept from everybody else, on the real kernel, each test in a network namespace of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_host_ports import FakeHost
from linkspan.engine.ports import Ports, Reserved
from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel import holders, sysctls
from linkspan.kernel.reservation import LinuxSockets, Transport
from linkspan.model.port import MOST_HELD
from linkspan.model.publishing import Wish

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("private_netns")]

KINDS: dict[Transport, socket.SocketKind] = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
OPTIONS = {
    "plain": (),
    "reuseaddr": (socket.SO_REUSEADDR,),
    "reuseport": (socket.SO_REUSEPORT,),
    "both": (socket.SO_REUSEADDR, socket.SO_REUSEPORT),
}
PORT = 8080


def attempt(protocol: Transport, address: str, options: Sequence[int] = (), *, only6: bool = False) -> str:
    """What another program hears that binds, and listens, on the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, KINDS[protocol]) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only6))
        for option in options:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            other.bind((address, PORT))
            if protocol == "tcp":
                other.listen()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "taken"


@contextmanager
def reserved(protocol: Transport, address: str, *, listening: bool = False) -> Iterator[int]:
    sockets = LinuxSockets()
    descriptor = sockets.bind(protocol, ip_address(address), PORT, listening=listening)
    try:
        yield descriptor
    finally:
        sockets.close([descriptor])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize(("protocol", "listening"), [("tcp", False), ("tcp", True), ("udp", False)])
@pytest.mark.parametrize(
    ("held", "others"),
    [
        ("0.0.0.0", ("0.0.0.0", "127.0.0.1", "::", "::ffff:127.0.0.1")),
        ("127.0.0.1", ("0.0.0.0", "127.0.0.1", "::", "::ffff:127.0.0.1")),
        ("::", ("::", "::1")),
        ("::1", ("::", "::1")),
    ],
)
def test_nobody_else_gets_a_reserved_port_whatever_it_sets(
    held: str, others: tuple[str, ...], protocol: Transport, listening: bool, options: tuple[int, ...]
) -> None:
    with reserved(protocol, held, listening=listening):
        assert {other: attempt(protocol, other, options) for other in others} == dict.fromkeys(others, "EADDRINUSE")
    assert attempt(protocol, held) == "taken"


def test_the_families_and_protocols_do_not_meet() -> None:
    with reserved("tcp", "::"):
        assert attempt("tcp", "0.0.0.0") == "taken"
        assert attempt("udp", "::") == "taken"
    with reserved("tcp", "0.0.0.0"):
        assert attempt("tcp", "::", only6=True) == "taken"


def test_a_reserved_port_is_deaf_and_one_that_is_relayed_lets_connections_wait() -> None:
    with reserved("tcp", "127.0.0.1"), socket.socket() as client:
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.connect(("127.0.0.1", PORT))
    with (
        reserved("tcp", "127.0.0.1", listening=True) as descriptor,
        socket.socket(fileno=os.dup(descriptor)) as server,
        socket.create_connection(("127.0.0.1", PORT), 5) as client,
    ):
        client.sendall(b"early")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(5) == b"early"


def leave_time_wait(listener: socket.socket) -> None:
    """A connection that the server closed first: its end stays in TIME_WAIT for a minute."""
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        connection, _ = listener.accept()
        connection.close()
        assert client.recv(1) == b""


def waiting() -> bool:
    return any(item.state == "time-wait" for item in holders.holders("tcp", IPv4Address("127.0.0.1"), PORT))


def test_time_wait_keeps_a_plain_bind_out_and_us_not() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", PORT))
        listener.listen()
        leave_time_wait(listener)
    assert attempt("tcp", "0.0.0.0") == "EADDRINUSE"
    with reserved("tcp", "0.0.0.0"):
        assert waiting()
        found = {name: attempt("tcp", "0.0.0.0", options) for name, options in OPTIONS.items()}
        assert found == dict.fromkeys(OPTIONS, "EADDRINUSE")
        assert attempt("tcp", "127.0.0.1", OPTIONS["both"]) == "EADDRINUSE"


@pytest.mark.parametrize("listening", [False, True])
def test_a_relay_that_ended_does_not_keep_its_port(listening: bool) -> None:
    with (
        reserved("tcp", "127.0.0.1", listening=True) as descriptor,
        socket.socket(fileno=os.dup(descriptor)) as listener,
    ):
        leave_time_wait(listener)
    assert waiting()
    with reserved("tcp", "127.0.0.1", listening=listening):
        assert attempt("tcp", "127.0.0.1", OPTIONS["reuseaddr"]) == "EADDRINUSE"


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_program_that_serves_keeps_us_out_whatever_it_sets(protocol: Transport, options: tuple[int, ...]) -> None:
    with socket.socket(type=KINDS[protocol]) as other:
        for option in options:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("127.0.0.1", PORT))
        if protocol == "tcp":
            other.listen()
        for listening in (False, True):
            with pytest.raises(OSError, match="in use"), reserved(protocol, "0.0.0.0", listening=listening):
                pass


def test_a_socket_that_only_sits_on_a_port_for_others_to_share_cannot_listen_any_more() -> None:
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        idle.bind(("0.0.0.0", PORT))
        with reserved("tcp", "0.0.0.0"):
            with pytest.raises(OSError, match="in use"):
                idle.listen()
            assert attempt("tcp", "0.0.0.0", OPTIONS["reuseaddr"]) == "EADDRINUSE"


def test_of_programs_with_both_families_in_one_socket_ipv4_is_taken_too() -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        other.bind(("::", PORT))
        other.listen()
        for address in ("0.0.0.0", "127.0.0.1", "::", "::1"):
            with pytest.raises(OSError, match="in use"), reserved("tcp", address):
                pass


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db8::7"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_address_that_comes_later_is_reserved_before(address: str, protocol: Transport) -> None:
    sockets = LinuxSockets()
    assert not sockets.has_address(ip_address(address))
    with reserved(protocol, address, listening=True):
        subprocess.run(["ip", "address", "add", address, "dev", "lo", "nodad"], check=True)
        assert sockets.has_address(ip_address(address))
        assert attempt(protocol, address, OPTIONS["both"]) == "EADDRINUSE"


def test_what_the_kernel_calls_its_own_is_there() -> None:
    sockets = LinuxSockets()
    assert all(sockets.has_address(ip_address(item)) for item in ("127.0.0.1", "127.8.8.8", "::1"))


# What a publisher sees.


def wish(host: str, *, count: int = 1, addresses: tuple[str, ...] = ("0.0.0.0", "::")) -> Wish:
    first, _, last = host.partition("-")
    return Wish(
        protocol="tcp",
        addresses=tuple(map(ip_address, addresses)),
        port=80,
        count=count,
        first=int(first or 0),
        last=int(last or first or 0),
    )


def real_ports() -> Ports:
    return Ports(LinuxSockets(), holders.in_use, holders.holders, most_sockets=10_000)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def program(address: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves there, with everything set that could get past a reservation."""
    source = (
        "import socket, sys\n"
        "server = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n"
        "server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "server.bind((sys.argv[1], int(sys.argv[2])))\n"
        "server.listen()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", source, address, str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.communicate()


def test_a_program_in_the_way_is_named_with_its_pid() -> None:
    before = descriptors()
    with program("127.0.0.1", 8085) as process:
        with pytest.raises(Conflict) as refusal:
            real_ports().reserve("a", "web", [wish("8080-8089", count=10)])
        name = Path(f"/proc/{process.pid}/comm").read_text().strip()
        assert str(refusal.value) == (
            f"port 8085/tcp on 0.0.0.0 is in use by {name} (pid {process.pid}); stop it or choose another host port"
        )
    assert descriptors() == before


def test_a_random_port_is_one_that_the_host_has_free_in_both_families() -> None:
    sysctls.write("net/ipv4/ip_local_port_range", "40000 40005")
    sysctls.write("net/ipv4/ip_local_reserved_ports", "40001,40003-40004")
    with program("::1", 40000):
        ports = real_ports()
        with ports.reserve("a", "web", [wish("")]) as first, ports.reserve("b", "other", [wish("")]) as second:
            assert [item.host_port for item in first.publications] == [40002, 40002]
            assert [item.host_port for item in second.publications] == [40005, 40005]
            with pytest.raises(Conflict, match="none of the host's dynamic ports is free"):
                ports.reserve("c", "third", [wish("")])


def test_a_thousand_ports_are_kept_and_given_back() -> None:
    before = descriptors()
    ports = real_ports()
    with ports.reserve("a", "web", [wish(f"20000-{20000 + MOST_HELD - 1}", count=MOST_HELD)]) as found:
        assert [len(each) for each in found.sockets.values()] == [MOST_HELD, MOST_HELD]
        assert descriptors() == before + 2 * MOST_HELD
        names = [socket.socket(fileno=os.dup(item)) for item in next(iter(found.sockets.values()))]
        with ExitStack() as stack:
            bound = [stack.enter_context(item).getsockname()[1] for item in names]
        assert bound == list(range(20000, 20000 + MOST_HELD))
    assert descriptors() == before


def test_a_wider_range_has_no_sockets_and_still_meets_programs() -> None:
    before = descriptors()
    ports = real_ports()
    wide = wish("20000-30000", count=10001)
    with ports.reserve("a", "web", [wide]) as found:
        assert not found.sockets
    ports.release("a")
    with program("::1", 25000), pytest.raises(Conflict, match=r"port 25000/tcp on :: is in use by .* \(pid [0-9]+\)"):
        ports.reserve("a", "web", [wide])
    assert descriptors() == before


def test_a_limit_of_open_files_ends_a_reservation_cleanly() -> None:
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 100, hard))
    try:
        with pytest.raises(KernelFailure, match="too many open files; raise the daemon's limit"):
            real_ports().reserve("a", "web", [wish("20000-20999", count=1000)])
        assert descriptors() == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_of_two_containers_at_the_same_instant_one_wins() -> None:
    before = descriptors()
    ports = real_ports()

    async def start(sandbox: str) -> Reserved:
        await asyncio.sleep(0)
        return ports.reserve(sandbox, sandbox, [wish("8080"), wish("9000-9099", count=100)])

    async def both() -> list[Reserved | BaseException]:
        return await asyncio.gather(start("a"), start("b"), return_exceptions=True)

    winner, loser = sorted(asyncio.run(both()), key=lambda item: isinstance(item, BaseException))
    assert isinstance(winner, Reserved)
    assert isinstance(loser, Conflict)
    winner.close()
    assert descriptors() == before


def test_an_address_that_the_host_lacks_is_published_with_a_warning() -> None:
    with real_ports().reserve("a", "web", [wish("8080", addresses=("198.51.100.7", "127.0.0.1"))]) as found:
        assert len(found.sockets) == 2
    assert found.warnings == [
        "the host does not have the address 198.51.100.7 now: ports published on it open when it comes"
    ]


# The host in memory, which other tests trust.

PLACES = st.tuples(
    st.sampled_from(("tcp", "udp")),
    st.sampled_from(("0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1")),
    st.sampled_from((8080, 8081)),
    st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.one_of(PLACES, st.integers(0, 5)), max_size=12))
def test_the_host_in_memory_takes_and_refuses_what_the_kernel_does(
    steps: list[tuple[Transport, str, int, bool] | int],
) -> None:
    linux, fake = LinuxSockets(), FakeHost()
    pairs: list[tuple[int, int]] = []
    try:
        for step in steps:
            if isinstance(step, int):
                if step < len(pairs):
                    real, imagined = pairs.pop(step)
                    linux.close([real])
                    fake.close([imagined])
                continue
            protocol, text, port, listening = step
            address: IPv4Address | IPv6Address = ip_address(text)
            outcomes = [bound(host, protocol, address, port, listening) for host in (linux, fake)]
            assert [item is None for item in outcomes] in ([True, True], [False, False])
            if outcomes[0] is not None and outcomes[1] is not None:
                pairs.append((outcomes[0], outcomes[1]))
            for kind in KINDS:
                here = set(holders.in_use(kind, address, 8080, 8081))
                imagined_here = set(fake.in_use(kind, address, 8080, 8081))
                # Before Linux 6.8, TCP sockets that are bound and do not listen are not told.
                silent = {port for held, _, port in fake.open.values() if held == "tcp"}
                assert here <= imagined_here
                assert imagined_here - here <= (silent if kind == "tcp" else set())
    finally:
        linux.close([real for real, _ in pairs])


def bound(
    host: LinuxSockets | FakeHost,
    protocol: Transport,
    address: IPv4Address | IPv6Address,
    port: int,
    listening: bool,
) -> int | None:
    try:
        return host.bind(protocol, address, port, listening=listening)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return None
