"""Bad input: one sentence that names the value, the right status for programs and shells, and nothing left behind."""

from __future__ import annotations

import io
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import LINKSPAN, Daemon
from engine_api import EngineApi, Refused
from network_lab import Json, idle, picture, sentence, settled_picture, sleeper

pytestmark = pytest.mark.scenario

CREATE = "com.docker.network"


@pytest.fixture(scope="module")
def town(module_daemon: Daemon) -> Iterator[Daemon]:
    """A daemon with networks and containers that nobody may change."""
    module_daemon.linkspan("network", "create", "--subnet", "10.95.0.0/24", "--ipv6", "--subnet", "fd95::/64", "taken")
    module_daemon.linkspan("network", "create", "--opt", f"{CREATE}.bridge.name=named0", "named")
    module_daemon.namespace.run("ip", "link", "add", "foreign0", "type", "bridge")
    sleeper(module_daemon, "runs", "--network", "taken", "--ip", "10.95.0.9")
    idle(module_daemon, "rests", "--network", "taken")
    yield module_daemon
    module_daemon.namespace.run("ip", "link", "del", "foreign0")


@pytest.fixture
def unchanged(town: Daemon) -> Iterator[Daemon]:
    """The town; the test fails when it is another one afterwards."""
    before = settled_picture(town)
    yield town
    assert picture(town) == before


def pool(subnet: str, **more: object) -> Json:
    return {"IPAM": {"Config": [{"Subnet": subnet, **more}]}}


