"""A host with containers and a neighbour, made of planned scopes on the real kernel: who reaches whom by which port.

Everything lives in namespaces of the test's own. Servers are threads that tell each client who it is; a client is a
socket that was made inside the namespace it asks from.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import msgspec

from linkspan.kernel import netns
from linkspan.kernel.applied import Applied
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.nft import Nft
from linkspan.kernel.state import Facts, Scope, State, state_of
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.port import Publication, Transport
from linkspan.model.sandbox import Sandbox
from linkspan.plan import bridge, host, sandbox
from linux_objects import GROUP, INSTANCE, private_kernel
from namespaces import Namespace
from plan_cases import endpoint as plain_endpoint

HOST4, HOST6 = "198.51.100.1", "2001:db8:51::1"
"""The host as the neighbour sees it."""
HOST = {4: HOST4, 6: HOST6}
LAN4, LAN6 = "198.51.100.2", "2001:db8:51::2"
LAN = {4: LAN4, 6: LAN6}
UPLINK = "up0"
SILENCE, REFUSED = "silence", "refused"
PATIENCE = 0.6
"""Seconds that a client waits before it takes silence for an answer; a path that is open needs a thousandth."""
KIND: dict[Transport, socket.SocketKind] = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Container(msgspec.Struct):
    """One container of the lab: its sandbox, and its place on each network."""

    sandbox: Sandbox
    places: list[tuple[Network, Endpoint]]

    def address(self, version: int, place: int = 0) -> str:
        """Its address of a family on its first network, or another one."""
        endpoint = self.places[place][1]
        return str(endpoint.ipv4 if version == 4 else endpoint.ipv6)


class Lab:
    """``kernel``'s host with an uplink, and the namespace ``lan`` at its other end, which knows the way to all."""

    def __init__(self, kernel: LinuxKernel, lan: Namespace, facts: Facts, stack: ExitStack) -> None:
        self.kernel = kernel
        self.lan = lan
        self.facts = facts
        self.applied = Applied(kernel)
        self._stack = stack
        self._digits = iter("123456789abcdef")

    def add(self, *networks: Network) -> None:
        """Makes networks; the neighbour gets routes to them, so that it can try."""
        scopes: dict[Scope, State] = {
            ("network", each.id): state_of(bridge.network(each, self.facts)) for each in networks
        }
        self.applied.converge(scopes)
        for each in networks:
            for pool in each.pools:
                version = pool.subnet.version
                self.lan.run("ip", f"-{version}", "route", "add", str(pool.subnet), "via", HOST[version])

    def start(self, *networks: Network, host: int = 2, publish: tuple[Publication, ...] = ()) -> Container:
        """Starts a container with the same host part on each network."""
        digit = next(self._digits)
        box = Sandbox(id=digit * 64, owner=digit * 64, owner_name=f"c{digit}", hostname="c", publications=publish)
        places = [(each, placed(each, box, index, host)) for index, each in enumerate(networks)]
        container = Container(box, places)
        namespace = sandbox.namespace_of(box)
        scopes: dict[Scope, State] = {
            ("endpoint", place.id): state_of(bridge.endpoint(each, place, namespace, self.facts))
            for each, place in places
        }
        scopes["sandbox", box.id] = state_of(sandbox.sandbox(box, places))
        self.applied.converge(scopes)
        self.settle(
            {place.host_interface for _, place in places} | {bridge.options_of(each).bridge_name for each in networks}
        )
        return container

    def settle(self, names: set[str], where: Namespace | None = None) -> None:
        """Waits until new links carry packets: the kernel may take a second to notice them (link_watch.c)."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            links = json.loads(self.run(where, "ip", "-j", "link", "show"))
            if names <= {each["ifname"] for each in links if each["operstate"] == "UP"}:
                return
            time.sleep(0.01)
        raise AssertionError(f"these links do not come up: {', '.join(sorted(names))}")

    def publish(self, container: Container, *publications: Publication) -> None:
        """Makes these the container's published ports."""
        container.sandbox = msgspec.structs.replace(container.sandbox, publications=publications)
        box = container.sandbox
        self.applied.converge({("sandbox", box.id): state_of(sandbox.sandbox(box, container.places))})

    @contextmanager
    def inside(self, where: Container | Namespace | None) -> Iterator[None]:
        """This thread in a container, at the neighbour's, or (None) on the host."""
        if where is None:
            yield
        elif isinstance(where, Namespace):
            with where.entered():
                yield
        else:
            descriptor = self.kernel.namespace_fd(sandbox.namespace_of(where.sandbox))
            try:
                with netns.entered(descriptor):
                    yield
            finally:
                os.close(descriptor)

    def run(self, where: Container | Namespace | None, *words: str) -> str:
        """What a program prints there."""
        with self.inside(where):
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def serve(self, where: Container | Namespace | None, *ports: int, address: str = "::") -> None:
        """Answers on these ports, TCP and UDP, with the client's address and the port that was asked.

        On ``::`` both families are served.
        """
        for port in ports:
            for kind in KIND.values():
                with self.inside(where):
                    server = socket.socket(family(address), kind)
                if address == "::":
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    server.listen()
                thread = threading.Thread(target=answer, args=(server, kind), daemon=True)
                thread.start()
                self._stack.callback(ended, server, thread)

    def ask(
        self,
        where: Container | Namespace | None,
        address: str,
        port: int,
        protocol: Transport = "tcp",
        *,
        patience: float = PATIENCE,
    ) -> str:
        """What the server at the other end says: who we are to it and which port it is, or how we failed."""
        with self.inside(where), socket.socket(family(address), KIND[protocol]) as client:
            client.settimeout(patience)
            try:
                client.connect(socket.getaddrinfo(address, port)[0][4])  # it knows the interface in a scoped address
                client.sendall(b"who am I")
                return client.recv(200).decode() or SILENCE
            except ConnectionRefusedError:
                return REFUSED
            except OSError:
                return SILENCE

    def dropped(self, counter: str) -> int:
        """Packets in a named counter of the firewall."""
        nft = Nft()
        try:
            for kind, part in nft.table("inet", "linkspan"):
                if kind == "counter" and part["name"] == counter:
                    return int(str(part["packets"]))
        finally:
            nft.close()
        raise AssertionError(f"there is no counter {counter}")


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def answer(server: socket.socket, kind: socket.SocketKind) -> None:
    """Until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            if kind == socket.SOCK_STREAM:
                client, peer = server.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(5)
                    client.recv(200)
                    client.sendall(told(peer[0], server))
            else:
                question, peer = server.recvfrom(200)
                if not question:
                    return
                server.sendto(told(peer[0], server), peer)


def ended(server: socket.socket, thread: threading.Thread) -> None:
    """Wakes who waits at the socket, so that its namespace can go."""
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    server.close()


def told(peer: str, server: socket.socket) -> bytes:
    address = ip_address(peer.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return f"{mapped or address} at {server.getsockname()[1]}".encode()


def placed(network: Network, box: Sandbox, index: int, host_part: int) -> Endpoint:
    """An endpoint of a sandbox, with names and a MAC of its own."""
    digit = f"{box.id[0]}{index}"
    addresses = [pool.subnet[host_part] for pool in network.pools]
    return msgspec.structs.replace(
        plain_endpoint(network, index),
        id=digit * 32,
        sandbox_id=box.id,
        host_interface=f"veth{digit * 5}",
        mac=f"02:42:ac:00:{digit}:0{host_part}",
        ipv4=next((each for each in addresses if isinstance(each, IPv4Address)), None),
        ipv6=next((each for each in addresses if isinstance(each, IPv6Address)), None),
    )


def connect(name: str, other: Namespace) -> None:
    """A cable from this thread's namespace to another, under the same name at both ends."""
    words = ("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", other.path)
    subprocess.run(words, check=True, pass_fds=(other.descriptor,))
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    other.run("ip", "link", "set", name, "up")


