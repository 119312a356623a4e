"""Networks as people keep them: create, ls, inspect, rm and prune, with ``linkspan`` and with the real ``docker``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from daemons import LINKSPAN, Daemon
from engine_api import EngineApi, Refused
from network_lab import Json, addresses, elements, endpoint, idle, links, sentence, sleeper

pytestmark = pytest.mark.scenario

Client = Callable[..., str]
HAS_DOCKER = shutil.which("docker") is not None
needs_docker = pytest.mark.skipif(not HAS_DOCKER, reason="no docker client here")


@pytest.fixture(params=["linkspan", pytest.param("docker", marks=needs_docker)])
def program(request: pytest.FixtureRequest) -> str:
    return LINKSPAN if request.param == "linkspan" else "docker"


@pytest.fixture
def client(program: str, lab: Daemon) -> Client:
    return lab.linkspan if program == LINKSPAN else lab.docker


def inspected(daemon: Daemon, name: str) -> Json:
    return EngineApi(daemon.socket)("GET", f"/networks/{name}")


# --- the predefined ones -------------------------------------------------------------------------------------------


def test_the_predefined_networks_are_there_from_the_start(client: Client) -> None:
    listed = client("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").splitlines()
    assert listed == ["bridge bridge local", "host host local", "none null local"]


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_a_predefined_network_cannot_be_removed(lab: Daemon, program: str, name: str) -> None:
    identity = inspected(lab, name)["Id"]
    for reference in (name, identity, identity[:12]):
        done = lab.run(program, "network", "rm", reference)
        assert done.returncode == 1
        assert f"{name} is a pre-defined network and cannot be removed" in done.stderr
    with pytest.raises(Refused) as refusal:
        EngineApi(lab.socket)("DELETE", f"/networks/{name}")
    assert refusal.value.status == 403
    lab.linkspan("network", "prune", "--force")
    assert inspected(lab, name)["Id"] == identity


def test_there_is_one_host_network_and_one_null_network_only(lab: Daemon, program: str) -> None:
    for driver, name in (("host", "host"), ("null", "none")):
        done = lab.run(program, "network", "create", "--driver", driver, "second")
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


def test_options_of_others_are_kept_with_a_warning(lab: Daemon, program: str) -> None:
    done = lab.run(program, "network", "create", "--opt", "org.example.colour=blue", "--ipam-opt", "speed=9", "web")
    assert done.returncode == 0
    if program == LINKSPAN:  # docker prints no warnings of networks
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


# --- ls ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(lab: Daemon) -> Daemon:
    lab.linkspan("network", "create", "--label", "tier=front", "web1")
    lab.linkspan("network", "create", "--label", "tier=back", "--internal", "web2")
    lab.linkspan("network", "create", "--ipv6", "lone10")
    lab.linkspan("network", "create", "--ipv4=false", "--ipv6", "lone9")
    sleeper(lab, "user", "--network", "web1")
    idle(lab, "sleeping", "--network", "web2")
    return lab


EVERY_FILTER = [
    (["driver=bridge"], "bridge lone10 lone9 web1 web2"),
    (["driver=host"], "host"),
    (["driver=null"], "none"),
    (["driver=host", "driver=null"], "host none"),
    (["driver=overlay"], ""),
    (["label=tier"], "web1 web2"),
    (["label=tier=front"], "web1"),
    (["label=tier=front", "label=tier=back"], ""),
    (["label=tier=front", "label=tier"], "web1"),
    (["name=web"], "web1 web2"),
    (["name=^web1$"], "web1"),
    (["name=web1", "name=lone9"], "lone9 web1"),
    (["name=nothing"], ""),
    (["scope=local"], "bridge host lone10 lone9 none web1 web2"),
    (["scope=swarm"], ""),
    (["type=builtin"], "bridge host none"),
    (["type=custom"], "lone10 lone9 web1 web2"),
    (["dangling=true"], "lone10 lone9 web2"),
    (["dangling=1"], "lone10 lone9 web2"),
    (["dangling=false"], "bridge host none web1"),
    (["type=custom", "dangling=false", "driver=bridge"], "web1"),
]


def test_ls_knows_every_filter(several: Daemon) -> None:
    found = {}
    for wanted, _ in EVERY_FILTER:
        words = [word for each in wanted for word in ("--filter", each)]
        found[tuple(wanted)] = set(several.linkspan("network", "ls", "--format", "{{.Name}}", *words).split())
        if HAS_DOCKER:
            docker = set(several.docker("network", "ls", "--format", "{{.Name}}", *words).split())
            assert docker == found[tuple(wanted)]
    assert found == {tuple(wanted): set(names.split()) for wanted, names in EVERY_FILTER}


def test_ls_finds_a_network_by_its_id(several: Daemon) -> None:
    identity = inspected(several, "web1")["Id"]
    for text in (identity, identity[:12], identity[:5]):
        assert several.linkspan("network", "ls", "-q", "--no-trunc", "--filter", f"id={text}").split() == [identity]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("colour=blue", "invalid filter 'colour'"),
        ("dangling=perhaps", "invalid filter 'dangling=perhaps'"),
        ("type=special", "invalid filter 'type=special'"),
    ],
)
def test_ls_refuses_a_filter_that_means_nothing(lab: Daemon, program: str, wanted: str, said: str) -> None:
    done = lab.run(program, "network", "ls", "--filter", wanted)
    assert done.returncode == 1
    assert said in sentence(done.stderr)


ALIKE = [
    (),
    ("-q",),
    ("--quiet", "--no-trunc"),
    ("--no-trunc",),
    ("--format", "json"),
    ("--format", "{{json .}}"),
    ("--format", "table"),
    ("--format", "table {{.Name}}\t{{.Driver}}\t{{.Labels}}"),
    ("--format", "{{.ID}} {{.Name}} {{.Driver}} {{.Scope}} {{.IPv4}} {{.IPv6}} {{.Internal}}"),
    ("--format", '{{.Name}} {{.Labels}} {{.Label "tier"}} {{.CreatedAt}}'),
    ("--format", '{{range $i, $x := split .Labels ","}}{{$i}}={{$x}};{{end}}'),
    ("--format", "{{upper .Name}}", "--filter", "type=custom"),
    ("--filter", "name=nothing"),
    ("-q", "--filter", "name=nothing"),
]


@needs_docker
@pytest.mark.newer_docker
def test_ls_prints_what_docker_prints(several: Daemon) -> None:
    for words in ALIKE:
        assert several.linkspan("network", "ls", *words) == several.docker("network", "ls", *words), words


def test_ls_sorts_by_name_as_people_count(several: Daemon) -> None:
    names = several.linkspan("network", "ls", "--format", "{{.Name}}").split()
    assert names == ["bridge", "host", "lone9", "lone10", "none", "web1", "web2"]


# --- inspect -------------------------------------------------------------------------------------------------------


@pytest.mark.newer_docker
def test_inspect_prints_the_found_ones_and_names_the_missing_one(several: Daemon, program: str) -> None:
    done = several.run(program, "network", "inspect", "web1", "missing", "host")
    assert done.returncode == 1
    assert [item["Name"] for item in json.loads(done.stdout)] == ["web1", "host"]
    assert sentence(done.stderr) == "network missing not found"

    done = several.run(program, "network", "inspect", "missing", "gone", "web2", "--format", "{{.Name}}")
    assert done.returncode == 1
    assert done.stdout.split() == ["web2"]
    assert [sentence(line) for line in done.stderr.splitlines()] == [
        "network missing not found",
        "network gone not found",
    ]


@pytest.mark.parametrize(
    ("layout", "shown"),
    [
        ("{{.Name}} {{.Driver}} {{.Internal}}", "web2 bridge true"),
        ("{{range .IPAM.Config}}{{.Gateway}}{{end}}", "172.19.0.1"),
        ("{{(index .IPAM.Config 0).Subnet}}", "172.19.0.0/16"),
        ('{{index .Labels "tier"}}', "back"),
        ("{{json .Labels}}", '{"tier":"back"}'),
        ("{{.EnableIPv4}} {{.EnableIPv6}}", "true false"),
        ("{{len .Containers}}", "0"),
    ],
)
@pytest.mark.newer_docker
def test_inspect_takes_templates(several: Daemon, program: str, layout: str, shown: str) -> None:
    assert several.run(program, "network", "inspect", "--format", layout, "web2").stdout.strip() == shown


def test_templates_may_call_the_id_as_go_does(lab: Daemon, client: Client) -> None:
    identity = inspected(lab, "bridge")["Id"]
    for name in ("ID", "Id"):
        assert client("network", "inspect", "--format", f"{{{{.{name}}}}}", "bridge").strip() == identity


@needs_docker
@pytest.mark.newer_docker
def test_inspect_prints_what_docker_prints(several: Daemon) -> None:
    names = ("bridge", "host", "none", "web1", "web2", "lone9", "lone10")
    assert json.loads(several.linkspan("network", "inspect", *names)) == json.loads(
        several.docker("network", "inspect", *names)
    )


def test_inspect_shows_who_is_on_the_network_and_how_full_it_is(several: Daemon) -> None:
    found = inspected(several, "web1")
    (identity, member), *others = found["Containers"].items()
    assert others == []
    assert several.inspect("user")["Id"] == identity
    place = endpoint(several, "user", "web1")
    assert member == {
        "Name": "user",
        "EndpointID": place["EndpointID"],
        "MacAddress": place["MacAddress"],
        "IPv4Address": f"{place['IPAddress']}/16",
        "IPv6Address": "",
    }
    assert found["Status"]["IPAM"]["Subnets"]["172.18.0.0/16"] == {"IPsInUse": 1, "DynamicIPsAvailable": 65532}


# --- rm and prune --------------------------------------------------------------------------------------------------


@pytest.mark.newer_docker
def test_rm_goes_on_after_a_failure_and_then_fails(several: Daemon, program: str) -> None:
    identity = inspected(several, "lone9")["Id"]
    done = several.run(program, "network", "rm", "missing", "lone10", identity[:10])
    assert done.returncode == 1
    assert done.stdout.split() == ["lone10", identity[:10]]
    assert "network missing not found" in done.stderr
    assert set(several.linkspan("network", "ls", "--format", "{{.Name}}", "--filter", "type=custom").split()) == {
        "web1",
        "web2",
    }


@pytest.mark.newer_docker
def test_rm_by_force_does_not_mind_what_is_absent(several: Daemon, program: str) -> None:
    done = several.run(program, "network", "rm", "--force", "missing", "lone10")
    assert done.returncode == 0


def test_a_network_in_use_is_not_removed_and_its_users_are_named(several: Daemon, program: str) -> None:
    sleeper(several, "another", "--network", "web1")
    done = several.run(program, "network", "rm", "web1")
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
