"""The store: documents, transactions, one daemon a data-root, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from linkspan.errors import Conflict, StoreFailure
from linkspan.model.container import Container, ContainerSpec, ContainerState, NetworkMode, Resources, Ulimit
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.image import ImageConfig
from linkspan.model.network import AddressPool, BridgeOptions, Network
from linkspan.model.sandbox import Sandbox
from linkspan.model.volume import Volume
from linkspan.store import Store
from linkspan.store.database import Database
from linkspan.store.schema import MIGRATIONS

NETWORK = Network(
    id="n1",
    name="web",
    driver="bridge",
    created=1.5,
    enable_ipv6=True,
    pools=(
        AddressPool(
            subnet=ip_network("172.30.0.0/16"),
            ip_range=ip_network("172.30.5.0/24"),
            gateway=ip_address("172.30.0.1"),
            auxiliary={"router": ip_address("172.30.0.9")},
        ),
        AddressPool(subnet=ip_network("fd00::/64"), gateway=ip_address("fd00::1")),
    ),
    labels={"rule": "Host(`a.b`) ü"},
    bridge=BridgeOptions(bridge_name="br-n1", mtu=1450),
)
REQUEST = EndpointRequest(network="n1", ipv4=ip_address("172.30.0.7"), aliases=("www",))
CONTAINER = Container(
    id="c1",
    name="web",
    created=2.0,
    image_id="sha256:0",
    spec=ContainerSpec(
        image="nginx",
        entrypoint=(),
        network_mode=NetworkMode(kind="container", raw="container:db", container="c2"),
        endpoints=(REQUEST,),
        resources=Resources(memory=1 << 30, ulimits=(Ulimit(name="nofile", soft=-1, hard=-1),)),
    ),
)
ENDPOINT = Endpoint(
    id="e1",
    network_id="n1",
    sandbox_id="s1",
    request=REQUEST,
    interface="eth0",
    host_interface="ls0",
    mac="02:00:00:00:00:01",
    ipv4=ip_address("172.30.0.7"),
    ipv6=ip_address("fd00::7"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "root")
    yield opened
    opened.close()


def test_every_kind_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.networks.put("n1", NETWORK)
    store.containers.put("c1", CONTAINER)
    store.states.put("c1", ContainerState(status="exited", exit_code=137, finished=3.25))
    store.image_configs.put("c1", ImageConfig(command=("nginx",), env=("A=b",)))
    store.sandboxes.put("s1", Sandbox(id="s1", owner="c1", owner_name="web", hostname="web", members=frozenset({"c1"})))
    store.endpoints.put("e1", ENDPOINT)
    store.volumes.put("data", Volume(name="data", created=4.0))
    store.cursors.put("n1", ip_network("172.30.0.0/16"), ip_address("172.30.5.9"))
    store.close()

    store = Store.open(tmp_path)
    assert store.networks.all() == {"n1": NETWORK}
    assert store.containers.all() == {"c1": CONTAINER}
    assert store.states.get("c1") == ContainerState(status="exited", exit_code=137, finished=3.25)
    assert store.image_configs.get("c1") == ImageConfig(command=("nginx",), env=("A=b",))
    sandbox = store.sandboxes.get("s1")
    assert sandbox is not None
    assert sandbox.members == {"c1"}
    assert store.endpoints.all() == {"e1": ENDPOINT}
    assert store.volumes.get("data") == Volume(name="data", created=4.0)
    assert store.cursors.all() == (("n1", ip_network("172.30.0.0/16"), ip_address("172.30.5.9")),)
    store.close()


def test_put_replaces_and_delete_forgets(store: Store) -> None:
    store.volumes.put("a", Volume(name="a", created=1.0))
    store.volumes.put("b", Volume(name="b", created=2.0))
    store.volumes.put("a", Volume(name="a", created=3.0))
    assert [volume.created for volume in store.volumes.all().values()] == [3.0, 2.0]

    store.volumes.delete("a")
    store.volumes.delete("a")
    assert store.volumes.get("a") is None
    assert list(store.volumes.all()) == ["b"]


def test_cursors_go_with_their_network(store: Store) -> None:
    for network, subnet, last in (("n1", "10.0.0.0/24", "10.0.0.2"), ("n1", "fd00::/64", "fd00::2")):
        store.cursors.put(network, ip_network(subnet), ip_address(last))
    store.cursors.put("n1", ip_network("10.0.0.0/24"), ip_address("10.0.0.3"))
    store.cursors.put("n2", ip_network("10.0.1.0/24"), ip_address("10.0.1.2"))
    assert ("n1", ip_network("10.0.0.0/24"), ip_address("10.0.0.3")) in store.cursors.all()

    store.cursors.delete("n1")

    assert [network for network, _, _ in store.cursors.all()] == ["n2"]


def volume(store: Store, name: str) -> None:
    store.volumes.put(name, Volume(name=name, created=1.0))


def write_and_fail(store: Store) -> None:
    with store.transaction():
        volume(store, "a")
        with store.transaction():
            volume(store, "b")
        assert store.volumes.get("b") is not None
        raise KeyError


def write_and_swallow(store: Store) -> None:
    with store.transaction():
        volume(store, "c")
        try:
            write_and_fail(store)
        except KeyError:
            volume(store, "d")


def test_an_exception_rolls_the_transaction_back_with_what_joined_it(store: Store) -> None:
    with pytest.raises(KeyError):
        write_and_fail(store)

    assert store.volumes.all() == {}
    volume(store, "e")
    assert list(store.volumes.all()) == ["e"]


def test_a_nested_transaction_is_committed_with_the_outer_one(store: Store) -> None:
    with store.transaction():
        volume(store, "a")
        with store.transaction():
            volume(store, "b")

    assert list(store.volumes.all()) == ["a", "b"]


def test_a_swallowed_failure_inside_still_rolls_everything_back(store: Store) -> None:
    with pytest.raises(StoreFailure, match="rolled back, since a part of them failed"):
        write_and_swallow(store)

    assert store.volumes.all() == {}


def test_a_full_disk_is_named_and_leaves_what_was_there(store: Store, tmp_path: Path) -> None:
    volume(store, "a")
    pages = int(store._database.read("PRAGMA page_count")[0][0])
    store._database.read(f"PRAGMA max_page_count={pages}")

    with pytest.raises(StoreFailure) as refusal:
        write_much(store)

    assert f"cannot write {tmp_path / 'root' / 'linkspan.db'}: database or disk is full" in str(refusal.value)
    assert list(store.volumes.all()) == ["a"]
    store._database.read("PRAGMA max_page_count=100000")
    volume(store, "b")
    assert list(store.volumes.all()) == ["a", "b"]


def write_much(store: Store) -> None:
    with store.transaction():
        for number in range(1000):
            volume(store, f"v{number}")


def test_the_files_are_private(store: Store, tmp_path: Path) -> None:
    volume(store, "a")

    files = list((tmp_path / "root").iterdir())
    assert {path.name for path in files} >= {"linkspan.db", "linkspan.db-wal", "linkspan.lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_writes_wait_for_the_disk(store: Store) -> None:
    assert store._database.read("PRAGMA journal_mode") == [("wal",)]
    assert store._database.read("PRAGMA synchronous") == [(2,)]


def test_the_instance_is_made_once(tmp_path: Path) -> None:
    first = Store.open(tmp_path, random_bytes=lambda count: b"\xab" * count)
    first.close()
    again = Store.open(tmp_path, random_bytes=lambda count: b"\xcd" * count)

    assert first.meta is not again.meta
    assert again.instance == "abababab"
    again.close()


def test_a_second_daemon_is_refused_naming_the_first(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Conflict) as refusal:
        Store.open(tmp_path / "root")

    assert f"in use by another Linkspan daemon (pid {os.getpid()})" in str(refusal.value)
    assert str(tmp_path / "root") in str(refusal.value)


def test_a_closed_store_lets_the_data_root_go(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    instance = store.instance
    store.close()
    store.close()

    again = Store.open(tmp_path)
    assert again.instance == instance
    again.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "linkspan.db") as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 5}")
    connection.close()

    with pytest.raises(StoreFailure) as refusal:
        Store.open(tmp_path)

    assert f"was written by a newer Linkspan (schema {len(MIGRATIONS) + 5}" in str(refusal.value)
    assert str(tmp_path / "linkspan.db") in str(refusal.value)
    with pytest.raises(StoreFailure):
        Store.open(tmp_path)


def test_an_older_schema_is_migrated_forward(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    Database(path, [["CREATE TABLE one (a)", "INSERT INTO one VALUES (1)"]]).close()

    database = Database(path, [["no longer read"], ["ALTER TABLE one RENAME TO two"]])

    assert database.read("SELECT a FROM two") == [(1,)]
    assert database.read("PRAGMA user_version") == [(2,)]
    database.close()


def test_a_migration_that_fails_leaves_the_old_version_whole(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    Database(path, [["CREATE TABLE one (a)"]]).close()

    with pytest.raises(StoreFailure):
        Database(path, [["no longer read"], ["ALTER TABLE one RENAME TO two", "CREATE NONSENSE"]])

    database = Database(path, [["no longer read"]])
    assert database.read("SELECT a FROM one") == []
    database.close()


def test_a_file_that_is_no_database_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "linkspan.db").write_bytes(b"this is not a database, it is a poem" * 100)

    with pytest.raises(StoreFailure) as refusal:
        Store.open(tmp_path)

    assert str(tmp_path / "linkspan.db") in str(refusal.value)
    assert "not a database" in str(refusal.value)


def test_damaged_pages_are_found_at_the_opening(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.transaction():
        for number in range(500):
            volume(store, f"volume-{number}")
    store.close()
    path = tmp_path / "linkspan.db"
    content = bytearray(path.read_bytes())
    for page in range(4096 * 12, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    path.write_bytes(content)

    with pytest.raises(StoreFailure, match=r"linkspan\.db"):
        Store.open(tmp_path)


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store._database.write("INSERT INTO networks VALUES (?, ?)", ("n1", b'{"id": 7}'))

    with pytest.raises(StoreFailure) as refusal:
        store.networks.all()

    assert "n1 in networks is damaged" in str(refusal.value)
    store.close()


def test_a_data_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreFailure, match="cannot make data-root"):
        Store.open(tmp_path / "file" / "root")


def test_a_failed_opening_lets_the_lock_go(tmp_path: Path) -> None:
    path = tmp_path / "linkspan.db"
    path.write_bytes(b"poem" * 1000)
    with pytest.raises(StoreFailure):
        Store.open(tmp_path)
    path.unlink()

    Store.open(tmp_path).close()


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from linkspan.model.container import ContainerState
    from linkspan.model.volume import Volume
    from linkspan.store import Store

    store = Store.open(Path(sys.argv[1]))
    number = len(store.volumes.all())
    while True:
        with store.transaction():
            store.volumes.put(f"v{number}", Volume(name=f"v{number}", created=1.0))
            store.states.put(f"v{number}", ContainerState(exit_code=number))
        number += 1
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
    """
)


def test_what_was_committed_survives_a_kill_and_the_rest_is_absent(tmp_path: Path) -> None:
    acknowledged = 0
    for round_number in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(0.01 + 0.013 * round_number)
        writer.send_signal(signal.SIGKILL)
        lines = [first, *writer.stdout.read().splitlines(keepends=True)]
        writer.stdout.close()
        writer.wait()
        acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith("\n"))])

        store = Store.open(tmp_path)
        volumes, states = store.volumes.all(), store.states.all()
        store.close()
        assert list(volumes) == list(states)
        assert list(volumes) == [f"v{number}" for number in range(len(volumes))]
        assert len(volumes) in (acknowledged, acknowledged + 1)
        acknowledged = len(volumes)
    assert acknowledged > 4
