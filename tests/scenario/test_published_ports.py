"""Published ports of real containers: every form of ``-p``, from everywhere, and who the server sees."""

from __future__ import annotations

import pytest

from container_lab import Client
from daemons import Launch, eventually
from linkspan.model.port import Transport
from network_lab import address4, address6, elements, inspected, sleeper
from port_lab import KIND, REFUSED, SILENCE
from port_scenes import HOST, LAN, LOOPBACK, Scene, bridge_calls, host_ports, scene_of

pytestmark = pytest.mark.scenario

ANY = ("0.0.0.0", "::")
FORMS = {
    "8001:81": {"81/tcp": [(ANY[0], "8001"), (ANY[1], "8001")]},
    "127.0.0.1:8002:82": {"82/tcp": [("127.0.0.1", "8002")]},
    "198.51.100.1:8003:83/tcp": {"83/tcp": [(HOST[4], "8003")]},
    "[::1]:8004:84": {"84/tcp": [("::1", "8004")]},
    "[2001:db8:51::1]:8005:85": {"85/tcp": [(HOST[6], "8005")]},
    "0.0.0.0:8006:86/udp": {"86/udp": [(ANY[0], "8006")]},
    "[::]:8007:87/udp": {"87/udp": [(ANY[1], "8007")]},
    "8010-8012:8010-8012": {f"{port}/tcp": [(ANY[0], str(port)), (ANY[1], str(port))] for port in range(8010, 8013)},
    "127.0.0.1:8020-8022:90-92/udp": {f"{port}/udp": [("127.0.0.1", str(port + 7930))] for port in range(90, 93)},
    "target=93,published=8030,protocol=udp": {"93/udp": [(ANY[0], "8030"), (ANY[1], "8030")]},
    "published=8031,target=94": {"94/tcp": [(ANY[0], "8031"), (ANY[1], "8031")]},
}


def words(*ports: str) -> tuple[str, ...]:
    return tuple(word for port in ports for word in ("-p", port))


@pytest.mark.newer_docker
def test_every_form_of_publishing_means_what_it_means_to_docker(client: Client, scene: Scene) -> None:
    client("network", "create", "--ipv6", "web")
    client.sleeper("front", "--network", "web", *words(*FORMS))
    expected = {port: pairs for each in FORMS.values() for port, pairs in each.items()}
    assert host_ports(scene.daemon, "front") == expected
    printed = set(client("port", "front").splitlines())
    assert printed == {
        f"{port} -> {f'[{address}]' if ':' in address else address}:{number}"
        for port, pairs in expected.items()
        for address, number in pairs
    }
    both: tuple[Transport, ...] = ("tcp", "udp")
    scene.serve("front", *{int(port.partition("/")[0]) for port in expected}, protocols=both)
    for port, pairs in expected.items():
        inside, protocol = port.split("/")
        for address, number in pairs:
            version = 6 if ":" in address else 4
            wildcard, loopback = address in ANY, address == LOOPBACK[version]
            transport: Transport = "udp" if protocol == "udp" else "tcp"
            asked = HOST[version] if wildcard else address
            assert scene.ask(None, asked, int(number), transport).endswith(f" at {inside}"), port
            if not loopback:
                assert scene.ask(scene.outside, asked, int(number), transport) == f"{LAN[version]} at {inside}"


def test_ports_that_name_no_host_port_get_one_that_is_the_same_in_both_families(client: Client, scene: Scene) -> None:
    scene.set("ipv4.ip_local_port_range", "40000 40040")
    scene.set("ipv4.ip_local_reserved_ports", "40000-40015,40017")
    client("network", "create", "--ipv6", "web")
    client.sleeper("front", "--network", "web", *words("80", "127.0.0.1::81", "53/udp", "90-92", "[::1]::82"))
    found = host_ports(scene.daemon, "front")
    assert set(found) == {"80/tcp", "81/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp", "82/tcp"}
    for port in ("80/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp"):
        assert [address for address, _ in found[port]] == list(ANY)
        assert len({number for _, number in found[port]}) == 1
    assert [address for address, _ in found["81/tcp"]] == ["127.0.0.1"]
    assert [address for address, _ in found["82/tcp"]] == ["::1"]
    taken = {int(number) for pairs in found.values() for _, number in pairs}
    assert taken <= {40016, *range(40018, 40041)}
    scene.serve("front", 91)
    assert scene.ask(scene.outside, HOST[4], int(found["91/tcp"][0][1])) == f"{LAN[4]} at 91"


def test_publish_all_takes_what_the_image_and_the_command_line_expose(client: Client, scene: Scene) -> None:
    exposed = ("--expose", "70/udp", "--expose", "9000-9002")
    client("run", "-d", "--name", "front", "-P", *exposed, "-p", "9001:9001", "nginx")
    found = host_ports(scene.daemon, "front")
    assert set(found) == {"80/tcp", "70/udp", "9000/tcp", "9001/tcp", "9002/tcp"}
    assert found["9001/tcp"][0] == (ANY[0], "9001")
    port = int(found["80/tcp"][0][1])
    eventually(lambda: "Welcome to nginx" in http(scene, port), "nginx answers")


