"""Reservations, claims and refusals of the book of addresses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from types import FrameType

import pytest

from linkspan.errors import Conflict, InvalidRequest, NotFound
from linkspan.ipam.book import Book, Usage
from linkspan.ipam.notation import Family
from linkspan.model.network import AddressPool

NAMES = {"c1": "web", "c2": "db"}


def small_book() -> Book:
    """A book with the network ``n`` called ``front``: 10.0.0.0/29, gateway .1."""
    book = Book(lambda holder: NAMES.get(holder, holder))
    made = AddressPool(subnet=ip_network("10.0.0.0/29"), gateway=ip_address("10.0.0.1"))
    book.add_network("n", [made], name="front")
    return book


def test_picks_go_on_after_the_last_one_and_wrap_round() -> None:
    book = small_book()
    first = book.claim("n", 4, "c1")
    book.release("n", first, "c1")

    picks = [str(book.claim("n", 4, f"h{number}")) for number in range(5)]

    assert str(first) == "10.0.0.2"
    assert picks == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


def test_exhaustion_names_the_network_the_subnet_and_the_remedy() -> None:
    book = small_book()
    for number in range(5):
        book.claim("n", 4, f"h{number}")

    with pytest.raises(Conflict) as refusal:
        book.claim("n", 4, "late")

    assert str(refusal.value) == (
        "network front has no free IPv4 address: all 5 of subnet 10.0.0.0/29 are held or reserved; "
        "remove containers, or make a network with a larger subnet"
    )


def test_a_static_address_held_by_another_names_the_holder() -> None:
    book = small_book()
    book.claim("n", 4, "c1", ip_address("10.0.0.5"))

    with pytest.raises(Conflict) as refusal:
        book.claim("n", 4, "c2", ip_address("10.0.0.5"))

    assert "address 10.0.0.5 on network front is held by container web" in str(refusal.value)
    assert refusal.value.whose == "c1"


def test_claiming_the_same_address_twice_is_once() -> None:
    book = small_book()
    book.claim("n", 4, "c1", ip_address("10.0.0.5"))
    book.claim("n", 4, "c1", ip_address("10.0.0.5"))

    assert book.usage("n") == (Usage(ip_network("10.0.0.0/29"), 5, 1),)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("10.0.0.0", "address 10.0.0.0 is the network address of subnet 10.0.0.0/29"),
        ("10.0.0.7", "address 10.0.0.7 is the broadcast address of subnet 10.0.0.0/29"),
        ("10.0.0.1", "address 10.0.0.1 is the gateway of network front"),
        ("10.0.0.8", "address 10.0.0.8 does not lie in subnet 10.0.0.0/29"),
    ],
)
def test_a_static_address_that_no_container_can_have_is_refused(address: str, sentence: str) -> None:
    book = small_book()

    with pytest.raises(InvalidRequest) as claimed:
        book.claim("n", 4, "c1", ip_address(address))
    with pytest.raises(InvalidRequest) as reserved:
        book.reserve("n", ip_address(address), "c1")

    assert sentence in str(claimed.value)
    assert str(claimed.value) == str(reserved.value)
    assert book.usage("n")[0].in_use == 0


def test_auxiliary_addresses_are_never_given() -> None:
    book = Book(str)
    pool = AddressPool(
        subnet=ip_network("10.0.0.0/29"),
        gateway=ip_address("10.0.0.1"),
        auxiliary={"router": ip_address("10.0.0.2"), "printer": ip_address("10.0.0.4")},
    )
    book.add_network("n", [pool])

    assert [str(book.claim("n", 4, "h")) for _ in range(3)] == ["10.0.0.3", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(InvalidRequest, match=r"10\.0\.0\.4 is the auxiliary address printer of network n"):
        book.claim("n", 4, "h", ip_address("10.0.0.4"))


def test_a_reservation_is_passed_over_while_its_container_is_stopped() -> None:
    book = small_book()
    book.reserve("n", ip_address("10.0.0.2"), "c1")

    picks = [str(book.claim("n", 4, f"h{number}")) for number in range(4)]

    assert picks == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(Conflict):
        book.claim("n", 4, "late")
    assert book.claim("n", 4, "c1", ip_address("10.0.0.2")) == ip_address("10.0.0.2")


def test_a_second_definition_may_name_the_same_address_and_hears_of_the_first() -> None:
    book = small_book()

    assert book.reserve("n", ip_address("10.0.0.2"), "c1") == ()
    assert book.reserve("n", ip_address("10.0.0.2"), "c2") == ("c1",)
    assert book.reserve("n", ip_address("10.0.0.2"), "c1") == ("c2",)


def test_the_second_definition_may_hold_it_while_the_first_does_not() -> None:
    book = small_book()
    book.reserve("n", ip_address("10.0.0.2"), "c1")
    book.reserve("n", ip_address("10.0.0.2"), "c2")

    book.claim("n", 4, "c2", ip_address("10.0.0.2"))

    with pytest.raises(Conflict, match="held by container db"):
        book.claim("n", 4, "c1", ip_address("10.0.0.2"))


def test_an_address_is_free_again_when_nobody_holds_or_reserves_it() -> None:
    book = small_book()
    address = ip_address("10.0.0.2")
    book.reserve("n", address, "c1")
    book.reserve("n", address, "c2")
    book.claim("n", 4, "c1", address)

    book.unreserve("c1", "n")
    book.release("n", address, "c1")
    assert book.usage("n")[0].in_use == 1
    book.unreserve("c2", "n")

    assert book.usage("n")[0].in_use == 0
    assert book.claim("n", 4, "other") == address


def test_a_reservation_outlives_the_release_and_a_claim_outlives_the_definition() -> None:
    book = small_book()
    address = ip_address("10.0.0.2")
    book.reserve("n", address, "c1")
    book.claim("n", 4, "c1", address)
    book.unreserve("c1", "n")

    assert book.holder("n", address) == "c1"
    assert book.claim("n", 4, "other") == ip_address("10.0.0.3")


def test_releasing_what_somebody_else_holds_changes_nothing() -> None:
    book = small_book()
    book.claim("n", 4, "c1", ip_address("10.0.0.2"))

    book.release("n", ip_address("10.0.0.2"), "c2")
    book.release("n", ip_address("10.0.0.3"), "c2")
    book.release("gone", ip_address("10.0.0.3"), "c2")

    assert book.holder("n", ip_address("10.0.0.2")) == "c1"


def test_dynamic_picks_stay_in_the_ip_range_and_static_ones_need_not() -> None:
    book = Book(str)
    pool = AddressPool(
        subnet=ip_network("172.30.0.0/16"), ip_range=ip_network("172.30.5.0/30"), gateway=ip_address("172.30.0.1")
    )
    book.add_network("n", [pool], name="front")

    picks = [str(book.claim("n", 4, "h")) for _ in range(4)]

    assert picks == ["172.30.5.0", "172.30.5.1", "172.30.5.2", "172.30.5.3"]
    with pytest.raises(Conflict, match=r"all 4 of IP range 172\.30\.5\.0/30 of subnet 172\.30\.0\.0/16"):
        book.claim("n", 4, "h")
    assert str(book.claim("n", 4, "h", ip_address("172.30.9.9"))) == "172.30.9.9"
    assert book.usage("n") == (Usage(ip_network("172.30.0.0/16"), 4, 4),)


def test_an_ip_range_at_the_subnets_edge_leaves_out_network_and_broadcast() -> None:
    book = Book(str)
    pool = AddressPool(subnet=ip_network("10.0.0.0/24"), ip_range=ip_network("10.0.0.252/30"))
    book.add_network("n", [pool])

    assert [str(book.claim("n", 4, "h")) for _ in range(3)] == ["10.0.0.252", "10.0.0.253", "10.0.0.254"]
    with pytest.raises(Conflict):
        book.claim("n", 4, "h")


def test_ipv6_keeps_the_anycast_address_and_gives_the_last_one() -> None:
    book = Book(str)
    book.add_network("n", [AddressPool(subnet=ip_network("fd00::/126"), gateway=ip_address("fd00::1"))])

    assert [str(book.claim("n", 6, "h")) for _ in range(2)] == ["fd00::2", "fd00::3"]
    with pytest.raises(Conflict):
        book.claim("n", 6, "h")


def test_both_families_are_kept_apart() -> None:
    book = Book(str)
    book.add_network(
        "n", [AddressPool(subnet=ip_network("fd00::/64")), AddressPool(subnet=ip_network("10.0.0.0/24"))], name="dual"
    )

    assert str(book.claim("n", 4, "c1")) == "10.0.0.1"
    assert str(book.claim("n", 6, "c1")) == "fd00::1"
    assert [str(usage.subnet) for usage in book.usage("n")] == ["10.0.0.0/24", "fd00::/64"]
    with pytest.raises(InvalidRequest, match="is not an IPv6 address"):
        book.claim("n", 6, "c1", ip_address("10.0.0.9"))


def test_a_missing_family_and_a_missing_network_are_named() -> None:
    book = small_book()

    with pytest.raises(InvalidRequest, match="network front has no IPv6 subnet"):
        book.claim("n", 6, "c1")
    with pytest.raises(NotFound, match="no such network: gone"):
        book.claim("gone", 4, "c1")


def test_the_cursor_can_be_stored_and_restored() -> None:
    book = small_book()
    subnet = ip_network("10.0.0.0/29")
    assert book.cursor("n", subnet) is None
    book.claim("n", 4, "c1")
    last = book.claim("n", 4, "c2")
    assert book.cursor("n", subnet) == last

    later = small_book()
    later.restore_cursor("n", subnet, last)
    later.restore_cursor("n", ip_network("10.1.0.0/29"), ip_address("10.1.0.3"))
    later.restore_cursor("n", subnet, ip_address("10.1.0.3"))
    later.restore_cursor("gone", subnet, last)

    assert str(later.claim("n", 4, "c1")) == "10.0.0.4"


def test_the_picks_of_a_dry_run_can_be_undone() -> None:
    book = small_book()
    subnet = ip_network("10.0.0.0/29")
    before = book.cursor("n", subnet)
    tried = book.claim("n", 4, "c1")

    book.release("n", tried, "c1")
    book.restore_cursor("n", subnet, before)

    assert book.claim("n", 4, "c1") == tried


def test_a_static_claim_does_not_move_the_cursor() -> None:
    book = small_book()
    book.claim("n", 4, "c1", ip_address("10.0.0.5"))

    assert str(book.claim("n", 4, "c2")) == "10.0.0.2"


def test_a_removed_network_is_forgotten_whole() -> None:
    book = small_book()
    book.reserve("n", ip_address("10.0.0.2"), "c1")
    book.claim("n", 4, "c1", ip_address("10.0.0.2"))

    book.remove_network("n")
    book.remove_network("n")
    book.unreserve("c1", "n")

    with pytest.raises(NotFound):
        book.usage("n")
    assert book.holder("n", ip_address("10.0.0.2")) is None


def steps_of(work: Callable[[], object]) -> int:
    """How many lines of Python run, and how many calls into C, while ``work`` runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return trace

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "c_call"

    tracing, profiling = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)
    return count


