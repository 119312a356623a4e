"""DNS messages as bytes (RFC 1035, RFC 6891): reads queries, renders answers of our own. Pure.

An answer is rendered without its first two bytes, the id: what was rendered once serves whoever asks the same.
Messages of other servers are read in ``reply``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

A: Final = 1
PTR: Final = 12
SOA: Final = 6
AAAA: Final = 28
SRV: Final = 33
OPT: Final = 41
IXFR: Final = 251
AXFR: Final = 252
ANY: Final = 255
"""Types of records (IANA: DNS parameters, resource record types)."""

IN: Final = 1
"""The Internet's class."""

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16
"""Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9)."""

QR: Final = 0x8000
OPCODE: Final = 0x7800
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
CODE: Final = 0x000F
"""Bits of a header's second field (RFC 1035 section 4.1.1, RFC 4035 section 3.2.2)."""

SMALLEST_LIMIT: Final = 512
"""Bytes that everybody takes over UDP (RFC 1035 section 2.3.4)."""
LARGEST: Final = 65_535
"""Bytes of a message over TCP (RFC 1035 section 4.2.2)."""
LARGEST_DATAGRAM: Final = 65_507
"""Bytes of payload in a UDP datagram over IPv4."""
OUR_SIZE: Final = 4096
"""Bytes of a query that we read over UDP, as our OPT record says. Queries are small; the path is a loopback device."""
ADDITIONAL: Final = 2
"""Additional records of a query: OPT, and TSIG or SIG(0). More is nonsense, and work."""
COOKIE: Final = 10
"""Option that means only the next hop (RFC 7873), so that it is neither answered nor forwarded."""
SAME_NAME: Final = b"\xc0\x0c"
"""Compression pointer to the question's name: it always begins at byte 12."""

HEADER: Final = struct.Struct("!HHHHHH")
TAIL: Final = struct.Struct("!HH")
RECORD: Final = struct.Struct("!HHIH")
COUNTS: Final = struct.Struct("!HHHHH")


class Malformed(ValueError):
    """Raised for what is no proper query. ``code`` goes back to the client; None: nothing does, it was no query."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Query(msgspec.Struct, frozen=True):
    """One question, and how its answer may look."""

    id: int
    flags: int
    name: str
    """Lower case, dotted, without the final dot; empty for the root."""
    type: int
    klass: int
    question: bytes
    """The question as it was asked, in its own case."""
    edns: bool
    size: int
    """Bytes that the client takes over UDP."""
    dnssec: bool
    """The DO bit (RFC 3225)."""
    plain: bool
    """Nothing in it that only this client means: no EDNS option besides a cookie, no signature."""

    def limit(self, over_tcp: bool) -> int:
        """Bytes that an answer may have."""
        return LARGEST if over_tcp else min(self.size, LARGEST_DATAGRAM)


def parse_query(data: bytes) -> Query:
    """Raises ``Malformed``."""
    if len(data) < HEADER.size:
        raise Malformed(None)
    identity, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
    if flags & QR:
        # Whoever answers answers can be made to talk with itself for ever.
        raise Malformed(None)
    if flags & OPCODE:
        raise Malformed(NOTIMP)
    if questions != 1 or answers or authorities or additional > ADDITIONAL:
        raise Malformed(FORMERR)
    name, at = read_name(data, HEADER.size)
    end = at + TAIL.size
    if end > len(data):
        raise Malformed(FORMERR)
    kind, klass = TAIL.unpack_from(data, at)
    edns, size, dnssec, plain, version = False, SMALLEST_LIMIT, False, True, 0
    at = end
    for _ in range(additional):
        owner = at
        at = skip_name(data, at)
        if at + RECORD.size > len(data):
            raise Malformed(FORMERR)
        record, told, ttl, length = RECORD.unpack_from(data, at)
        at += RECORD.size + length
        if at > len(data):
            raise Malformed(FORMERR)
        if record != OPT:
            plain = False
            continue
        if edns or data[owner]:
            raise Malformed(FORMERR)
        edns, size = True, max(told, SMALLEST_LIMIT)
        version, dnssec = ttl >> 16 & 0xFF, bool(ttl & 0x8000)
        plain = plain and only_cookies(data[at - length : at])
    if at != len(data):
        raise Malformed(FORMERR)
    if version:
        raise Malformed(BADVERS)
    return Query(identity, flags, name, kind, klass, data[HEADER.size : end], edns, size, dnssec, plain)


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """Name of a question, which nothing stands before that could be pointed at; returns where it ends.

    Raises ``Malformed``. A dot inside a label is shown as ``\\.``, so that it is never taken for a border.
    """
    labels: list[bytes] = []
    start = at
    try:
        while length := data[at]:
            if length > 63:
                raise Malformed(FORMERR)
            label = data[at + 1 : at + 1 + length]
            labels.append(label.replace(b".", b"\\.") if b"." in label else label)
            at += 1 + length
    except IndexError:
        raise Malformed(FORMERR) from None
    if at + 1 - start > 255:
        raise Malformed(FORMERR)
    return b".".join(labels).lower().decode("utf-8", "replace"), at + 1


def folded(question: bytes) -> bytes:
    """A question as it is compared: its name in lower case, type and class (which may look like letters) untouched."""
    return question[: -TAIL.size].lower() + question[-TAIL.size :]


def skip_name(data: bytes, at: int) -> int:
    """Where a name ends; pointers are not followed, so that none can lead round. Raises ``Malformed``."""
    try:
        while length := data[at]:
            if length >= 0xC0:
                return at + 2
            if length > 63:
                raise Malformed(FORMERR)
            at += 1 + length
    except IndexError:
        raise Malformed(FORMERR) from None
    return at + 1


def only_cookies(options: bytes) -> bool:
    """Whether an OPT record's options (RFC 6891 section 6.1.2) are cookies, or none. Raises ``Malformed``."""
    at, only = 0, True
    while at < len(options):
        if at + TAIL.size > len(options):
            raise Malformed(FORMERR)
        option, length = TAIL.unpack_from(options, at)
        only = only and option == COOKIE
        at += TAIL.size + length
    if at != len(options):
        raise Malformed(FORMERR)
    return only