def http(scene: Scene, port: int) -> str:
    """What the host's curl sees of a web server at a port."""
    return scene.daemon.run("curl", "-sS", "--max-time", "5", f"http://{HOST[4]}:{port}/").stdout


def test_several_bindings_of_one_port_lead_to_it(client: Client, scene: Scene) -> None:
    client.sleeper("front", *words("8080:80", "8081:80", "127.0.0.1:9090:80", f"{HOST[4]}:7070:80", "8080:80/udp"))
    scene.serve("front", 80)
    for port in (8080, 8081, 7070):
        assert scene.ask(scene.outside, HOST[4], port) == f"{LAN[4]} at 80"
    assert scene.ask(None, "127.0.0.1", 9090).endswith(" at 80")
    assert scene.ask(scene.outside, HOST[4], 9090) in (SILENCE, REFUSED)


def test_one_port_of_a_host_range_that_is_free_is_taken(client: Client, scene: Scene) -> None:
    for name, number in (("one", "8100"), ("two", "8101"), ("three", "8102")):
        client.sleeper(name, *words("8100-8102:80"))
        assert host_ports(scene.daemon, name)["80/tcp"] == [(ANY[0], number), (ANY[1], number)]
    said = client.refused("run", *words("8100-8102:80"), "busybox", "true", status=125)
    assert "8100-8102/tcp" in said


@pytest.mark.newer_docker
def test_ten_thousand_ports_are_one_element_and_no_process(client: Client, scene: Scene) -> None:
    """moby#11185, moby#16284, moby#34328: a process, or megabytes, for each port."""
    client.sleeper("small")
    before, memory = len(list(scene.daemon.processes())), resident(scene)
    client.sleeper("wide", *words("20000-29999:20000-29999"))
    assert len(elements(scene.daemon.namespace, "anyrange4")) == 1
    assert elements(scene.daemon.namespace, "anyport4") == []
    assert len(list(scene.daemon.processes())) == before + 1  # its conmon
    assert resident(scene) - memory < 64 << 20
    scene.serve("wide", 20000, 24567, 29999)
    for port in (20000, 24567, 29999):
        assert scene.ask(scene.outside, HOST[4], port) == f"{LAN[4]} at {port}"
    assert scene.ask(scene.outside, HOST[4], 30000) == REFUSED
    assert client("ps", "--filter", "name=wide", "--format", "{{.Ports}}").strip() == (
        "0.0.0.0:20000-29999->20000-29999/tcp, [::]:20000-29999->20000-29999/tcp"
    )


def resident(scene: Scene) -> int:
    """Bytes in memory of the daemon and its keeper, conmons left out."""
    found = 0
    for line in scene.daemon.processes():
        pid, command = line.split(" ", 1)
        if "conmon" not in command:
            with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
                found += int(statm.read().split()[1]) * 4096
    return found


@pytest.mark.parametrize("calls", ["0", "1"], ids=["br_netfilter off", "br_netfilter on"])
@pytest.mark.parametrize("between", ["true", "false"], ids=["together", "apart"])
def test_a_port_is_reached_from_everywhere_and_sees_who_comes(launch: Launch, calls: str, between: str) -> None:
    """moby#25526, moby#15086: the client's address is never hidden, except where answers could not come back.

    Containers that are kept apart reach each other by published ports all the same, as everybody does.
    """
    lab = launch(prepare=bridge_calls(calls))
    with scene_of(lab) as scene:
        lab.linkspan("network", "create", "--ipv6", "-o", f"com.docker.network.bridge.enable_icc={between}", "web")
        lab.linkspan("network", "create", "--ipv6", "back")
        sleeper(lab, "front", "--network", "web", "-p", "8080:80", "-p", "8080:80/udp")
        sleeper(lab, "sibling", "--network", "web")
        sleeper(lab, "stranger", "--network", "back")
        sleeper(lab, "plain")
        scene.serve("front", 80, protocols=("tcp", "udp"))
        for name in ("sibling", "stranger"):
            scene.meet_container(name)
        for protocol in KIND:
            check_reached(scene, protocol, apart=between == "false")


