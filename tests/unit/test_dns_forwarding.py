"""What is unknown here: asked elsewhere, kept for a while, and never let out of an internal network."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import time

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import msgspec
import pytest

from linkspan.dns import cache, resolver, upstreams
from linkspan.dns.names import Server
from resolver_lab import Lab, address_for, failing, laboratory, open_socket, texts


def test_an_unknown_name_is_asked_elsewhere_under_another_id_and_from_another_port_each_time() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream)
            for number in range(8):
                assert texts(await lab.ask(f"n{number}.example")) == ["192.0.2.7"]
            assert len({peer[1] for _, peer in upstream.asked}) >= 7
            assert len({query.id for query, _ in upstream.asked}) >= 7

    asyncio.run(story())


def test_an_answer_is_kept_and_its_time_counts_down() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream)
            await lab.ask("a.example")
            lab.now += 20
            kept = await lab.ask("A.eXample", use_edns=0)
            assert kept.answer[0].ttl == 40
            assert kept.question[0].name.to_text() == "A.eXample."
            assert kept.edns == 0
            assert len(upstream.asked) == 1
            lab.now += 40
            await lab.ask("a.example")
            assert len(upstream.asked) == 2
            (figures,) = lab.resolver.figures()
            assert (figures.queries, figures.cached, figures.forwarded) == (3, 1, 2)

    asyncio.run(story())


def test_what_is_asked_with_other_bits_is_another_question() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream)
            await lab.ask("a.example")
            await lab.ask("a.example", want_dnssec=True)
            await lab.ask("a.example", flags=dns.flags.RD | dns.flags.CD)
            await lab.ask("a.example", "AAAA")
            assert len(upstream.asked) == 4
            assert upstream.asked[1][0].ednsflags & dns.flags.DO
            assert upstream.asked[2][0].flags & dns.flags.CD

    asyncio.run(story())


def test_what_does_not_exist_is_kept_as_its_zone_says() -> None:
    def nothing(query: dns.message.Message) -> dns.message.Message:
        message = dns.message.make_response(query)
        message.set_rcode(dns.rcode.NXDOMAIN)
        message.authority = [dns.rrset.from_text("example.", 900, "IN", "SOA", "ns. root. 1 2 3 4 30")]
        return message

    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream(nothing)
            await lab.serve(upstream)
            for _ in range(3):
                assert (await lab.ask("no.example")).rcode() == dns.rcode.NXDOMAIN
                lab.now += 14
            assert len(upstream.asked) == 1
            await lab.ask("no.example")
            assert len(upstream.asked) == 2

    asyncio.run(story())


def test_sandboxes_share_only_what_the_host_was_told() -> None:
    from_host = (Server(address="192.0.2.1", from_host=True),)
    inside = (Server(address="192.0.2.1"),)
    first = Lab().client
    second = msgspec.structs.replace(first, id="d")

    def scope(client: object, servers: tuple[Server, ...]) -> cache.Scope:
        return cache.scope_of(msgspec.structs.replace(client, servers=servers))  # type: ignore[type-var]

    assert scope(first, from_host) == scope(second, from_host)
    assert scope(first, inside) != scope(second, inside)
    assert scope(first, from_host + inside) != scope(second, from_host + inside)


def test_the_cache_is_bounded_in_all_and_for_each_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 40)
    monkeypatch.setattr(cache, "MOST_OF_ONE", 10)
    kept = cache.Cache(lambda: 0.0)
    reply = resolver.parse_reply(address_for(dns.message.make_query("a", "A")).to_wire())
    assert reply
    scopes = [cache.Scope(str(number), ()) for number in range(12)]
    for number in range(1000):
        kept.put(scopes[number % 12], cache.Asked(b"%d" % number, 0, False), reply)
        assert kept.count == sum(map(len, kept.scopes.values())) <= 40
    assert all(scope in kept.scopes for scope in scopes)
    for number in range(1000):
        kept.put(scopes[0], cache.Asked(b"%d" % number, 0, False), reply)
    assert all(scope in kept.scopes for scope in scopes), "one that asks a lot drove out the others"
    for scope in scopes[1:]:
        kept.forget(scope)
    for number in range(1000):
        kept.put(scopes[0], cache.Asked(b"%d" % number, 0, False), reply)
    assert len(kept.scopes[scopes[0]]) == 10
    assert kept.get(scopes[0], cache.Asked(b"999", 0, False))
    kept.forget(scopes[0])
    assert kept.count == 0


def test_other_servers_are_forgotten_with_what_they_said() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            first = await lab.upstream()
            second = await lab.upstream(lambda query: address_for(query, address="192.0.2.8"))
            await lab.serve(first)
            assert texts(await lab.ask("a.example")) == ["192.0.2.7"]
            lab.resolver.put_client(msgspec.structs.replace(lab.client, servers=(second.description,)))
            assert texts(await lab.ask("a.example")) == ["192.0.2.8"]
            assert lab.resolver.cache.count == 1

    asyncio.run(story())


def test_an_internal_network_lets_nothing_out() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream, forward=False)
            for name, kind in (("a.example", "A"), ("single", "AAAA"), ("9.9.9.9.in-addr.arpa", "PTR"), ("x.y", "TXT")):
                assert (await lab.ask(name, kind)).rcode() == dns.rcode.NXDOMAIN
            assert texts(await lab.ask("web")) == ["10.0.0.2"]
            assert not upstream.asked

    asyncio.run(story())


def test_known_names_never_leave_whatever_is_asked_about_them() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream)
            for name in ("web", "WEB.Blue", "_80._tcp.web", "_ftp._tcp.web", "localhost", "a.localhost"):
                for kind in ("MX", "TXT", "HTTPS", "CNAME", "NS", "SOA"):
                    answer = await lab.ask(name, kind)
                    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
            assert not upstream.asked

    asyncio.run(story())


def test_a_single_label_is_asked_elsewhere_unless_search_domains_come_first() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream)
            assert texts(await lab.ask("intranet")) == ["192.0.2.7"]
            lab.resolver.put_client(msgspec.structs.replace(lab.client, ndots=True))
            answer = await lab.ask("intranet")
            assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
            assert texts(await lab.ask("intranet.example")) == ["192.0.2.7"]

    asyncio.run(story())


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_server_that_fails_gives_way_to_the_next_at_once(code: int) -> None:
    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream(failing(code)), await lab.upstream())
            began = time.perf_counter()
            assert texts(await lab.ask("a.example")) == ["192.0.2.7"]
            assert time.perf_counter() - began < 1

    asyncio.run(story())


def test_a_server_that_is_not_there_gives_way_to_the_next_at_once() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            gone = await lab.upstream()
            await lab.serve(gone, await lab.upstream())
            gone.close()
            lab.upstreams.remove(gone)
            began = time.perf_counter()
            assert texts(await lab.ask("a.example")) == ["192.0.2.7"]
            assert time.perf_counter() - began < 1

    asyncio.run(story())


def test_a_silent_server_costs_its_share_of_the_time_and_then_the_next_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstreams, "PATIENCE", 1.0)

    async def story() -> None:
        async with laboratory() as lab:
            silent = await lab.upstream(lambda query: None)
            await lab.serve(silent, await lab.upstream())
            assert texts(await lab.ask("a.example")) == ["192.0.2.7"]
            assert len(silent.asked) == 1

    asyncio.run(story())


def test_when_nobody_answers_in_time_the_client_hears_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "PATIENCE", 0.3)

    async def story() -> None:
        async with laboratory() as lab:
            silent = await lab.upstream(lambda query: None)
            await lab.serve(silent)
            assert (await lab.ask("a.example")).rcode() == dns.rcode.SERVFAIL
            assert len(silent.asked) == 2
            lab.resolver.put_client(msgspec.structs.replace(lab.client, servers=()))
            assert (await lab.ask("a.example")).rcode() == dns.rcode.SERVFAIL
            (figures,) = lab.resolver.figures()
            assert figures.failed == 2

    asyncio.run(story())


def test_false_answers_are_passed_over_and_a_flood_of_them_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "PATIENCE", 2.0)

    async def story() -> None:
        async with laboratory() as lab:
            liar = await lab.upstream(lambda query: None)
            await lab.serve(liar, await lab.upstream())
            asking = asyncio.create_task(lab.ask("a.example"))
            await asyncio.sleep(0.2)
            query, peer = liar.asked[0]
            other = address_for(dns.message.make_query("b.example", "A"))
            other.id = query.id
            wrong_id = address_for(query, address="192.0.2.66")
            wrong_id.id ^= 1
            for _ in range(8):
                liar.udp.sendto(other.to_wire(), peer)
                liar.udp.sendto(wrong_id.to_wire(), peer)
            assert texts(await asking) == ["192.0.2.7"]

    asyncio.run(story())


def test_a_truncated_answer_is_handed_on_and_asked_again_over_tcp() -> None:
    def long(query: dns.message.Message) -> dns.message.Message:
        message = dns.message.make_response(query)
        if not lab_over_tcp():
            message.flags |= dns.flags.TC
            return message
        data = [f"192.0.2.{number}" for number in range(100)]
        message.answer = [dns.rrset.from_text_list(query.question[0].name, 60, "IN", "A", data)]
        return message

    def lab_over_tcp() -> int:
        return current[0].upstreams[0].asked_over_tcp

    current: list[Lab] = []

    async def story() -> None:
        async with laboratory() as lab:
            current.append(lab)
            upstream = await lab.upstream(long)
            await lab.serve(upstream)
            assert (await lab.ask("many.example")).flags & dns.flags.TC
            assert len(texts(await lab.ask_over_tcp("many.example"))) == 100
            part = await lab.ask("many.example")
            assert part.flags & dns.flags.TC
            assert 20 < len(texts(part)) < 31
            assert len(texts(await lab.ask("many.example", use_edns=0, payload=4096))) == 100
            assert len(upstream.asked) == 2

    asyncio.run(story())


def test_options_go_through_and_come_back_but_cookies_stay_here() -> None:
    def echo(query: dns.message.Message) -> dns.message.Message:
        message = address_for(query)
        message.use_edns(0, options=query.options)
        return message

    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream(echo)
            await lab.serve(upstream)
            subnet = dns.edns.ECSOption("10.0.0.0", 8, 0)
            assert (await lab.ask("a.example", use_edns=0, options=[subnet])).options == (subnet,)
            await lab.ask("a.example", use_edns=0, options=[subnet])
            assert len(upstream.asked) == 2
            cookie = dns.edns.CookieOption(b"12345678", b"")
            assert (await lab.ask("b.example", use_edns=0, options=[cookie])).options == ()
            assert upstream.asked[2][0].options == ()

    asyncio.run(story())


def test_a_broken_answer_goes_no_further() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream(lambda query: address_for(query).to_wire()[:-1]))
            assert (await lab.ask("a.example")).rcode() == dns.rcode.SERVFAIL
            assert lab.resolver.cache.count == 0
            assert lab.resolver.figures()[0].failed == 1

    asyncio.run(story())


def test_a_failure_without_a_question_reaches_the_client_with_its_own() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream(lambda query: struct.pack("!6H", query.id, 0x8181, 0, 0, 0, 0)))
            assert (await lab.ask("a.example")).rcode() == dns.rcode.FORMERR

    asyncio.run(story())


def test_equal_questions_under_way_are_asked_once_and_too_many_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstreams, "PATIENCE", 2.0)

    async def story() -> None:
        async with laboratory() as lab:
            silent = await lab.upstream(lambda query: None)
            await lab.serve(silent, silent)
            asks = [asyncio.create_task(lab.ask("a.example")) for _ in range(resolver.MOST_WAITING)]
            await asyncio.sleep(0.2)
            assert len(silent.asked) == 1
            assert (await lab.ask("b.example")).rcode() == dns.rcode.REFUSED
            assert texts(await lab.ask("web")) == ["10.0.0.2"]
            assert {(await each).rcode() for each in asks} == {dns.rcode.SERVFAIL}
            assert lab.resolver.askers["c"].waiting == 0
            assert not lab.resolver.upstreams.flights

    asyncio.run(story())


def test_queries_under_way_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "PATIENCE", 0.8)
    monkeypatch.setattr(upstreams, "MOST_IN_FLIGHT", 5)

    async def story() -> None:
        async with laboratory() as lab:
            silent = await lab.upstream(lambda query: None)
            await lab.serve(silent, silent)
            asks = [asyncio.create_task(lab.ask(f"n{number}.example")) for number in range(8)]
            codes = sorted([(await each).rcode() for each in asks])
            assert codes == [dns.rcode.SERVFAIL] * 5 + [dns.rcode.REFUSED] * 3

    asyncio.run(story())


def test_a_sandbox_that_goes_leaves_no_socket_behind() -> None:
    opened: list[socket.socket] = []

    def remember(server: Server, kind: socket.SocketKind) -> socket.socket:
        opened.append(open_socket(server, kind))
        return opened[-1]

    async def story() -> None:
        async with laboratory() as lab:
            silent = await lab.upstream(lambda query: None)
            serving = await lab.serve(silent)
            lab.resolver.put_client(lab.client, remember)
            asks = [asyncio.create_task(lab.resolver.answer("c", wire_query(number))) for number in range(9)]
            await asyncio.sleep(0.05)
            assert [each.fileno() >= 0 for each in opened] == [True] * 9
            await serving.close()
            await lab.resolver.drop_client("c")
            assert all(each.fileno() < 0 for each in [*opened, serving.udp, serving.tcp])
            await asyncio.gather(*asks, return_exceptions=True)

    asyncio.run(story())
    gc.collect()


def wire_query(number: int) -> bytes:
    return dns.message.make_query(f"n{number}.example", "A").to_wire()
