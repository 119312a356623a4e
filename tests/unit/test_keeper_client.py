"""Daemon and keeper: either may die, and names, ports and relays go on; nothing is left open."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import linkspan.keeper.client
from keeper_lab import (
    INSTANCE,
    asking,
    bound,
    descriptors,
    echo_server,
    is_free,
    is_running,
    keeper,
    pair,
    port_of,
    soon,
    until,
)
from linkspan.dns.names import Client, Host, Zone
from linkspan.errors import KeeperFailure
from linkspan.keeper import process, protocol
from linkspan.keeper.channel import Channel
from linkspan.keeper.client import KeeperClient
from linkspan.keeper.face import Relay
from linkspan.keeper.starting import LOG, connect

WEB = Host(id="e1", names=("web",), addresses=("10.0.0.2",))
DATABASE = Host(id="e2", names=("database",), addresses=("10.0.0.3",))
ZONE = Zone(id="n1", name="front", hosts=(WEB,))
CLIENT = Client(id="s1", name="web", zones=("n1",), forward=False)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await story()

    before = descriptors(os.getpid())
    asyncio.run(whole())
    assert descriptors(os.getpid()) == before


async def serve(client: KeeperClient, who: Client = CLIENT) -> int:
    """Lets the keeper answer a client here, without a namespace of its own; the port."""
    udp, tcp = pair()
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        await client.serve(who, udp.fileno(), tcp.fileno(), namespace)
        return port_of(udp)
    finally:
        os.close(namespace)
        udp.close()
        tcp.close()


async def hold(client: KeeperClient, key: str, relay: Relay | None = None) -> int:
    """Reserves a port; its number."""
    with bound(socket.SOCK_STREAM) as reserved:
        await client.hold(key, [reserved.fileno()], relay)
        return port_of(reserved)


async def settled(client: KeeperClient) -> None:
    """Returns when the keeper has read all that it was told."""
    await client.figures()


def test_a_keeper_stands_on_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            await settled(client)
            assert os.getsid(client.pid) == client.pid
            assert os.readlink(f"/proc/{client.pid}/cwd") == "/"
            assert oct((tmp_path / protocol.SOCKET).stat().st_mode)[-3:] == "600"
            files = {os.readlink(f"/proc/{client.pid}/fd/{number}") for number in os.listdir(f"/proc/{client.pid}/fd")}
            assert {file for file in files if file.startswith("/")} == {"/dev/null", str(tmp_path / LOG)}
            for number in (signal.SIGINT, signal.SIGHUP):
                os.kill(client.pid, number)
            pid = client.pid
            await settled(client)
            assert (client.pid, is_running(pid)) == (pid, True)
        assert not is_running(pid)
        assert not (tmp_path / protocol.SOCKET).exists()
        assert (tmp_path / LOG).read_text() == ""

    run(story)


def test_names_are_answered_and_followed(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            await client.put_zone(ZONE)
            port = await serve(client)
            assert await asking("web", "127.0.0.1", port) == "10.0.0.2"
            assert await asking("WEB.front", "127.0.0.1", port, over_tcp=True) == "10.0.0.2"
            await client.put_hosts([("n1", DATABASE)])
            await settled(client)
            assert await asking("database", "127.0.0.1", port) == "10.0.0.3"
            await client.drop_hosts([("n1", "e1"), ("n1", "unknown"), ("unknown", "e1")])
            await settled(client)
            assert await asking("web", "127.0.0.1", port) == "code 3"
            await client.put_client(Client(id="s1", name="web", extra=(WEB,), forward=False))
            await settled(client)
            assert await asking("web", "127.0.0.1", port) == "10.0.0.2"
            (figures,) = await client.figures()
            assert (figures.id, figures.name, figures.queries) == ("s1", "web", 5)
            await client.drop_zone("n1")
            await client.drop_zone("n1")
            await settled(client)
            assert await asking("database", "127.0.0.1", port) == "code 3"

    run(story)


def test_a_sandbox_that_is_not_served_any_more_has_its_sockets_closed(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            port = await serve(client)
            assert client.served() == {"s1"}
            assert not is_free(port)
            await client.stop_serving("s1")
            await client.stop_serving("s1")
            assert client.served() == frozenset()
            assert is_free(port)
            assert is_free(port, kind=socket.SOCK_DGRAM)

    run(story)


def test_a_sandbox_that_comes_back_while_it_goes_is_served(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            await client.put_zone(ZONE)
            ports = [await serve(client)]
            for _ in range(30):
                stopping = asyncio.create_task(client.stop_serving("s1"))
                await asyncio.sleep(0)
                ports.append(await serve(client))
                await stopping
            assert await asking("web", "127.0.0.1", ports.pop()) == "10.0.0.2"
            ports.append(await serve(client))  # and in the place of another
            assert await asking("web", "127.0.0.1", ports.pop()) == "10.0.0.2"
            stopping = asyncio.create_task(client.stop_serving("s1"))
            await asyncio.sleep(0)
            ports.append(await serve(client))
            await client.stop_serving("s1")
            await stopping
            assert all(map(is_free, ports))
            await serve(client)
            assert [figures.id for figures in await client.figures()] == ["s1"]
            assert (tmp_path / LOG).read_text() == ""

    run(story)


def test_a_held_port_is_nobody_elses_until_it_is_released(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            port, other = await hold(client, "one"), await hold(client, "two")
            assert client.held().keys() == {"one", "two"}
            assert not is_free(port)
            await client.release(["one", "unknown"])
            assert is_free(port)
            assert not is_free(other)
            again = await hold(client, "two")
            await settled(client)
            assert is_free(other)
            assert not is_free(again)

    run(story)


def test_a_port_that_is_relayed_no_more_is_deaf_and_stays_reserved(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            port = await hold(client, "one", Relay(target="127.0.0.1", port=9))
            await settled(client)
            await client.hold("one", client.held()["one"])
            await settled(client)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(talk(port), 0.3)
            assert not is_free(port)
            with echo_server() as target:
                await client.hold("one", client.held()["one"], Relay(target="127.0.0.1", port=target))
                await settled(client)
                assert await talk(port) == b"hello"

    run(story)


def test_a_new_daemon_finds_everything_where_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        with echo_server() as target:
            first = KeeperClient(tmp_path, INSTANCE)
            await first.start()
            await first.put_zone(ZONE)
            names, plain = await serve(first), await hold(first, "plain")
            relayed = await hold(first, "relayed", Relay(target="127.0.0.1", port=target))
            pid = first.pid
            await first.close(end=False)
            assert await asking("web", "127.0.0.1", names) == "10.0.0.2"
            assert not is_free(plain)
            async with keeper(tmp_path) as second:
                assert second.pid == pid
                assert second.served() == {"s1"}
                assert second.zones() == {"n1"}
                assert [socket.socket(fileno=os.dup(number)).getsockname()[1] for number in second.held()["plain"]] == [
                    plain
                ]
                await check_everything(second, names, plain, relayed)
                os.kill(pid, signal.SIGKILL)  # what was taken over is told to the next one
                await until(pid, second)
                await check_everything(second, names, plain, relayed)

    run(story)


async def check_everything(client: KeeperClient, names: int, plain: int, relayed: int) -> None:
    await settled(client)
    assert await asking("web", "127.0.0.1", names) == "10.0.0.2"
    assert not is_free(plain)
    assert await talk(relayed) == b"hello"


async def talk(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def test_a_keeper_that_is_killed_is_followed_by_one_that_knows_everything(tmp_path: Path) -> None:
    async def story() -> None:
        with echo_server() as target:
            async with keeper(tmp_path) as client:
                await client.put_zone(ZONE)
                names, plain = await serve(client), await hold(client, "plain")
                relayed = await hold(client, "relayed", Relay(target="127.0.0.1", port=target))
                for _ in range(2):
                    pid = client.pid
                    os.kill(pid, signal.SIGKILL)
                    await client.put_hosts([("n1", DATABASE)])
                    assert not is_free(plain)
                    await until(pid, client)
                    await check_everything(client, names, plain, relayed)
                    assert await asking("database", "127.0.0.1", names) == "10.0.0.3"

    run(story)


def test_what_is_stopped_while_the_keeper_is_dead_does_not_come_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            names, plain = await serve(client), await hold(client, "plain")
            pid = client.pid
            os.kill(pid, signal.SIGKILL)
            await client.stop_serving("s1")
            await client.release(["plain"])
            assert is_free(names)
            assert is_free(plain)
            await until(pid, client)
            await settled(client)
            assert is_free(names)
            assert is_free(plain)

    run(story)


def test_a_keeper_of_another_version_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    future = (
        "import sys; from pathlib import Path; from linkspan.keeper import process, protocol; protocol.VERSION = 99; "
        "process.main(Path(sys.argv[1]), sys.argv[2])"
    )

    async def story() -> None:
        old = KeeperClient(tmp_path, INSTANCE)
        old._command = (sys.executable, "-c", future, str(tmp_path), INSTANCE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol, "VERSION", 99)
            await old.start()
            await old.put_zone(ZONE)
            names, plain = await serve(old), await hold(old, "plain")
            pid = old.pid
            await old.close(end=False)
        async with keeper(tmp_path) as new:
            assert new.pid != pid
            assert not is_running(pid)
            assert new.held().keys() == {"plain"}
            await settled(new)
            assert not is_free(plain)
            assert await asking("web", "127.0.0.1", names) == "10.0.0.2"

    run(story)


def test_a_keeper_of_another_daemon_is_ended(tmp_path: Path) -> None:
    async def story() -> None:
        other = KeeperClient(tmp_path, "feedf00d")
        await other.start()
        port, pid = await hold(other, "plain"), other.pid
        await other.close(end=False)
        async with keeper(tmp_path) as client:
            assert client.held() == {}
            assert is_free(port)
            assert not is_running(pid)

    run(story)


def test_a_keeper_without_a_daemon_and_without_work_ends(tmp_path: Path) -> None:
    async def story() -> None:
        client = KeeperClient(tmp_path, INSTANCE)
        await client.start()
        port, pid = await hold(client, "plain"), client.pid
        await client.release(["plain"])
        await client.close(end=False)
        assert await asyncio.to_thread(soon, lambda: not is_running(pid))
        assert is_free(port)

    run(story)


def test_a_keeper_that_nobody_can_find_any_more_ends(tmp_path: Path) -> None:
    often = "import sys; from pathlib import Path; from linkspan.keeper import process; process.LOOK_SECONDS = 0.1; "

    async def story() -> None:
        words = (sys.executable, "-c", often + "process.main(Path(sys.argv[1]), sys.argv[2])", str(tmp_path), INSTANCE)
        client = KeeperClient(tmp_path, INSTANCE, words)
        await client.start()
        port, pid = await hold(client, "plain"), client.pid
        (tmp_path / protocol.SOCKET).rename(tmp_path / "elsewhere")
        await asyncio.sleep(0.5)
        await settled(client)  # not while a daemon has it
        (tmp_path / "elsewhere").rename(tmp_path / protocol.SOCKET)
        await client.close(end=False)
        await asyncio.sleep(0.5)
        assert is_running(pid)
        (tmp_path / protocol.SOCKET).unlink()
        assert await asyncio.to_thread(soon, lambda: not is_running(pid))
        assert is_free(port)

    run(story)


def test_a_keeper_that_hangs_is_ended_and_another_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            going, staying = await hold(client, "going"), await hold(client, "staying")
            await settled(client)
            pid = client.pid
            monkeypatch.setattr(linkspan.keeper.client, "PATIENCE", 0.3)
            os.kill(pid, signal.SIGSTOP)
            await client.release(["going"])
            monkeypatch.setattr(linkspan.keeper.client, "PATIENCE", 10)
            assert not is_running(pid)
            await until(pid, client)
            await settled(client)
            assert is_free(going)
            assert not is_free(staying)

    run(story)


def test_a_keeper_that_cannot_be_started_is_a_failure_that_says_where_to_look(tmp_path: Path) -> None:
    async def story() -> None:
        for command in (("/no/such/program",), ("/bin/false",)):
            client = KeeperClient(tmp_path, INSTANCE, command)
            with pytest.raises(KeeperFailure, match=rf"cannot be reached or started: .*; see {tmp_path}/keeper.log"):
                await client.start()
            await client.close(end=True)

    run(story)


def test_while_no_keeper_can_be_started_calls_fail_and_then_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            kept = await hold(client, "plain")
            good, client._command = client._command, ("/bin/false",)
            os.kill(client.pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                while not client._failure:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for call in (client.put_zone(ZONE), hold(client, "more"), serve(client), client.figures()):
                with pytest.raises(KeeperFailure, match="does not run: it ends right after its start; see"):
                    await call
            assert not is_free(kept)
            await client.drop_zone("n1")
            client._command = good
            await until(0, client)
            await client.put_zone(ZONE)
            await settled(client)
            assert client.held().keys() == {"plain"}

    run(story)


def test_a_second_daemon_takes_the_place_of_the_first(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            await hold(client, "plain")
            connection = connect(tmp_path)
            assert connection is not None
            told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            def arrived(body: bytes, received: list[int]) -> None:
                answer = protocol.decode_answer(body)
                assert isinstance(answer, protocol.Inventory)
                for descriptor in received:
                    os.close(descriptor)
                told.set_result(answer.pid)

            pid = client.pid
            channel = Channel(connection, arrived, lambda: None)
            channel.send(protocol.encode(protocol.Hello(version=protocol.VERSION, instance=INSTANCE)))
            assert await told == pid
            channel.close()
            await until(0, client)
            assert client.pid == pid
            await settled(client)

    run(story)


def test_daemons_that_follow_each_other_at_once_are_all_heard(tmp_path: Path) -> None:
    async def story() -> None:
        client = KeeperClient(tmp_path, INSTANCE)
        await client.start()
        pid = client.pid
        await hold(client, "plain")
        for _ in range(100):
            await client.close(end=False)
            client = KeeperClient(tmp_path, INSTANCE)
            await client.start()
            assert client.held().keys() == {"plain"}
        assert client.pid == pid
        await client.close(end=True)

    run(story)


def test_nonsense_from_the_daemon_does_not_end_the_keeper(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            port = await serve(client)
            for body in (b"", b"[]", b'{"type":"serve","client":{"id":"x","name":"x"}}', b'{"type":"hold","key":5}'):
                assert client._channel is not None
                client._channel.send(body, [0])
            await settled(client)
            assert await asking("unknown", "127.0.0.1", port) == "code 3"
            assert "not understood" in (tmp_path / LOG).read_text()

    run(story)


def test_a_thousand_rounds_leave_no_descriptor(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            await settled(client)
            before = descriptors(client.pid), descriptors(os.getpid())
            for number in range(1000):
                await hold(client, f"key {number % 3}", Relay(target="127.0.0.1", port=9) if number % 2 else None)
                await serve(client)
                if number % 5 == 0:
                    await client.release(["key 0", "key 1", "key 2"])
                    await client.stop_serving("s1")
            await client.release(["key 0", "key 1", "key 2"])
            await client.stop_serving("s1")
            await settled(client)
            assert (descriptors(client.pid), descriptors(os.getpid())) == before
            assert (tmp_path / LOG).read_text() == ""

    run(story)


def test_a_log_that_grows_without_end_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LONGEST_LOG", 1000)
    with (tmp_path / "log").open("a") as file:
        handler = process.BoundedLog(file)
        for number in range(100):
            handler.emit(logging.LogRecord("keeper", logging.ERROR, "", 0, f"complaint {number}", (), None))
    text = (tmp_path / "log").read_text()
    assert len(text) < 1100
    assert text.endswith("complaint 99\n")


def test_a_daemon_that_may_not_open_all_that_is_held_says_so_and_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        first = KeeperClient(tmp_path, INSTANCE)
        await first.start()
        with bound(socket.SOCK_STREAM) as reserved:
            await first.hold("many", [reserved.fileno()] * 400)
            port = port_of(reserved)
        await settled(first)
        pid = first.pid
        await first.close(end=False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(os.getpid()) + 100, hard))
        try:
            with pytest.raises(KeeperFailure, match="it holds more than this process may have open"):
                await KeeperClient(tmp_path, INSTANCE).start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not is_free(port)
        async with keeper(tmp_path) as second:
            assert second.pid == pid
            assert len(second.held()["many"]) == 400

    run(story)