def check_reached(scene: Scene, protocol: Transport, *, apart: bool) -> None:
    """From everywhere, by every address of the host, and who the server sees."""
    lab = scene.daemon
    gateway = {6 if ":" in item["Gateway"] else 4: item["Gateway"] for item in inspected(lab, "web")["IPAM"]["Config"]}
    for version, address_of in ((4, address4), (6, address6)):
        for address in (HOST[version], gateway[version]):
            assert scene.ask(None, address, 8080, protocol) == f"{address} at 80"
            stranger = address_of(lab, "stranger", "back")
            assert scene.ask("stranger", address, 8080, protocol) == f"{stranger} at 80"
            assert scene.ask("sibling", address, 8080, protocol) == f"{gateway[version]} at 80"
            assert scene.ask("front", address, 8080, protocol) == f"{gateway[version]} at 80"
        assert scene.ask(None, LOOPBACK[version], 8080, protocol) == f"{gateway[version]} at 80"
        assert scene.ask(scene.outside, HOST[version], 8080, protocol) == f"{LAN[version]} at 80"
        assert scene.ask(scene.outside, gateway[version], 8080, protocol) == SILENCE  # only the LAN's way is open
        inner = address_of(lab, "front", "web")
        direct = SILENCE if apart else f"{address_of(lab, 'sibling', 'web')} at 80"
        assert scene.ask("sibling", inner, 80, protocol) == direct
        assert scene.ask("stranger", inner, 80, protocol) == SILENCE
    assert scene.ask("plain", HOST[4], 8080, protocol) == f"{lab.address('plain')} at 80"
    default = inspected(lab, "bridge")["IPAM"]["Config"][0]["Gateway"]
    assert scene.ask("plain", default, 8080, protocol) == f"{lab.address('plain')} at 80"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_ipv6_clients_reach_a_container_that_has_ipv4_alone(scene: Scene, protocol: Transport) -> None:
    """The relay dials from the host: the container sees its gateway."""
    lab = scene.daemon
    sleeper(lab, "front", "-p", f"8080:80/{protocol}", "-p", f"9000-9002:9000-9002/{protocol}")
    scene.serve("front", 80, 9001, protocols=(protocol,))
    gateway = inspected(lab, "bridge")["IPAM"]["Config"][0]["Gateway"]
    for where, address in ((scene.outside, HOST[6]), (None, "::1"), (None, HOST[6])):
        assert scene.ask(where, address, 8080, protocol) == f"{gateway} at 80"
        assert scene.ask(where, address, 9001, protocol) == f"{gateway} at 9001"
    assert scene.ask(scene.outside, HOST[4], 8080, protocol) == f"{LAN[4]} at 80"


def test_a_network_s_binding_address_and_the_daemon_s_are_for_ports_that_name_none(
    client: Client, scene: Scene
) -> None:
    client("network", "create", "-o", f"com.docker.network.bridge.host_binding_ipv4={HOST[4]}", "web")
    client.sleeper("front", "--network", "web", *words("8080:80", "127.0.0.1:8081:80", "81"))
    found = host_ports(scene.daemon, "front")
    assert sorted(found["80/tcp"]) == [("127.0.0.1", "8081"), (HOST[4], "8080")]
    assert [address for address, _ in found["81/tcp"]] == [HOST[4]]
    scene.serve("front", 80)
    assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
    assert scene.ask(None, "127.0.0.1", 8080) == REFUSED
    assert scene.ask(None, LOOPBACK[6], 8080) == REFUSED


def test_the_daemon_s_address_is_for_ports_that_name_none(launch: Launch) -> None:
    daemon = launch("--ip", "127.0.0.1")
    with scene_of(daemon) as scene:
        sleeper(daemon, "front", "-p", "8080:80", "-p", f"{HOST[4]}:8081:80")
        assert host_ports(daemon, "front") == {"80/tcp": [("127.0.0.1", "8080"), (HOST[4], "8081")]}
        scene.serve("front", 80)
        assert scene.ask(None, "127.0.0.1", 8080).endswith(" at 80")
        assert scene.ask(scene.outside, HOST[4], 8080) == REFUSED
        assert scene.ask(scene.outside, HOST[4], 8081) == f"{LAN[4]} at 80"


@pytest.mark.newer_docker
def test_settings_of_a_published_port_read_as_docker_writes_them(client: Client, scene: Scene) -> None:
    client.sleeper("front", *words("127.0.0.1:8080:80", "8081"), "--expose", "70")
    shown = client.inspect("front")
    assert shown["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "8081/tcp": [{"HostIp": "", "HostPort": ""}],
    }
    assert shown["Config"]["ExposedPorts"] == {"80/tcp": {}, "8081/tcp": {}, "70/tcp": {}}
    assert shown["NetworkSettings"]["Ports"]["70/tcp"] is None
    number = shown["NetworkSettings"]["Ports"]["8081/tcp"][0]["HostPort"]
    assert set(client("ps", "--format", "{{.Ports}}").strip().split(", ")) == {
        "70/tcp",
        "127.0.0.1:8080->80/tcp",
        f"0.0.0.0:{number}->8081/tcp",
        f"[::]:{number}->8081/tcp",
    }
    assert client("port", "front", "8081/tcp").split() == [f"0.0.0.0:{number}", f"[::]:{number}"]
    assert "No public port '99" in client.refused("port", "front", "99")
