"""A small town for scenarios of healing: a network with two containers, a published port, a neighbour, and load."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from container_lab import raw
from daemons import LINKSPAN, Daemon
from load_lab import Echo, Load, kept, name, tcp, udp
from network_lab import FAMILIES, HOST4, HOST6, Outside, address4, address6, inside, sandbox_of, sleeper

Json = Any
SOON = 1.0
"""Seconds from the damage to its repair."""
PORT, INNER = 8080, 80
THEIRS = "203.0.113.129"
"""An address that somebody else gave our bridge."""
INNER_SYSCTL = "net.ipv4.conf.IFNAME.log_martians=1"
FOREIGN_TABLE = """table inet theirs {
    set blocked { type ipv4_addr; elements = { 203.0.113.9 } }
    chain input { type filter hook input priority 0; ip saddr @blocked counter drop; }
}"""


class Town:
    """Containers ``one`` (published as 8080, TCP and UDP), ``two`` and ``three`` on ``web``; others' things beside."""

    def __init__(self, daemon: Daemon, outside: Outside) -> None:
        self.daemon = daemon
        self.outside = outside
        self.host = daemon.namespace
        daemon.linkspan("network", "create", "--ipv6", "web")
        self.bridge = "br-" + str(daemon.inspect("web")["Id"])[:12]
        published = ("-p", f"{PORT}:{INNER}", "-p", f"{PORT}:{INNER}/udp")
        sleeper(daemon, "one", "--network", "web", *published)
        options = f"name=web,driver-opt=com.docker.network.endpoint.sysctls={INNER_SYSCTL}"
        sleeper(daemon, "two", "--network", options, "--cap-add", "NET_ADMIN")
        sleeper(daemon, "three", "--network", "web")
        self.one = address4(daemon, "one", "web")
        self.one6 = address6(daemon, "one", "web")
        self.host.run("ip", "link", "add", "theirs0", "type", "bridge")
        self.host.run("ip", "addr", "add", "203.0.113.1/24", "dev", "theirs0")
        self.host.run("ip", "addr", "add", f"{THEIRS}/28", "dev", self.bridge)
        self.host.run("nft", FOREIGN_TABLE)

    def place(self, container: str) -> str:
        """The path of a container's network namespace."""
        return sandbox_of(self.daemon, container)

    def filled(self, text: str) -> str:
        """A text with our names in place of ``BRIDGE``, ``VETH`` (of ``one``), ``LOCAL`` and ``ADDRESS4`` and ``6``."""
        held = json.loads(self.host.run("ip", "-j", "addr", "show", "dev", self.bridge).stdout)[0]["addr_info"]
        for each in held:
            name = "LOCAL" if each["scope"] == "link" else "ADDRESS4" if each["family"] == "inet" else "ADDRESS6"
            if each["local"] != THEIRS:
                text = text.replace(name, f"{each['local']}/{each['prefixlen']}")
        return text.replace("BRIDGE", self.bridge).replace("VETH", self.veth("one") if "VETH" in text else "")

    def veth(self, container: str) -> str:
        """The host's end of a container's pair."""
        more = json.loads(raw(self.daemon, "GET", "/linkspan/networks/web")[2])
        return str(next(each["HostInterface"] for each in more["Members"] if each["Name"] == container))

    def inside(self, container: str) -> Json:
        """What a container sees of its network: the link, its addresses and routes, its own settings."""
        words = ("ip", "-j", "addr", "show", "dev", "eth0")
        link = json.loads(inside(self.daemon, container, *words))[0]
        held = sorted((each["local"], each["prefixlen"], each["scope"]) for each in link["addr_info"])
        told = [inside(self.daemon, container, "ip", version, "route") for version in FAMILIES]
        routes = [sorted(each.splitlines()) for each in told]
        martians = inside(self.daemon, container, "sysctl", "-n", "net.ipv4.conf.eth0.log_martians")
        return link["address"], link["mtu"], link["operstate"], held, routes, martians

    def everybody(self) -> Json:
        """What all containers see."""
        return [self.inside(each) for each in ("one", "two", "three")]

    def restore_theirs(self) -> None:
        """What a flush of everything, or the loss of the bridge, took from others: only they put that back."""
        self.host.run("nft", "delete", "table", "inet", "theirs", check=False)
        self.host.run("nft", FOREIGN_TABLE)
        self.host.run("ip", "addr", "replace", f"{THEIRS}/28", "dev", self.bridge)

    def foreign(self) -> Json:
        """What others have here."""
        link = json.loads(self.host.run("ip", "-j", "addr", "show", "dev", "theirs0").stdout)
        ours = json.loads(self.host.run("ip", "-j", "addr", "show", "dev", self.bridge).stdout)
        theirs = [each["local"] for each in ours[0]["addr_info"] if each["local"] == THEIRS]
        return link, theirs, self.host.run("nft", "list", "table", "inet", "theirs", check=False).stdout

    def outer(self) -> list[Load]:
        """Load from outside to the published port: TCP of both families, also on connections that are kept; UDP."""
        place = self.outside.namespace.path
        return [
            Load(place, tcp(HOST4, PORT), threads=4),
            Load(place, tcp(HOST6, PORT), threads=4),
            Load(place, kept(HOST4, PORT), threads=1),
            Load(place, kept(HOST6, PORT), threads=1),
            Load(place, udp(HOST4, PORT)),
        ]

    def inner(self) -> list[Load]:
        """Load between the containers, of both families, and of names."""
        place = self.place("two")
        return [
            Load(place, tcp(self.one, INNER)),
            Load(place, tcp(self.one6, INNER)),
            Load(place, name("one", self.one)),
        ]


