"""Published ports as they are shown by ``docker`` and ``linkspan``, and what Linkspan says about them besides."""

from __future__ import annotations

import json

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon

pytestmark = pytest.mark.scenario

SLEEP = ("busybox", "sleep", "600")


@pytest.mark.newer_docker
def test_both_clients_show_what_became_of_each_port(client: Client) -> None:
    client("network", "create", "--ipv6", "web")
    ports = ("-p", "8080:80", "-p", "127.0.0.1:5353:53/udp", "-p", "9000-9003:9000-9003", "-p", "[::1]:81:81")
    client("run", "-d", "--name", "front", "--network", "web", *ports, "--expose", "70", *SLEEP)
    assert set(client("ps", "--format", "{{.Ports}}").strip().split(", ")) == {
        "0.0.0.0:8080->80/tcp",
        "[::]:8080->80/tcp",
        "127.0.0.1:5353->53/udp",
        "0.0.0.0:9000-9003->9000-9003/tcp",
        "[::]:9000-9003->9000-9003/tcp",
        "[::1]:81->81/tcp",
        "70/tcp",
    }
    assert client("port", "front", "80").split() == ["0.0.0.0:8080", "[::]:8080"]
    assert client("port", "front", "53/udp").split() == ["127.0.0.1:5353"]
    assert len(client("port", "front").splitlines()) == 2 + 1 + 8 + 1
    settings = json.loads(client("inspect", "--format", "{{json .NetworkSettings.Ports}}", "front"))
    assert settings["70/tcp"] is None
    assert settings["9003/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "9003"}, {"HostIp": "::", "HostPort": "9003"}]
    client("stop", "-t", "0", "front")
    assert json.loads(client("inspect", "--format", "{{json .NetworkSettings.Ports}}", "front")) == {}
    assert "8080" in client("inspect", "--format", "{{json .HostConfig.PortBindings}}", "front")


def test_a_partner_shows_none_of_the_owner_s_ports(client: Client) -> None:
    client("run", "-d", "--name", "owner", "-p", "8080:80", *SLEEP)
    client("run", "-d", "--name", "partner", "--network", "container:owner", *SLEEP)
    assert client("ps", "--filter", "name=partner", "--format", "{{.Ports}}").strip() == ""
    assert client("port", "partner").strip() == ""
    assert "8080" in client("port", "owner")


def test_a_port_in_use_is_refused_naming_the_container_that_has_it(client: Client) -> None:
    client("run", "-d", "--name", "first", "-p", "8080:80", *SLEEP)
    said = client.refused("run", "-d", "--name", "second", "-p", "8080:80", *SLEEP, status=125)
    assert "8080" in said
    assert "first" in said
    assert client("ps", "-a", "--filter", "name=second", "--format", "{{.State}}").strip() == "created"


def test_exposure_tells_who_may_come(lab: Daemon) -> None:
    lab.linkspan("network", "create", "web")
    sources = ("--publish-from", "10.0.0.0/8", "--publish-from", "53/udp=192.0.2.1")
    ports = ("-p", "8080:80", "-p", "127.0.0.1:53:53/udp")
    lab.linkspan("run", "-d", "--name", "front", "--network", "web", *ports, *sources, *SLEEP)
    layout = "{{.Container}} {{.Network}} {{.Protocol}} {{.Address}} {{.Port}} {{.Who}}"
    found = lab.linkspan("exposure", "--format", layout).splitlines()
    assert "front web tcp 0.0.0.0:8080 80 10.0.0.0/8" in found
    assert lab.linkspan("exposure", "front", "--format", layout).splitlines() == found
    assert "No such container: nope" in lab.refused("exposure", "nope")


def test_a_network_tells_about_itself_and_how_it_would_be_made(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "172.30.0.0/24", "web")
    lab.linkspan("run", "-d", "--name", "front", "--network", "web", "-p", "8080:80", *SLEEP)
    shown = lab.linkspan("network", "show", "web")
    assert "172.30.0.0/24, gateway 172.30.0.1" in shown
    assert "front" in shown
    script = lab.linkspan("network", "show", "--commands", "web")
    assert "ip link add" in script
    assert "172.30.0.1/24" in script
    assert "front" in lab.linkspan("names", "--format", "{{.Container}}")


def test_nothing_drifts_and_nothing_is_left_over_after_a_plain_day(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "web")
    lab.linkspan("run", "-d", "--name", "front", "--network", "web", "-p", "8080:80", *SLEEP)
    assert lab.linkspan("drift").startswith("No drift")
    assert lab.linkspan("repair").startswith("Nothing to repair")
    assert lab.linkspan("gc", "--dry-run").startswith("Nothing to remove")


def test_the_doctor_s_status_follows_its_findings(lab: Daemon) -> None:
    done = lab.run(LINKSPAN, "doctor", "--format", "json")
    levels = {finding["Level"] for finding in json.loads(done.stdout)["Findings"]}
    assert done.returncode == int("failure" in levels)
    assert "ok" in levels


def test_plans_of_changes_change_nothing(lab: Daemon) -> None:
    lab.linkspan("network", "create", "web")
    lab.linkspan("network", "create", "--subnet", "172.31.0.0/24", "back")
    lab.linkspan("run", "-d", "--name", "front", "--network", "web", "-p", "8080:80", *SLEEP)
    assert "172.31.0.9" in lab.linkspan("plan", "network", "connect", "--ip", "172.31.0.9", "back", "front")
    assert "ip link" in lab.linkspan("plan", "network", "disconnect", "web", "front")
    assert "8080" in lab.linkspan("plan", "stop", "front")
    assert "8081" in lab.linkspan("plan", "run", "-p", "8081:80", "--network", "web", "busybox")
    assert lab.linkspan("port", "front", "80").split()[0] == "0.0.0.0:8080"
    assert lab.linkspan("drift").startswith("No drift")
