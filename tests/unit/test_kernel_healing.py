"""What deviates, what of it is led back, and in which order. On the kernel of dictionaries."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from linkspan.kernel.applied import Applied
from linkspan.kernel.batching import batches, protection_together
from linkspan.kernel.diff import Create, Delete, Step, diff
from linkspan.kernel.face import StepFailed
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.healing import Deviation, deviations, owners_of
from linkspan.kernel.state import (
    Address,
    Bridge,
    Element,
    Key,
    Namespace,
    Object,
    Route,
    Scope,
    State,
    Sysctl,
    Table,
    Veth,
    state_of,
)
from linkspan.kernel.worker import Worker

HOST: Scope = ("host", "")
WEB: Scope = ("network", "web")
SANDBOX: Scope = ("sandbox", "s1")
ENDPOINT: Scope = ("endpoint", "e1")
TABLE = Table(family="inet", name="linkspan", ruleset="set bridges { type ifname; }\nset ports { type ifname; }")
BRIDGE = Bridge(name="br-web", mac="02:42:00:00:00:01", alias="linkspan:cafe0123:network:web", group=7)
PORT = Veth(
    name="ls-1",
    master="br-web",
    alias="linkspan:cafe0123:endpoint:e1",
    group=7,
    peer_namespace="s1",
    peer_name="eth0",
    peer_mac="02:42:00:00:00:02",
)
FORWARDING = Sysctl(path="net/ipv4/ip_forward", value="1")


def element(name: str, set_name: str, *, publishes: bool = False) -> Element:
    return Element(family="inet", table="linkspan", set=set_name, item=(name,), publishes=publishes)


WANTS: dict[Scope, State] = {
    HOST: state_of([TABLE, FORWARDING]),
    WEB: state_of([element("br-web", "bridges"), BRIDGE, Address(link="br-web", address="10.0.0.1/24")]),
    SANDBOX: state_of(
        [Namespace(name="s1"), Route(namespace="s1", link="eth0", destination="0.0.0.0/0", gateway="10.0.0.1")]
    ),
    ENDPOINT: state_of(
        [
            PORT,
            Address(namespace="s1", link="eth0", address="10.0.0.2/24"),
            element("ls-1", "ports", publishes=True),
        ]
    ),
}
WANT: State = {key: item for state in WANTS.values() for key, item in state.items()}


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def applied(kernel: FakeKernel) -> Applied:
    made = Applied(kernel)
    made.converge(WANTS)
    kernel.journal.clear()
    return made


def told(found: Iterable[Deviation]) -> set[tuple[str, Key]]:
    return {(each.state, each.object.key) for each in found if not each.implied}


def remembered(applied: Applied) -> State:
    return {key: item for scope in WANTS for key, item in applied.scope(scope).items()}


def test_where_all_is_as_wanted_nothing_is_told_or_done(kernel: FakeKernel, applied: Applied) -> None:
    assert applied.heal() == applied.audit() == applied.heal(everything=True) == applied.garbage() == ()
    assert kernel.journal == []


def test_what_went_along_with_another_object_is_told_as_implied(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(BRIDGE.key)
    found = applied.heal()
    assert told(found) == {("missing", BRIDGE.key)}
    assert {each.object.key for each in found if each.implied} == {("address", "", "br-web", "10.0.0.1/24"), PORT.key}
    assert all(each.repaired for each in found)
    assert [each.scope for each in found] == [WEB, ENDPOINT, WEB]
    assert kernel.read(["s1"]) == remembered(applied) == WANT


def test_a_lost_pair_comes_back_with_all_that_stood_on_its_inner_end(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(PORT.key)
    assert told(applied.heal()) == {("missing", PORT.key)}
    assert kernel.read(["s1"]) == remembered(applied) == WANT


def test_the_inside_of_a_sandbox_is_repaired_only_when_asked(kernel: FakeKernel, applied: Applied) -> None:
    lost = Address(namespace="s1", link="eth0", address="10.0.0.2/24").key
    kernel.lose(lost)
    assert applied.heal() == ()
    assert ("missing", lost) in told(applied.audit())
    assert kernel.journal == []
    assert all(each.repaired for each in applied.heal(everything=True))
    assert kernel.read(["s1"]) == WANT


def test_a_table_comes_back_with_its_elements_before_anything_else(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(TABLE.key)
    kernel.put(replace(FORWARDING, value="0"))
    assert told(applied.heal()) == {("missing", TABLE.key), ("different", FORWARDING.key)}
    kinds = [type(step.object) for step in kernel.journal]
    assert kinds == [Table, Element, Element, Sysctl]


def test_what_publishes_waits_for_the_links(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(TABLE.key)
    kernel.lose(BRIDGE.key)
    applied.heal()
    assert kernel.journal[-1].object == element("ls-1", "ports", publishes=True)
    assert [type(step.object) for step in kernel.journal[:3]] == [Table, Element, Bridge]


def test_a_changed_table_is_replaced_in_one_piece() -> None:
    have = {**WANT, TABLE.key: replace(TABLE, ruleset=""), ("link", "", "old"): replace(BRIDGE, name="old")}
    steps = protection_together(diff(WANT, have))
    nft = [isinstance(step.object, Table | Element) for step in steps]
    assert nft == [False, *[True] * (len(steps) - 1)]
    assert [type(step) for step in steps if isinstance(step.object, Table)] == [Delete, Create]


def test_a_table_that_cannot_be_replaced_stays_as_it_is(kernel: FakeKernel, applied: Applied) -> None:
    """As nft refuses a whole transaction: what would have gone is there still."""
    changed = replace(TABLE, ruleset=f"{TABLE.ruleset}\nset more {{ type ifname; }}")
    refusing = RefusesTables(kernel)
    restarted = Applied(refusing)
    with pytest.raises(ExceptionGroup) as caught:
        restarted.resync({**WANTS, HOST: state_of([changed, FORWARDING])}, ["s1"])
    assert "cannot create table inet linkspan" in str(caught.value.exceptions[0])
    assert kernel.read(["s1"]) == WANT


def test_without_its_table_no_network_is_raised_and_each_is_told(kernel: FakeKernel) -> None:
    applied = Applied(RefusesTables(kernel))
    with pytest.raises(ExceptionGroup) as caught:
        applied.resync(WANTS, [])
    texts = [str(error) for error in caught.value.exceptions]
    assert texts == [
        "host: cannot create table inet linkspan: Operation not permitted",
        "network web: bridge br-web was not made: the firewall that protects it is missing",
    ]
    assert [getattr(error, "whose", None) for error in caught.value.exceptions] == ["", "web"]
    assert kernel.read(["s1"]) == {Namespace(name="s1").key: Namespace(name="s1")}


def test_without_its_filter_a_network_is_not_raised_and_others_are(kernel: FakeKernel) -> None:
    other = replace(BRIDGE, name="br-b")
    wants: dict[Scope, State] = {**WANTS, ("network", "b"): state_of([element("br-b", "missing"), other])}
    with pytest.raises(ExceptionGroup, match="some steps"):
        Applied(kernel).resync(wants, [])
    assert kernel.read(["s1"]) == WANT


def test_a_name_that_somebody_took_is_told_every_time_and_taken_back_when_free(
    kernel: FakeKernel, applied: Applied
) -> None:
    kernel.lose(BRIDGE.key)
    kernel.foreign.add(BRIDGE.key)
    for _ in range(2):
        found = applied.heal()
        (bridge,) = [each for each in found if each.object == BRIDGE]
        assert not bridge.repaired
        assert "cannot create bridge br-web" in str(bridge.failure)
        assert applied.scope(WEB) == {}
        assert element("br-web", "bridges").key not in kernel.read([])
        assert applied.memory.intended(BRIDGE.key) == BRIDGE
    kernel.foreign.clear()
    assert all(each.repaired for each in applied.heal())
    assert kernel.read(["s1"]) == remembered(applied) == WANT


def test_a_scope_whose_link_was_given_up_stays_away_as_a_whole(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(BRIDGE.key)
    kernel.lose(element("br-web", "bridges").key)
    found = applied.heal(given_up=[BRIDGE.key])
    assert ("missing", BRIDGE.key) in told(found)
    assert {each.object.key for each in found if each.repaired} == set()
    assert not kernel.read([]).keys() & WANTS[WEB].keys()
    assert all(each.repaired for each in applied.heal())
    assert kernel.read(["s1"]) == WANT


def test_what_somebody_gave_our_bridge_is_his_and_what_he_put_into_our_table_goes(
    kernel: FakeKernel, applied: Applied
) -> None:
    his = Address(link="br-web", address="192.0.2.1/24")
    kernel.put(his)
    kernel.put(element("eth7", "bridges"))
    assert told(applied.heal()) == {("unwanted", element("eth7", "bridges").key)}
    assert kernel.read(["s1"]) == {**WANT, his.key: his}


def test_a_refused_repair_is_told_with_its_reason_and_memory_stays_true(kernel: FakeKernel, applied: Applied) -> None:
    kernel.put(replace(BRIDGE, mtu=1400))
    kernel.fail_at(0, errno.EPERM)
    (found,) = applied.heal()
    assert str(found.failure) == "network web: cannot change bridge br-web: Operation not permitted"
    assert applied.scope(WEB)[BRIDGE.key] == replace(BRIDGE, mtu=1400)
    (found,) = applied.heal()
    assert found.repaired
    assert applied.scope(WEB) == WANTS[WEB]


def test_a_lost_namespace_is_told_and_only_made_again_when_asked(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(("namespace", "s1"))
    assert ("missing", ("namespace", "s1")) in told(applied.heal())
    assert kernel.pins() == frozenset()
    assert all(each.repaired for each in applied.heal(everything=True))
    assert kernel.read(["s1"]) == remembered(applied) == WANT


def test_garbage_is_what_no_scope_wants(kernel: FakeKernel, applied: Applied) -> None:
    kernel.apply([Create(Namespace(name="old")), Create(replace(BRIDGE, name="br-old"))])
    kernel.apply([Create(Address(link="br-old", address="10.7.0.1/24")), Create(replace(TABLE, family="ip"))])
    names = {("namespace", "old"), ("link", "", "br-old"), ("table", "", "ip", "linkspan")}
    assert applied.heal() == ()
    assert {each.object.key for each in applied.garbage()} == names
    assert {each.object.key for each in applied.collect() if each.repaired} == names
    assert applied.garbage() == ()
    assert kernel.read(["s1", "old"]) == WANT


def test_values_of_the_host_are_compared_without_reading_anything_else(kernel: FakeKernel, applied: Applied) -> None:
    assert not applied.settings_differ()
    kernel.put(replace(FORWARDING, value="0"))
    assert applied.settings_differ()


def test_a_change_tells_what_it_may_touch_while_it_is_on_its_way(kernel: FakeKernel) -> None:
    seen: list[tuple[int, bool]] = []
    applied = Applied(kernel)
    apply = kernel.apply

    def watched(steps: Iterable[Step]) -> None:
        changing = applied.memory.changing
        seen.append((applied.memory.turn, changing is not None and BRIDGE.key in changing))
        apply(tuple(steps))

    kernel.apply = watched  # type: ignore[method-assign]
    applied.converge(WANTS)
    assert seen == [(1, True)]
    assert (applied.memory.turn, applied.memory.changing) == (2, ())
    assert {str(prefix) for prefix in applied.memory.subnets()} == {"10.0.0.0/24"}


def test_a_deviation_knows_the_steps_that_lead_it_back() -> None:
    live = {**WANT, BRIDGE.key: replace(BRIDGE, mtu=1400)}
    (found,) = deviations(WANT, live, owners_of(WANTS))
    assert (found.scope, found.state) == (WEB, "different")
    assert found.steps() == diff({BRIDGE.key: BRIDGE}, {BRIDGE.key: replace(BRIDGE, mtu=1400)})


def test_the_order_of_protection_keeps_discards_where_they_belong() -> None:
    want: State = {TABLE.key: TABLE}
    have = state_of([replace(TABLE, ruleset=""), BRIDGE, PORT, element("ls-1", "ports", publishes=True)])
    parts = batches(protection_together(diff(want, have)), {PORT.key})
    assert [batch.discards for batch in parts] == [True, False]


class RefusesTables(FakeKernel):
    """Another face of a kernel, which makes no table and refuses the whole transaction with it, as nft does."""

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__()
        self.__dict__.update(kernel.__dict__)

    def apply(self, steps: Iterable[Step]) -> None:
        everything = tuple(steps)
        for number, step in enumerate(everything):
            if isinstance(step, Create) and isinstance(step.object, Table):
                first = number
                while first and nft(everything[first - 1].object):
                    first -= 1
                super().apply(everything[:first])
                raise StepFailed(step, first, errno.EPERM, "Operation not permitted")
        super().apply(everything)


def nft(item: Object) -> bool:
    return isinstance(item, Table | Element)


def test_the_worker_heals_on_its_thread(kernel: FakeKernel) -> None:
    async def story() -> None:
        worker = Worker(kernel)
        assert worker.thread_id() == 0
        worker.start()
        await worker.converge(WANTS)
        assert worker.thread_id() == await worker.call(threading.get_native_id)
        kernel.lose(BRIDGE.key)
        assert told(await worker.audit()) == {("missing", BRIDGE.key)}
        assert told(await worker.heal(given_up=[BRIDGE.key])) == {("missing", BRIDGE.key)}
        assert all(each.repaired for each in await worker.heal())
        assert await worker.garbage() == await worker.collect() == ()
        assert not await worker.settings_differ()
        await worker.stop()

    asyncio.run(asyncio.wait_for(story(), 10))
