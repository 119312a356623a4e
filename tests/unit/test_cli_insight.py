"""What Linkspan has besides Docker's commands: exposure, drift, repair, gc, doctor, names, network show, plans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_fake_daemon import FakeDaemon

from linkspan.cli.commands.doctor import rendered as doctor_rendered
from linkspan.cli.commands.names import most_within, span
from linkspan.cli.main import main

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "fake.sock")
    monkeypatch.setenv("LINKSPAN_HOST", fake.host)
    yield fake
    fake.close()


@pytest.fixture
def typed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs one command line; (exit status, output, error output)."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


# Exposure


def way(**members: object) -> dict[str, object]:
    common: dict[str, object] = {
        "Container": "web", "Network": "front", "Protocol": "tcp", "Address": "0.0.0.0", "HostPort": 8080, "Port": 80,
        "Count": 1, "Reach": "everywhere", "Sources": [], "Way": "nat", "Pending": False, "Contradiction": "",
    }  # fmt: skip
    return {**common, **members}


LATER = "the host does not have the address yet"


def test_exposure_tells_who_reaches_what_where(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/exposure"] = (
        200,
        {
            "Exposures": [
                way(Container="web10", Address="172.18.0.2", HostPort=0, Way="routed"),
                way(Address="::1", Reach="host", Way="relay"),
                way(Address="10.0.0.9", Pending=True, Reach="sources", Sources=["10.0.0.0/8", "fd00::/8"]),
                way(Container="db", HostPort=9000, Port=8000, Count=11, Contradiction="ufw drops it: ufw allow 9000"),
                way(Container="shut", Reach="sources"),
            ]
        },
    )
    status, output, errors = typed("exposure")
    assert (status, errors) == (0, "")
    assert [line.split("   ") for line in squeezed(output)] == [
        ["CONTAINER", "NETWORK", "PROTOCOL", "REACHED AT", "PORT", "WHO", "WAY", "NOTES"],
        ["db", "front", "tcp", "0.0.0.0:9000-9010", "8000-8010", "everybody", "nat", "ufw drops it: ufw allow 9000"],
        ["shut", "front", "tcp", "0.0.0.0:8080", "80", "nobody", "nat"],
        ["web", "front", "tcp", "10.0.0.9:8080", "80", "10.0.0.0/8, fd00::/8", "nat", LATER],
        ["web", "front", "tcp", "[::1]:8080", "80", "this host", "relay"],
        ["web10", "front", "tcp", "172.18.0.2:80", "80", "everybody", "routed"],
    ]


def squeezed(output: str) -> list[str]:
    """Lines with three spaces between cells, however wide the columns are."""
    lines = []
    for line in output.splitlines():
        while "    " in line:
            line = line.replace("    ", "   ")
        lines.append(line.rstrip())
    return lines


def test_exposure_of_one_container_in_a_layout_of_one_s_own(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/exposure"] = (200, {"Exposures": [way()]})
    assert typed("exposure", "web", "--format", "{{.Container}} {{.Address}}") == (0, "web 0.0.0.0:8080\n", "")
    assert daemon.requests[0].query == {"container": ["web"]}
    assert json.loads(typed("exposure", "--format", "json")[1])["Who"] == "everybody"


# Drift, repair, garbage


DRIFT = {
    "Drift": [
        {
            "Scope": "network web",
            "Object": "bridge br-1",
            "State": "missing",
            "Status": "new",
            "Detail": "",
            "Commands": ["ip link add br-1 type bridge", "ip link set br-1 up"],
        },
        {"Scope": "host", "Object": "sysctl net.ipv4.ip_forward", "State": "different", "Status": "drifted"},
    ],
    "Foreign": [{"Owner": "ufw", "Where": "chain FORWARD", "What": "policy drop", "Remedy": "ufw route allow"}],
}


def test_drift_is_a_table_and_an_exit_status(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/drift"] = (200, DRIFT)
    status, output, errors = typed("drift")
    assert (status, errors) == (1, "")
    assert squeezed(output) == [
        "SCOPE   OBJECT   STATE   STATUS   DETAIL",
        "network web   bridge br-1   missing   new",
        "host   sysctl net.ipv4.ip_forward   different   drifted",
        "ufw is in the way: chain FORWARD: policy drop; lift it with: ufw route allow",
    ]


def test_drift_as_commands_is_a_script(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/drift"] = (200, DRIFT)
    assert typed("drift", "--commands") == (
        1,
        "### network web\n# bridge br-1 is missing\nip link add br-1 type bridge\nip link set br-1 up\n\n"
        "### host\n# sysctl net.ipv4.ip_forward is different\n",
        "",
    )
    status, output, _ = typed("drift", "--format", "json")
    assert (status, json.loads(output)) == (1, DRIFT)


def test_without_drift_the_status_is_0_whatever_foreign_rules_say(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/drift"] = (200, {"Drift": [], "Foreign": []})
    assert typed("drift") == (0, "No drift: all is as it should be.\n", "")
    assert typed("drift", "--commands") == (0, "# nothing to do: all is as it should be\n", "")
    daemon.routes["GET /linkspan/drift"] = (200, {**DRIFT, "Drift": []})
    status, output, _ = typed("drift")
    assert status == 0
    assert "ufw is in the way" in output


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"Done": [], "Failed": []}, (0, "Nothing to repair: all is as it should be.\n", "")),
        ({"Done": ["made br-1 again", "set a sysctl"], "Failed": []}, (0, "made br-1 again\nset a sysctl\n", "")),
        (
            {"Done": ["made br-1 again"], "Failed": ["veth1 is gone"]},
            (1, "made br-1 again\n", "linkspan: veth1 is gone\n"),
        ),
        ({"Done": [], "Failed": ["veth1 is gone"]}, (1, "", "linkspan: veth1 is gone\n")),
    ],
)
def test_repair_tells_what_it_did(daemon: FakeDaemon, typed: Typed, answer: object, told: object) -> None:
    daemon.routes["POST /linkspan/repair"] = (200, answer)
    assert typed("repair") == told


def test_garbage_can_be_looked_at_before_it_is_removed(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["POST /linkspan/gc"] = (200, {"Done": ["veth1 belongs to nothing"], "Failed": []})
    assert typed("gc", "--dry-run") == (0, "veth1 belongs to nothing\n", "")
    typed("gc")
    assert [request.query for request in daemon.requests] == [{"dry": ["1"]}, {}]


# Doctor, names


FINDINGS = [
    {"Check": "forwarding", "Level": "ok", "Text": "on", "Remedy": ""},
    {"Check": "MTU", "Level": "warning", "Text": "too large", "Remedy": "-o mtu=1400"},
    {"Check": "nftables", "Level": "failure", "Text": "no maps", "Remedy": ""},
]


def test_the_doctor_s_status_is_1_when_something_fails(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/doctor"] = (200, {"Findings": FINDINGS})
    assert typed("doctor") == (
        1,
        "ok       forwarding: on\nwarning  MTU: too large\n         to do: -o mtu=1400\nfailure  nftables: no maps\n",
        "",
    )
    daemon.routes["GET /linkspan/doctor"] = (200, {"Findings": FINDINGS[:2]})
    status, output, _ = typed("doctor", "--format", "json")
    assert (status, json.loads(output)) == (0, {"Findings": FINDINGS[:2]})


def test_levels_are_coloured_on_a_terminal() -> None:
    assert doctor_rendered([{"Check": "a", "Level": "failure", "Text": "b"}], coloured=True) == (
        "\x1b[31mfailure  \x1b[0ma: b\n"
    )


RESOLVERS = {
    "Resolvers": [
        {
            "Id": "s1", "Name": "web", "Queries": 100, "Local": 60, "Cached": 30, "Forwarded": 10, "Refused": 1,
            "Failed": 2, "Time": 25_000_000, "Slowest": 12_300_000, "Buckets": [90, 9, 0, 1, 0, 0],
        },
        {"Id": "s2", "Name": "idle", "Queries": 0},
    ]
}  # fmt: skip


def test_names_counts_queries_and_tells_how_long_answers_took(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/names"] = (200, RESOLVERS)
    assert squeezed(typed("names")[1]) == [
        "CONTAINER   QUERIES   LOCAL   CACHED   FORWARDED   REFUSED   FAILED   MEAN   99% WITHIN   SLOWEST",
        "idle   0   0   0   0   0   0   -   -   -",
        "web   100   60   30   10   1   2   250µs   1ms   12.3ms",
    ]


def test_a_hundredth_of_the_answers_may_be_slower() -> None:
    assert most_within([]) == "-"
    assert most_within([99, 0, 0, 0, 0, 1]) == "100µs"
    assert most_within([98, 0, 0, 0, 0, 2]) == "over 1s"
    assert [span(each) for each in (0, 999, 85_000, 1_234_000, 2e9)] == ["0ns", "999ns", "85µs", "1.23ms", "2s"]


# A network


def test_a_network_is_summed_up(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /networks/web"] = (
        200,
        {
            "Name": "web",
            "Id": "f" * 64,
            "Driver": "bridge",
            "Internal": True,
            "IPAM": {"Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}, {"Subnet": "fd00::/64"}]},
            "Options": {"linkspan.anti_spoofing": "false"},
            "Labels": {"tier": "front"},
        },
    )
    daemon.routes["GET /linkspan/networks/web"] = (
        200,
        {
            "Interface": "br-ffffffffffff",
            "Drifted": True,
            "Usage": [
                {"Subnet": "172.18.0.0/16", "Capacity": 65533, "InUse": 1},
                {"Subnet": "fd00::/64", "Capacity": 2**64 - 2, "InUse": 1},
            ],
            "Members": [
                {
                    "Name": "web",
                    "Interface": "eth0",
                    "HostInterface": "veth1",
                    "MacAddress": "02:42:ac:12:00:02",
                    "Addresses": ["172.18.0.2", "fd00::2"],
                }
            ],
        },
    )
    daemon.routes["GET /linkspan/names"] = (200, RESOLVERS)
    status, output, errors = typed("network", "show", "web")
    assert (status, errors) == (0, "")
    assert squeezed(output) == [
        "network   web (ffffffffffff)",
        "driver   bridge",
        "status   drifted: repairs of it were undone; see linkspan drift",
        "bridge   br-ffffffffffff",
        "subnet   172.18.0.0/16, gateway 172.18.0.1, 1 of 65533 in use",
        "subnet   fd00::/64, 1 in use",
        "internal   yes",
        "option   linkspan.anti_spoofing=false",
        "label   tier=front",
        "",
        "MEMBER   INTERFACE   ON THE HOST   MAC   ADDRESSES",
        "web   eth0   veth1   02:42:ac:12:00:02   172.18.0.2, fd00::2",
        "",
        "CONTAINER   QUERIES   LOCAL   CACHED   FORWARDED   REFUSED   FAILED   MEAN   99% WITHIN   SLOWEST",
        "web   100   60   30   10   1   2   250µs   1ms   12.3ms",
    ]


def test_an_empty_network_asks_nobody_for_figures(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /networks/web"] = (200, {"Name": "web", "Id": "f" * 64, "Driver": "bridge"})
    daemon.routes["GET /linkspan/networks/web"] = (200, {"Interface": "br-1", "Members": []})
    assert squeezed(typed("network", "show", "web")[1])[-1] == "no running members"
    assert [request.path for request in daemon.requests] == ["/networks/web", "/linkspan/networks/web"]


def test_a_network_as_commands_is_a_script(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["GET /linkspan/networks/web/commands"] = (
        200,
        {
            "Parts": [
                {"Headline": "the bridge", "Commands": ["ip link add br-1 type bridge", "ip link set br-1 up"]},
                {"Headline": "endpoint of db", "Commands": ["ip link add veth1 type veth"]},
            ]
        },
    )
    assert typed("network", "show", "--commands", "web") == (
        0,
        "# the bridge\nip link add br-1 type bridge\nip link set br-1 up\n\n"
        "# endpoint of db\nip link add veth1 type veth\n",
        "",
    )


# Plans


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["plan", "network", "rm", "web"], "networks/web/remove", None),
        (["plan", "network", "remove", "web"], "networks/web/remove", None),
        (
            ["plan", "network", "connect", "--ip", "10.0.0.9", "--gw-priority", "2", "web", "box"],
            "networks/web/connect",
            {
                "Container": "box",
                "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}, "GwPriority": 2},
            },
        ),
        (
            ["plan", "network", "disconnect", "-f", "web", "box"],
            "networks/web/disconnect",
            {"Container": "box", "Force": True},
        ),
        (["plan", "start", "box"], "containers/box/start", None),
        (["plan", "container", "stop", "box"], "containers/box/stop", None),
    ],
)
def test_a_plan_asks_for_the_steps_and_does_nothing(
    daemon: FakeDaemon, typed: Typed, words: list[str], path: str, body: object
) -> None:
    steps = [{"Scope": "network web", "Action": "delete", "Object": "link", "Commands": ["ip link del br-1"]}]
    daemon.routes[f"POST /linkspan/plan/{path}"] = (200, {"Steps": steps})
    assert typed(*words) == (0, "### network web\n# delete link\nip link del br-1\n", "")
    (request,) = daemon.requests
    assert (request.document if request.body else None) == body


def test_plans_of_several_containers_are_one_script(daemon: FakeDaemon, typed: Typed) -> None:
    for name in ("a", "b"):
        steps = [{"Scope": f"sandbox {name}", "Action": "delete", "Object": "namespace", "Commands": [f"rm {name}"]}]
        daemon.routes[f"POST /linkspan/plan/containers/{name}/stop"] = (200, {"Steps": steps})
    assert typed("plan", "stop", "a", "b")[1] == (
        "### sandbox a\n# delete namespace\nrm a\n\n### sandbox b\n# delete namespace\nrm b\n"
    )


def test_a_create_is_planned_as_its_start(daemon: FakeDaemon, typed: Typed) -> None:
    daemon.routes["POST /linkspan/plan/containers/create"] = (200, {"Steps": []})
    status, output, _ = typed("plan", "create", "--name", "web", "-p", "80:80", "busybox", "top")
    assert (status, output) == (0, "# nothing to do: everything that this needs is there\n")
    (request,) = daemon.requests
    assert request.query == {"name": ["web"]}
    assert request.document["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}
