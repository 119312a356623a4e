"""Networks as people keep them: create, rm and prune, with ``linkspan`` and with the real ``docker``."""

from __future__ import annotations

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon
from engine_api import EngineApi, Refused
from network_lab import addresses, elements, endpoint, inspected, links, sentence, sleeper

pytestmark = pytest.mark.scenario

# --- the predefined ones -------------------------------------------------------------------------------------------


def test_the_predefined_networks_are_there_from_the_start(client: Client) -> None:
    listed = client("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").splitlines()
    assert listed == ["bridge bridge local", "host host local", "none null local"]


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_a_predefined_network_cannot_be_removed(lab: Daemon, client: Client, name: str) -> None:
    identity = inspected(lab, name)["Id"]
    for reference in (name, identity, identity[:12]):
        done = client.run("network", "rm", reference)
        assert done.returncode == 1
        assert f"{name} is a pre-defined network and cannot be removed" in done.stderr
    with pytest.raises(Refused) as refusal:
        EngineApi(lab.socket)("DELETE", f"/networks/{name}")
    assert refusal.value.status == 403
    lab.linkspan("network", "prune", "--force")
    assert inspected(lab, name)["Id"] == identity


def test_there_is_one_host_network_and_one_null_network_only(lab: Daemon, client: Client) -> None:
    for driver, name in (("host", "host"), ("null", "none")):
        done = client.run("network", "create", "--driver", driver, "second")
        assert done.returncode == 1
        assert (
            sentence(done.stderr)
            == f'only one instance of "{driver}" network is allowed; use the predefined network {name}'
        )


# --- create --------------------------------------------------------------------------------------------------------


def test_a_network_is_created_with_everything_that_can_be_asked_for(lab: Daemon, client: Client) -> None:
    identity = client(
        *("network", "create", "--driver", "bridge", "--attachable", "--internal", "--ipv6"),
        *("--subnet", "10.41.0.0/16", "--ip-range", "10.41.5.0/24", "--gateway", "10.41.0.9"),
        *("--aux-address", "printer=10.41.5.1", "--subnet", "fd41::/64", "--gateway", "fd41::9"),
        *("--label", "tier=front", "--label", "empty", "--opt", "com.docker.network.driver.mtu=1400"),
        *("--opt", "com.docker.network.bridge.name=front0", "--ipam-driver", "default", "front"),
    ).strip()
    assert len(identity) == 64

    found = inspected(lab, "front")
    assert found["Id"] == identity
    assert found["Driver"] == "bridge"
    assert found["Scope"] == "local"
    assert found["Internal"] is True
    assert found["Attachable"] is True
    assert found["EnableIPv6"] is True
    assert found["Labels"] == {"tier": "front", "empty": ""}
    assert found["Options"] == {
        "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.name": "front0",
    }
    assert found["IPAM"]["Config"] == [
        {
            "Subnet": "10.41.0.0/16",
            "IPRange": "10.41.5.0/24",
            "Gateway": "10.41.0.9",
            "AuxiliaryAddresses": {"printer": "10.41.5.1"},
        },
        {"Subnet": "fd41::/64", "Gateway": "fd41::9"},
    ]
    bridge = links(lab.namespace)["front0"]
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    assert bridge["mtu"] == 1400
    assert "UP" in bridge["flags"]
    assert bridge["ifalias"].endswith(f":network:{identity[:12]}")
    assert addresses(lab.namespace, "front0") == {"10.41.0.9/16", "fd41::9/64"}

    sleeper(lab, "first", "--network", "front")
    sleeper(lab, "second", "--network", "front")
    assert endpoint(lab, "first", "front")["IPAddress"] == "10.41.5.0"
    assert endpoint(lab, "second", "front")["IPAddress"] == "10.41.5.2", "the auxiliary address is passed over"
    assert links(lab.namespace)["front0"]["mtu"] == 1400
    assert "mtu 1400" in lab.linkspan("exec", "first", "ip", "link", "show", "eth0")


def test_a_network_comes_up_with_its_gateway_when_it_is_created_and_goes_whole_when_removed(lab: Daemon) -> None:
    before = links(lab.namespace)
    identity = lab.linkspan("network", "create", "web").strip()
    pool = inspected(lab, "web")["IPAM"]["Config"][0]
    bridge = f"br-{identity[:12]}"
    assert pool["Subnet"] == "172.18.0.0/16"
    assert pool["Gateway"] == "172.18.0.1"
    assert addresses(lab.namespace, bridge) == {"172.18.0.1/16"}
    assert any(bridge in item for item in elements(lab.namespace, "bridges"))
    assert lab.namespace.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "1"

    lab.linkspan("network", "rm", "web")
    assert links(lab.namespace).keys() - before.keys() == set()
    for name in ("bridges", "internal", "hidden4", "masquerade4", "pair", "egress"):
        assert not any(bridge in item or "172.18" in item for item in elements(lab.namespace, name))


