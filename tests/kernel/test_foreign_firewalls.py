"""A drop of somebody else in our path is named, with its owner and the command that lifts it; others are not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from linkspan.kernel import foreign
from linkspan.kernel.foreign import Obstacle, Ruleset
from linkspan.kernel.nft import Nft
from linkspan.kernel.passage import Packet, stops
from namespaces import Namespace

pytestmark = pytest.mark.kernel

BRIDGE = "br-0a1b2c"


@pytest.fixture
def here() -> Iterator[Namespace]:
    """The test's thread in a namespace of its own."""
    with Namespace() as namespace, namespace.entered():
        yield namespace


def shell(script: str) -> None:
    done = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{script}"


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text + "\n", check=True, text=True)


def read() -> Ruleset:
    context = Nft()
    try:
        return foreign.read(context)
    finally:
        context.close()


def found(*, versions: tuple[int, ...] = (4, 6)) -> tuple[Obstacle, ...]:
    return foreign.obstacles(read(), [BRIDGE], versions=versions)


def the_one() -> Obstacle:
    obstacles = found()
    assert len(obstacles) == 1, obstacles
    return obstacles[0]


UFW = """
iptables -N ufw-before-forward; iptables -N ufw-user-forward; iptables -N ufw-before-input; iptables -N ufw-user-input
iptables -N ufw-not-local
iptables -P FORWARD DROP; iptables -A FORWARD -j ufw-before-forward
iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A ufw-before-forward -p icmp --icmp-type echo-request -j ACCEPT
iptables -A ufw-before-forward -j ufw-user-forward
iptables -P INPUT DROP; iptables -A INPUT -j ufw-before-input
iptables -A ufw-before-input -i lo -j ACCEPT
iptables -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A ufw-before-input -j ufw-not-local
iptables -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
iptables -A ufw-not-local -j DROP
iptables -A ufw-before-input -j ufw-user-input
iptables -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
"""
DOCKER = """
iptables -N DOCKER-USER; iptables -N DOCKER-FORWARD
iptables -P FORWARD DROP; iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD
iptables -A DOCKER-USER -j RETURN
iptables -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
"""
FIREWALLD = """table inet firewalld {
 chain filter_FWD_public { oifname "eth0" accept; reject with icmpx admin-prohibited; }
 chain filter_FORWARD_ZONES { iifname "eth0" goto filter_FWD_public; iifname "trusted0" accept
  goto filter_FWD_public; }
 chain filter_FORWARD { type filter hook forward priority 10; policy accept;
  ct state { established, related } accept
  ct status dnat accept
  iifname "lo" accept
  jump filter_FORWARD_ZONES
  ct state { invalid } drop
  reject with icmpx admin-prohibited
 }
}"""


def test_without_foreign_rules_nothing_stands_in_the_way(here: Namespace) -> None:
    assert found() == ()


def test_our_own_tables_are_no_foreign_ones(here: Namespace) -> None:
    nft("table inet linkspan {\n chain f { type filter hook forward priority 0; policy drop; }\n}")
    assert found() == ()


def test_ufw_is_named_with_its_route_rules(here: Namespace) -> None:
    shell(UFW)
    obstacle = the_one()
    assert obstacle == Obstacle(
        owner="ufw",
        where="table ip filter, chain FORWARD (hook forward)",
        what="policy drop",
        bridge=BRIDGE,
        directions=("in", "out"),
        versions=(4,),
        remedy=f"ufw route allow out on {BRIDGE} && ufw route allow in on {BRIDGE}",
    )
    # what that command adds
    shell(f"iptables -A ufw-user-forward -i {BRIDGE} -j ACCEPT; iptables -A ufw-user-forward -o {BRIDGE} -j ACCEPT")
    assert found() == ()


def test_dockers_policy_is_lifted_in_the_chain_for_users(here: Namespace) -> None:
    shell(DOCKER)
    obstacle = the_one()
    assert (obstacle.owner, obstacle.what) == ("docker", "policy drop")
    shell(obstacle.remedy.replace("&&", ";"))
    assert found() == ()


def test_states_of_connections_in_iptables_rules_are_understood(here: Namespace) -> None:
    shell(f"""
iptables -P FORWARD DROP
iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -i {BRIDGE} -m conntrack --ctstate NEW -j ACCEPT
iptables -A FORWARD -o {BRIDGE} -m conntrack --ctstate ESTABLISHED -j ACCEPT
""")
    assert the_one().directions == ("in",), "new connections may leave, and only answers come back"


def test_tables_that_only_translate_are_not_read(here: Namespace) -> None:
    shell("iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1")
    assert read().chains == ()


def test_each_of_several_bridges_is_judged_by_the_rules_that_name_it(here: Namespace) -> None:
    nft("""table inet mine {
 chain forward { type filter hook forward priority 0; policy drop;
  iifname "good*" accept
  oifname "good*" accept
  iifname "half" accept
 }
}""")
    found = foreign.obstacles(read(), ["one", "good1", "half", "two", "good2"])
    assert [(item.bridge, item.directions) for item in found] == [
        ("one", ("in", "out")),
        ("half", ("in",)),
        ("two", ("in", "out")),
    ]
    assert "two" in found[2].remedy


