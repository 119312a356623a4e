"""Each type of object in the real kernel: made, read back, changed, made again, removed, removed again."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import msgspec
import pytest

from linkspan.kernel.diff import Create, Delete, Step, Update, diff
from linkspan.kernel.face import StepFailed
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Address, Bridge, Element, Namespace, Object, Route, Sysctl, Table, Veth, state_of
from linux_objects import (
    BOX,
    BRIDGE,
    EVERYTHING,
    GROUP,
    INSTANCE,
    OTHER_RULESET,
    TABLE,
    VETH,
    element,
    private_kernel,
)

pytestmark = pytest.mark.kernel

changed = msgspec.structs.replace
SYSCTLS = {item.key for item in EVERYTHING if isinstance(item, Sysctl) and not item.link and not item.namespace}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make(kernel: LinuxKernel, *objects: Object) -> None:
    kernel.apply([Create(item) for item in objects])


def refused(kernel: LinuxKernel, *steps: Step) -> StepFailed:
    with pytest.raises(StepFailed) as caught:
        kernel.apply(steps)
    return caught.value


def test_everything_that_was_made_is_read_back_equal(linux: LinuxKernel) -> None:
    want = state_of(EVERYTHING)
    linux.apply(diff(want, {}))
    assert linux.read(["box"]) == want


def test_making_everything_again_changes_nothing(linux: LinuxKernel) -> None:
    want = state_of(EVERYTHING)
    linux.apply(diff(want, {}))
    linux.apply(diff(want, {}))
    assert linux.read(["box"]) == want


def test_everything_can_be_removed_twice(linux: LinuxKernel) -> None:
    want = state_of(EVERYTHING)
    linux.apply(diff(want, {}))
    linux.apply(diff({}, want))
    assert linux.read(["box"]).keys() <= SYSCTLS
    linux.apply([Delete(item) for item in reversed(EVERYTHING)])
    assert linux.read(["box"]).keys() <= SYSCTLS


def test_another_daemon_of_the_instance_reads_the_same_once_it_is_told_what_to_expect(
    linux: LinuxKernel, tmp_path: Path
) -> None:
    want = state_of(EVERYTHING)
    linux.apply(diff(want, {}))
    restarted = LinuxKernel(tmp_path, INSTANCE, GROUP)
    try:
        restarted.expect(EVERYTHING)
        assert restarted.read(["box"]) == want
    finally:
        restarted.close()


def test_a_daemon_of_another_instance_sees_nothing_of_ours(linux: LinuxKernel, tmp_path: Path) -> None:
    make(linux, BOX, BRIDGE, VETH, Address(link="br-one", address="10.9.0.1/24"))
    other = LinuxKernel(tmp_path / "other", "deadbeef", 99)
    try:
        assert other.read(["box"]) == {}
    finally:
        other.close()


def test_a_bridge_is_changed_in_place(linux: LinuxKernel) -> None:
    make(linux, BRIDGE)
    index = linux.host.index("br-one")
    other = changed(
        BRIDGE, mac="02:42:00:00:00:09", mtu=1400, alias=BRIDGE.alias + "x", group=GROUP + 1, gso_max_size=65536
    )
    linux.apply([Update(BRIDGE, other)])
    assert linux.read([]) == state_of([other])
    assert linux.host.index("br-one") == index


def test_a_bridge_whose_making_was_cut_short_is_finished(linux: LinuxKernel) -> None:
    """As after a daemon that died before the bridge had the port from which it takes its limit."""
    run("ip", "link", "add", "br-one", "mtu", "1499", "group", str(GROUP), "type", "bridge")
    wanted = changed(BRIDGE, gso_max_size=262144)
    steps = diff(state_of([wanted]), linux.read([]))
    assert [type(step) for step in steps] == [Update]
    linux.apply(steps)
    assert linux.read([]) == state_of([wanted])
    assert "lsgso" not in run("ip", "-br", "link")


def test_a_bridge_keeps_its_mtu_whatever_its_ports_have(linux: LinuxKernel) -> None:
    small = changed(VETH, mtu=1300)
    make(linux, BOX, BRIDGE, small)
    assert linux.read(["box"]) == state_of([BOX, BRIDGE, small])
    linux.apply([Delete(small)])
    assert linux.read(["box"]) == state_of([BOX, BRIDGE])


@pytest.mark.parametrize("mtu", [68, 1000, 1279, 1280, 9000, 65535])
def test_links_of_any_mtu_are_made_and_read_back(linux: LinuxKernel, mtu: int) -> None:
    want = state_of([BOX, changed(BRIDGE, mtu=mtu), changed(VETH, mtu=mtu)])
    linux.apply(diff(want, {}))
    assert linux.read(["box"]) == want


def test_no_link_of_ours_gets_an_address_by_itself(linux: LinuxKernel) -> None:
    make(linux, BOX, BRIDGE, VETH)
    assert run("ip", "-6", "address", "show", "dev", "br-one") == ""
    assert run("ip", "-6", "address", "show", "dev", "ls-one") == ""
    inside = run("nsenter", f"--net={linux.namespace_path('box')}", "ip", "-6", "address", "show", "dev", "eth0")
    assert inside == ""


def test_a_veth_is_changed_in_place_on_both_ends(linux: LinuxKernel) -> None:
    make(linux, BOX, BRIDGE, VETH)
    index = linux.host.index("ls-one")
    other = changed(VETH, mtu=1400, alias=VETH.alias + "x", hairpin=True, isolated=True, gso_max_size=131072)
    linux.apply([Update(VETH, other)])
    assert linux.read(["box"]) == state_of([BOX, BRIDGE, other])
    free = changed(VETH, master="")
    linux.apply([Update(other, free)])
    assert linux.read(["box"]) == state_of([BOX, BRIDGE, free])
    assert linux.host.index("ls-one") == index


def test_an_end_that_somebody_took_down_is_seen_and_repaired(linux: LinuxKernel) -> None:
    make(linux, BOX, BRIDGE, VETH)
    run("ip", "link", "set", "br-one", "down")
    run("nsenter", f"--net={linux.namespace_path('box')}", "ip", "link", "set", "eth0", "down")
    live = linux.read(["box"])
    want = state_of([BOX, BRIDGE, VETH])
    assert live == want | state_of([changed(BRIDGE, up=False), changed(VETH, up=False)])
    linux.apply(diff(want, live))
    assert linux.read(["box"]) == want


def test_a_link_without_an_alias_is_ours_by_its_group(linux: LinuxKernel) -> None:
    make(linux, BRIDGE)
    run("ip", "link", "set", "br-one", "alias", "")
    assert linux.read([]) == state_of([changed(BRIDGE, alias="")])


@pytest.mark.parametrize("item", [BRIDGE, VETH])
def test_a_foreign_link_of_the_name_is_refused_and_never_touched(linux: LinuxKernel, item: Bridge | Veth) -> None:
    make(linux, BOX)
    if isinstance(item, Veth):
        make(linux, BRIDGE)
    run("ip", "link", "add", item.name, "type", "bridge")
    before = run("ip", "-d", "link", "show", item.name)
    failure = refused(linux, Create(item))
    assert failure.code == errno.EEXIST
    assert item.name in failure.reason
    assert refused(linux, Update(item, item)).code == errno.EEXIST
    linux.apply([Delete(item)])
    assert run("ip", "-d", "link", "show", item.name) == before


def test_a_foreign_bridge_of_the_name_gets_no_port_of_ours(linux: LinuxKernel) -> None:
    make(linux, BOX)
    run("ip", "link", "add", BRIDGE.name, "type", "bridge")
    failure = refused(linux, Create(VETH))
    assert (failure.code, failure.reason) == (errno.EEXIST, "an interface br-one exists that is not ours")
    assert VETH.name not in run("ip", "-br", "link")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (BRIDGE, changed(BRIDGE, mtu=1400)),
        (VETH, changed(VETH, hairpin=True)),
        (VETH, changed(VETH, master="")),
        (changed(VETH, master=""), VETH),
        (VETH, changed(VETH, peer_mac="02:42:0a:00:00:09")),
        (TABLE, changed(TABLE, ruleset=OTHER_RULESET)),
    ],
)
def test_one_of_ours_that_differs_is_refused(linux: LinuxKernel, first: Object, second: Object) -> None:
    make(linux, BOX)
    if isinstance(first, Veth):
        make(linux, BRIDGE)
    make(linux, first)
    assert refused(linux, Create(second)).code == errno.EEXIST
    assert linux.read(["box"])[first.key] == first


def test_a_peer_name_that_is_taken_inside_is_refused_naming_it(linux: LinuxKernel) -> None:
    make(linux, BOX, BRIDGE, VETH)
    failure = refused(linux, Create(changed(VETH, name="ls-two")))
    assert failure.code == errno.EEXIST
    assert "eth0" in failure.reason
    assert linux.read(["box"]) == state_of([BOX, BRIDGE, VETH])


def test_a_veth_is_made_again_at_once_after_its_namespace_went(linux: LinuxKernel) -> None:
    make(linux, BOX, BRIDGE, VETH)
    linux.apply([Delete(BOX)])
    make(linux, BOX)
    for _ in range(5):
        make(linux, VETH)
        assert linux.read(["box"]) == state_of([BOX, BRIDGE, VETH])
        linux.apply([Delete(VETH), Delete(BOX), Create(BOX)])


def test_an_alias_without_our_mark_is_refused(linux: LinuxKernel) -> None:
    failure = refused(linux, Create(changed(BRIDGE, alias="linkspan:deadbeef:network:one")))
    assert failure.code == errno.EINVAL
    assert linux.read([]) == {}


def test_a_route_of_the_same_destination_and_another_gateway_is_refused(linux: LinuxKernel) -> None:
    make(linux, BRIDGE, Address(link="br-one", address="10.9.0.1/24"))
    route = Route(destination="10.79.0.0/16", gateway="10.9.0.2", link="br-one")
    make(linux, route, route)
    assert refused(linux, Create(changed(route, gateway="10.9.0.3"))).code == errno.EEXIST


def test_a_foreign_route_is_not_ours_to_have_or_to_remove(linux: LinuxKernel) -> None:
    make(linux, BRIDGE, Address(link="br-one", address="10.9.0.1/24"))
    run("ip", "route", "add", "10.79.0.0/16", "via", "10.9.0.2")
    route = Route(destination="10.79.0.0/16", gateway="10.9.0.2", link="br-one")
    assert refused(linux, Create(route)).code == errno.EEXIST
    linux.apply([Delete(route)])
    assert "10.79.0.0/16" in run("ip", "route")
    assert route.key not in linux.read([])


def test_removing_one_address_leaves_the_others_of_its_subnet(linux: LinuxKernel) -> None:
    first, second = (Address(link="br-one", address=text) for text in ("10.9.0.1/24", "10.9.0.2/24"))
    make(linux, BRIDGE, first, second)
    linux.apply([Delete(first)])
    assert linux.read([]) == state_of([BRIDGE, second])


def test_an_ipv6_address_works_at_once(linux: LinuxKernel) -> None:
    make(linux, BRIDGE, Address(link="br-one", address="fd00:9::1/64"))
    assert "tentative" not in run("ip", "-6", "address", "show", "dev", "br-one")


def test_a_sysctl_keeps_its_value_when_it_is_deleted(linux: LinuxKernel) -> None:
    item = Sysctl(path="net/ipv4/ip_forward", value="1")
    make(linux, item)
    linux.apply([Delete(item)])
    assert run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
    assert linux.read([]) == {}


@pytest.mark.parametrize("path", ["kernel/hostname", "net/../kernel/hostname", "net", "/etc/passwd", "net/ipv4/./x"])
def test_a_sysctl_outside_the_network_is_refused(linux: LinuxKernel, path: str) -> None:
    assert refused(linux, Create(Sysctl(path=path, value="1"))).code == errno.EINVAL


def test_a_sysctl_that_does_not_exist_is_refused_naming_it(linux: LinuxKernel) -> None:
    failure = refused(linux, Create(Sysctl(path="net/ipv4/conf/nosuch/forwarding", value="1")))
    assert failure.code == errno.ENOENT
    assert "nosuch" in failure.reason


def test_work_in_a_namespace_that_does_not_exist_is_refused_and_its_removal_is_success(linux: LinuxKernel) -> None:
    inside: tuple[Object, ...] = (
        Address(namespace="gone", link="eth0", address="10.9.0.2/24"),
        Route(namespace="gone", destination="0.0.0.0/0", gateway="10.9.0.1", link="eth0"),
        Sysctl(namespace="gone", path="net/ipv4/ip_forward", value="1"),
        changed(TABLE, namespace="gone"),
        changed(element("bridges", "x"), namespace="gone"),
        changed(VETH, peer_namespace="gone", master=""),
    )
    for item in inside:
        failure = refused(linux, Create(item))
        assert (failure.code, failure.done) == (errno.ENOENT, 0)
        linux.apply([Delete(item)])
    assert linux.read(["gone"]) == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", ".hidden", "x" * 200])
def test_a_namespace_name_that_is_no_file_name_is_refused(linux: LinuxKernel, name: str) -> None:
    assert refused(linux, Create(Namespace(name=name))).code == errno.EINVAL


def test_elements_are_changed_and_removed(linux: LinuxKernel) -> None:
    first = element("pair", "br-one", "br-two", value=("accept",))
    second = changed(first, value=("goto same",))
    make(linux, TABLE, first)
    linux.apply([Update(first, second)])
    assert linux.read([]) == state_of([TABLE, second])
    assert refused(linux, Create(first)).code == errno.EEXIST
    linux.apply([Delete(second)])
    linux.apply([Update(first, second)])
    assert linux.read([]) == state_of([TABLE, second])


def test_absent_elements_do_not_keep_the_others_from_being_removed(linux: LinuxKernel) -> None:
    present = [element("bridges", f"br-{n}") for n in range(5)]
    absent = [element("bridges", "br-x"), element("subnet4", "10.0.0.0/8"), element("pub4", "6", "10.0.0.1", "1")]
    make(linux, TABLE, *present)
    linux.apply([Delete(item) for item in (absent[0], *present, *absent[1:])])
    assert linux.read([]) == state_of([TABLE])


def test_a_table_is_replaced_with_its_elements_in_one_transaction(linux: LinuxKernel) -> None:
    old, kept = element("pair", "br-one", "br-one", value=("accept",)), element("bridges", "br-one")
    make(linux, TABLE, old, kept)
    new = changed(TABLE, ruleset=OTHER_RULESET)
    linux.apply([Delete(old, implied=True), Delete(kept, implied=True), Delete(TABLE), Create(new), Create(kept)])
    assert linux.read([]) == state_of([new, kept])


def test_a_table_replacement_that_fails_leaves_the_old_table(linux: LinuxKernel) -> None:
    kept = element("bridges", "br-one")
    make(linux, TABLE, kept)
    broken = changed(TABLE, ruleset="set bridges { type nonsense; }")
    failure = refused(linux, Delete(TABLE), Create(broken), Create(kept))
    assert failure.done == 0
    assert failure.step == Create(broken)
    assert linux.read([]) == state_of([TABLE, kept])


def test_a_table_that_somebody_changed_reads_as_another(linux: LinuxKernel) -> None:
    make(linux, TABLE, element("bridges", "br-one"))
    run("nft", "add", "rule", "inet", "linkspan", "same", "accept")
    live = linux.read([])
    assert live[TABLE.key] != TABLE
    linux.apply(diff(state_of([TABLE]), live))
    assert linux.read([]) == state_of([TABLE])


def test_a_constant_element_that_somebody_removed_makes_the_table_another(linux: LinuxKernel) -> None:
    make(linux, TABLE)
    run("nft", "delete", "element", "inet", "linkspan", "own", "{ 22 }")
    assert linux.read([])[TABLE.key] != TABLE


def test_packets_counted_do_not_make_a_table_another(linux: LinuxKernel) -> None:
    ruleset = "chain out { type filter hook output priority filter; counter; }"
    table = changed(TABLE, ruleset=ruleset)
    make(linux, table)
    run("ip", "link", "set", "lo", "up")
    run("ping", "-c1", "-W1", "127.0.0.1") if Path("/usr/bin/ping").exists() else run("ip", "route")
    assert linux.read([]) == state_of([table])


def test_foreign_tables_are_not_read(linux: LinuxKernel) -> None:
    run("nft", "add", "table", "inet", "filter")
    run("nft", "add", "table", "netdev", "linkspan")
    assert linux.read([]) == {}


def test_steps_after_a_failing_one_are_not_taken(linux: LinuxKernel) -> None:
    steps: list[Step] = [
        Create(BRIDGE),
        Create(Address(link="br-one", address="10.9.0.1/24")),
        Create(Route(destination="10.77.0.0/16", gateway="192.0.2.1", link="br-one")),
        Create(Address(link="br-one", address="10.9.0.2/24")),
    ]
    failure = refused(linux, *steps)
    assert failure.done == 2
    assert failure.step == steps[2]
    assert failure.code == errno.ENETUNREACH
    assert linux.read([]) == state_of([BRIDGE, Address(link="br-one", address="10.9.0.1/24")])


def test_a_failed_transaction_stands_not_at_all(linux: LinuxKernel) -> None:
    make(linux, TABLE)
    steps = [
        Create(BRIDGE),
        Create(element("bridges", "br-one")),
        Create(element("nosuch", "br-one")),
        Create(element("bridges", "br-two")),
    ]
    failure = refused(linux, *steps)
    assert (failure.done, failure.step, failure.code) == (1, steps[2], errno.ENOENT)
    assert linux.read([]) == state_of([TABLE, BRIDGE])


def test_a_malformed_part_of_an_element_is_refused(linux: LinuxKernel) -> None:
    make(linux, TABLE)
    failure = refused(linux, Create(element("bridges", 'x" }; flush ruleset; add table inet evil #')))
    assert failure.code == errno.EINVAL
    assert linux.read([]) == state_of([TABLE])


def test_a_veth_that_cannot_be_finished_leaves_nothing(linux: LinuxKernel) -> None:
    make(linux, BOX, BRIDGE)
    for broken in (changed(VETH, mtu=1), changed(VETH, master="nosuch"), changed(VETH, peer_mac="nonsense")):
        refused(linux, Create(broken))
        assert linux.read(["box"]) == state_of([BOX, BRIDGE])
        assert "ls-one" not in run("ip", "link")


def test_large_offload_sizes_survive_the_last_port(linux: LinuxKernel) -> None:
    bridge, veth = changed(BRIDGE, gso_max_size=262144), changed(VETH, gso_max_size=262144)
    make(linux, BOX, bridge)
    assert linux.read([]) == state_of([bridge])
    make(linux, veth)
    linux.apply([Delete(veth)])
    assert linux.read([]) == state_of([bridge])


def test_two_kernels_on_two_hosts_do_not_meet(tmp_path: Path) -> None:
    with private_kernel(tmp_path / "one") as one:
        make(one, BOX, BRIDGE, TABLE)
        with private_kernel(tmp_path / "two") as two:
            assert two.read(["box"]) == {}
            make(two, BRIDGE)
        assert one.read(["box"]) == state_of([BOX, BRIDGE, TABLE])


def test_thousands_of_elements_go_in_one_transaction(linux: LinuxKernel) -> None:
    many: list[Element] = [
        element("pub4", "6", f"10.0.{n // 250}.1", str(n % 250 + 1), value=("10.9.0.2", "80"), publishes=True)
        for n in range(3000)
    ]
    make(linux, TABLE, *many)
    assert linux.read([]) == state_of([TABLE, *many])
    linux.apply([Delete(item) for item in many])
    assert linux.read([]) == state_of([TABLE])


def test_tables_of_all_families_are_read_back(linux: LinuxKernel) -> None:
    tables = [
        Table(family="inet", name="linkspan", ruleset="chain a { accept; }"),
        Table(family="bridge", name="linkspan", ruleset="chain a { drop; }"),
        Table(family="ip", name="linkspan", ruleset="chain b { accept; }"),
        Table(family="ip6", name="linkspan", ruleset="chain c { accept; }"),
    ]
    make(linux, *tables)
    assert linux.read([]) == state_of(tables)