def test_automatic_subnets_follow_one_another_and_a_free_one_is_used_again(lab: Daemon) -> None:
    for name in ("one", "two", "three"):
        lab.linkspan("network", "create", name)
    subnets = [inspected(lab, name)["IPAM"]["Config"][0]["Subnet"] for name in ("one", "two", "three")]
    assert subnets == ["172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16"]
    lab.linkspan("network", "rm", "two")
    lab.linkspan("network", "create", "four")
    assert inspected(lab, "four")["IPAM"]["Config"][0]["Subnet"] == "172.19.0.0/16"


def test_an_automatic_subnet_keeps_clear_of_explicit_ones(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "172.18.128.0/24", "mine")
    lab.linkspan("network", "create", "next")
    assert inspected(lab, "next")["IPAM"]["Config"][0]["Subnet"] == "172.19.0.0/16"


def test_a_subnet_of_any_place_can_be_asked_for_by_its_size(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "0.0.0.0/26", "small")
    assert inspected(lab, "small")["IPAM"]["Config"][0]["Subnet"].endswith("/26")


def test_options_of_others_are_kept_with_a_warning(lab: Daemon, client: Client) -> None:
    done = client.run("network", "create", "--opt", "org.example.colour=blue", "--ipam-opt", "speed=9", "web")
    assert done.returncode == 0
    if not client.is_docker:  # docker prints no warnings of networks
        assert "option org.example.colour is kept and has no effect" in done.stderr
        assert "IPAM option speed is kept and has no effect" in done.stderr
    assert inspected(lab, "web")["Options"] == {"org.example.colour": "blue"}
    assert inspected(lab, "web")["IPAM"]["Options"] == {"speed": "9"}


def test_a_label_that_is_the_name_of_an_option_is_told(lab: Daemon) -> None:
    done = lab.run(LINKSPAN, "network", "create", "--label", "com.docker.network.driver.mtu=1400", "web")
    assert done.returncode == 0
    assert "label com.docker.network.driver.mtu has no effect as a label" in done.stderr


def test_labels_may_hold_any_text(lab: Daemon) -> None:
    rule = 'Host(`a.example`) && PathPrefix(`/ü "x"`)'
    lab.linkspan("network", "create", "--label", f"traefik.rule={rule}", "web")
    assert inspected(lab, "web")["Labels"] == {"traefik.rule": rule}


def test_names_of_interfaces_inside_can_be_chosen(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--opt", "com.docker.network.container_iface_prefix=lan", "web")
    sleeper(lab, "box", "--network", "web")
    assert "lan0" in lab.linkspan("exec", "box", "ip", "link")


# --- rm and prune --------------------------------------------------------------------------------------------------


@pytest.mark.newer_docker
def test_rm_goes_on_after_a_failure_and_then_fails(several: Daemon, client: Client) -> None:
    identity = inspected(several, "lone9")["Id"]
    done = client.run("network", "rm", "missing", "lone10", identity[:10])
    assert done.returncode == 1
    assert done.stdout.split() == ["lone10", identity[:10]]
    assert "network missing not found" in done.stderr
    assert set(several.linkspan("network", "ls", "--format", "{{.Name}}", "--filter", "type=custom").split()) == {
        "web1",
        "web2",
    }


@pytest.mark.newer_docker
def test_rm_by_force_does_not_mind_what_is_absent(several: Daemon, client: Client) -> None:
    done = client.run("network", "rm", "--force", "missing", "lone10")
    assert done.returncode == 0


def test_a_network_in_use_is_not_removed_and_its_users_are_named(several: Daemon, client: Client) -> None:
    sleeper(several, "another", "--network", "web1")
    done = client.run("network", "rm", "web1")
    assert done.returncode == 1
    assert "network web1" in done.stderr
    assert "(another, user)" in done.stderr
    with pytest.raises(Refused) as refusal:
        EngineApi(several.socket)("DELETE", "/networks/web1")
    assert refusal.value.status == 403
    assert endpoint(several, "user", "web1")["IPAddress"]


def test_prune_removes_what_no_container_names(several: Daemon, client: Client) -> None:
    said = client("network", "prune", "--force")
    assert said.split() == ["Deleted", "Networks:", "lone10", "lone9"] or said.split()[2:] == ["lone9", "lone10"]
    left = several.linkspan("network", "ls", "--format", "{{.Name}}", "--filter", "type=custom").split()
    assert left == ["web1", "web2"], "web2 is named by a stopped container"
    assert len([name for name in links(several.namespace) if name.startswith("br-")]) == 2


def test_prune_looks_at_labels_and_age(several: Daemon) -> None:
    several.linkspan("rm", "-f", "user", "sleeping")
    prune = ("network", "prune", "--force", "--filter")
    assert several.linkspan(*prune, "until=10m") == ""
    assert several.linkspan(*prune, "label=tier=front").split()[2:] == ["web1"]
    assert set(several.linkspan(*prune, "label!=tier").split()[2:]) == {"lone9", "lone10"}
    assert several.refused(*prune, "colour=blue", status=1)
    assert several.linkspan("network", "prune", "--force").split()[2:] == ["web2"]


def test_prune_asks_first(several: Daemon) -> None:
    assert "Are you sure" in several.linkspan("network", "prune", stdin="n\n")
    assert "lone9" in several.linkspan("network", "ls")
    assert "lone9" in several.linkspan("network", "prune", stdin="y\n")
    assert "lone9" not in several.linkspan("network", "ls")
