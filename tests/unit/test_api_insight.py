"""Linkspan's own endpoints: exposure, drift, repair, garbage, doctor, names, commands, and plans of changes."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
import pytest

from linkspan.api.wire.events import event
from linkspan.dns.names import Figures
from linkspan.insight.views import DriftEntry, DriftReport, Exposure, Finding, ForeignRule, Repaired
from linkspan.model.event import Event
from raw_http import Served, serving


async def got(served: Served, method: str, target: str, body: object = None) -> dict[str, object]:
    reply = await served.call(method, target, msgspec.json.encode(body) if body is not None else b"")
    assert reply.status == 200, reply.body
    return msgspec.convert(reply.json(), dict[str, object])


def test_who_reaches_what_is_listed_for_all_and_for_one_container() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("web")
            served.engine.insight.ways = (
                Exposure(
                    container="web", network="front", protocol="tcp", address="0.0.0.0", host_port=8080, port=80,
                    reach="sources", sources=("10.0.0.0/8",), contradiction="ufw drops it",
                ),
                Exposure(container="db", network="back", protocol="udp", address="::1", host_port=53, port=53),
            )  # fmt: skip
            everything = await got(served, "GET", "/linkspan/exposure")
            one = await got(served, "GET", "/v1.41/linkspan/exposure?container=web")
            missing = await served.call("GET", "/linkspan/exposure?container=nope")
        assert isinstance(everything["Exposures"], list)
        assert len(everything["Exposures"]) == 2
        assert one["Exposures"] == [
            {
                "Container": "web",
                "Network": "front",
                "Protocol": "tcp",
                "Address": "0.0.0.0",
                "HostPort": 8080,
                "Port": 80,
                "Count": 1,
                "Reach": "sources",
                "Sources": ["10.0.0.0/8"],
                "Way": "nat",
                "Pending": False,
                "Contradiction": "ufw drops it",
            }
        ]
        assert (missing.status, missing.message) == (404, "No such container: nope")

    asyncio.run(story())


def test_drift_names_our_objects_and_foreign_rules() -> None:
    async def story() -> None:
        async with serving() as served:
            assert await got(served, "GET", "/linkspan/drift") == {"Drift": [], "Foreign": []}
            served.engine.insight.report = DriftReport(
                entries=(
                    DriftEntry(
                        scope="network web", object="bridge br-1", state="missing", commands=("ip link add br-1",)
                    ),
                ),
                foreign=(ForeignRule(owner="ufw", where="chain FORWARD", what="policy drop", remedy="ufw allow"),),
            )
            assert await got(served, "GET", "/linkspan/drift") == {
                "Drift": [
                    {
                        "Scope": "network web",
                        "Object": "bridge br-1",
                        "State": "missing",
                        "Detail": "",
                        "Status": "new",
                        "Commands": ["ip link add br-1"],
                    }
                ],
                "Foreign": [{"Owner": "ufw", "Where": "chain FORWARD", "What": "policy drop", "Remedy": "ufw allow"}],
            }

    asyncio.run(story())


def test_repair_and_garbage_tell_what_was_done_and_what_failed() -> None:
    async def story() -> None:
        async with serving() as served:
            served.engine.insight.repaired = Repaired(done=("made bridge br-1 again",), failed=("no route",))
            served.engine.insight.garbage = Repaired(done=("removed veth1",))
            assert await got(served, "POST", "/linkspan/repair") == {
                "Done": ["made bridge br-1 again"],
                "Failed": ["no route"],
            }
            for target in ("/linkspan/gc", "/linkspan/gc?dry=1"):
                assert await got(served, "POST", target) == {"Done": ["removed veth1"], "Failed": []}
            assert served.engine.insight.dry == [False, True]

    asyncio.run(story())


def test_the_doctor_s_findings_and_the_figures_of_names_are_lists() -> None:
    async def story() -> None:
        async with serving() as served:
            served.engine.insight.findings = (Finding(check="MTU", level="warning", text="too large", remedy="mtu"),)
            served.engine.insight.figures = (
                Figures(id="s1", name="web", queries=3, local=2, forwarded=1, seconds=0.25, slowest=0.2, buckets=(2,)),
            )
            found = await got(served, "GET", "/linkspan/doctor")
            names = await got(served, "GET", "/linkspan/names")
        assert found == {"Findings": [{"Check": "MTU", "Level": "warning", "Text": "too large", "Remedy": "mtu"}]}
        assert names == {
            "Resolvers": [
                {
                    "Id": "s1",
                    "Name": "web",
                    "Queries": 3,
                    "Local": 2,
                    "Cached": 0,
                    "Forwarded": 1,
                    "Refused": 0,
                    "Failed": 0,
                    "Time": 250_000_000,
                    "Slowest": 200_000_000,
                    "Buckets": [2],
                }
            ]
        }

    asyncio.run(story())


def test_a_network_s_commands_and_what_docker_s_inspect_has_no_member_for() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("web")
            assert await got(served, "GET", "/linkspan/networks/bridge/commands") == {
                "Parts": [{"Headline": "network bridge", "Commands": ["ip link add br-1 type bridge"]}]
            }
            shown = await got(served, "GET", "/linkspan/networks/bridge")
            docker = await got(served, "GET", "/networks/bridge")
            assert (await served.call("GET", "/linkspan/networks/nope/commands")).status == 404
        assert (shown["Drifted"], shown["Usage"]) == (
            False,
            [{"Subnet": "172.17.0.0/16", "Capacity": 65533, "InUse": 1}],
        )
        (member,) = msgspec.convert(shown["Members"], list[dict[str, object]])
        assert (member["Name"], member["Interface"], member["Addresses"]) == ("web", "eth0", ["172.17.0.2"])
        assert not {"Drifted", "Interface"} & docker.keys()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("target", "body", "command"),
    [
        ("networks/bridge/remove", None, "ip link del br-bridge"),
        (
            "networks/bridge/connect",
            {"Container": "web", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}},
            "ip link set web-172.17.0.9 master bridge",
        ),
        ("networks/bridge/disconnect", {"Container": "web"}, "ip link del web-bridge"),
        ("containers/web/start", None, "ip netns add web"),
        ("containers/web/stop", None, "ip netns del web"),
    ],
)
def test_every_change_of_the_network_can_be_planned(target: str, body: object, command: str) -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("web")
            plan = await got(served, "POST", f"/linkspan/plan/{target}", body)
            (step,) = msgspec.convert(plan["Steps"], list[dict[str, object]])
            assert step["Commands"] == [command]
            missing = target.replace("web", "nope").replace("bridge", "nope")
            reply = await served.call("POST", f"/linkspan/plan/{missing}", msgspec.json.encode(body or {}))
            assert reply.status == 404

    asyncio.run(story())


def test_a_plan_of_a_connect_needs_the_container_s_name() -> None:
    async def story() -> None:
        async with serving() as served:
            reply = await served.call("POST", "/linkspan/plan/networks/bridge/connect", b"{}")
            assert (reply.status, "Container is empty" in reply.message) == (400, True)

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["network", "daemon"])
@pytest.mark.parametrize("action", ["repair", "drift"])
def test_what_healing_did_is_an_event_as_any_other(kind: Literal["network", "daemon"], action: str) -> None:
    attributes = {"name": "web", "object": "bridge br-1", "cause": "nft (pid 7)"}
    shown = event(Event(kind=kind, action=action, id="f" * 64, attributes=attributes, time=1_700_000_000_000_000_001))
    assert shown == {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": "f" * 64, "Attributes": attributes},
        "scope": "local",
        "time": 1_700_000_000,
        "timeNano": 1_700_000_000_000_000_001,
    }