@contextmanager
def port_lab(folder: Path, *, bridge_netfilter: bool) -> Iterator[Lab]:
    """A lab without networks. ``bridge_netfilter``: bridged packets pass the firewall."""
    with private_kernel(folder) as kernel, Namespace() as lan, ExitStack() as stack:
        for name in ("iptables", "ip6tables"):
            Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}").write_text(str(int(bridge_netfilter)), encoding="ascii")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # Answers must come in by the interface that leads to where they claim to come from: the strictest host.
        subprocess.run(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"], check=True)
        no_detection = ("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        subprocess.run(no_detection, check=True)
        lan.run(*no_detection)
        connect(UPLINK, lan)
        for version in (4, 6):
            length = 24 if version == 4 else 64
            subprocess.run(["ip", "addr", "add", f"{HOST[version]}/{length}", "dev", UPLINK], check=True)
            lan.run("ip", "addr", "add", f"{LAN[version]}/{length}", "dev", UPLINK)
        facts = Facts(instance=INSTANCE, group=GROUP, bridge_netfilter=bridge_netfilter)
        lab = Lab(kernel, lan, facts, stack)
        lab.applied.converge({("host", ""): state_of(host.base(facts, ipv6=True))})
        lab.settle({UPLINK})
        lab.settle({UPLINK}, lan)
        yield lab
