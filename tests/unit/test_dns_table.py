"""Who is called what: zones, links, and the order of look-up."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from linkspan.dns.names import Client, Host, Zone
from linkspan.dns.table import Directory, address_of

WEB = Host(id="1", names=("web", "www", "0123456789ab", "front"), addresses=("10.0.0.2", "fd00::2"), ports=("80/tcp",))
DB = Host(id="2", names=("DB", "store"), addresses=("10.0.0.3",), ports=("5432/tcp", "53/udp"))
OTHER_WEB = Host(id="3", names=("web",), addresses=("10.1.0.2",))
CLIENT = Client(id="c", name="c", zones=("near", "far"))


@pytest.fixture
def directory() -> Directory:
    made = Directory()
    made.put_zone(Zone(id="near", name="Blue", hosts=(WEB, DB)))
    made.put_zone(Zone(id="far", name="red.team", hosts=(OTHER_WEB,)))
    return made


def found(directory: Directory, name: str, version: int = 4, client: Client = CLIENT) -> list[str] | None:
    packed = directory.addresses(client, name, version)
    return None if packed is None else [str(ip_address(each)) for each in packed]


@pytest.mark.parametrize(
    "name", ["web", "www", "0123456789ab", "front", "WEB", "web.", "web.blue", "WWW.Blue", "front.BLUE."]
)
def test_a_container_is_found_by_each_of_its_names_in_any_case(directory: Directory, name: str) -> None:
    assert found(directory, name) == ["10.0.0.2"]
    assert found(directory, name, 6) == ["fd00::2"]


def test_the_first_network_that_knows_a_name_answers_for_it(directory: Directory) -> None:
    assert found(directory, "web") == ["10.0.0.2"]
    assert found(directory, "web", client=Client(id="c", name="c", zones=("far", "near"))) == ["10.1.0.2"]
    assert found(directory, "web", 6, client=Client(id="c", name="c", zones=("far", "near"))) == []


def test_a_name_with_its_network_is_found_there_and_only_on_networks_of_the_client(directory: Directory) -> None:
    assert found(directory, "web.red.team") == ["10.1.0.2"]
    assert found(directory, "web.red.team", client=Client(id="c", name="c", zones=("near",))) is None
    assert found(directory, "web.blue", client=Client(id="c", name="c")) is None
    assert found(directory, "blue") is None


def test_a_known_name_without_such_an_address_is_known(directory: Directory) -> None:
    assert found(directory, "db", 6) == []
    assert directory.knows(CLIENT, "db")
    assert not directory.knows(CLIENT, "db.example")


def test_several_hosts_under_one_alias_give_all_their_addresses(directory: Directory) -> None:
    directory.put_host("near", Host(id="4", names=("web2", "www", "www"), addresses=("10.0.0.4",)))
    assert found(directory, "www") == ["10.0.0.2", "10.0.0.4"]
    directory.drop_host("near", "1")
    assert found(directory, "www") == ["10.0.0.4"]
    assert found(directory, "web") == ["10.1.0.2"]


def test_links_come_first_and_are_the_sandboxs_own(directory: Directory) -> None:
    linked = Client(id="c", name="c", zones=("near",), extra=(Host(id="9", names=("Web",), addresses=("172.17.0.9",)),))
    assert found(directory, "web", client=linked) == ["172.17.0.9"]
    assert found(directory, "web") == ["10.0.0.2"]
    assert directory.reverse(linked, "172.17.0.9") == "Web"


@pytest.mark.parametrize("name", ["localhost", "LocalHost.", "db.localhost"])
def test_localhost_is_the_sandbox_itself(directory: Directory, name: str) -> None:
    directory.put_host("near", Host(id="5", names=("localhost",), addresses=("10.0.0.5",)))
    assert found(directory, name) == ["127.0.0.1"]
    assert found(directory, name, 6) == ["::1"]


def test_an_address_leads_back_to_its_container(directory: Directory) -> None:
    assert directory.reverse(CLIENT, "10.0.0.2") == "web.Blue"
    assert directory.reverse(CLIENT, "fd00::2") == "web.Blue"
    assert directory.reverse(CLIENT, "10.0.0.99") is None
    assert directory.reverse(Client(id="c", name="c", zones=("far",)), "10.0.0.2") is None


def test_a_name_too_long_for_the_wire_gives_way_to_the_next(directory: Directory) -> None:
    names = ("x" * 64, "ba9876543210")
    directory.put_host("near", Host(id="8", names=names, addresses=("10.0.0.8",), ports=("80/tcp",)))
    assert directory.reverse(CLIENT, "10.0.0.8") == "ba9876543210.Blue"
    (service,) = directory.services(CLIENT, "_80._tcp.ba9876543210") or ()
    assert service.target == "ba9876543210.Blue"


def test_an_address_that_moves_belongs_to_the_one_that_came_last(directory: Directory) -> None:
    directory.put_host("near", Host(id="7", names=("new",), addresses=("10.0.0.3",)))
    assert directory.reverse(CLIENT, "10.0.0.3") == "new.Blue"
    directory.drop_host("near", "2")
    assert directory.reverse(CLIENT, "10.0.0.3") == "new.Blue"
    directory.drop_host("near", "7")
    assert directory.reverse(CLIENT, "10.0.0.3") is None


def test_a_host_put_again_has_only_its_new_names(directory: Directory) -> None:
    directory.put_host("near", Host(id="2", names=("store2",), addresses=("10.0.0.33",)))
    assert found(directory, "db") is None
    assert found(directory, "store2") == ["10.0.0.33"]
    assert directory.reverse(CLIENT, "10.0.0.3") is None


def test_many_changes_at_once_are_as_good_as_one_by_one(directory: Directory) -> None:
    more = [Host(id=str(number), names=(f"m{number}",), addresses=(f"10.3.0.{number}",)) for number in range(10, 20)]
    before = directory.generation
    directory.put_hosts([*(("near", host) for host in more), ("far", more[0]), ("near", more[0])])
    assert directory.generation == before + 2
    assert found(directory, "m10.red.team") == ["10.3.0.10"]
    directory.drop_hosts([("near", host.id) for host in more[1:]] + [("nowhere", "1"), ("near", "no such host")])
    assert found(directory, "m10.blue") == ["10.3.0.10"]
    assert found(directory, "m11") is None


def test_a_renamed_network_is_known_under_its_new_name_alone(directory: Directory) -> None:
    directory.put_zone(Zone(id="near", name="green", hosts=(WEB,)))
    assert found(directory, "web.green") == ["10.0.0.2"]
    assert found(directory, "web.blue") is None


def test_what_is_dropped_twice_is_gone(directory: Directory) -> None:
    for _ in range(2):
        directory.drop_host("near", "1")
        directory.drop_host("nowhere", "1")
        directory.drop_zone("far")
    assert found(directory, "web") is None


def test_every_change_is_a_new_generation_and_leaves_old_tables_as_they_were(directory: Directory) -> None:
    before, table = directory.generation, directory.tables["near"]
    directory.put_host("near", OTHER_WEB)
    assert directory.generation > before
    assert "3" not in table.hosts
    assert len(table.names["web"]) == 1
    directory.drop_host("near", "3")
    assert directory.tables["near"] == table


@pytest.mark.parametrize("name", ["_80._tcp.web", "_http._tcp.web", "_HTTP._TCP.www.blue."])
def test_a_service_is_found_by_number_and_by_name(directory: Directory, name: str) -> None:
    (service,) = directory.services(CLIENT, name) or ()
    assert (service.port, service.target) == (80, "web.Blue")
    assert [str(ip_address(each)) for each in service.addresses] == ["10.0.0.2", "fd00::2"]


@pytest.mark.parametrize("name", ["_81._tcp.web", "_80._udp.web", "_nonsense._tcp.web", "_٨٠._tcp.web"])
def test_a_known_host_without_the_service_offers_it_nowhere(directory: Directory, name: str) -> None:
    assert directory.services(CLIENT, name) == ()
    assert directory.knows(CLIENT, name)


@pytest.mark.parametrize("name", ["web", "_80.web", "_80._tcp", "_80._tcp.", "80._tcp.web", "_80._icmp.web"])
def test_other_forms_are_no_service(directory: Directory, name: str) -> None:
    assert directory.services(CLIENT, name) is None


@pytest.mark.parametrize("text", ["10.0.0.2", "0.0.0.0", "255.255.255.255", "::", "fd00::2", "2001:db8::1:0:0:1"])
def test_reverse_names_stand_for_addresses(text: str) -> None:
    assert address_of(ip_address(text).reverse_pointer) == text


@pytest.mark.parametrize(
    "name",
    [
        "",
        "in-addr.arpa",
        "0.0.10.in-addr.arpa",
        "1.2.0.0.10.in-addr.arpa",
        "256.0.0.10.in-addr.arpa",
        "x.0.0.10.in-addr.arpa",
        ".0.0.10.in-addr.arpa",
        "²..0.10.in-addr.arpa",
        "2.0.ip6.arpa",
        "10." * 32 + "ip6.arpa",
        "g." * 32 + "ip6.arpa",
        "2.0.0.10.in-addr.arpa.example",
    ],
)
def test_other_names_stand_for_no_address(name: str) -> None:
    assert address_of(name) is None
