"""Names on user-defined networks: who is called what, who is found from where, and what changes follow."""

from __future__ import annotations

import dns.reversename
import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon, eventually
from engine_api import EngineApi
from names_lab import RESOLVER, ask, code, contents, found, lookup, within
from network_lab import address4, address6, pings, sleeper

pytestmark = pytest.mark.scenario


@pytest.fixture
def town(lab: Daemon) -> Daemon:
    """A network of both families with ``web``, which has an alias and a hostname, and ``ann``, who asks."""
    lab.linkspan("network", "create", "--ipv6", "one")
    offers = ("--expose", "80", "--network-alias", "www", "--hostname", "front")
    sleeper(lab, "web", "--network", "one", *offers)
    sleeper(lab, "ann", "--network", "one")
    return lab


def test_a_container_is_found_by_name_alias_short_id_hostname_and_with_the_networks_name(town: Daemon) -> None:
    identity = town.linkspan("inspect", "--format", "{{.Id}}", "web").strip()
    here = address4(town, "web", "one")
    for name in ("web", "www", identity[:12], "front"):
        assert found(town, "ann", name) == [here], name
        assert found(town, "ann", f"{name}.one") == [here], name
    assert found(town, "ann", "front", "AAAA") == [address6(town, "web", "one")]
    assert pings(town, "ann", "web")
    assert lookup(town, "ann", "www") == here
    assert code(ask(town, "ann", "web", "MX")) == "NOERROR", "known, without such data"


def test_case_does_not_matter_and_the_answer_keeps_it(town: Daemon) -> None:
    message = ask(town, "ann", "WeB.oNe")
    assert message.answer[0].name.to_text() == "WeB.oNe."
    assert [item.to_text() for item in message.answer[0]] == [address4(town, "web", "one")]


def test_an_address_leads_back_to_the_name_in_both_families(town: Daemon) -> None:
    for address in (address4(town, "web", "one"), address6(town, "web", "one")):
        assert found(town, "ann", dns.reversename.from_address(address).to_text(), "PTR") == ["web.one."]


def test_services_are_found_with_port_target_and_addresses(town: Daemon) -> None:
    for name in ("_80._tcp.web", "_http._tcp.www"):
        message = ask(town, "ann", name, "SRV")
        assert [item.to_text() for item in message.answer[0]] == ["0 0 80 web.one."]
        told = {item.to_text() for records in message.additional for item in records}
        assert told == {address4(town, "web", "one"), address6(town, "web", "one")}
    assert found(town, "ann", "_81._tcp.web", "SRV") == []


def test_two_containers_with_one_alias_take_turns(lab: Daemon) -> None:
    lab.linkspan("network", "create", "one")
    for name in ("web1", "web2", "web3"):
        sleeper(lab, name, "--network", "one", "--network-alias", "web")
    sleeper(lab, "ann", "--network", "one")
    everywhere = {address4(lab, name, "one") for name in ("web1", "web2", "web3")}
    with within(lab, "ann") as inside:
        orders = [[item.to_text() for item in inside.ask("web").answer[0]] for _ in range(6)]
    assert all(set(order) == everywhere for order in orders)
    firsts = [order[0] for order in orders]
    assert sorted(firsts) == sorted([*everywhere] * 2), "each is first as often as the others"
    lab.linkspan("stop", "web2")
    assert set(found(lab, "ann", "web")) == {address4(lab, "web1", "one"), address4(lab, "web3", "one")}


def test_the_resolver_is_the_only_server_and_asks_for_no_dots(town: Daemon) -> None:
    lines = contents(town, "ann", "/etc/resolv.conf").splitlines()
    assert [line for line in lines if line.startswith("nameserver")] == [f"nameserver {RESOLVER}"]
    assert [line for line in lines if line.startswith("options")] == ["options ndots:0"]


def test_stopped_containers_do_not_resolve_and_started_ones_do(town: Daemon) -> None:
    """moby#24800: containers that were gone and still had names."""
    before = address4(town, "web", "one")
    assert found(town, "ann", "web") == [before]
    town.linkspan("stop", "web")
    assert found(town, "ann", "web") == []
    assert found(town, "ann", dns.reversename.from_address(before).to_text(), "PTR") == []
    town.linkspan("start", "web")
    assert found(town, "ann", "web") == [address4(town, "web", "one")]
    town.linkspan("rm", "-f", "web")
    assert found(town, "ann", "web") == []


def test_a_created_container_is_not_found_before_it_runs(town: Daemon) -> None:
    town.linkspan("create", "--name", "later", "--network", "one", "busybox", "true")
    assert found(town, "ann", "later") == []


def test_a_container_that_ended_by_itself_is_not_found(town: Daemon) -> None:
    town.linkspan("run", "-d", "--name", "short", "--network", "one", "busybox", "sleep", "0.5")
    eventually(lambda: found(town, "ann", "short") == [], "it is forgotten")