def test_plain_iptables_of_both_families_is_told_apart(here: Namespace) -> None:
    shell("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
    assert [(item.owner, item.versions) for item in found()] == [("iptables", (4,)), ("iptables", (6,))]
    for item in found():
        shell(item.remedy)
    assert found() == ()


def test_firewalld_lets_published_ports_in_and_rejects_what_leaves(here: Namespace) -> None:
    nft(FIREWALLD)
    obstacle = the_one()
    assert (obstacle.owner, obstacle.directions, obstacle.versions) == ("firewalld", ("out",), (4, 6))
    assert obstacle.remedy == f"firewall-cmd --zone=trusted --add-interface={BRIDGE}"
    assert obstacle.what == "reject"


def test_a_plain_table_is_lifted_by_its_own_command(here: Namespace) -> None:
    nft("""table inet mine {
 set lan { type ifname; elements = { "lan0" }
 }
 chain forward { type filter hook forward priority 0; policy drop;
  ct state established,related accept
  iifname @lan accept
  tcp dport 22 accept
 }
}""")
    obstacle = the_one()
    assert (obstacle.owner, obstacle.directions) == ("nftables", ("in", "out"))
    shell(obstacle.remedy)
    assert found() == ()


def test_interfaces_in_a_named_set_are_known(here: Namespace) -> None:
    nft(f"""table inet mine {{
 set lan {{ type ifname; elements = {{ "{BRIDGE}" }}
 }}
 chain forward {{ type filter hook forward priority 0; policy drop;
  iifname @lan accept
 }}
}}""")
    assert the_one().directions == ("in",)


def test_a_rule_that_drops_is_told_in_words(here: Namespace) -> None:
    nft("""table ip mine {
 chain before { type filter hook prerouting priority raw; policy accept; iifname "br-*" drop; }
}""")
    obstacle = the_one()
    assert (obstacle.what, obstacle.where) == (
        "iifname br-* drop",
        "table ip mine, chain before (hook prerouting)",
    )
    assert (obstacle.directions, obstacle.versions) == (("out",), (4,))


def test_what_hangs_on_unknown_conditions_is_not_reported(here: Namespace) -> None:
    nft("""table inet mine {
 chain guard { meta mark 7 return; drop; }
 chain forward { type filter hook forward priority 0; policy accept;
  ct state invalid drop
  limit rate over 10/second drop
  ip saddr 198.51.100.0/24 drop
  tcp dport 25 drop
  jump guard
 }
}""")
    assert found() == ()


def test_a_host_that_may_not_speak_is_told_how_it_may_speak_to_its_containers(here: Namespace) -> None:
    shell("iptables -P OUTPUT DROP; iptables -A OUTPUT -o lo -j ACCEPT")
    obstacle = the_one()
    assert (obstacle.directions, obstacle.remedy) == (("host",), f"iptables -I OUTPUT -o {BRIDGE} -j ACCEPT")
    shell(obstacle.remedy)
    assert found() == ()


def test_maps_of_verdicts_are_followed(here: Namespace) -> None:
    nft(f"""table inet mine {{
 chain no {{ reject; }}
 chain forward {{ type filter hook forward priority 0; policy accept;
  oifname vmap {{ "lan0" : accept, "{BRIDGE}" : jump no }}
 }}
}}""")
    assert (the_one().directions, the_one().what) == (("in",), "reject")


def test_the_old_iptables_is_seen_beside_nftables(here: Namespace) -> None:
    shell("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P INPUT DROP")
    obstacle = the_one()
    assert (obstacle.owner, obstacle.versions, obstacle.what) == ("iptables", (4,), "policy drop")
    assert obstacle.remedy.startswith(f"iptables-legacy -I FORWARD -o {BRIDGE} -j ACCEPT && ")
    assert stops(read(), Packet(hook="input", version=6))
    assert not stops(read(), Packet(hook="input", version=4))
    shell("iptables-legacy -P FORWARD ACCEPT")
    assert found() == ()


def test_ports_of_the_host_itself_are_judged_by_hook_input(here: Namespace) -> None:
    shell(UFW)
    rules = read()

    def closed(port: int, protocol: str = "tcp", incoming: str = "") -> bool:
        packet = Packet(hook="input", version=4, protocol=protocol, port=port, incoming=incoming)
        return bool(stops(rules, packet))

    assert closed(8080)
    assert not closed(22)
    assert closed(22, "udp")
    assert not closed(8080, incoming="lo")
    stop = stops(rules, Packet(hook="input", version=4, protocol="tcp", port=8080))[0]
    assert foreign.opening(rules, stop, "tcp", 8080) == "ufw allow 8080/tcp"
