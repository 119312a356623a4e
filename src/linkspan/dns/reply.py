"""Answers of other servers, as bytes: checked, cut to size, and made fit for another asker. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.dns import wire
from linkspan.dns.wire import HEADER, RECORD, Malformed, Query

LONGEST_LIFE: Final = 0x7FFFFFFF
"""A TTL with the highest bit set means zero (RFC 2181 section 8)."""


class Reply(msgspec.Struct, frozen=True):
    """A server's message, taken apart as far as keeping it needs."""

    data: bytes
    """Without its OPT record, which is between two neighbours (RFC 6891 section 6.2.1)."""
    code: int
    truncated: bool
    ttls: tuple[int, ...]
    """Where the times to live stand in ``data``."""
    life: int | None
    """Seconds that it may be kept (RFC 2308 section 5); None: not at all."""


def answers(query: Query, identity: int, data: bytes) -> bool:
    """Whether a message answers what was asked under that id. A failure may come without the question."""
    if len(data) < HEADER.size:
        return False
    told, flags, questions, *_ = HEADER.unpack_from(data)
    if told != identity or not flags & wire.QR or flags & wire.OPCODE:
        return False
    if questions == 0:
        return len(data) == HEADER.size and flags & wire.CODE not in (wire.NOERROR, wire.NXDOMAIN)
    end = HEADER.size + len(query.question)
    return bool(questions == 1 and wire.folded(data[HEADER.size : end]) == wire.folded(query.question))


def parse_reply(data: bytes) -> Reply | None:
    """Reads a message with one question. Raises ``Malformed``.

    None: a sound message whose OPT is not the last record, so that names behind it may point into what follows it.
    """
    if len(data) < HEADER.size:
        raise Malformed(None)
    _, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
    if questions != 1:
        raise Malformed(None)
    at = wire.skip_name(data, HEADER.size) + wire.TAIL.size
    code = flags & wire.CODE
    ttls: list[int] = []
    shortest, told_so = LONGEST_LIFE, False
    options_at = options_end = 0
    for number in range(answers + authorities + additional):
        start, at = at, wire.skip_name(data, at)
        if at + RECORD.size > len(data):
            raise Malformed(None)
        kind, _, ttl, length = RECORD.unpack_from(data, at)
        body, at = at + RECORD.size, at + RECORD.size + length
        if at > len(data):
            raise Malformed(None)
        if kind == wire.OPT:
            if options_at or number < answers + authorities:
                raise Malformed(None)
            code |= ttl >> 24 << 4
            options_at, options_end = start, at
            continue
        life = ttl if ttl <= LONGEST_LIFE else 0
        shortest = min(shortest, life)
        ttls.append(body - 6)
        if kind == wire.SOA and answers <= number < answers + authorities and length >= 4:
            # What is missing at the end of a chain of CNAMEs lives no longer than what is missing at once.
            shortest, told_so = min(shortest, int.from_bytes(data[at - 4 : at])), True
    if at != len(data):
        raise Malformed(None)
    if options_at:
        if options_end != at:
            return None
        data = data[:10] + (additional - 1).to_bytes(2) + data[12:options_at]
    keep: int | None
    if code == wire.NXDOMAIN or (code == wire.NOERROR and not answers):
        keep = shortest if told_so else None
    else:
        keep = shortest if code == wire.NOERROR else None
    truncated = bool(flags & wire.TC)
    return Reply(data, code, truncated, tuple(ttls), None if truncated else keep)


def aged(reply: Reply, age: int) -> bytes:
    """The message as it reads that many seconds later."""
    if not age:
        return reply.data
    changed = bytearray(reply.data)
    for at in reply.ttls:
        left = int.from_bytes(changed[at : at + 4]) - age
        changed[at : at + 4] = max(left, 0).to_bytes(4)
    return bytes(changed)


def readdressed(data: bytes, query: Query, options: bytes = b"") -> bytes:
    """The message for this asker: its id, its flags, its question's case, and an OPT record where it is due."""
    _, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
    asked = wire.RD | wire.CD
    header = HEADER.pack(
        query.id, flags & ~asked | query.flags & asked, questions, answers, authorities, additional + bool(options)
    )
    return header + query.question + data[HEADER.size + len(query.question) :] + options


def cut(data: bytes, limit: int) -> bytes:
    """The message without OPT in ``limit`` bytes: as many answers as fit, with TC. Raises ``Malformed``."""
    if len(data) <= limit:
        return data
    identity, flags, questions, answers, _, _ = HEADER.unpack_from(data)
    at = wire.skip_name(data, HEADER.size) + wire.TAIL.size
    fitting = 0
    for _ in range(answers):
        end = wire.skip_name(data, at)
        if end + RECORD.size > len(data):
            raise Malformed(None)
        end += RECORD.size + int.from_bytes(data[end + 8 : end + 10])
        if end > limit:
            break
        fitting, at = fitting + 1, end
    return HEADER.pack(identity, flags | wire.TC, questions, fitting, 0, 0) + data[HEADER.size : at]
