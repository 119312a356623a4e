"""What scenarios of networks look at: the kernel's state, ways between namespaces, and a host outside."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from daemons import LINKSPAN, Daemon, eventually
from engine_api import EngineApi
from namespaces import Namespace

Json = Any
TABLE = "linkspan"
HOST4, HOST6 = "198.51.100.1", "2001:db8:51::1"
"""The daemon's host as the outside sees it."""
OUTSIDE4, OUTSIDE6 = "198.51.100.2", "2001:db8:51::2"
UPLINK = "up0"
LINK_FACTS = ("ifindex", "address", "mtu", "master", "ifalias", "group", "flags", "operstate")
"""Of a link; a bridge has timers beside these."""
FAMILIES = ("-4", "-6")


# --- containers ----------------------------------------------------------------------------------------------------


def sleeper(daemon: Daemon, name: str, *options: str) -> str:
    """Runs a container that does nothing and ends at once when it is stopped; its id."""
    words = ("run", "-d", "--name", name, "--stop-signal", "KILL", *options, "busybox", "sleep", "1000")
    return daemon.linkspan(*words).strip()


def idle(daemon: Daemon, name: str, *options: str) -> str:
    """The same, created only."""
    words = ("create", "--name", name, "--stop-signal", "KILL", *options, "busybox", "sleep", "1000")
    return daemon.linkspan(*words).strip()


def endpoint(daemon: Daemon, container: str, network: str) -> Json:
    """The container's place on a network, as inspect shows it."""
    found: Json = daemon.inspect(container)
    return found["NetworkSettings"]["Networks"][network]


def address4(daemon: Daemon, container: str, network: str) -> str:
    return str(endpoint(daemon, container, network)["IPAddress"])


def address6(daemon: Daemon, container: str, network: str) -> str:
    return str(endpoint(daemon, container, network)["GlobalIPv6Address"])


def sandbox_of(daemon: Daemon, container: str) -> str:
    """The path of the pin of the container's network namespace."""
    found: Json = daemon.inspect(container)
    return str(found["NetworkSettings"]["SandboxKey"])


def inside(daemon: Daemon, container: str, *words: str) -> str:
    """What a program of this machine prints inside the container's network namespace. AssertionError if it fails."""
    done = daemon.run("nsenter", f"--net={sandbox_of(daemon, container)}", "--", *words)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def pings(daemon: Daemon, container: str, address: str) -> bool:
    """Whether one echo request from a container is answered within a second."""
    program = "ping6" if ":" in address else "ping"
    return daemon.run(LINKSPAN, "exec", container, program, "-c1", "-W1", address).returncode == 0


def answering(daemon: Daemon, container: str, *addresses: str) -> set[str]:
    """Those of the addresses that answer a container; all are asked at once, since silence takes a second."""
    script = "for a; do case $a in *:*) p=ping6 ;; *) p=ping ;; esac; $p -c1 -W1 $a >&2 && echo $a & done; wait"
    return set(daemon.run(LINKSPAN, "exec", container, "sh", "-c", script, "sh", *addresses).stdout.split())


def fetches(daemon: Daemon, container: str, address: str, port: int) -> str:
    """What a listener answers a container; empty when it cannot be reached within two seconds."""
    host = f"[{address}]" if ":" in address else address
    fetch = ("timeout", "2", "wget", "-qO-", f"http://{host}:{port}/")
    return daemon.run(LINKSPAN, "exec", container, *fetch).stdout.strip()


def inspected(daemon: Daemon, name: str) -> Json:
    """A network as the API shows it."""
    return EngineApi(daemon.socket)("GET", f"/networks/{name}")


# --- the kernel ----------------------------------------------------------------------------------------------------


def links(namespace: Namespace) -> dict[str, Json]:
    """Links by name, as ``ip -d`` tells."""
    return {item["ifname"]: item for item in json.loads(namespace.run("ip", "-j", "-d", "link").stdout)}


def addresses(namespace: Namespace, link: str) -> set[str]:
    """``address/prefix`` of a link, without the link-local ones."""
    return addresses_in(namespace.run("ip", "-j", "addr", "show", "dev", link).stdout)


def addresses_in(text: str) -> set[str]:
    """The same of the output of ``ip -j addr``."""
    found = [each for item in json.loads(text) for each in item.get("addr_info", ())]
    return {f"{each['local']}/{each['prefixlen']}" for each in found if each["scope"] != "link"}


def default_route(daemon: Daemon, container: str, version: int = 4) -> tuple[str, str] | None:
    """Gateway and interface of the container's default route."""
    found = json.loads(inside(daemon, container, "ip", "-j", f"-{version}", "route", "show", "default") or "[]")
    assert len(found) <= 1, found
    return (found[0]["gateway"], found[0]["dev"]) if found else None


def ruleset(namespace: Namespace) -> list[Json]:
    """Our table without handles and counters, in an order that does not change."""
    done = namespace.run("nft", "-j", "list", "ruleset")
    return sorted((_unnumbered(item) for item in json.loads(done.stdout)["nftables"]), key=json.dumps)


def elements(namespace: Namespace, name: str) -> list[str]:
    """The elements of one set or map of our table, as JSON texts; none while there is no table."""
    found = [item[kind] for item in ruleset(namespace) for kind in ("set", "map") if kind in item]
    return sorted(json.dumps(each) for item in found if item["name"] == name for each in item.get("elem", ()))


