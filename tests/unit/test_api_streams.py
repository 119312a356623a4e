"""Hijacked connections, long replies, and the order of things that clients rely on."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from linkspan.engine.face import Session
from raw_http import PATIENCE, Client, Served, eventually, serving

UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


async def attached(served: Served, target: str, *headers: str) -> Client:
    client = await served.connect()
    client.request("POST", target, b"", *headers)
    return client


@pytest.mark.parametrize(
    ("version", "content_type"),
    [("1.41", "application/vnd.docker.raw-stream"), ("1.42", "application/vnd.docker.multiplexed-stream")],
)
def test_attach_upgrades_and_frames_both_streams(version: str, content_type: str) -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["echo", "hi"])
            client = await attached(served, f"/v{version}/containers/one/attach?stream=1&stdout=1&stderr=1", *UPGRADE)
            reply = await client.head()
            assert reply.status == 101
            assert reply.headers["content-type"] == content_type
            assert reply.headers["upgrade"] == "tcp"
            await served.call("POST", "/containers/one/start")
            assert await client.frames() == [(1, b"echo hi\n"), (2, b"a word of warning\n")]

    asyncio.run(story())


def test_attach_without_upgrade_is_a_bare_200() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["echo", "hi"])
            client = await attached(served, "/containers/one/attach?stream=1&stdout=1")
            reply = await client.head()
            assert reply.status == 200
            assert "transfer-encoding" not in reply.headers
            await served.call("POST", "/containers/one/start")
            assert (1, b"echo hi\n") in await client.frames()

    asyncio.run(story())


def test_a_terminal_is_one_raw_stream() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["echo", "hi"], Tty=True)
            client = await attached(served, "/containers/one/attach?stream=1&stdout=1", *UPGRADE)
            assert (await client.head()).headers["content-type"] == "application/vnd.docker.raw-stream"
            await served.call("POST", "/containers/one/start")
            assert await client.rest() == b"echo hi\na word of warning\n"

    asyncio.run(story())


def test_input_and_its_end_wait_for_the_process_and_output_goes_on_after_it() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", OpenStdin=True, AttachStdin=True)
            client = await served.connect()
            client.request("POST", "/containers/one/attach?stream=1&stdin=1&stdout=1", b"", *UPGRADE)
            client.send(b"early bytes\n")
            client.writer.write_eof()
            assert (await client.head()).status == 101
            await asyncio.sleep(0.05)
            await served.call("POST", "/containers/one/start")
            assert await client.frames() == [(1, b"early bytes\n"), (1, b"end of input\n")]

    asyncio.run(story())


def test_megabytes_pass_both_ways_unchanged() -> None:
    data = bytes(range(256)) * 4096 * 8

    async def story() -> None:
        async with serving() as served:
            await served.create("one", OpenStdin=True)
            client = await attached(served, "/containers/one/attach?stream=1&stdin=1&stdout=1", *UPGRADE)
            assert (await client.head()).status == 101
            await served.call("POST", "/containers/one/start")
            client.send(data)
            client.writer.write_eof()
            assert b"".join(piece for _, piece in await client.frames()) == data + b"end of input\n"

    asyncio.run(story())


def test_an_attachment_ends_when_its_client_closes_everything() -> None:
    async def story() -> None:
        async with serving() as served:
            key = await served.create("one", Cmd=["sleep", "60"])
            await served.call("POST", "/containers/one/start")
            client = await attached(served, "/containers/one/attach?stream=1&stdin=1&stdout=1", *UPGRADE)
            await client.head()
            listeners = served.engine.containers.known[key].process.listeners
            await eventually(lambda: len(listeners) == 1)
            await client.close()
            await eventually(lambda: not listeners)

    asyncio.run(story())


def test_attach_to_nothing_is_an_ordinary_404() -> None:
    async def story() -> None:
        async with serving() as served:
            client = await attached(served, "/containers/nope/attach?stream=1", *UPGRADE)
            assert (await client.response()).status == 404

    asyncio.run(story())


def test_exec_runs_and_its_exit_code_can_be_asked_for() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            body = msgspec.json.encode({"Cmd": ["ls", "-l"], "AttachStdout": True})
            reply = await served.call("POST", "/containers/one/exec", body)
            key = msgspec.json.decode(reply.body, type=dict[str, str])["Id"]
            client = await served.connect()
            client.request("POST", f"/exec/{key}/start", b'{"Detach":false,"Tty":false}', *UPGRADE)
            assert (await client.head()).status == 101
            assert await client.frames() == [(1, b"ls -l\n")]
            shown = (await served.call("GET", f"/exec/{key}/json")).json()
            assert isinstance(shown, dict)
            assert shown["ExitCode"] == 7
            assert shown["ProcessConfig"]["entrypoint"] == "ls"

    asyncio.run(story())


def test_a_server_that_stops_lets_no_request_become_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            begun, goes_on = asyncio.Event(), asyncio.Event()
            attach = served.engine.containers.attach

            async def slow(*arguments: Any, **options: Any) -> Session:
                begun.set()
                await goes_on.wait()
                return await attach(*arguments, **options)

            monkeypatch.setattr(served.engine.containers, "attach", slow)
            client = await attached(served, "/containers/one/attach?stream=1&stdout=1", *UPGRADE)
            await begun.wait()
            stopping = asyncio.ensure_future(served.server.stop(PATIENCE))
            await asyncio.sleep(0)
            goes_on.set()
            async with asyncio.timeout(1):
                await stopping
            await client.rest()

    asyncio.run(story())


def test_wait_sends_its_head_at_once_and_its_body_after_the_exit() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["false"], HostConfig={"AutoRemove": True})
            client = await served.connect()
            client.request("POST", "/containers/one/wait?condition=removed")
            assert (await client.head()).status == 200
            await served.call("POST", "/containers/one/start")
            assert msgspec.json.decode(await client.chunk()) == {"StatusCode": 3, "Error": None}
            assert await client.chunk() == b""

    asyncio.run(story())


def test_logs_carry_time_stamps_when_asked() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one", Cmd=["echo", "hi"])
            await served.call("POST", "/containers/one/start")
            reply = await served.call("GET", "/containers/one/logs?stdout=1&timestamps=1")
            stamp, _, text = reply.body[8:].partition(b" ")
            assert text.startswith(b"echo hi\n")
            assert len(stamp) == len("2024-01-01T00:00:00.000000000Z")

    asyncio.run(story())


def test_logs_of_no_stream_are_refused() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            assert (await served.call("GET", "/containers/one/logs")).status == 400

    asyncio.run(story())


def test_one_reading_of_stats_has_one_before_it_to_compare_with() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            shown = (await served.call("GET", "/containers/one/stats?stream=0")).json()
            single = (await served.call("GET", "/containers/one/stats?stream=0&one-shot=1")).json()
            assert isinstance(shown, dict)
            assert isinstance(single, dict)
            assert shown["precpu_stats"]["cpu_usage"]["total_usage"] == 1000
            assert shown["cpu_stats"]["cpu_usage"]["total_usage"] == 2000
            assert single["preread"] == "0001-01-01T00:00:00Z"

    asyncio.run(story())


@pytest.mark.parametrize("filters", ['{"type":{"container":true,"image":false}}', '{"type":["container"]}'])
def test_both_forms_of_filters_mean_the_same(filters: str) -> None:
    async def story() -> None:
        async with serving() as served:
            client = await served.connect()
            client.request("GET", f"/events?filters={filters}")
            await client.head()
            assert served.engine.system.last_filters == {"type": ("container",)}
            await served.create("one")
            event = msgspec.json.decode(await client.chunk())
            assert (event["Type"], event["Action"], event["from"]) == ("container", "create", "busybox")

    asyncio.run(story())


def test_a_pull_that_fails_before_its_first_line_has_a_status() -> None:
    async def story() -> None:
        async with serving() as served:
            reply = await served.call("POST", "/images/create?fromImage=absent&tag=1")
            assert (reply.status, reply.message) == (404, "manifest for absent:1 not found")

    asyncio.run(story())


def test_a_pull_that_fails_on_the_way_ends_with_an_error_line() -> None:
    async def story() -> None:
        async with serving() as served:
            reply = await served.call("POST", "/images/create?fromImage=broken&tag=1")
            lines = [msgspec.json.decode(line) for line in reply.body.splitlines()]
            assert reply.status == 200
            assert lines[1] == {"status": "Downloading", "id": "1111", "progressDetail": {"current": 5, "total": 10}}
            assert lines[-1]["error"] == "the registry hung up"
            assert lines[-1]["errorDetail"]["message"] == "the registry hung up"

    asyncio.run(story())


def test_an_archive_is_asked_about_with_head_and_fetched_with_get() -> None:
    async def story() -> None:
        async with serving() as served:
            await served.create("one")
            client = await served.connect()
            head = await client.call("HEAD", "/containers/one/archive?path=/etc")
            got = await client.call("GET", "/containers/one/archive?path=/etc")
            gone = await client.call("GET", "/containers/one/archive?path=/nope")
            assert head.headers["x-docker-container-path-stat"] == got.headers["x-docker-container-path-stat"]
            assert got.headers["content-type"] == "application/x-tar"
            assert len(got.body) == 64 * 65536
            assert gone.status == 404

    asyncio.run(story())


def test_a_loaded_archive_streams_in_and_several_images_out() -> None:
    async def story() -> None:
        async with serving() as served:
            assert (await served.call("POST", "/images/load")).status == 400
            reply = await served.call("POST", "/images/load", b"a" * 1_000_000)
            assert msgspec.json.decode(reply.body) == {"stream": "Loaded image: busybox:latest\n"}
            assert len(served.engine.images.loaded) == 1_000_000
            several = await served.call("GET", "/images/get?names=busybox&names=busybox:latest")
            assert several.body == b"tar busybox,busybox:latest"

    asyncio.run(story())


def test_a_dry_run_answers_with_steps() -> None:
    async def story() -> None:
        async with serving() as served:
            network = await served.call("POST", "/linkspan/plan/networks/create", b'{"Name": "web"}')
            run = await served.call("POST", "/linkspan/plan/containers/create?name=x", b'{"Image": "busybox"}')
            step = {"Scope": "network", "Action": "create", "Object": "link"}
            assert network.json() == {"Steps": [{**step, "Commands": ["ip link add br-1 type bridge"]}]}
            assert run.status == 200
            assert served.engine.containers.known == {}

    asyncio.run(story())