BAD_NETWORKS: list[tuple[Json, int, str]] = [
    (pool("10.96.0.0/33"), 400, '"10.96.0.0/33" is not a valid CIDR block'),
    (pool("10.96.0.0"), 400, '"10.96.0.0" is not in CIDR notation'),
    (pool("ten"), 400, '"ten" is not in CIDR notation'),
    (pool("10.96.0.0/24/24"), 400, '"10.96.0.0/24/24"'),
    (pool("10.96.0.1/24"), 400, '"10.96.0.1/24" has host bits set; it should be 10.96.0.0/24'),
    (pool("10.96.0.0/31"), 400, "10.96.0.0/31 is too small"),
    (pool("127.1.0.0/16"), 400, "127.0.0.0/8 is loopback"),
    (pool("224.0.0.0/16"), 400, "multicast"),
    (pool("fd96::/64"), 400, "fd96::/64 needs IPv6"),
    ({"EnableIPv6": True, **pool("fd96::1/64")}, 400, '"fd96::1/64" has host bits set'),
    ({"EnableIPv6": True, **pool("fe80::/64")}, 400, "link-local"),
    ({"EnableIPv6": True, **pool("fd95::/80")}, 403, "fd95::/80 overlaps fd95::/64 of network taken"),
    (pool("10.95.0.0/24"), 403, "10.95.0.0/24 overlaps that of network taken"),
    (pool("10.95.0.128/25"), 403, "10.95.0.128/25 overlaps 10.95.0.0/24 of network taken"),
    (pool("10.0.0.0/8"), 403, "10.0.0.0/8 overlaps 10.95.0.0/24 of network taken"),
    (pool("172.17.0.0/24"), 403, "of network bridge"),
    (pool("10.96.0.0/24", Gateway="10.97.0.1"), 400, "gateway 10.97.0.1 does not lie in subnet 10.96.0.0/24"),
    (pool("10.96.0.0/24", Gateway="10.96.0.0"), 400, "gateway 10.96.0.0 is the network address"),
    (pool("10.96.0.0/24", Gateway="10.96.0.255"), 400, "gateway 10.96.0.255 is the broadcast address"),
    (pool("10.96.0.0/24", Gateway="ten"), 400, 'gateway "ten" is not an IP address'),
    (pool("10.96.0.0/24", Gateway="fd96::1"), 400, "gateway fd96::1"),
    (pool("10.96.0.0/24", IPRange="10.97.0.0/25"), 400, "IP range 10.97.0.0/25 does not lie in subnet"),
    (pool("10.96.0.0/24", IPRange="10.96.0.0/16"), 400, "IP range 10.96.0.0/16 does not lie in subnet"),
    (pool("10.96.0.0/24", IPRange="10.96.0.1/25"), 400, '"10.96.0.1/25" has host bits set'),
    (pool("10.96.0.0/24", IPRange="10.96.0.5"), 400, '"10.96.0.5" is not in CIDR notation'),
    (pool("10.96.0.0/24", AuxiliaryAddresses={"a": "10.97.0.5"}), 400, "auxiliary address a 10.97.0.5 does not lie"),
    (pool("10.96.0.0/24", AuxiliaryAddresses={"a": "x"}), 400, 'auxiliary address a "x" is not an IP address'),
    (
        pool("10.96.0.0/24", Gateway="10.96.0.5", AuxiliaryAddresses={"a": "10.96.0.5"}),
        400,
        "auxiliary address a 10.96.0.5 is the gateway too",
    ),
    ({"IPAM": {"Config": [{"Gateway": "10.96.0.1"}]}}, 400, "gateway 10.96.0.1 has no subnet to lie in"),
    (
        {"IPAM": {"Config": [{"Subnet": "10.96.0.0/24"}, {"Subnet": "10.97.0.0/24"}]}},
        400,
        "10.96.0.0/24 and 10.97.0.0/24 are both IPv4",
    ),
    ({"IPAM": {"Driver": "dhcp"}}, 400, "dhcp"),
    ({"EnableIPv4": False}, 400, "neither IPv4 nor IPv6"),
    ({"EnableIPv4": False, "EnableIPv6": True, **pool("10.96.0.0/24")}, 400, "10.96.0.0/24 needs IPv4"),
    ({"Name": "taken"}, 409, "network with name taken already exists"),
    ({"Name": "bridge"}, 403, "network name bridge is predefined"),
    ({"Name": "container"}, 403, "network name container is predefined"),
    ({"Name": ""}, 400, "name is empty"),
    ({"Name": "-web"}, 400, '"-web" has characters that are not allowed'),
    ({"Name": "a b"}, 400, '"a b" has characters that are not allowed'),
    ({"Name": "a/b"}, 400, '"a/b" has characters that are not allowed'),
    ({"Name": "wéb"}, 400, '"wéb" has characters that are not allowed'),
    ({"Name": "x" * 256}, 400, "is longer than 255 bytes"),
    ({"Driver": "overlay"}, 404, "could not find a network driver named overlay"),
    ({"Driver": "brige"}, 404, "could not find a network driver named brige"),
    ({"Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
    ({"Scope": "swarm"}, 501, "swarm"),
    ({"ConfigOnly": True}, 501, "configuration-only"),
    ({"Options": {f"{CREATE}.driver.mut": "1400"}}, 400, f"did you mean {CREATE}.driver.mtu?"),
    ({"Options": {f"{CREATE}.bridge.enable_ipmasquerade": "false"}}, 400, f"{CREATE}.bridge.enable_ip_masquerade?"),
    ({"Options": {"linkspan.mtu": "1400"}}, 400, f"linkspan.mtu is unknown (did you mean {CREATE}.driver.mtu?)"),
    ({"Options": {"linkspan.nonsense.of.mine": "1"}}, 400, "linkspan.nonsense.of.mine is unknown"),
    ({"Labels": {f"{CREATE}.driver.mut": "1400"}}, 400, f"did you mean {CREATE}.driver.mtu?"),
    ({"Options": {f"{CREATE}.driver.mtu": "12"}}, 400, '"12" is not an MTU'),
    ({"Options": {f"{CREATE}.driver.mtu": "big"}}, 400, '"big" is not an MTU'),
    ({"EnableIPv6": True, "Options": {f"{CREATE}.driver.mtu": "1000"}}, 400, '"1000" is not an MTU for IPv6'),
    ({"Options": {f"{CREATE}.bridge.enable_icc": "perhaps"}}, 400, '"perhaps" is neither true nor false'),
    ({"Options": {f"{CREATE}.bridge.name": "a-name-that-is-too-long"}}, 400, "is longer than 15 bytes"),
    ({"Options": {f"{CREATE}.bridge.name": "a/b"}}, 400, '"a/b" has characters that are not allowed'),
    ({"Options": {f"{CREATE}.bridge.name": "named0"}}, 409, "named0 is in use by another network"),
    ({"Options": {f"{CREATE}.bridge.name": "linkspan0"}}, 409, "linkspan0 is in use by another network"),
    ({"Options": {f"{CREATE}.bridge.name": "foreign0"}}, 409, "foreign0"),
    ({"Options": {f"{CREATE}.bridge.name": "lo"}}, 400, '"lo"'),
    ({"Options": {f"{CREATE}.bridge.gateway_mode_ipv4": "rooted"}}, 400, '"rooted" is no gateway mode'),
    ({"Options": {f"{CREATE}.container_iface_prefix": "0lan"}}, 400, '"0lan" cannot begin an interface name'),
]


def test_bad_networks_are_refused_by_the_api(unchanged: Daemon) -> None:
    api = EngineApi(unchanged.socket)
    for body, status, said in BAD_NETWORKS:
        with pytest.raises(Refused) as refusal:
            api("POST", "/networks/create", {"Name": "fresh", **body})
        message = str(refusal.value).partition(": ")[2]
        assert said in message, (body, message)
        assert refusal.value.status == status, (body, message)
        assert sentence(message)


BAD_COMMANDS: list[tuple[str, int, str]] = [
    ("network create --subnet 10.96.0.1/24 fresh", 1, "has host bits set"),
    ("network create --subnet 10.95.0.0/16 fresh", 1, "overlaps"),
    ("network create --driver overlay fresh", 1, "could not find a network driver named overlay"),
    (f"network create --opt {CREATE}.driver.mut=9 fresh", 1, f"did you mean {CREATE}.driver.mtu?"),
    ("network create taken", 1, "network with name taken already exists"),
    ("network create host", 1, "network name host is predefined"),
    ("network create a/b", 1, "characters that are not allowed"),
    ("network rm taken", 1, "(runs)"),
    ("network rm missing", 1, "network missing not found"),
    ("network inspect missing", 1, "network missing not found"),
    ("network connect missing runs", 1, "network missing not found"),
    ("network connect named missing", 1, "No such container: missing"),
    ("network connect taken runs", 1, "already connected"),
    ("network disconnect named runs", 1, "is not connected to network named"),
    ("run --network missing busybox true", 125, "network missing not found"),
    ("run --network container:missing busybox true", 125, "No such container: missing"),
    ("run --name self --network container:self busybox true", 125, "it is the container itself"),
    ("run --name runs busybox true", 125, 'container name "/runs" is already in use'),
    ("run --name a/b busybox true", 125, "characters that are not allowed"),
    ("run --network taken --ip 10.96.0.5 busybox true", 125, "10.96.0.5 does not lie in subnet"),
    ("run --network taken --ip 10.95.0.1 busybox true", 125, "is the gateway"),
    ("run --mac-address 01:00:00:00:00:01 busybox true", 125, "01:00:00:00:00:01"),
    ("run --mac-address zz busybox true", 125, "zz"),
    ("run --memory 1k busybox true", 125, "memory"),
    ("run --cpus 9999 busybox true", 125, "CPU"),
    ("run --ulimit nofile=9:1 busybox true", 125, "nofile"),
    ("run --hostname under/score busybox true", 125, "under/score"),
    ("run --pull never nosuchimage true", 125, "nosuchimage"),
    ("start missing", 1, "No such container: missing"),
    ("inspect missing", 1, "No such object: missing"),
    ("rm missing", 1, "No such container: missing"),
    ("rm runs", 1, 'cannot remove container "/runs"'),
    ("rmi missing", 1, "missing"),
    ("rename runs rests", 1, 'container name "/rests" is already in use'),
    ("rename runs a/b", 1, "characters that are not allowed"),
]


@pytest.fixture(params=["linkspan", "docker"])
def program(request: pytest.FixtureRequest) -> str:
    if request.param == "docker" and shutil.which("docker") is None:
        pytest.skip("no docker client here")
    return LINKSPAN if request.param == "linkspan" else "docker"


@pytest.mark.newer_docker
def test_bad_commands_end_with_one_sentence_and_dockers_exit_status(unchanged: Daemon, program: str) -> None:
    for line, status, said in BAD_COMMANDS:
        done = unchanged.run(program, *line.split())
        assert said in done.stderr, (line, done.stderr)
        assert done.returncode == status, (line, done.returncode, done.stderr)
        around = ("Run ", "Usage: ", "exit status", "Error: failed to ")  # what docker itself says
        errors = [text for text in done.stderr.splitlines() if text and not text.startswith(around)]
        assert len(errors) == 1, (line, done.stderr)


def test_bad_bodies_and_versions_are_refused_by_the_api(unchanged: Daemon) -> None:
    json = "Content-Type: application/json\r\n"
    for head, body, status, said in (
        ("POST /networks/create", "{", 400, ""),
        ("POST /networks/create", "[]", 400, ""),
        ("POST /networks/create", '{"Name": 5}', 400, "Name"),
        ("POST /networks/create", '{"Name": "fresh", "Labels": ["a"]}', 400, "Labels"),
        ("POST /v9.99/networks/create", '{"Name": "fresh"}', 400, "9.99"),
        ("POST /v1.12/networks/create", '{"Name": "fresh"}', 400, "1.12"),
        ("POST /networks/taken/connect", "{}", 400, "Container"),
        ("DELETE /networks/", "", 404, ""),
        ("PATCH /networks/taken", "", 404, ""),
        ("POST /swarm/init", "{}", 501, ""),
        ("GET /networks?filters=%7B", "", 400, "filters"),
    ):
        length = f"Content-Length: {len(body)}\r\n"
        reply = raw(unchanged, f"{head} HTTP/1.1\r\nHost: d\r\n{json}{length}Connection: close\r\n\r\n{body}")
        assert reply.split()[1] == str(status), (head, body, reply)
        assert said in reply.partition("\r\n\r\n")[2]
    announced = f"POST /networks/create HTTP/1.1\r\nHost: d\r\n{json}Content-Length: "
    assert raw(unchanged, announced + "999999999999\r\n\r\n{").split()[1] == "413"
    half = raw(unchanged, announced + '50\r\n\r\n{"Name": "fresh"')
    assert half == "" or half.split()[1] == "400"
    assert unchanged.answers()


def raw(daemon: Daemon, request: str) -> str:
    """What the daemon answers to exactly these bytes and a closed half of the connection."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(daemon.socket))
        client.sendall(request.encode())
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer.decode(errors="replace")


def test_truncated_and_hostile_archives_are_refused_or_stay_inside(unchanged: Daemon, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar"
    whole = unchanged.folder.parent / "whole.tar"
    unchanged.linkspan("save", "-o", str(whole), "busybox")
    cut.write_bytes(whole.read_bytes()[:50_000])
    for words in (("load", "-i", str(cut)), ("import", str(cut), "broken:latest")):
        said = unchanged.refused(*words, status=1)
        assert "Traceback" not in said
        assert said

    idle(unchanged, "target")
    for member in (file("/absolute"), file("../outside"), link("way", "/etc"), device("disk")):
        archive = tmp_path / "hostile.tar"
        with tarfile.open(archive, "w") as tar:
            tar.addfile(*member)
            if member[0].issym():
                tar.addfile(*file("way/linkspan-was-here"))
        done = unchanged.run("sh", "-c", f"{LINKSPAN} cp - target:/tmp <{archive}")
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        for path in ("/absolute", "/etc/linkspan-was-here", "/tmp/outside"):
            assert not Path(path).exists()
    unchanged.linkspan("rm", "target")


def file(name: str) -> tuple[tarfile.TarInfo, io.BytesIO]:
    entry = tarfile.TarInfo(name)
    entry.size = 5
    return entry, io.BytesIO(b"hello")


def link(name: str, target: str) -> tuple[tarfile.TarInfo, None]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry, None


def device(name: str) -> tuple[tarfile.TarInfo, None]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.devmajor, entry.devminor = tarfile.BLKTYPE, 8, 0
    return entry, None