def claim_steps(subnet: str, held: int) -> int:
    """Steps of one claim that begins in front of a run of ``held`` taken addresses."""
    book = Book(str)
    network = ip_network(subnet)
    family: Family = 4 if network.version == 4 else 6
    book.add_network("n", [AddressPool(subnet=network, gateway=network.network_address + 1)])
    for _ in range(held):
        book.claim("n", family, "h")
    book.restore_cursor("n", network, network.network_address + 1)
    return steps_of(lambda: book.claim("n", family, "late"))


def test_a_claim_takes_as_many_steps_in_any_subnet_however_full() -> None:
    counts = {
        claim_steps("10.0.0.0/24", 0),
        claim_steps("10.0.0.0/24", 252),
        claim_steps("10.0.0.0/16", 60_000),
        claim_steps("10.0.0.0/8", 0),
        claim_steps("10.0.0.0/8", 5_000),
        claim_steps("fd00::/64", 5_000),
    }

    assert max(counts) < 60
    assert max(counts) - min(counts) <= 10


def test_memory_follows_the_gaps_and_not_the_addresses() -> None:
    book = Book(str)
    book.add_network("n", [AddressPool(subnet=ip_network("10.0.0.0/8"))])
    for number in range(2, 4_000):
        book.claim("n", 4, "h", ip_address("10.0.0.0") + number)

    assert len(book._ledgers["n"][4].taken) == 3