@contextmanager
def town(daemon: Daemon) -> Iterator[Town]:
    """The town, with ``one`` answering on its port."""
    with Outside(daemon) as outside:
        built = Town(daemon, outside)
        with Echo(built.place("one"), INNER):
            yield built
        built.host.run("ip", "link", "del", "theirs0")


@contextmanager
def running(loads: Sequence[Load]) -> Iterator[None]:
    """All of them at once."""
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load)
        yield


class Hole:
    """From just before a damage to just after its repair, and what was told about it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.began, self.since = time.monotonic(), time.time()
        self.ended = 0.0

    def wait(self, seconds: float = 10.0) -> None:
        """Until nothing deviates any more. AssertionError with what still does."""
        deadline = time.monotonic() + seconds
        while found := drift(self.daemon):
            assert time.monotonic() < deadline, f"not repaired: {found}\n{self.daemon.log_end()}"
        self.ended = time.monotonic()

    def events(self, *actions: str) -> list[Json]:
        """What was told since then about repairs and drift."""
        wanted = actions or ("repair", "drift")
        return [each for each in events(self.daemon, self.since) if each["Action"] in wanted]

    def told(self, number: int) -> list[Json]:
        """Waits for that many events. AssertionError when none comes."""
        deadline = time.monotonic() + 5
        while len(found := self.events()) < number and time.monotonic() < deadline:
            time.sleep(0.02)
        assert found, "nothing was told"
        return found

    def repaired(self, *, events: int = 1, seconds: float = SOON) -> list[Json]:
        """Waits for the repair and its events. AssertionError when it took longer."""
        self.wait()
        found = self.told(events)
        for each in found:
            assert each["timeNano"] / 1e9 - self.since < seconds, each
        return found


def drift(daemon: Daemon) -> list[Json]:
    """What deviates now."""
    status, _, body = raw(daemon, "GET", "/linkspan/drift")
    assert status == 200, body
    found: list[Json] = json.loads(body)["Drift"]
    return found


def events(daemon: Daemon, since: float) -> list[Json]:
    """All events since a moment (Unix seconds)."""
    text = daemon.linkspan("events", "--since", f"{since:.6f}", "--until", "0s", "--format", "{{json .}}")
    return [json.loads(line) for line in text.splitlines()]


def objects(found: Sequence[Json]) -> dict[str, str]:
    """Object -> state, of events. AssertionError when an object is told twice."""
    told = [(each["Actor"]["Attributes"]["object"], each["Actor"]["Attributes"]["state"]) for each in found]
    assert len(told) == len(dict(told)), told
    return dict(told)


def causes(found: Sequence[Json]) -> set[str]:
    """Who is said to have done it."""
    return {each["Actor"]["Attributes"]["cause"] for each in found}


def command(daemon: Daemon, *words: str) -> tuple[int, str]:
    """Exit status and output of a ``linkspan`` command."""
    done = daemon.run(LINKSPAN, *words)
    return done.returncode, done.stdout + done.stderr
