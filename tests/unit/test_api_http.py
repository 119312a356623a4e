"""The HTTP part of the API, over a real unix socket with raw bytes."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from fake_engine import FakeEngine
from linkspan.api import connection
from linkspan.api.router import Application
from linkspan.api.routes import router
from linkspan.api.server import Server
from linkspan.errors import Conflict, InvalidRequest, LinkspanError, NotSupported
from raw_http import eventually, serving

OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


def test_ping_names_the_newest_version_in_its_headers() -> None:
    async def story() -> None:
        async with serving() as served:
            got = await served.call("GET", "/_ping")
            head = await served.call("HEAD", "/_ping")
        assert (got.status, got.body) == (200, b"OK")
        for reply in (got, head):
            assert reply.headers["api-version"] == "1.48"
            assert reply.headers["ostype"] == "linux"
            assert reply.headers["docker-experimental"] == "false"
            assert reply.headers["server"].startswith("Linkspan/")
            assert "no-cache" in reply.headers["cache-control"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ("/v1.99/info", 400, "client version 1.99 is too new. Maximum supported API version is 1.48"),
        ("/v1.23/info", 400, "client version 1.23 is too old. Minimum supported API version is 1.24"),
        ("/v1.40/nonsense", 404, "page not found"),
        ("/v1.40", 404, "page not found"),
        ("/swarm/init", 501, "swarm mode: not supported by Linkspan"),
        ("/containers/x/attach/ws", 501, "attaching over a web socket: not supported by Linkspan"),
        ("/containers/x/json", 404, "No such container: x"),
        ("/containers/json?limit=many", 400, "invalid value 'many' for limit"),
        ("/containers/json?filters=%7Bbad", 400, "invalid filters"),
        ("/images/127.0.0.1:5000/team/app:1/json", 404, "No such image: 127.0.0.1:5000/team/app:1"),
    ],
)
def test_a_wrong_request_gets_its_status_and_one_sentence(target: str, status: int, message: str) -> None:
    async def story() -> None:
        async with serving() as served:
            reply = await served.call("GET", target)
        assert reply.status == status
        assert message in reply.message

    asyncio.run(story())


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.38", "/v1.41", "/v1.48"])
def test_paths_work_with_and_without_a_version(prefix: str) -> None:
    async def story() -> None:
        async with serving() as served:
            reply = await served.call("GET", f"{prefix}/networks")
        assert reply.status == 200
        assert (b"EnableIPv4" in reply.body) == (prefix in ("", "/v1.48"))

    asyncio.run(story())


def test_requests_sent_all_at_once_are_answered_in_order() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            for target in ("/_ping", "/version", "/networks/nope", "/_ping"):
                client.request("GET", target)
            assert [(await client.response()).status for _ in range(4)] == [200, 200, 404, 200]

    asyncio.run(story())


def test_a_missing_network_is_no_404_at_create_or_clients_would_pull_the_image() -> None:
    async def story() -> None:
        async with serving() as served:
            body = b'{"Image": "busybox", "HostConfig": {"NetworkMode": "nope"}}'
            reply = await served.call("POST", "/containers/create", body)
            assert (reply.status, reply.message) == (400, "network nope not found")
            assert (await served.call("POST", "/containers/create", b'{"Image": "nope"}')).status == 404

    asyncio.run(story())


def test_an_already_started_container_answers_304_without_a_body() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["sleep", "60"])
            client = await served.connect()
            assert (await client.call("POST", "/containers/one/start")).status == 204
            assert (await client.call("POST", "/containers/one/start")).status == 304
            assert (await client.call("GET", "/_ping")).status == 200

    asyncio.run(story())


def test_a_body_that_announces_too_much_is_refused_before_it_is_read() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.send(b"POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Length: 99000000\r\n\r\n")
            reply = await client.response()
            assert reply.status == 413
            assert reply.headers["connection"] == "close"
            assert "99000000" in reply.message
            assert await client.rest() == b""

    asyncio.run(story())


def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.send(b"POST /networks/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(9):
                client.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
            assert (await client.response()).status == 413

    asyncio.run(story())


def test_a_half_sent_body_ends_with_400_and_the_server_lives_on() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.send(b"POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n{")
            client.writer.write_eof()
            assert (await client.response()).status == 400
            assert (await served.call("GET", "/_ping")).status == 200
            assert served.engine.networks.requests == []

    asyncio.run(story())


def test_half_a_head_times_out_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)

    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.send(b"GET /_ping HT")
            assert await client.rest() == b""

    asyncio.run(story())


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"])
def test_what_is_not_http_is_answered_400(nonsense: bytes) -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.send(nonsense)
            reply = await client.response()
            assert reply.status == 400
            assert "malformed HTTP request" in reply.message

    asyncio.run(story())


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"Name": 5}', b'{"Name": "a", "IPAM": {"Config": "x"}}', b"[" * 100_000, b"\xff\xfe"]
)
def test_a_body_of_the_wrong_shape_is_refused(body: bytes) -> None:
    async def story() -> None:
        async with serving() as served:
            reply = await served.call("POST", "/networks/create", body)
            assert reply.status == 400
            assert "request body" in reply.message

    asyncio.run(story())


def test_a_client_that_expects_100_is_told_to_continue() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            body = b'{"Name": "late"}'
            head = f"POST /networks/create HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
            client.send(head.encode() + b"\r\n\r\n")
            assert (await client.head()).status == 100
            client.send(body)
            assert (await client.response()).status == 201

    asyncio.run(story())


def test_a_client_that_waits_for_100_gets_the_refusal_instead() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.send(b"PUT /containers/x/archive HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n")
            client.send(b"Transfer-Encoding: chunked\r\n\r\n")
            assert (await client.response()).status == 400

    asyncio.run(story())


def test_an_upload_arrives_in_pieces_and_whole() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            client = await served.connect()
            client.send(b"PUT /containers/one/archive?path=/ HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(64):
                client.send(b"10000\r\n" + bytes([number]) * 0x10000 + b"\r\n")
            client.send(b"0\r\n\r\n")
            assert (await client.response()).status == 200
            expected = b"".join(bytes([number]) * 0x10000 for number in range(64))
            assert bytes(served.engine.containers.uploaded) == expected

    asyncio.run(story())


def test_a_body_that_nobody_wanted_does_not_spoil_the_next_request() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            client = await served.connect()
            assert (await client.call("POST", "/containers/one/start", b'{"Binds": null}')).status == 204
            assert (await client.call("GET", "/_ping")).body == b"OK"

    asyncio.run(story())


def test_a_client_that_goes_ends_the_logs_it_followed() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["sleep", "60"])
            await served.call("POST", "/containers/one/start")
            client = await served.connect()
            client.request("GET", "/containers/one/logs?follow=1&stdout=1")
            reply = await client.head()
            assert reply.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
            await client.close()
            await eventually(lambda: served.engine.containers.cancelled == ["logs"])

    asyncio.run(story())


def test_a_client_that_goes_ends_its_events() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.request("GET", "/events")
            assert (await client.head()).status == 200
            assert len(served.engine.system.queues) == 1
            await client.close()
            await eventually(lambda: not served.engine.system.queues)

    asyncio.run(story())


def test_a_bug_is_answered_500_without_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with serving() as served:
            monkeypatch.setattr(served.engine.system, "info", lambda: 1 / 0)
            client = await served.connect()
            reply = await client.call("GET", "/info")
            assert reply.status == 500
            assert reply.message == "internal error (ZeroDivisionError): the daemon's log has the details"
            assert (await client.call("GET", "/_ping")).status == 200

    asyncio.run(story())


def test_several_errors_at_once_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(reference: str) -> None:
        raise ExceptionGroup("two", [Conflict("the first"), InvalidRequest("the second")])

    async def story() -> None:
        async with serving() as served:
            monkeypatch.setattr(served.engine.networks, "remove", fail)
            reply = await served.call("DELETE", "/networks/x")
            assert (reply.status, reply.message) == (409, "the first; the second")

    asyncio.run(story())


def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"

    async def story() -> None:
        server = Server(Application(FakeEngine(), router()), group=OWN_GROUP)
        await server.start([f"unix://{path}"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        await server.stop(1)
        assert not path.exists()

    asyncio.run(story())


def test_a_stale_socket_is_replaced_and_a_live_one_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "s.sock", tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    async def story() -> None:
        first, second = (Server(Application(FakeEngine(), router()), group=OWN_GROUP) for _ in range(2))
        await first.start([f"unix://{path}"])
        with pytest.raises(Conflict, match=str(path)):
            await second.start([f"unix://{other}", f"unix://{path}"])
        assert not other.exists()
        await first.stop(1)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ("tcp://0.0.0.0:2375", NotSupported),
        ("unix://relative", InvalidRequest),
        ("http://x", InvalidRequest),
        ("unix:///" + "x" * 200, InvalidRequest),
        ("fd://", InvalidRequest),
    ],
)
def test_a_host_that_cannot_be_served_is_refused(host: str, error: type[LinkspanError]) -> None:
    with pytest.raises(error):
        asyncio.run(Server(Application(FakeEngine(), router()), group=OWN_GROUP).start([host]))


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(Conflict, match="no socket"):
        asyncio.run(Server(Application(FakeEngine(), router()), group=OWN_GROUP).start([f"unix://{path}"]))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("turns", range(6))
def test_a_stop_minds_no_client_that_comes_in_the_same_moment(tmp_path: Path, turns: int) -> None:
    path = tmp_path / "sock"

    async def story() -> None:
        server = Server(Application(FakeEngine(), router()), group="no-such-group")
        await server.start([f"unix://{path}"])
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(path))
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop(1)

    asyncio.run(story())