def test_renames_are_followed_at_once(town: Daemon) -> None:
    here = address4(town, "web", "one")
    town.linkspan("rename", "web", "shop")
    assert found(town, "ann", "shop") == [here]
    assert found(town, "ann", "web") == []
    assert found(town, "ann", "www") == [here], "the alias stays"
    assert found(town, "ann", dns.reversename.from_address(here).to_text(), "PTR") == ["shop.one."]


def test_a_running_container_that_disconnects_is_gone_and_back_when_it_connects_again(town: Daemon) -> None:
    town.linkspan("network", "disconnect", "one", "web")
    assert found(town, "ann", "web") == []
    assert found(town, "ann", "www") == []
    assert found(town, "web", "ann") == [], "nor does it find anybody"
    town.linkspan("network", "connect", "--alias", "back", "one", "web")
    here = address4(town, "web", "one")
    assert found(town, "ann", "web") == [here]
    assert found(town, "ann", "back") == [here]
    assert found(town, "ann", "www") == [], "the alias belonged to the connection before"
    assert found(town, "web", "ann") == [address4(town, "ann", "one")]


def test_a_container_that_joins_its_first_network_with_names_while_it_runs_gets_a_resolver(lab: Daemon) -> None:
    lab.linkspan("network", "create", "one")
    sleeper(lab, "web", "--network", "one")
    sleeper(lab, "ann")
    assert RESOLVER not in contents(lab, "ann", "/etc/resolv.conf")
    lab.linkspan("network", "connect", "one", "ann")
    assert f"nameserver {RESOLVER}" in contents(lab, "ann", "/etc/resolv.conf").splitlines()
    assert lookup(lab, "ann", "web") == address4(lab, "web", "one")
    assert found(lab, "web", "ann") == [address4(lab, "ann", "one")]


def test_networks_are_asked_in_the_order_of_their_gateways(lab: Daemon) -> None:
    """moby#47390, moby#41532: one name on two networks has one meaning, and the other is found by ``name.network``."""
    for network in ("aaa", "bbb"):
        lab.linkspan("network", "create", network)
        sleeper(lab, f"db-{network}", "--network", network, "--network-alias", "db")
    sleeper(lab, "ann", "--network", "aaa")
    lab.linkspan("network", "connect", "bbb", "ann")
    on = {network: address4(lab, f"db-{network}", network) for network in ("aaa", "bbb")}
    for _ in range(4):
        assert found(lab, "ann", "db") == [on["aaa"]]
    assert found(lab, "ann", "db.bbb") == [on["bbb"]]
    lab.linkspan("network", "disconnect", "bbb", "ann")
    lab.linkspan("network", "connect", "--gw-priority", "7", "bbb", "ann")
    for _ in range(4):
        assert found(lab, "ann", "db") == [on["bbb"]]
    assert found(lab, "ann", "db.aaa") == [on["aaa"]]
    lab.linkspan("stop", "db-bbb")
    assert found(lab, "ann", "db") == [on["aaa"]], "who is left"


def test_names_of_other_networks_are_not_known(town: Daemon) -> None:
    town.linkspan("network", "create", "--internal", "two")
    sleeper(town, "cat", "--network", "two")
    for name in ("web", "web.one", "www"):
        message = ask(town, "cat", name)
        assert code(message) == "NXDOMAIN", name


@pytest.mark.parametrize("program", ["linkspan", "docker"])
def test_a_link_names_another_container_for_its_owner_alone(lab: Daemon, program: str) -> None:
    client = Client(lab, LINKSPAN if program == "linkspan" else "docker")
    client("network", "create", "one")
    client.sleeper("web", "--network", "one")
    client.sleeper("ann", "--network", "one", "--link", "web:shop")
    client.sleeper("ben", "--network", "one")
    assert found(lab, "ann", "shop") == [address4(lab, "web", "one")]
    assert found(lab, "ben", "shop") == []
    client("stop", "web")
    assert found(lab, "ann", "shop") == []
    client.sleeper("other", "--network", "one")  # takes the address that is free now
    client("start", "web")
    assert found(lab, "ann", "shop") == [address4(lab, "web", "one")]


@pytest.mark.parametrize("network", ["one", "bridge"])
def test_a_link_may_say_an_id(lab: Daemon, network: str) -> None:
    lab.linkspan("network", "create", "one")
    identity = sleeper(lab, "web", "--network", network)
    for number, text in enumerate((identity, identity[:12])):
        sleeper(lab, f"ann{number}", "--network", network, "--link", f"{text}:shop")
        assert lookup(lab, f"ann{number}", "shop") == address4(lab, "web", network)
    lab.linkspan("stop", "web")
    sleeper(lab, "other", "--network", network)
    lab.linkspan("start", "web")
    for number in range(2):
        assert lookup(lab, f"ann{number}", "shop") == address4(lab, "web", network)