def picture(daemon: Daemon) -> dict[str, Json]:
    """All that a refused request must leave as it was: the kernel, the listings, the files, the mounts."""
    api = EngineApi(daemon.socket)
    namespace = daemon.namespace
    containers = api("GET", "/containers/json?all=1")
    return {
        "links": {name: {key: item.get(key) for key in LINK_FACTS} for name, item in links(namespace).items()},
        "addresses": json.loads(namespace.run("ip", "-j", "addr").stdout),
        "routes": [
            json.loads(namespace.run("ip", "-j", f"-{v}", "route", "show", "table", "all").stdout) for v in "46"
        ],
        "ruleset": ruleset(namespace),
        "networks": [api("GET", f"/networks/{item['Id']}") for item in api("GET", "/networks")],
        "containers": [api("GET", f"/containers/{item['Id']}/json") for item in containers],
        "volumes": api("GET", "/volumes"),
        "images": sorted(item["Id"] for item in api("GET", "/images/json")),
        "pins": sorted(os.listdir(daemon.exec_root / "netns")),
        "folders": sorted(str(path) for path in (daemon.data_root / "containers").glob("*")),
        "sandbox files": sorted(str(path) for path in (daemon.exec_root / "sandboxes").glob("*")),
        "mounts": daemon.mounts(),
        "cgroups": [str(path) for path in daemon.cgroups()],
    }


def settled_picture(daemon: Daemon) -> dict[str, Json]:
    """The picture once nothing moves in it any more: links of what was removed go a moment later."""
    found = [picture(daemon)]

    def unmoved() -> bool:
        found.append(picture(daemon))
        return found[-1] == found[-2] and not _strays(found[-1])

    eventually(unmoved, "nothing moves any more")
    return found[-1]


def _strays(seen: dict[str, Json]) -> list[str]:
    """Veth ends in the host that no endpoint accounts for."""
    members = sum(len(item["Containers"]) for item in seen["networks"])
    return [name for name in seen["links"] if name.startswith("veth")][members:]


def _unnumbered(item: Json) -> Json:
    if isinstance(item, dict):
        return {key: _unnumbered(value) for key, value in item.items() if key not in ("handle", "packets", "bytes")}
    return [_unnumbered(value) for value in item] if isinstance(item, list) else item


# --- refusals ------------------------------------------------------------------------------------------------------


def sentence(text: str) -> str:
    """The one sentence of an error output, without what the client puts around it. AssertionError for more."""
    lines = [
        line for line in text.strip().splitlines() if line and not line.startswith(("Run 'docker ", "See 'docker "))
    ]
    assert len(lines) == 1, f"not one sentence:\n{text}"
    said = re.sub(r"^(docker: |linkspan: )?(Error response from daemon: )?", "", lines[0])
    if "See 'docker " in text or lines[0].startswith("docker: "):
        said = said.removesuffix(".")  # Debian 12's client ends the sentence by itself
    assert said, "it says nothing"
    assert not said.endswith("."), said
    assert "Traceback" not in said, said
    return said


# --- outside -------------------------------------------------------------------------------------------------------


class Outside:
    """A host next to the daemon's, on a link of its own, with routes to everything that the daemon's host has."""

    def __init__(self, daemon: Daemon) -> None:
        self._host = daemon.namespace
        self.namespace = Namespace()
        here, there = self._host.run, self.namespace.run
        here("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", "eth0", "netns", self.namespace.path)
        for run, link, own4, own6, other4, other6 in (
            (here, UPLINK, HOST4, HOST6, OUTSIDE4, OUTSIDE6),
            (there, "eth0", OUTSIDE4, OUTSIDE6, HOST4, HOST6),
        ):
            # a router asks for neighbours from its link-local address, once it is sure of that
            run("sysctl", "-w", f"net.ipv6.conf.{link}.dad_transmits=0")
            run("ip", "addr", "add", f"{own4}/24", "dev", link)
            run("ip", "addr", "add", f"{own6}/64", "dev", link, "nodad")
            run("ip", "link", "set", "dev", link, "up")
            run("ip", "route", "add", "default", "via", other4)
            run("ip", "-6", "route", "add", "default", "via", other6)

    def pings(self, address: str) -> bool:
        """Whether the daemon's side answers an echo request."""
        return self.answering(address) == {address}

    def answering(self, *addresses: str) -> set[str]:
        """Those of the addresses that answer; all are asked at once."""
        script = "for a; do ping -n -c1 -W1 $a >&2 && echo $a & done; wait"
        return set(self.namespace.run("sh", "-c", script, "sh", *addresses).stdout.split())

    def close(self) -> None:
        self._host.run("ip", "link", "del", UPLINK, check=False)
        self.namespace.close()

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Listener:
    """A little web server in a namespace that tells each caller the caller's own address."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with namespace.entered():
            self._socket = socket.create_server((address, port), family=family)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    connection.recv(4096)
                    connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{peer[0]}\n".encode())
                except OSError:
                    continue

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=5)


def datagram_arrives(sender: str, receiver: Namespace, address: str, port: int) -> bool:
    """Whether a UDP datagram sent in the namespace at the path ``sender`` is received by a socket in ``receiver``."""
    with receiver.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind((address, port))
        ear.settimeout(0.5)
        send = f"import socket; socket.socket(2, 2).sendto(b'hello', ({address!r}, {port}))"
        subprocess.run(["nsenter", f"--net={sender}", "--", sys.executable, "-c", send], check=True)
        try:
            return ear.recv(100) == b"hello"
        except TimeoutError:
            return False


def nameserver() -> str:
    """The first name server of this machine that is not its own; empty when there is none."""
    for line in Path("/etc/resolv.conf").read_text().splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and not ipaddress.ip_address(words[1].partition("%")[0]).is_loopback:
            return words[1]
    return ""
