"""What containers say and hear: logs, exec, attach, terminals, and streams that must arrive unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from container_lab import SLEEP, Client, conversation, finish, line_of, raw, received, running
from daemons import eventually

pytestmark = pytest.mark.scenario

MANY = 50 * 1024 * 1024
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


# --- logs ------------------------------------------------------------------------------------------------------------


def test_logs_keep_both_streams_apart_and_an_unfinished_last_line(client: Client) -> None:
    client.script("it", "echo out; echo err >&2; printf 'no end'")
    client("wait", "it")
    done = client.run("logs", "it")
    assert done.stdout == "out\nno end"
    assert done.stderr == "err\n"


def test_logs_tail_and_time_stamps(client: Client) -> None:
    client.script("it", "for i in 1 2 3 4 5; do echo line $i; done")
    client("wait", "it")
    assert client("logs", "--tail", "2", "it") == "line 4\nline 5\n"
    assert client("logs", "-n", "0", "it") == ""
    assert client("logs", "--tail", "all", "it").count("line") == 5
    stamped = client("logs", "-t", "it").splitlines()
    assert all(re.fullmatch(rf"{STAMP} line \d", line) for line in stamped), stamped
    assert stamped == sorted(stamped)


def test_logs_since_and_until_a_moment(client: Client) -> None:
    client.script("it", "echo early; sleep 1.2; echo late")
    client("wait", "it")
    late = client("logs", "-t", "it").splitlines()[1].split()[0]
    assert client("logs", "--since", late, "it") == "late\n"
    assert client("logs", "--until", late.replace(late[-10:], "000000000Z")[:19] + "Z", "it") in ("early\n", "")
    middle = datetime.fromisoformat(late[:19] + "+00:00").timestamp() + float("0." + late[20:29]) - 0.6
    assert client("logs", "--since", f"{middle:.3f}", "it") == "late\n"
    assert client("logs", "--until", f"{middle:.3f}", "it") == "early\n"
    assert client("logs", "--since", "1h", "it") == "early\nlate\n"
    assert client("logs", "--since", "2000-01-01", "it") == "early\nlate\n"
    assert (
        client("logs", "--since", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")[:4] + "-12-31T23:59:59Z", "it") == ""
    )


def test_logs_are_followed_until_the_end(client: Client) -> None:
    client("run", "-d", "--name", "it", "-i", "busybox", "sh", "-c", "echo first; read x; echo second; exit 1")
    with running(client.start("logs", "-f", "it")) as process:
        assert line_of(process) == "first"
        assert process.poll() is None
        with running(client.start("attach", "it", stdin=subprocess.PIPE)) as attached:
            assert attached.stdin is not None
            attached.stdin.write(b"go\n")
            attached.stdin.flush()
            assert line_of(process) == "second"
            assert process.wait(timeout=10) == 0
    assert client("logs", "-f", "it") == "first\nsecond\n", "it has ended already"


def test_following_goes_on_from_the_tail(linkspan: Client) -> None:
    linkspan.script("it", "echo a; echo b; sleep 0.7; echo c")
    eventually(lambda: "b" in linkspan("logs", "it"), "it said b")
    assert linkspan("logs", "-f", "--tail", "1", "it") == "b\nc\n"


def test_logs_of_a_terminal_are_one_stream(client: Client) -> None:
    client("run", "-dt", "--name", "it", "busybox", "sh", "-c", "echo out; echo err >&2")
    client("wait", "it")
    done = client.run("logs", "it")
    assert done.stdout == "out\nerr\n"
    assert done.stderr == ""


def test_logs_survive_restarts_of_the_container(linkspan: Client) -> None:
    linkspan.script("it", "echo run")
    linkspan("wait", "it")
    linkspan("start", "it")
    linkspan("wait", "it")
    assert linkspan("logs", "it") == "run\nrun\n"


def test_a_long_line_and_odd_bytes_come_back_as_they_were(linkspan: Client) -> None:
    linkspan.script("it", r"head -c 100000 /dev/zero | tr '\0' x; echo; printf 'a\000b\377\n'")
    linkspan("wait", "it")
    words = [*linkspan.daemon.namespace.prefix(), linkspan.program, "logs", "it"]
    done = subprocess.run(
        words,
        env=linkspan.daemon.environment,
        capture_output=True,
        check=True,
        pass_fds=(linkspan.daemon.namespace.descriptor,),
    )
    assert done.stdout == b"x" * 100000 + b"\na\0b\xff\n"


def test_a_container_without_a_log_says_so(client: Client) -> None:
    client.script("it", "echo x", "--log-driver", "none")
    assert "does not support reading" in client.refused("logs", "it")
    assert "No such container" in client.refused("logs", "missing")


def test_a_log_can_be_limited(linkspan: Client) -> None:
    text = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end"
    linkspan.script("it", text, "--log-opt", "max-size=10kb", "--log-opt", "max-file=1")
    linkspan("wait", "it")
    shown = linkspan("logs", "it")
    assert shown.endswith("end\n")
    assert len(shown) < 12000
    linkspan.refused("run", "--rm", "--log-opt", "max-size=nonsense", "busybox", "true", status=125)


# --- exec ------------------------------------------------------------------------------------------------------------


def test_exec_runs_beside_the_first_process(client: Client) -> None:
    client.sleeper("it", "-e", "FROM=run", "-w", "/tmp", "--user", "1000")
    assert client("exec", "it", "sh", "-c", "echo $FROM; pwd; id -u").split() == ["run", "/tmp", "1000"]
    words = ("exec", "-e", "FROM=exec", "--env", "MORE=x y", "-w", "/etc", "-u", "www-data", "it")
    assert client(*words, "sh", "-c", "echo $FROM $MORE; pwd; id -un").split("\n")[:3] == [
        "exec x y",
        "/etc",
        "www-data",
    ]
    done = client.run("exec", "it", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 9)


def test_an_env_file_for_exec(client: Client, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n#x\nB=2\n")
    client.sleeper("it")
    assert client("exec", "--env-file", str(tmp_path / "env"), "-e", "B=3", "it", "sh", "-c", "echo $A$B") == "13\n"


def test_exec_tells_what_could_not_be_run(client: Client) -> None:
    client.sleeper("it")
    assert client.status("exec", "it", "no-such-program") == 127
    assert client.status("exec", "it", "/no/such/program") == 127
    assert client.status("exec", "it", "/etc/passwd") == 126
    assert client.status("exec", "-u", "nobody-here", "it", "true") != 0
    assert client.status("exec", "-w", "/no/such/folder", "it", "true") != 0
    client("create", "--name", "idle", *SLEEP)
    assert "is not running" in client.refused("exec", "idle", "true")
    assert "No such container" in client.refused("exec", "missing", "true")
    assert client.state("it") == "running"
    assert client("exec", "it", "ps", "-o", "comm").split() == ["COMMAND", "sleep", "ps"]


def test_a_detached_exec_goes_on_alone(client: Client) -> None:
    client.sleeper("it")
    assert client("exec", "-d", "it", "sh", "-c", "sleep 0.3; touch /done") == ""
    assert client.status("exec", "it", "test", "-e", "/done") == 1
    eventually(lambda: client.status("exec", "it", "test", "-e", "/done") == 0, "it did its work")


def test_exec_takes_input_and_its_end(client: Client) -> None:
    client.sleeper("it")
    assert client("exec", "-i", "it", "sh", "-c", "cat; echo end", stdin="some\ninput\n") == "some\ninput\nend\n"
    assert client("exec", "it", "cat", stdin="ignored") == "", "without -i there is none"
    begin = time.monotonic()
    with running(client.start("exec", "-i", "it", "sh", "-c", "cat > /got; sleep 0.5; cat /got", stdin=-1)) as process:
        out, _ = process.communicate(b"half closed", timeout=20)
    assert out == b"half closed"
    assert time.monotonic() - begin > 0.5, "output comes after the end of input"


def test_a_terminal_for_exec(client: Client) -> None:
    client.sleeper("it")
    with client.terminal("exec", "-it", "it", "sh", rows=40, columns=90) as terminal:
        terminal.expect("# ")
        terminal.type("stty size; tty; echo $TERM\n")
        assert "40 90" in terminal.expect("xterm")
        terminal.resize(41, 91)
        time.sleep(0.3)
        terminal.type("stty size\n")
        terminal.expect("41 91")
        terminal.type("sleep 100\n")
        time.sleep(0.2)
        terminal.type("\x03exit 6\n")
        assert terminal.end() == 6
    assert client("exec", "it", "ps", "-o", "comm").split() == ["COMMAND", "sleep", "ps"]


def test_the_detach_keys_leave_an_exec_running(client: Client) -> None:
    client.sleeper("it")
    with client.terminal("exec", "-it", "--detach-keys", "ctrl-a,d", "it", "sh") as terminal:
        terminal.expect("# ")
        before = terminal.settings()
        terminal.type("\x01x\n")
        terminal.expect("# ")
        terminal.type("\x01d")
        terminal.end()
        assert terminal.settings() is not before
    assert "sh" in client("exec", "it", "ps", "-o", "comm").split()


def test_a_privileged_exec_has_all_capabilities(client: Client) -> None:
    client.sleeper("it")
    plain = client("exec", "it", "grep", "CapEff", "/proc/self/status").split()[1]
    full = client("exec", "--privileged", "it", "grep", "CapEff", "/proc/self/status").split()[1]
    assert int(plain, 16) == 0xA80425FB
    assert int(full, 16) & ~int(plain, 16)


def test_an_exec_can_be_inspected(linkspan: Client) -> None:
    lab = linkspan.daemon
    linkspan.sleeper("it")
    body = {"Cmd": ["sh", "-c", "exit 11"], "AttachStdout": True}
    status, _, reply = raw(lab, "POST", "/v1.44/containers/it/exec", body)
    assert status == 201
    identity = json.loads(reply)["Id"]
    assert linkspan.inspect("it")["ExecIDs"] == [identity]
    _, _, reply = raw(lab, "GET", f"/v1.44/exec/{identity}/json")
    fresh = json.loads(reply)
    assert (fresh["Running"], fresh["ExitCode"], fresh["ProcessConfig"]["arguments"]) == (
        False,
        None,
        ["-c", "exit 11"],
    )
    assert raw(lab, "POST", f"/v1.44/exec/{identity}/start", {"Detach": True})[0] == 200

    def ended() -> bool:
        return bool(json.loads(raw(lab, "GET", f"/v1.44/exec/{identity}/json")[2])["ExitCode"] == 11)

    eventually(ended, "the exec has ended with 11")
    assert raw(lab, "POST", f"/v1.44/exec/{identity}/start", {"Detach": True})[0] == 409
    assert raw(lab, "GET", "/v1.44/exec/missing/json")[0] == 404


# --- attach ----------------------------------------------------------------------------------------------------------


def test_attach_before_the_start_misses_nothing(linkspan: Client) -> None:
    linkspan("create", "--name", "it", "-i", "busybox", "sh", "-c", "echo first; cat; echo last")
    request = b"POST /v1.44/containers/it/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
    headers = b"Host: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
    with conversation(linkspan.daemon, request + headers) as connection:
        assert received(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        connection.sendall(b"sent before the start\n")
        linkspan("start", "it")
        data = received(connection, b"start\n")
        frames = [b"first\n", b"sent before the start\n"]
        assert data == b"".join(b"\1\0\0\0" + len(each).to_bytes(4, "big") + each for each in frames)
        connection.shutdown(1)
        assert received(connection, b"last\n").endswith(b"last\n")
        assert connection.recv(1) == b""


def test_two_clients_hear_and_feed_one_container(client: Client) -> None:
    client("run", "-d", "-i", "--name", "it", "busybox", "sh", "-c", "while read x; do echo got $x; done")
    with (
        running(client.start("attach", "it", stdin=subprocess.PIPE)) as one,
        running(client.start("attach", "--no-stdin", "it", stdin=subprocess.PIPE)) as two,
    ):
        time.sleep(0.3)
        assert one.stdin is not None
        one.stdin.write(b"hello\n")
        one.stdin.flush()
        assert line_of(one) == "got hello"
        assert line_of(two) == "got hello"
        finish(two)
        one.stdin.write(b"again\n")
        one.stdin.flush()
        assert line_of(one) == "got again"
    assert client.state("it") == "running"


def test_attach_ends_with_the_containers_exit_code(client: Client) -> None:
    client("run", "-d", "-i", "--name", "it", "busybox", "sh", "-c", "read x; exit 8")
    with running(client.start("attach", "it", stdin=subprocess.PIPE)) as process:
        time.sleep(0.2)
        process.communicate(b"end\n", timeout=20)
        assert process.returncode == 8
    client("create", "--name", "idle", *SLEEP)
    said = client.refused("attach", "idle")
    assert "stopped container" in said
    client.sleeper("still")
    client("pause", "still")
    assert "paused" in client.refused("attach", "still")


def test_signals_of_the_client_reach_an_attached_container(client: Client) -> None:
    client.script("it", "trap 'exit 12' TERM; echo up; while :; do sleep 0.02; done")
    with running(client.start("attach", "it")) as process:
        time.sleep(0.4)
        process.terminate()
        assert process.wait(timeout=10) == 12


def test_the_detach_keys_leave_the_container_running(client: Client) -> None:
    with client.terminal("run", "-it", "--name", "it", "busybox", "sh") as terminal:
        terminal.expect("# ")
        before = terminal.settings()
        terminal.type("echo one\n")
        terminal.expect("one\r\n")
        terminal.type("\x10\x11")
        assert terminal.end() == 0
        assert terminal.settings()[3] & 2 == 0 or before, "the terminal is as it was"
    assert client.state("it") == "running"
    with client.terminal("attach", "it") as terminal:
        terminal.type("echo t$((1+1))o\n")
        terminal.expect("t2o")
        terminal.type("exit 3\n")
        assert terminal.end() == 3
    assert client.state("it") == "exited"


def test_start_attached_shows_the_output_and_gives_the_exit_code(client: Client) -> None:
    client("create", "--name", "it", "-i", "busybox", "sh", "-c", "cat; echo err >&2; exit 7")
    done = client.run("start", "-a", "-i", "it", stdin="typed\n")
    assert (done.stdout, done.stderr, done.returncode) == ("typed\n", "err\n", 7)
    assert client.status("start", "-a", "-i", "it") == 7


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_keeps_streams_apart_and_takes_input(client: Client) -> None:
    done = client.run("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo err >&2; exit 4", stdin="a\nb\n")
    assert (done.stdout, done.stderr, done.returncode) == ("a\nb\n", "err\n", 4)
    assert client("run", "--rm", "-i", "busybox", "true", stdin="x" * 200000) == "", "nobody reads it"
    assert client("run", "--rm", "-a", "stdout", "busybox", "sh", "-c", "echo out; echo err >&2") == "out\n"
    identity = client("run", "-d", "busybox", "true").strip()
    assert re.fullmatch("[0-9a-f]{64}", identity)


def test_a_signal_to_run_is_passed_on(client: Client) -> None:
    text = "trap 'exit 13' TERM; echo up; while :; do sleep 0.02; done"
    with running(client.start("run", "--name", "it", "busybox", "sh", "-c", text)) as process:
        assert line_of(process) == "up"
        process.terminate()
        assert process.wait(timeout=10) == 13
    with running(client.start("run", "--sig-proxy=false", "--name", "deaf", "busybox", "sh", "-c", text)) as process:
        assert line_of(process) == "up"
        if not client.is_docker:  # which does not end then
            process.terminate()
            assert process.wait(timeout=10) != 13
    assert client.state("deaf") == "running"


@pytest.mark.parametrize("words", [("run", "--rm", "-i", "busybox"), ("exec", "-i", "it")], ids=["run", "exec"])
def test_fifty_megabytes_go_in_and_come_out_unchanged(client: Client, words: tuple[str, ...], tmp_path: Path) -> None:
    client.sleeper("it")
    sent = tmp_path / "sent"
    piece = os.urandom(1024 * 1024)
    with sent.open("wb") as file:
        for _ in range(MANY // len(piece)):
            file.write(piece)
    with sent.open("rb") as source, running(client.start(*words, "cat", stdin=source.fileno())) as process:
        assert process.stdout is not None
        digest, total = hashlib.sha256(), 0
        while data := process.stdout.read(1 << 20):
            digest.update(data)
            total += len(data)
        assert process.wait(timeout=30) == 0
    assert total == MANY
    assert digest.hexdigest() == hashlib.sha256(sent.read_bytes()).hexdigest()
