"""DNS messages as bytes: what we read and write, checked with dnspython."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from linkspan.dns import reply, wire
from linkspan.dns.wire import Malformed, parse_query


def asked(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]


def refused_with(data: bytes) -> int | None:
    with pytest.raises(Malformed) as caught:
        parse_query(data)
    return caught.value.code


def test_a_query_is_read_as_it_was_asked() -> None:
    query = parse_query(asked("WeB.Example.", "AAAA"))
    assert query.name == "web.example"
    assert query.type == wire.AAAA
    assert b"\3WeB\7Example\0" in query.question
    assert (query.edns, query.size, query.dnssec) == (False, 512, False)


def test_size_and_the_wish_for_signatures_are_read_from_edns() -> None:
    query = parse_query(asked("web", use_edns=0, payload=1232, want_dnssec=True))
    assert (query.edns, query.size, query.dnssec, query.plain) == (True, 1232, True, True)


def test_a_size_below_512_means_512() -> None:
    assert parse_query(asked("web", use_edns=0, payload=100)).size == 512


def test_a_cookie_is_nobody_elses_but_other_options_make_a_query_its_askers_own() -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    subnet = dns.edns.ECSOption("10.0.0.0", 8)
    assert parse_query(asked("web", use_edns=0, options=[cookie])).plain
    assert not parse_query(asked("web", use_edns=0, options=[cookie, subnet])).plain


def test_a_dot_inside_a_label_is_no_border() -> None:
    data = dns.message.make_query(dns.name.Name((b"a.b", b"")), "A").to_wire()
    assert parse_query(data).name == "a\\.b"


def test_the_root_has_an_empty_name() -> None:
    assert parse_query(asked(".", "NS")).name == ""


@pytest.mark.parametrize(
    ("flags", "code"),
    [(0x8000, None), (0x2800, wire.NOTIMP), (0x1000, wire.NOTIMP)],
    ids=["an answer", "an update", "a status query"],
)
def test_what_is_no_question_is_not_answered_as_one(flags: int, code: int | None) -> None:
    data = asked("web")
    assert refused_with(data[:2] + struct.pack("!H", flags) + data[4:]) == code


@pytest.mark.parametrize(
    "counts", [(0, 0, 0, 0), (2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 3), (1, 0, 0, 1), (65535,) * 4]
)
def test_counts_that_do_not_fit_a_query_are_a_format_error(counts: tuple[int, ...]) -> None:
    data = asked("web")
    assert refused_with(data[:4] + struct.pack("!4H", *counts) + data[12:]) == wire.FORMERR


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\3we",
        b"\3web",
        b"\3web\0",
        b"\3web\0\0\1\0",
        b"\xc0\x0c\0\1\0\1",
        b"\3web\xc0\x0c\0\1\0\1",
        b"\x40web\0\0\1\0\1",
        b"\x3f" * 300 + b"\0\0\1\0\1",
        (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        b"\3web\0\0\1\0\1junk",
    ],
)
def test_a_malformed_question_is_a_format_error(question: bytes) -> None:
    assert refused_with(asked("web")[:12] + question) == wire.FORMERR


def test_less_than_a_header_is_not_answered() -> None:
    for length in range(12):
        assert refused_with(asked("web")[:length]) is None


def test_two_edns_records_are_a_format_error_and_an_unknown_version_is_told() -> None:
    data = asked("web", use_edns=0)
    twice = data[:10] + b"\0\2" + data[12:] + data[-11:]
    assert refused_with(twice) == wire.FORMERR
    code = refused_with(asked("web", use_edns=1))
    assert code == wire.BADVERS
    told = dns.message.from_wire(wire.refusal(asked("web", use_edns=1), wire.BADVERS))
    assert told.rcode() == dns.rcode.BADVERS


def test_an_answer_keeps_the_case_of_the_question_and_the_clients_wishes() -> None:
    data = asked("wEb", use_edns=0, want_dnssec=True)
    query = parse_query(data)
    answer = wire.render(query, 512, [wire.address_record(bytes((10, 0, 0, 2)), 5)])
    message = dns.message.from_wire(data[:2] + answer.body())
    assert dns.message.from_wire(data).is_response(message)
    assert message.question[0].name.to_text() == "wEb."
    assert [each.to_text() for each in message.answer] == ["wEb. 5 IN A 10.0.0.2"]
    assert message.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert message.ednsflags & dns.flags.DO


def addresses(count: int) -> list[bytes]:
    return [wire.address_record(bytes((10, 0, number // 256, number % 256)), 5) for number in range(count)]


@pytest.mark.parametrize(("size", "fitting"), [(512, 29), (1232, 74), (4096, 100)])
def test_what_is_too_large_is_sent_in_part_and_says_so(size: int, fitting: int) -> None:
    query = parse_query(asked("many.x", use_edns=0, payload=size))
    answer = wire.render(query, query.limit(over_tcp=False), addresses(100))
    for first in (0, 1, 99, 12345):
        body = b"\0\0" + answer.body(first)
        assert len(body) <= size
        message = dns.message.from_wire(body)
        assert len(message.answer[0]) == fitting
        assert bool(message.flags & dns.flags.TC) == (fitting < 100)
    whole = dns.message.from_wire(b"\0\0" + wire.render(query, query.limit(over_tcp=True), addresses(100)).body())
    assert len(whole.answer[0]) == 100


def test_additional_records_are_left_out_without_a_word() -> None:
    query = parse_query(asked("_http._tcp.web", "SRV"))
    target = wire.encode_name("web.net") or b""
    extra = [wire.address_record(bytes((10, 0, 0, number)), 5, target) for number in range(100)]
    answer = wire.render(query, 512, [wire.service_record(0, 0, 80, target, 5)], extra)
    message = dns.message.from_wire(b"\0\0" + answer.body())
    assert message.answer[0][0].to_text() == "0 0 80 web.net."
    assert not message.additional
    assert not message.flags & dns.flags.TC


@pytest.mark.parametrize("code", [wire.NOERROR, wire.SERVFAIL, wire.NXDOMAIN, wire.REFUSED])
def test_a_failure_repeats_the_question(code: int) -> None:
    data = asked("no.such", use_edns=0)
    message = dns.message.from_wire(wire.failure(parse_query(data), code))
    assert dns.message.from_wire(data).is_response(message)
    assert message.rcode() == code


def test_names_that_do_not_fit_the_wire_are_told() -> None:
    assert wire.encode_name("web.net") == b"\3web\3net\0"
    assert wire.encode_name("a" * 64) is None
    assert wire.encode_name("a..b") is None
    assert wire.encode_name("") is None
    assert wire.encode_name(".".join(["a" * 49] * 5 + ["abc"])) is not None
    assert wire.encode_name(".".join(["a" * 49] * 5 + ["abcd"])) is None


def answered(data: bytes, text: str) -> bytes:
    """A server's answer: the query, and what ``text`` adds in dnspython's form."""
    query = dns.message.from_wire(data)
    message = dns.message.make_response(query)
    added = dns.message.from_text(text, one_rr_per_rrset=False)
    message.answer, message.authority = added.answer, added.authority
    message.set_rcode(added.rcode())
    return message.to_wire()


def parsed(data: bytes) -> reply.Reply:
    found = reply.parse_reply(data)
    assert found is not None
    return found


def test_an_answer_is_one_only_with_its_id_and_its_question() -> None:
    data = asked("web")
    query = parse_query(data)
    good = answered(data, ";ANSWER\nweb. 60 IN A 1.2.3.4")
    assert reply.answers(query, query.id, good)
    assert reply.answers(query, query.id, good.replace(b"\3web", b"\3WEB"))
    assert not reply.answers(query, query.id ^ 1, good)
    assert not reply.answers(query, query.id, good.replace(b"\3web", b"\3wib"))
    assert not reply.answers(query, query.id, data)
    assert not reply.answers(query, query.id, good[:11])


def test_a_type_that_looks_like_a_letter_is_not_taken_for_its_small_one() -> None:
    query = parse_query(asked("web", "TYPE65"))
    good = answered(asked("web", "TYPE65"), "")
    assert reply.answers(query, int.from_bytes(good[:2]), good)
    other = answered(asked("web", "TYPE97"), "")
    assert not reply.answers(query, int.from_bytes(other[:2]), other)
    assert wire.folded(query.question) != wire.folded(parse_query(asked("web", "TYPE97")).question)


def test_a_failure_without_the_question_is_an_answer_but_a_success_is_not() -> None:
    query = parse_query(asked("web"))
    bare = struct.pack("!6H", query.id, 0x8180, 0, 0, 0, 0)
    assert not reply.answers(query, query.id, bare)
    assert reply.answers(query, query.id, bare[:3] + b"\x81" + bare[4:])


def test_an_answer_lives_as_long_as_its_shortest_record() -> None:
    data = asked("web")
    found = parsed(answered(data, ";ANSWER\nweb. 60 IN A 1.2.3.4\nweb. 60 IN A 1.2.3.5\nx. 30 IN A 1.1.1.1"))
    assert (found.code, found.life, len(found.ttls)) == (0, 30, 3)
    later = dns.message.from_wire(reply.aged(found, 12))
    assert [each.ttl for each in later.answer] == [48, 18]


def test_what_does_not_exist_lives_as_its_zone_says_and_without_a_word_not_at_all() -> None:
    authority = ";AUTHORITY\nexample. 900 IN SOA ns. root. 1 2 3 4 77"
    data = asked("no.example")
    assert parsed(answered(data, f"rcode NXDOMAIN\n{authority}")).life == 77
    assert parsed(answered(data, authority)).life == 77
    chain = ";ANSWER\nno.example. 300 IN CNAME b.example."
    assert parsed(answered(data, f"{chain}\n{authority}")).life == 77
    assert parsed(answered(data, "rcode NXDOMAIN")).life is None
    assert parsed(answered(data, "rcode SERVFAIL")).life is None


def test_a_truncated_answer_is_not_kept() -> None:
    good = bytearray(answered(asked("web"), ";ANSWER\nweb. 60 IN A 1.2.3.4"))
    good[2] |= 2
    found = parsed(bytes(good))
    assert found.truncated
    assert found.life is None


def test_an_answer_is_made_fit_for_another_asker() -> None:
    first, second = asked("web.example", use_edns=0), asked("WEB.eXample")
    found = parsed(answered(first, ";ANSWER\nweb.example. 60 IN A 1.2.3.4"))
    message = dns.message.from_wire(reply.readdressed(found.data, parse_query(second)))
    assert dns.message.from_wire(second).is_response(message)
    assert message.question[0].name.to_text() == "WEB.eXample."
    assert message.edns == -1


def test_a_servers_answer_is_cut_at_a_record() -> None:
    data = asked("web")
    lines = "\n".join(f"web. 60 IN A 10.0.0.{number}" for number in range(100))
    found = parsed(answered(data, f";ANSWER\n{lines}\n;AUTHORITY\nx. 1 IN NS y."))
    assert reply.cut(found.data, 4096) == found.data
    small = reply.cut(found.data, 512)
    message = dns.message.from_wire(small)
    assert len(small) <= 512
    assert len(message.answer[0]) == 30
    assert message.flags & dns.flags.TC


def test_a_sound_answer_that_cannot_be_taken_apart_is_known_as_such() -> None:
    good = answered(asked("web"), ";ANSWER\nweb. 60 IN A 1.2.3.4")
    options, more = wire.options_record(False), wire.address_record(bytes(4), 5)
    assert reply.parse_reply(good[:10] + b"\0\2" + good[12:] + options + more) is None
    assert parsed(good[:10] + b"\0\2" + good[12:] + more + options).data[-16:] == more
    for broken in (good[:-1], good + b"\0", good[:10] + b"\0\1" + good[12:]):
        with pytest.raises(Malformed):
            reply.parse_reply(broken)
