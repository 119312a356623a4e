"""What a reserved port hears: a classic BPF filter on the socket itself (socket(7), SO_ATTACH_FILTER).

Packets to a published port are translated before they get to the host's sockets. When somebody flushes the firewall
they are not, for the moment until it is back. A socket that merely reserves the port would then answer each with a
reset, and end every connection that goes through it. So it listens, which gives no reset, and is deaf: what comes is
dropped, and the client sends it again a moment later. A relay hears only what the kernel never translates.

The filter sees a packet from its transport header on; connections inherit it from their listener.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
"""asm-generic/socket.h."""

BPF_LD_W_ABS, BPF_AND, BPF_JEQ, BPF_RET = 0x20, 0x54, 0x15, 0x06
"""linux/bpf_common.h: ``BPF_LD | BPF_W | BPF_ABS``, ``BPF_ALU | BPF_AND | BPF_K``, ``BPF_JMP | BPF_JEQ | BPF_K``."""
NETWORK_HEADER = 0x100000000 - 0x100000
"""SKF_NET_OFF in linux/filter.h, unsigned."""
DESTINATION6 = NETWORK_HEADER + 24
"""Of an IPv6 header (RFC 8200 section 3)."""
WHOLE = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
"""``struct sock_filter``: code, jump if true, jump if false, constant."""

NOTHING: tuple[Instruction, ...] = ((BPF_RET, 0, 0, 0),)
UNTRANSLATED6: tuple[Instruction, ...] = (
    (BPF_LD_W_ABS, 0, 0, DESTINATION6),
    (BPF_JEQ, 0, 6, 0),  # ::/32, else perhaps link-local
    (BPF_LD_W_ABS, 0, 0, DESTINATION6 + 4),
    (BPF_JEQ, 0, 7, 0),
    (BPF_LD_W_ABS, 0, 0, DESTINATION6 + 8),
    (BPF_JEQ, 0, 5, 0),
    (BPF_LD_W_ABS, 0, 0, DESTINATION6 + 12),
    (BPF_JEQ, 2, 3, 1),  # ::1
    (BPF_AND, 0, 0, 0xFFC00000),
    (BPF_JEQ, 0, 1, 0xFE800000),  # fe80::/10
    (BPF_RET, 0, 0, WHOLE),
    (BPF_RET, 0, 0, 0),
)
"""To ``::1`` and link-local addresses alone."""


def hear_nothing(deaf: socket.socket) -> None:
    """Whatever comes is dropped without an answer. OSError."""
    _attach(deaf, NOTHING)


def hear_untranslated(listener: socket.socket) -> None:
    """An IPv6 socket hears what comes to ``::1`` and link-local addresses, and drops the rest. OSError."""
    _attach(listener, UNTRANSLATED6)


def hear_all(listener: socket.socket) -> None:
    """Takes the filter off; absence of one is success. OSError."""
    with contextlib.suppress(FileNotFoundError):
        listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def _attach(listener: socket.socket, program: tuple[Instruction, ...]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    held = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("HP", len(program), ctypes.addressof(held))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
