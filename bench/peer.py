"""One end of the traffic: a process inside a network namespace that serves, and sends and asks when it is told to.

It runs as a program of its own, with nothing but the standard library: ``peer.py DESCRIPTOR`` enters the namespace of
that descriptor, serves on ``PORT`` in a thread, and obeys lines of JSON on its standard input. Long calls into C do the
work (1 MiB a call), so Python costs nothing that could be measured. Where there are two cores, who asks has the first
and who serves the last.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time

PORT = 5001
CHUNK = 1 << 20
CLONE_NEWNET = 0x40000000  # linux/sched.h
STREAM, ECHO = b"s", b"e"


class Peer:
    """A peer process, seen from the benchmark."""

    def __init__(self, namespace: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(namespace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(namespace,),
        )
        self._answer()

    def send(self, address: str, port: int, seconds: float) -> float:
        """Bytes a second of one TCP stream to the server there, counted by the server."""
        return self._ask(["send", address, port, seconds])

    def ask(self, address: str, port: int, seconds: float) -> float:
        """One byte there and one byte back: how many times a second."""
        return self._ask(["ask", address, port, seconds])

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, words: list[str | int | float]) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            raise SystemExit("a peer ended")
        answer = json.loads(told)
        if isinstance(answer, str):
            raise SystemExit(f"a peer cannot do as told: {answer}")
        return float(answer)


def connected(address: str, port: int) -> socket.socket:
    connection = socket.create_connection((address, port), timeout=5)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send(address: str, port: int, seconds: float) -> float:
    chunk = bytes(CHUNK)
    with connected(address, port) as connection:
        connection.sendall(STREAM)
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        count = int(connection.recv(20))
        return count / (time.perf_counter() - began)


def ask(address: str, port: int, seconds: float) -> float:
    count = 0
    with connected(address, port) as connection:
        connection.sendall(ECHO)
        began = time.perf_counter()
        while (now := time.perf_counter()) - began < seconds:
            for _ in range(32):
                connection.send(b"?")
                connection.recv(1)
            count += 32
        return count / (now - began)


def serve(listener: socket.socket) -> None:
    on_core(-1)
    room = bytearray(CHUNK)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            if connection.recv(1) == STREAM:
                count = 0
                while found := connection.recv_into(room):
                    count += found
                connection.sendall(str(count).encode())
            else:
                while connection.recv(1):
                    connection.send(b"!")


def on_core(place: int) -> None:
    """The calling thread on one core of those that it may use."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[place]})


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(int(sys.argv[1]), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "setns")
    listener = socket.create_server(("", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print(0, flush=True)
    time.sleep(0.05)  # the thread has its core
    on_core(0)
    for line in sys.stdin:
        deed, address, port, seconds = json.loads(line)
        try:
            answer: float | str = {"send": send, "ask": ask}[deed](address, port, seconds)
        except OSError as error:
            answer = f"{deed} to {address} port {port}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
