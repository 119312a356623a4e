"""Networks as they are shown: ls with every filter and format, inspect of several, as ``docker`` shows them too."""

from __future__ import annotations

import json
import shutil

import pytest

from container_lab import Client
from daemons import Daemon
from network_lab import endpoint, inspected, sentence

pytestmark = pytest.mark.scenario

HAS_DOCKER = shutil.which("docker") is not None
needs_docker = pytest.mark.skipif(not HAS_DOCKER, reason="no docker client here")


# --- ls ------------------------------------------------------------------------------------------------------------


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
def test_ls_refuses_a_filter_that_means_nothing(lab: Daemon, client: Client, wanted: str, said: str) -> None:
    done = client.run("network", "ls", "--filter", wanted)
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
def test_inspect_prints_the_found_ones_and_names_the_missing_one(several: Daemon, client: Client) -> None:
    done = client.run("network", "inspect", "web1", "missing", "host")
    assert done.returncode == 1
    assert [item["Name"] for item in json.loads(done.stdout)] == ["web1", "host"]
    assert sentence(done.stderr) == "network missing not found"

    done = client.run("network", "inspect", "missing", "gone", "web2", "--format", "{{.Name}}")
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
def test_inspect_takes_templates(several: Daemon, client: Client, layout: str, shown: str) -> None:
    assert client.run("network", "inspect", "--format", layout, "web2").stdout.strip() == shown


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