def encode_name(name: str) -> bytes | None:
    """A dotted name on the wire, in its own case; None when it does not fit (RFC 1035 section 2.3.4)."""
    wire = b""
    for label in name.encode().split(b"."):
        if not 0 < len(label) < 64:
            return None
        wire += bytes((len(label),)) + label
    return wire + b"\0" if len(wire) < 255 else None


def record(kind: int, ttl: int, data: bytes, owner: bytes = SAME_NAME) -> bytes:
    """A resource record of class IN; ``ttl`` in seconds."""
    return owner + RECORD.pack(kind, IN, ttl, len(data)) + data


def address_record(packed: bytes, ttl: int, owner: bytes = SAME_NAME) -> bytes:
    """A or AAAA, as the address is long."""
    return record(A if len(packed) == 4 else AAAA, ttl, packed, owner)


def service_record(priority: int, weight: int, port: int, target: bytes, ttl: int) -> bytes:
    """SRV (RFC 2782): the target is never compressed."""
    return record(SRV, ttl, struct.pack("!HHH", priority, weight, port) + target)


def options_record(dnssec: bool, code: int = NOERROR, size: int = OUR_SIZE) -> bytes:
    """An OPT record without options, with the upper bits of a code that needs more than four."""
    return b"\0" + RECORD.pack(OPT, size, code >> 4 << 24 | (0x8000 if dnssec else 0), 0)


class Answer(msgspec.Struct, frozen=True):
    """An answer whose records may begin with any of them; rendered for one form of query and one limit."""

    before: bytes
    """From the flags to the end of the question."""
    records: tuple[bytes, ...]
    fitting: int
    """How many of the records are sent; fewer than all: the header says truncated."""
    after: bytes
    """Additional records and OPT."""

    def body(self, first: int = 0) -> bytes:
        """Everything but the id, beginning with the record of that number (any number: it goes round)."""
        records = self.records
        if len(records) > 1:
            first %= len(records)
            records = (records[first:] + records[:first])[: self.fitting]
        return self.before + b"".join(records[: self.fitting]) + self.after


def render(
    query: Query, limit: int, records: Sequence[bytes] = (), additional: Sequence[bytes] = (), code: int = NOERROR
) -> Answer:
    """What does not fit into ``limit`` bytes is left out: additional records silently, others with TC (RFC 2181).

    The records that fit are sent with TC: some clients know no TCP and are content with a part.
    """
    options = options_record(query.dnssec, code) if query.edns else b""
    room = limit - HEADER.size - len(query.question) - len(options)
    fitting = 0
    for each in records:
        if len(each) > room:
            break
        room -= len(each)
        fitting += 1
    whole = fitting == len(records)
    if not whole or sum(map(len, additional)) > room:
        additional = ()
    flags = answer_flags(query.flags, code) | (0 if whole else TC)
    counts = COUNTS.pack(flags, 1, fitting, 0, len(additional) + query.edns)
    return Answer(counts + query.question, tuple(records), fitting, b"".join(additional) + options)


def answer_flags(asked: int, code: int) -> int:
    """Flags of an answer: the client's RD and CD come back; recursion is available."""
    return QR | RA | asked & (RD | CD) | code & CODE


def failure(query: Query, code: int) -> bytes:
    """A whole answer without records: SERVFAIL, REFUSED, NXDOMAIN, or NOERROR for a name without such data."""
    return query.id.to_bytes(2) + render(query, SMALLEST_LIMIT, code=code).body()


def refusal(data: bytes, code: int) -> bytes:
    """A whole answer to what is no proper query: its id and a code, and nothing of what could not be read."""
    flags = int.from_bytes(data[2:4])
    options = options_record(False, code) if code > CODE else b""
    return (
        HEADER.pack(int.from_bytes(data[:2]), answer_flags(flags, code) | flags & OPCODE, 0, 0, 0, bool(options))
        + options
    )
