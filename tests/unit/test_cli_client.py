"""The command line against a fake daemon: requests, streams, exit statuses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fake_daemon import FakeDaemon, Request, chunked, frame, send, upgrade

from linkspan.cli.attach import Demultiplexer, DetachFilter, detach_sequence
from linkspan.cli.client import chosen_socket, filters, query_string
from linkspan.cli.complete import candidates
from linkspan.cli.failure import Failure
from linkspan.cli.main import main

IDENTIFIER = "c" * 64


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "fake.sock")
    monkeypatch.setenv("LINKSPAN_HOST", fake.host)
    monkeypatch.setenv("LINKSPAN_CONFIG", str(tmp_path))
    yield fake
    fake.close()


def linkspan(
    daemon: FakeDaemon, *words: str, stdin: bytes = b"", timeout: float = 20
) -> subprocess.CompletedProcess[bytes]:
    """The whole program, as a process of its own."""
    command = [sys.executable, "-m", "linkspan.cli.main", *words]
    environment = {**os.environ, "LINKSPAN_HOST": daemon.host}
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, timeout=timeout, check=False)


def test_networks_are_listed(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.routes["GET /networks"] = (200, [{"Id": "f" * 64, "Name": "web", "Driver": "bridge", "Scope": "local"}])
    assert main(["network", "ls", "--filter", "driver=bridge"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NETWORK ID     NAME      DRIVER    SCOPE",
        "ffffffffffff   web       bridge    local",
    ]
    assert daemon.requests[0].query == {"filters": ['{"driver":{"bridge":true}}']}
    assert len(daemon.requests) == 1


def test_an_error_of_the_daemon_is_one_sentence(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.routes["POST /networks/create"] = (409, {"message": "network with name web already exists"})
    assert main(["network", "create", "web"]) == 1
    assert capsys.readouterr().err == "Error response from daemon: network with name web already exists\n"


def test_removing_goes_on_after_an_error(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.routes["DELETE /networks/a"] = (404, {"message": "network a not found"})
    daemon.routes["DELETE /networks/b"] = (204, None)
    assert main(["network", "rm", "a", "b"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "b\n"
    assert "network a not found" in captured.err


def test_removing_an_absent_container_by_force_is_no_failure(daemon: FakeDaemon) -> None:
    daemon.routes["DELETE /containers/a"] = (404, {"message": "No such container: a"})
    assert main(["rm", "a"]) == 1
    assert main(["rm", "-f", "a"]) == 0


def test_inspect_prints_what_it_found_and_names_what_is_missing(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.routes["GET /networks/web"] = (200, {"Name": "web", "Labels": {}})
    assert main(["inspect", "web", "nope"]) == 1
    captured = capsys.readouterr()
    assert captured.out == '[\n    {\n        "Name": "web",\n        "Labels": {}\n    }\n]\n'
    assert captured.err == "Error: No such object: nope\n"
    assert main(["network", "inspect", "-f", "{{.Name}}", "web"]) == 0
    assert capsys.readouterr().out == "web\n"


def test_a_missing_daemon_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-H", f"unix://{tmp_path}/none.sock", "ps"]) == 1
    assert capsys.readouterr().err == (
        f"linkspan: cannot connect to the daemon at unix://{tmp_path}/none.sock: No such file or directory\n"
    )
    assert main(["-H", f"unix://{tmp_path}/none.sock", "run", "busybox"]) == 125


def test_a_daemon_that_dies_in_the_middle_is_a_sentence(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(request: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")

    daemon.routes["GET /networks"] = broken
    assert main(["network", "ls"]) == 1
    assert "went away in the middle of an answer" in capsys.readouterr().err
    daemon.routes["GET /networks"] = chunked([b"<html>"])
    assert main(["network", "ls"]) == 1
    assert "not a JSON document" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "linkspan_host", "docker_host", "path"),
    [
        ("unix:///a", "unix:///b", "unix:///c", "/a"),
        ("", "unix:///b", "unix:///c", "/b"),
        ("", "", "unix:///c", "/c"),
        ("", "", "tcp://elsewhere:2375", "/run/linkspan/linkspan.sock"),
        ("", "", "", "/run/linkspan/linkspan.sock"),
    ],
)
def test_the_socket_is_chosen_in_order(
    host: str, linkspan_host: str, docker_host: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINKSPAN_HOST", linkspan_host)
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    assert chosen_socket(host) == path


def test_a_host_that_is_no_unix_socket_is_refused() -> None:
    with pytest.raises(Failure, match="no unix socket"):
        chosen_socket("tcp://127.0.0.1:2375")


def test_queries_are_encoded() -> None:
    assert query_string({"a": "x y&é", "b": None, "c": True, "d": "", "e": ["1", "2"], "f": False}) == (
        "?a=x%20y%26%C3%A9&c=1&e=1&e=2&f=0"
    )
    assert filters(["label=a=b", "label=c", "name=x"]) == '{"label":{"a=b":true,"c":true},"name":{"x":true}}'


def container_routes(daemon: FakeDaemon, *, code: int = 0) -> list[str]:
    """A container that can be created, attached, waited for and started; returns the order of what happened."""
    order: list[str] = []

    def created(request: Request, connection: socket.socket) -> None:
        order.append("create")
        send(connection, 201, {"Id": IDENTIFIER, "Warnings": ["a warning"]})

    def wait(request: Request, connection: socket.socket) -> None:
        order.append(f"wait {request.query['condition'][0]}")
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while "ended" not in order:
            time.sleep(0.01)
        body = f'{{"StatusCode":{code}}}'.encode()
        connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")

    def start(request: Request, connection: socket.socket) -> None:
        order.append("start")
        send(connection, 204, None)

    daemon.routes["POST /containers/create"] = created
    daemon.routes[f"POST /containers/{IDENTIFIER}/wait"] = wait
    daemon.routes[f"POST /containers/{IDENTIFIER}/start"] = start
    return order


def test_run_attaches_and_waits_before_it_starts(daemon: FakeDaemon) -> None:
    order = container_routes(daemon, code=7)

    def attach(request: Request, connection: socket.socket) -> None:
        order.append("attach")
        upgrade(connection)
        while "start" not in order:
            time.sleep(0.01)
        whole = frame(1, b"out\n") + frame(2, b"err\n") + frame(1, b"more\n")
        for position in range(0, len(whole), 5):
            connection.sendall(whole[position : position + 5])
        order.append("ended")

    daemon.routes[f"POST /containers/{IDENTIFIER}/attach"] = attach
    done = linkspan(daemon, "run", "--rm", "busybox", "sh")
    assert done.returncode == 7
    assert done.stdout == b"out\nmore\n"
    assert done.stderr == b"WARNING: a warning\nerr\n"
    assert order[:4] == ["create", "attach", "wait removed", "start"]


def test_run_in_the_background_prints_the_id(daemon: FakeDaemon) -> None:
    order = container_routes(daemon)
    done = linkspan(daemon, "run", "-d", "busybox")
    assert done.stdout.decode() == IDENTIFIER + "\n"
    assert order == ["create", "start"]


def test_stdin_is_passed_on_and_half_closed(daemon: FakeDaemon) -> None:
    """A megabyte goes in and comes back while the daemon reads and writes at its own pace: nobody locks."""
    order = container_routes(daemon)

    def echo(request: Request, connection: socket.socket) -> None:
        upgrade(connection)
        while data := request.stream.read1(1 << 16):
            connection.sendall(frame(1, data))
        connection.sendall(frame(2, b"saw the end\n"))
        order.append("ended")

    daemon.routes[f"POST /containers/{IDENTIFIER}/attach"] = echo
    content = os.urandom(1 << 20)
    done = linkspan(daemon, "run", "-i", "busybox", "cat", stdin=content)
    assert done.returncode == 0
    assert done.stdout == content
    assert b"saw the end" in done.stderr


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('exec: "nope": executable file not found in $PATH', 127),
        ("exec: /etc/passwd: permission denied", 126),
        ("address 10.0.0.9 is held by web", 125),
    ],
)
def test_a_start_that_fails_has_dockers_exit_status(daemon: FakeDaemon, message: str, status: int) -> None:
    container_routes(daemon)
    daemon.routes[f"POST /containers/{IDENTIFIER}/start"] = (400, {"message": message})
    done = linkspan(daemon, "run", "-d", "busybox")
    assert done.returncode == status
    assert done.stderr.decode().endswith(f"linkspan: {message}\n")


def test_a_missing_image_is_pulled_once(daemon: FakeDaemon) -> None:
    order = container_routes(daemon)
    found = daemon.routes["POST /containers/create"]
    answers = [(404, {"message": "No such image: busybox:latest"}), found]

    def create(request: Request, connection: socket.socket) -> None:
        answer = answers.pop(0)
        if callable(answer):
            answer(request, connection)
        elif not callable(answer):
            send(connection, *answer)

    daemon.routes["POST /containers/create"] = create
    daemon.routes["POST /images/create"] = chunked([b'{"status":"Pulling","id":"abc"}\n{"status":"Done"}\n'])
    done = linkspan(daemon, "run", "-d", "busybox")
    assert done.returncode == 0
    assert done.stderr.decode().startswith("Unable to find image 'busybox:latest' locally\nabc: Pulling\nDone\n")
    pulled = next(request for request in daemon.requests if request.path == "/images/create")
    assert pulled.query == {"fromImage": ["busybox"], "tag": ["latest"]}
    assert order == ["create", "start"]


def test_a_pull_that_fails_in_the_middle_is_a_failure(daemon: FakeDaemon) -> None:
    daemon.routes["POST /images/create"] = chunked([b'{"status":"x"}\n{"errorDetail":{"message":"no such tag"}}\n'])
    done = linkspan(daemon, "pull", "busybox:nope")
    assert done.returncode == 1
    assert done.stderr == b"Error response from daemon: no such tag\n"


def test_exec_gives_the_commands_exit_status(daemon: FakeDaemon) -> None:
    def start(request: Request, connection: socket.socket) -> None:
        upgrade(connection)
        connection.sendall(frame(1, request.stream.read(3)) + frame(2, b"!"))

    daemon.routes["POST /containers/box/exec"] = (201, {"Id": "e1"})
    daemon.routes["POST /exec/e1/start"] = start
    daemon.routes["GET /exec/e1/json"] = (200, {"ExitCode": 42})
    done = linkspan(daemon, "exec", "-i", "box", "cat", stdin=b"abc")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"abc", b"!")


def test_a_closed_pipe_ends_quietly(daemon: FakeDaemon) -> None:
    many = [{"Id": f"{number:064}", "Name": f"n{number}", "Driver": "bridge"} for number in range(20000)]
    daemon.routes["GET /networks"] = (200, many)
    command = f"{sys.executable} -m linkspan.cli.main network ls | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=20, check=False)
    assert done.stderr == b""


def test_a_signal_is_passed_on_to_the_container(daemon: FakeDaemon) -> None:
    order = container_routes(daemon, code=130)

    def attach(request: Request, connection: socket.socket) -> None:
        upgrade(connection)
        connection.sendall(frame(1, b"ready\n"))
        while not any(asked.path.endswith("/kill") for asked in daemon.requests):
            time.sleep(0.01)
        order.append("ended")

    daemon.routes[f"POST /containers/{IDENTIFIER}/attach"] = attach
    daemon.routes[f"POST /containers/{IDENTIFIER}/kill"] = (204, None)
    command = [sys.executable, "-m", "linkspan.cli.main", "run", "busybox", "sleep", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        assert process.wait(10) == 130
    killed = next(request for request in daemon.requests if request.path.endswith("/kill"))
    assert killed.query == {"signal": ["SIGINT"]}


def test_logs_are_split_into_their_streams(daemon: FakeDaemon) -> None:
    pieces = [frame(1, b"a\n") + frame(2, b"b\n")[:5], frame(2, b"b\n")[5:]]
    daemon.routes["GET /containers/box/logs"] = chunked(pieces, "application/vnd.docker.multiplexed-stream")
    done = linkspan(daemon, "logs", "--tail", "5", "-t", "box")
    assert (done.stdout, done.stderr) == (b"a\n", b"b\n")
    query = daemon.requests[0].query
    assert (query["tail"], query["timestamps"], "follow" in query) == (["5"], ["1"], False)


def test_an_archive_is_uploaded_from_a_file(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.routes["POST /images/load"] = chunked([b'{"stream":"Loaded image: busybox:latest\\n"}\n'])
    (tmp_path / "image.tar").write_bytes(b"x" * 600_000)
    done = linkspan(daemon, "load", "-i", str(tmp_path / "image.tar"))
    assert done.stdout == b"Loaded image: busybox:latest\n"
    assert daemon.requests[0].body == b"x" * 600_000
    assert linkspan(daemon, "load", "-i", str(tmp_path / "none.tar")).returncode == 1


def test_saving_leaves_no_half_a_file(daemon: FakeDaemon, tmp_path: Path) -> None:
    def broken(request: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")

    daemon.routes["GET /images/get"] = broken
    folder = tmp_path / "out"
    folder.mkdir()
    assert linkspan(daemon, "save", "-o", str(folder / "a.tar"), "busybox").returncode == 1
    assert list(folder.iterdir()) == []


def test_a_login_is_kept_for_its_owner_alone_and_sent_with_a_pull(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.routes["POST /auth"] = (200, {"Status": "Login Succeeded", "IdentityToken": ""})
    done = linkspan(daemon, "login", "-u", "me", "--password-stdin", "localhost:5000", stdin=b"secret\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert b"secret" not in (tmp_path / "config.json").read_bytes()
    daemon.routes["POST /images/create"] = chunked([b'{"status":"Done"}\n'])
    linkspan(daemon, "pull", "localhost:5000/a:1")
    assert "x-registry-auth" in daemon.requests[-1].headers
    linkspan(daemon, "pull", "localhost:5001/a:1")
    assert "x-registry-auth" not in daemon.requests[-1].headers
    assert linkspan(daemon, "logout", "localhost:5000").returncode == 0
    assert b"localhost:5000" not in (tmp_path / "config.json").read_bytes()


def test_frames_may_be_cut_anywhere() -> None:
    whole = frame(1, b"abc") + frame(2, b"") + frame(2, b"d")
    one_by_one = Demultiplexer()
    found = [pair for byte in whole for pair in one_by_one.feed(bytes([byte]))]
    assert found == [(1, b"abc"), (2, b""), (2, b"d")]
    with pytest.raises(Failure, match="not framed"):
        Demultiplexer().feed(b"plain text")


def test_detach_keys_are_held_back_until_they_are_whole() -> None:
    keys = detach_sequence("")
    assert keys == b"\x10\x11"
    waiting = DetachFilter(keys)
    assert waiting.feed(b"a\x10") == (b"a", False)
    assert waiting.feed(b"b") == (b"\x10b", False)
    assert waiting.feed(b"\x10\x10") == (b"\x10", False)
    assert waiting.feed(b"\x11x") == (b"", True)
    assert detach_sequence("a,ctrl-@") == b"a\x00"
    with pytest.raises(Failure, match="invalid detach keys"):
        detach_sequence("ctrl-!")


def test_words_are_completed(daemon: FakeDaemon) -> None:
    daemon.routes["GET /networks"] = (200, [{"Name": "web", "Driver": "bridge"}, {"Name": "host", "Driver": "host"}])
    daemon.routes["GET /containers/json"] = (200, [{"Names": ["/box"], "Image": "busybox", "State": "running"}])
    assert ("network", "Manage networks") in candidates(["net"])
    assert [word for word, _ in candidates(["network", "in"])] == ["inspect"]
    assert [word for word, _ in candidates(["network", "inspect", ""])] == ["web", "host"]
    assert [word for word, _ in candidates(["run", "--network", "w"])] == ["web"]
    assert [word for word, _ in candidates(["run", "--network=w"])] == ["--network=web"]
    assert [word for word, _ in candidates(["run", "--network-a"])] == ["--network-alias"]
    assert [word for word, _ in candidates(["exec", "-it", "b"])] == ["box"]
    assert [word for word, _ in candidates(["exec", "box", ""])] == []
    assert [word for word, _ in candidates(["run", "--pull", ""])] == ["always", "missing", "never"]
    assert candidates(["load", "-i", ""]) == [(":files", "")]
    assert candidates(["nonsense", ""]) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "linkspan __complete" in capsys.readouterr().out


def test_nothing_slow_is_imported_to_list_networks(daemon: FakeDaemon) -> None:
    daemon.routes["GET /networks"] = (200, [{"Id": "f" * 64, "Name": "web", "Driver": "bridge", "Scope": "local"}])
    program = (
        "import sys; from linkspan.cli.main import main; main(['network', 'ls']);"
        "print(sorted({'re', 'json', 'socket', 'enum', 'typing', 'argparse', 'msgspec', 'asyncio', 'dataclasses',"
        "'signal', 'contextlib', 'collections', 'functools'} & set(sys.modules)))"
    )
    source = str(Path(sys.modules["linkspan"].__file__ or "").parent.parent)
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {source!r}); {program}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
