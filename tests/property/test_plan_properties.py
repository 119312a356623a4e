"""Whatever networks and endpoints there are, their plan holds together: no key twice, every needed place provided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.kernel.diff import diff, places
from linkspan.kernel.face import StepFailed
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.state import Element, Facts, Route, State, Sysctl, Table
from linkspan.model.network import Network
from linkspan.plan import sandbox as sandbox_plan
from plan_cases import FACTS, Pair, container_sandbox, endpoint, network, want

DIGITS = "0123456789ab"

facts_of_kernels = st.builds(
    Facts,
    instance=st.just("cafe0123"),
    group=st.just(FACTS.group),
    big_tcp=st.booleans(),
    bridge_netfilter=st.booleans(),
    ipv6=st.booleans(),
    advertised_links=st.sampled_from([(), ("eth0",), ("eth0", "wlan0")]),
)


@st.composite
def networks(draw: st.DrawFn, index: int, *, ipv6: bool) -> Network:
    """One network; ``index`` keeps its subnets and names apart from the others'."""
    four, six = f"10.{index}.0.0/24", f"fd00:{index}::/64"
    subnets = draw(st.sampled_from([(four,), (four, six), (six,)])) if ipv6 else (four,)
    return network(
        draw(st.sampled_from(["bridge", f"net{index}"])),
        *subnets,
        digit=DIGITS[index],
        internal=draw(st.booleans()),
        masquerade=draw(st.booleans()),
        inter_container=draw(st.booleans()),
        mtu=draw(st.sampled_from([0, 1400, 9000])),
    )


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Pair], Facts]:
    """Up to four networks, an endpoint on each, and a kernel."""
    facts = draw(facts_of_kernels)
    found = [draw(networks(index, ipv6=facts.ipv6)) for index in range(draw(st.integers(0, 4)))]
    defaults = [item for item in found if item.name == "bridge"]
    found = [item for item in found if item.name != "bridge" or item is defaults[0]]
    pairs = [
        (item, endpoint(item, index, digit="cdef"[index], priority=draw(st.integers(-2, 2))))
        for index, item in enumerate(found)
    ]
    return pairs, facts


def wanted(plan: tuple[list[Pair], Facts]) -> State:
    return want(*plan)


@given(plans())
def test_nothing_is_wanted_twice(plan: tuple[list[Pair], Facts]) -> None:
    state = wanted(plan)  # it raises for a key that comes twice
    assert all(key == item.key for key, item in state.items())


@given(plans())
def test_every_needed_place_is_provided(plan: tuple[list[Pair], Facts]) -> None:
    state = wanted(plan)
    provided = places(state.values())
    for item in state.values():
        assert provided.issuperset((*item.needs(), *item.softly_needs(), *item.follows())), item


@given(plans())
def test_every_place_is_provided_before_it_is_needed(plan: tuple[list[Pair], Facts]) -> None:
    state = wanted(plan)
    rank_of = {place: item.rank for item in state.values() for place in item.provides()}
    for item in state.values():
        for place in (*item.needs(), *item.softly_needs(), *item.follows()):
            assert rank_of[place] < item.rank, (place, item)


@given(plans())
def test_the_filter_knows_a_network_before_its_links_exist(plan: tuple[list[Pair], Facts]) -> None:
    state = wanted(plan)
    links = [item.rank for item in state.values() if item.key[0] == "link"]
    filters = [item.rank for item in state.values() if isinstance(item, Table | Element)]
    assert not links or max(filters) < min(links)


@given(plans())
def test_a_bridge_never_leads_to_another_one(plan: tuple[list[Pair], Facts]) -> None:
    for item in wanted(plan).values():
        if isinstance(item, Element) and item.set == "pair":
            assert item.item[0] == item.item[1]


@given(plans())
def test_an_internal_network_has_no_way_out(plan: tuple[list[Pair], Facts]) -> None:
    pairs, _ = plan
    state = wanted(plan)
    for on, place in pairs:
        if on.internal and on.bridge is not None:
            elements = [item for item in state.values() if isinstance(item, Element)]
            named = {item.set for item in elements if on.bridge.bridge_name in item.item}
            assert named == {"bridges", "pair", "internal"}
            subnets = {str(pool.subnet) for pool in on.pools}
            assert not [item for item in elements if not subnets.isdisjoint(item.item)]
            assert not [item for item in state.values() if isinstance(item, Route) and item.link == place.interface]


@given(plans())
def test_each_family_has_one_default_route_through_the_best_network_that_offers_it(
    plan: tuple[list[Pair], Facts],
) -> None:
    pairs, _ = plan
    routes = [item for item in wanted(plan).values() if isinstance(item, Route)]
    for version, destination in sandbox_plan.EVERYWHERE.items():
        offers = [
            (-place.request.gateway_priority, on.name, place.interface)
            for on, place in pairs
            if not on.internal and any(pool.subnet.version == version for pool in on.pools)
        ]
        through = [item.link for item in routes if item.destination == destination]
        assert through == [interface for _, _, interface in sorted(offers)[:1]]


@given(plans())
def test_the_fake_kernel_takes_a_plan_and_gives_it_back(plan: tuple[list[Pair], Facts]) -> None:
    state = wanted(plan)
    kernel = FakeKernel()
    try:
        kernel.apply(diff(state, {}))
    except StepFailed as failure:
        raise AssertionError(f"{failure.step}: {failure.reason}") from failure
    assert kernel.read({sandbox_plan.namespace_of(container_sandbox())}) == state


def test_the_host_sandbox_wants_nothing() -> None:
    assert want([], FACTS, container_sandbox(on_host=True)) == {}


def test_a_host_that_forwards_ipv6_keeps_listening_to_its_router() -> None:
    on = network("dual", "10.1.0.0/24", "fd00:1::/64")
    facts = Facts(advertised_links=("eth0",))
    steps = diff(want([(on, endpoint(on))], facts), {})
    paths = [step.object.path for step in steps if isinstance(step.object, Sysctl)]
    assert paths.index("net/ipv6/conf/eth0/accept_ra") < paths.index("net/ipv6/conf/all/forwarding")
