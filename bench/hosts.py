"""Hosts to compare with, each of a few network namespaces: a bridge, two containers on it, and a neighbour on the LAN.

They are made by the ip and nft programs and have no rule of ours, so nothing stands between a packet and the kernel
but what is said here. The cable to the neighbour has the ordinary GSO sizes, as a network card has.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from peer import Peer

from linkspan.kernel import netns
from linkspan.kernel.wire import link

HOST = {4: "198.51.100.1", 6: "2001:db8:51::1"}
"""A host as its neighbour sees it (RFC 5737, RFC 3849)."""
NEIGHBOUR = {4: "198.51.100.2", 6: "2001:db8:51::2"}
GATEWAY = {4: "10.99.0.1", 6: "fd99::1"}
CONTAINERS = ({4: "10.99.0.2", 6: "fd99::2"}, {4: "10.99.0.3", 6: "fd99::3"})
LENGTH = {4: 24, 6: 64}
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
BRIDGE, UPLINK = "bare0", "lan0"

TRANSLATING = """
table inet bare {
 chain prerouting { type nat hook prerouting priority -100; fib daddr type local goto publish; }
 chain output { type nat hook output priority -100; fib daddr type local goto publish; }
 chain publish {
  tcp dport 8080 dnat ip to 10.99.0.2:5001
  tcp dport 8080 dnat ip6 to [fd99::2]:5001
 }
 chain postrouting { type nat hook postrouting priority 100;
  ip saddr 127.0.0.0/8 oifname "bare0" masquerade
  oifname "lan0" masquerade
 }
}
"""
"""The least with which a port can be published and containers reach out; no filter at all."""


class Place:
    """A network namespace with its peer process, or (``namespace``) one that others have and close."""

    def __init__(self, namespace: int | None = None) -> None:
        self._socket = netns.create() if namespace is None else None
        self.namespace = self._socket.namespace() if self._socket is not None else namespace or -1
        self.peer = Peer(self.namespace)

    @property
    def path(self) -> str:
        """For the ip program."""
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def run(self, *words: str, text: str | None = None) -> None:
        """Runs a program inside."""
        with netns.entered(self.namespace):
            subprocess.run(words, check=True, input=text, text=True)

    def ip(self, words: str) -> None:
        """Runs the ip program inside."""
        self.run("ip", *words.split())

    def set_sizes(self, name: str, size: int) -> None:
        """GSO and GRO sizes of a link, for IPv4 too, which the ip program of Debian 12 does not know."""
        inside = netns.open_inside(self.namespace)
        try:
            inside.request(link.change(inside.index(name), link.all_offload_sizes(size)))
        finally:
            inside.close()

    def write(self, setting: str, value: str) -> None:
        """Writes a value below /proc/sys/net."""
        with netns.entered(self.namespace), open(f"/proc/sys/net/{setting}", "w") as file:
            file.write(value)

    def close(self) -> None:
        """Ends the process; the namespace goes with it unless it is somebody else's."""
        self.peer.close()
        if self._socket is not None:
            os.close(self.namespace)
            self._socket.close()


def lay_cable(host: Place, neighbour: Place) -> None:
    """From a host to its neighbour, who has the host as its router. Sizes stay as the kernel makes them."""
    host.ip(f"link add {UPLINK} type veth peer name {UPLINK} netns {neighbour.path}")
    for place, addresses in ((host, HOST), (neighbour, NEIGHBOUR)):
        for version, address in addresses.items():
            nodad = " nodad" if version == 6 else ""
            place.ip(f"address add {address}/{LENGTH[version]} dev {UPLINK}{nodad}")
        place.ip(f"link set {UPLINK} up")
    for version in HOST:
        neighbour.ip(f"-{version} route add default via {HOST[version]}")


class BareHost:
    """A host without us. ``size`` is the GSO size of containers and bridge, ``rules`` a ruleset of its own."""

    def __init__(self, size: int = 0, rules: str = "") -> None:
        self.host, self.neighbour = Place(), Place()
        self.containers = (Place(), Place())
        self.host.ip(f"link add {BRIDGE} type bridge")
        self.host.ip(f"link set {BRIDGE} up")
        self.host.write("ipv4/ip_forward", "1")
        self.host.write("ipv6/conf/all/forwarding", "1")
        for version, address in GATEWAY.items():
            nodad = " nodad" if version == 6 else ""
            self.host.ip(f"address add {address}/{LENGTH[version]} dev {BRIDGE}{nodad}")
        for number, place in enumerate(self.containers):
            self._connect(place, f"port{number}", CONTAINERS[number], size)
        if size:
            self.host.set_sizes(BRIDGE, size)
        lay_cable(self.host, self.neighbour)
        if rules:
            self.host.write(f"ipv4/conf/{BRIDGE}/route_localnet", "1")
            self.host.run("nft", "-f", "-", text=rules)

    def _connect(self, place: Place, port: str, addresses: dict[int, str], size: int) -> None:
        self.host.ip(f"link add {port} type veth peer name eth0 netns {place.path}")
        if size:
            self.host.set_sizes(port, size)
            place.set_sizes("eth0", size)
        self.host.ip(f"link set {port} master {BRIDGE} up")
        place.ip("link set eth0 up")
        for version, address in addresses.items():
            nodad = " nodad" if version == 6 else ""
            place.ip(f"address add {address}/{LENGTH[version]} dev eth0{nodad}")
            place.ip(f"-{version} route add default via {GATEWAY[version]}")

    def places(self) -> Sequence[Place]:
        """All of its namespaces."""
        return (self.host, self.neighbour, *self.containers)

    def close(self) -> None:
        """Takes it away."""
        for place in self.places():
            place.close()