def test_a_link_of_a_connection_follows_the_rename_of_its_target(lab: Daemon) -> None:
    lab.linkspan("network", "create", "one")
    sleeper(lab, "web", "--network", "one")
    sleeper(lab, "ann")
    lab.linkspan("network", "connect", "--link", "web:shop", "one", "ann")
    assert found(lab, "ann", "shop") == [address4(lab, "web", "one")]
    lab.linkspan("rename", "web", "store")
    assert found(lab, "ann", "shop") == [], "as with Docker, a link is to a name"
    lab.linkspan("rename", "store", "web")
    assert found(lab, "ann", "shop") == [address4(lab, "web", "one")]


def test_partners_of_a_container_ask_the_same_resolver(town: Daemon) -> None:
    sleeper(town, "partner", "--network", "container:web")
    assert found(town, "partner", "ann") == [address4(town, "ann", "one")]
    assert lookup(town, "partner", "ann") == address4(town, "ann", "one")
    assert found(town, "ann", "web") == [address4(town, "web", "one")]


def test_names_stay_when_their_owner_is_removed_while_a_partner_runs(town: Daemon) -> None:
    sleeper(town, "partner", "--network", "container:web")
    here = address4(town, "web", "one")
    town.linkspan("rm", "-f", "web")
    for name in ("web", "www", "front", "web.one"):
        assert found(town, "ann", name) == [here], name
    assert found(town, "partner", "ann") == [address4(town, "ann", "one")]
    assert pings(town, "ann", "web")
    town.linkspan("rm", "-f", "partner")
    assert found(town, "ann", "web") == []


def test_a_removed_and_created_container_is_found_where_it_is_now(town: Daemon) -> None:
    """moby#36910, netavark#1471: names that led to the container before, or to both."""
    with within(town, "ann") as inside:
        for turn in range(5):
            town.linkspan("rm", "-f", "web")
            sleeper(town, f"taker{turn}", "--network", "one")
            sleeper(town, "web", "--network", "one", "--network-alias", "www")
            here = address4(town, "web", "one")
            for name in ("web", "www"):
                assert [item.to_text() for item in inside.ask(name).answer[0]] == [here]


def test_extra_hosts_know_the_gateway_of_the_container(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "one")
    sleeper(lab, "ann", "--network", "one", "--add-host", "up:host-gateway", "--add-host", "db:192.0.2.9")
    place = EngineApi(lab.socket)("GET", "/containers/ann/json")["NetworkSettings"]["Networks"]["one"]
    lines = contents(lab, "ann", "/etc/hosts").splitlines()
    assert f"{place['Gateway']}\tup" in lines
    assert f"{place['IPv6Gateway']}\tup" in lines
    assert "192.0.2.9\tdb" in lines
    assert pings(lab, "ann", "up")
    lab.linkspan("network", "create", "two")
    lab.linkspan("network", "connect", "--gw-priority", "3", "two", "ann")
    gateway = lab.linkspan("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "two").strip()
    assert f"{gateway}\tup" in contents(lab, "ann", "/etc/hosts").splitlines()


# --- the default bridge --------------------------------------------------------------------------------------------


def test_the_default_bridge_has_no_resolver_and_knows_no_names(lab: Daemon) -> None:
    sleeper(lab, "web")
    sleeper(lab, "ann")
    lines = contents(lab, "ann", "/etc/resolv.conf").splitlines()
    assert f"nameserver {RESOLVER}" not in lines
    assert not any("ndots" in line for line in lines)
    with within(lab, "ann") as inside, pytest.raises(OSError, match="refused"):
        inside.connected()
    assert "web" not in contents(lab, "ann", "/etc/hosts")


def test_a_link_on_the_default_bridge_is_a_line_of_etc_hosts_that_follows_the_other(lab: Daemon) -> None:
    identity = sleeper(lab, "web")
    sleeper(lab, "ann", "--link", "web:shop")

    def line() -> list[str]:
        return [text for text in contents(lab, "ann", "/etc/hosts").splitlines() if "shop" in text]

    assert line() == [f"{address4(lab, 'web', 'bridge')}\tshop {identity[:12]} web"]
    assert lookup(lab, "ann", "shop") == address4(lab, "web", "bridge")
    before = address4(lab, "web", "bridge")
    lab.linkspan("stop", "web")
    sleeper(lab, "other")
    sleeper(lab, "another")
    lab.linkspan("start", "web")
    if address4(lab, "web", "bridge") == before:
        pytest.fail("the test wants another address")
    assert line() == [f"{address4(lab, 'web', 'bridge')}\tshop {identity[:12]} web"]
    assert lookup(lab, "ann", "shop") == address4(lab, "web", "bridge")


def test_a_linked_containers_own_lines_in_etc_hosts_survive(lab: Daemon) -> None:
    sleeper(lab, "web")
    sleeper(lab, "ann", "--link", "web:shop")
    lab.linkspan("exec", "ann", "sh", "-c", "echo 192.0.2.77 mine >>/etc/hosts")
    lab.linkspan("restart", "-t", "0", "web")
    assert "192.0.2.77 mine" in contents(lab, "ann", "/etc/hosts").splitlines()
    assert lookup(lab, "ann", "shop") == address4(lab, "web", "bridge")
