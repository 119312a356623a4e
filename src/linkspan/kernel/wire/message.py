"""Netlink header, acknowledgement and attributes (linux/netlink.h, netlink(7))."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

NLM_F_REQUEST = 0x001
NLM_F_MULTI = 0x002
NLM_F_ACK = 0x004
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP_INTR = 0x010

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
NUMBER = struct.Struct("=I")
ERROR = struct.Struct("=i")

AF_INET = 2
AF_INET6 = 10


class Request(msgspec.Struct, frozen=True):
    """One message to send: its type, its flags beside NLM_F_REQUEST, and the family header with attributes."""

    type: int
    flags: int
    body: bytes

    def encode(self, sequence: int, more_flags: int = 0) -> bytes:
        """The datagram; ``sequence`` comes back in the answer."""
        return HEADER.pack(16 + len(self.body), self.type, NLM_F_REQUEST | self.flags | more_flags, sequence, 0) + (
            self.body
        )


class Message(msgspec.Struct, frozen=True):
    """One message received."""

    type: int
    flags: int
    sequence: int
    body: bytes


class Acknowledgement(msgspec.Struct, frozen=True):
    """NLMSG_ERROR or NLMSG_DONE: ``code`` is an errno, 0 for success; ``text`` the kernel's extended reason."""

    code: int
    text: str


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram. ValueError when a length is wrong."""
    offset = 0
    while offset + 16 <= len(datagram):
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
        if length < 16 or offset + length > len(datagram):
            raise ValueError(f"netlink message of {length} bytes in a datagram of {len(datagram)}")
        yield Message(kind, flags, sequence, datagram[offset + 16 : offset + length])
        offset += aligned(length)


def acknowledgement(message: Message) -> Acknowledgement:
    """What an NLMSG_ERROR or NLMSG_DONE says, with the text of NETLINK_EXT_ACK where there is one."""
    code = -ERROR.unpack_from(message.body)[0] if len(message.body) >= 4 else 0
    if not message.flags & NLM_F_ACK_TLVS:
        return Acknowledgement(code, "")
    skip = 4
    if message.type == NLMSG_ERROR:
        inner = NUMBER.unpack_from(message.body, 4)[0]
        skip = 20 if message.flags & NLM_F_CAPPED else 4 + aligned(inner)
    found = attributes(message.body[skip:])
    return Acknowledgement(code, text_of(found[NLMSGERR_ATTR_MSG]) if NLMSGERR_ATTR_MSG in found else "")


def aligned(length: int) -> int:
    """The length with its padding to 4 bytes (NLMSG_ALIGN, NLA_ALIGN)."""
    return (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length & 3)


def number(kind: int, value: int) -> bytes:
    """An attribute of 32 bits."""
    return attribute(kind, NUMBER.pack(value))


def octet(kind: int, value: int) -> bytes:
    """An attribute of 8 bits."""
    return attribute(kind, bytes((value,)))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string. ValueError when it holds a zero byte itself."""
    encoded = value.encode()
    if b"\0" in encoded:
        raise ValueError(f"zero byte in {value!r}")
    return attribute(kind, encoded + b"\0")


def nested(kind: int, value: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, value)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; the last of a type wins, flags are dropped. ValueError when a length is wrong."""
    found: dict[int, bytes] = {}
    offset = 0
    end = len(data)
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"netlink attribute of {length} bytes where {end - offset} are left")
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def text_of(value: bytes) -> str:
    """A zero-terminated string read back."""
    return value.split(b"\0", 1)[0].decode(errors="replace")


def number_of(value: bytes) -> int:
    """A 32-bit attribute read back."""
    result: int = NUMBER.unpack_from(value)[0]
    return result
