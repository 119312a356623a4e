"""The old iptables (xtables): which tables are in use, and the policies of their chains. Only read.

nftables does not see these rules, and both are asked for every packet. The structures are those of
linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h; a policy is the verdict at a chain's end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from pathlib import Path
from typing import Final

import msgspec

GET_INFO: Final = 64
GET_ENTRIES: Final = 65
"""IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES; the numbers of IPv6 are the same."""
INFO = struct.Struct("=32sI5I5III")
ENTRIES_HEADER = 40
"""Bytes before the entries: name, size, and padding to 8."""
TARGET_OFFSET = {4: 88, 6: 140}
"""Where an entry says where its target begins: behind struct ipt_ip or ip6t_ip6, and nfcache."""
VERDICT = 32
"""Where a standard target has its verdict: behind struct xt_entry_target."""
DROP = -1
"""-NF_DROP - 1."""
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one chain of the old iptables."""

    version: int
    table: str
    hook: str
    drops: bool


def tables(version: int) -> tuple[str, ...]:
    """Names of the tables that are in use in the thread's namespace; none where xtables is not there."""
    name = "ip_tables_names" if version == 4 else "ip6_tables_names"
    with contextlib.suppress(FileNotFoundError):
        return tuple(Path(f"/proc/thread-self/net/{name}").read_text().split())
    return ()


def policies() -> tuple[Policy, ...]:
    """Policies of the filter tables in use, of the thread's namespace. OSError."""
    found: list[Policy] = []
    for version in (4, 6):
        if "filter" in tables(version):
            found += read_policies(version, "filter")
    return tuple(found)


def read_policies(version: int, table: str) -> list[Policy]:
    """Policies of one table that is in use. OSError."""
    family, level = (socket.AF_INET, socket.IPPROTO_IP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_IPV6)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
        answer = asked(asking, level, GET_INFO, table.encode().ljust(INFO.size, b"\0"))
        fields = INFO.unpack(answer)
        valid, ends, size = fields[1], fields[7:12], fields[13]
        question = struct.pack("=32sI", table.encode(), size).ljust(ENTRIES_HEADER + size, b"\0")
        entries = asked(asking, level, GET_ENTRIES, question)[ENTRIES_HEADER:]
    return [
        Policy(version=version, table=table, hook=hook, drops=verdict_at(entries, ends[number], version) == DROP)
        for number, hook in enumerate(HOOKS)
        if valid & 1 << number
    ]


def verdict_at(entries: bytes, start: int, version: int) -> int:
    """The verdict of the entry that begins there."""
    target = start + struct.unpack_from("=H", entries, start + TARGET_OFFSET[version])[0]
    verdict: int = struct.unpack_from("=i", entries, target + VERDICT)[0]
    return verdict


def asked(asking: socket.socket, level: int, option: int, question: bytes) -> bytes:
    """getsockopt(2) with a question in the buffer, which Python's own cannot. OSError."""
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    if ctypes.CDLL(None, use_errno=True).getsockopt(asking.fileno(), level, option, buffer, ctypes.byref(length)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[: length.value]
