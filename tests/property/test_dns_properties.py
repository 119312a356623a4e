"""The table after any changes against one that is made anew, and against a search that is too simple to be wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.dns.names import Client, Host, Zone
from linkspan.dns.table import Directory, address_of, build, pack

NAMES = st.sampled_from(["web", "WEB", "db", "a.b", "a", "b", "net", "web.net"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"])
HOSTS = st.builds(
    lambda identity, names, addresses: Host(id=identity, names=tuple(names), addresses=tuple(addresses)),
    st.sampled_from("1234"),
    st.lists(NAMES, max_size=4),
    st.lists(ADDRESSES, max_size=3, unique=True),
)
CHANGES = st.lists(st.one_of(HOSTS, st.sampled_from("1234")), max_size=25)


def changed(directory: Directory, changes: list[Host | str]) -> dict[str, Host]:
    """Applies the changes (a host: put it; an id: drop it) and returns what must be there."""
    present: dict[str, Host] = {}
    for change in changes:
        if isinstance(change, Host):
            directory.put_host("z", change)
            present.pop(change.id, None)
            present[change.id] = change
        else:
            directory.drop_host("z", change)
            present.pop(change, None)
    return present


@given(CHANGES)
def test_changes_one_by_one_make_the_same_table_as_all_at_once(changes: list[Host | str]) -> None:
    directory = Directory()
    directory.put_zone(Zone(id="z", name="net"))
    present = changed(directory, changes)
    anew = build(Zone(id="z", name="net", hosts=tuple(present.values())))
    table = directory.tables["z"]
    assert table.hosts == anew.hosts
    assert {key: set(hosts) for key, hosts in table.names.items()} == {k: set(v) for k, v in anew.names.items()}
    assert {key: set(hosts) for key, hosts in table.addresses.items()} == {k: set(v) for k, v in anew.addresses.items()}


@given(CHANGES, NAMES, st.sampled_from([4, 6]))
def test_a_look_up_finds_what_a_plain_search_finds(changes: list[Host | str], name: str, version: int) -> None:
    directory = Directory()
    directory.put_zone(Zone(id="z", name="net"))
    present = changed(directory, changes)
    wanted = name.lower()
    called = [host for host in present.values() if wanted in [each.lower() for each in host.names]]
    if not called and wanted.endswith(".net"):
        stem = wanted.removesuffix(".net")
        called = [host for host in present.values() if stem in [each.lower() for each in host.names]]
    expected = {pack(a) for host in called for a in host.addresses if (":" in a) == (version == 6)} if called else None
    found = directory.addresses(Client(id="c", name="c", zones=("z",)), name, version)
    assert (None if found is None else set(found)) == expected


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_every_address_is_found_by_its_reverse_name(address: object) -> None:
    # ``ipaddress`` writes an IPv4 address within IPv6 as such from Python 3.13 on; ours is what it writes here.
    assert address_of(address.reverse_pointer) == str(address)  # type: ignore[attr-defined]
