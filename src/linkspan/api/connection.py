"""One client: HTTP/1.1 requests one after another, read and framed by h11, until it goes or a stream takes over.

What was tried and rejected: ASGI servers cannot give a raw stream to the application; httptools loses the body of
a POST that carries ``Upgrade``; aiohttp hijacks only through private attributes, at twice the memory.

Reading is paused whenever unread bytes lie in the parser, so a client is never read faster than it is served. While
a handler runs the socket is read (one piece at most), because the end of the client cancels streaming handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket as sockets
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import cast

import h11

from linkspan.api.messages import Answer, Hijacked, Reply, Request, Streamed
from linkspan.api.router import STANDARD_HEADERS, Application
from linkspan.api.streams import HijackedChannel, Outlet
from linkspan.errors import InvalidRequest, LinkspanError, TooLarge

LOG = logging.getLogger(__name__)

HEAD_LIMIT = 256 * 1024
"""Bytes of a request's head: filters and registry credentials travel there."""
HEAD_SECONDS = 30.0
"""How long a begun request head may take; idle connections may wait for ever."""
BODY_SECONDS = 60.0
"""How long a JSON body may pause. Archives may: a person's pipe feeds them."""
LINGER_SECONDS = 2.0
_DISCARD_LIMIT = 64 * 1024

_RAW = "application/vnd.docker.raw-stream"
_MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
_UCRED = struct.Struct("3i")


class RequestBody:
    """The body of the request at hand. ``complete`` says whether all of it was read."""

    def __init__(self, connection: Connection, announced: int) -> None:
        self._connection = connection
        self._announced = announced
        self.complete = False
        self._first: bytes | None = None

    def peek(self) -> None:
        """Takes what lies in the parser already, so that a request without a body is complete at once."""
        event = self._connection.event_at_hand()
        if isinstance(event, h11.EndOfMessage):
            self._finish()
        elif isinstance(event, h11.Data):
            self._first = bytes(event.data)

    async def read(self, limit: int) -> bytes:
        if self._announced > limit:
            raise TooLarge(f"the request body has {self._announced} bytes, more than the limit of {limit}")
        parts: list[bytes] = []
        size = 0
        while (data := await self._next(BODY_SECONDS)) is not None:
            size += len(data)
            if size > limit:
                raise TooLarge(f"the request body is larger than the limit of {limit} bytes")
            parts.append(data)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        while (data := await self._next(None)) is not None:
            yield data

    async def discard(self) -> None:
        """Reads what little an uninterested handler left, so that the connection can be used again."""
        size = 0
        try:
            while size < _DISCARD_LIMIT and (data := await self._next(LINGER_SECONDS)) is not None:
                size += len(data)
        except LinkspanError:
            return

    async def _next(self, pause: float | None) -> bytes | None:
        """The next piece, or None at the end."""
        if self._first is not None:
            data, self._first = self._first, None
            return data
        if self.complete:
            return None
        try:
            async with asyncio.timeout(pause):
                event = await self._connection.event()
        except TimeoutError:
            raise InvalidRequest("the request body stopped before its end") from None
        except h11.RemoteProtocolError as error:
            raise InvalidRequest(f"the request body is incomplete or malformed: {error}") from error
        if isinstance(event, h11.Data):
            return bytes(event.data)
        self._finish()
        return None

    def _finish(self) -> None:
        self.complete = True
        self._connection.listen()


class Connection(asyncio.Protocol):
    """Serves one client. ``on_end`` is called once, when nothing of it is left."""

    def __init__(self, application: Application, on_end: Callable[[Connection], None]) -> None:
        self._application = application
        self._on_end = on_end
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._arrived = asyncio.Event()
        self._request: Request | None = None
        self._streaming = False
        self._channel: HijackedChannel | None = None
        self._lingering = False
        self._stopping = False
        self._begun = False

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's transports only look like asyncio's
        self._transport = stream
        self._outlet = Outlet(stream)
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("client: %s", _peer(stream))
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._task.add_done_callback(self._ended)
        self._begun = True
        if self._stopping:
            stream.close()

    def data_received(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.feed(data)
        elif not self._lingering:
            self._parser.receive_data(data)
            self._transport.pause_reading()
            self._arrived.set()

    def eof_received(self) -> bool:
        """True keeps the writing half open: a client may close its half and still read."""
        if self._channel is not None:
            self._channel.feed_end()
        else:
            self._parser.receive_data(b"")
            self._arrived.set()
            if self._ends_with_client():
                self._task.cancel()
        return not self._lingering

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outlet.lose()
        if self._channel is not None:
            self._channel.feed_end()
        elif self._request is None or self._ends_with_client():
            self._task.cancel()

    # What the server and the body call

    def stop(self) -> None:
        """Ends the connection; a request that changes something is allowed to finish, but not to become a stream.

        A connection that was accepted just now has nothing yet; it ends when it begins.
        """
        self._stopping = True
        if not self._begun:
            return
        if self._request is None or self._ends_with_client() or self._channel is not None:
            self._task.cancel()

    def cancel(self) -> None:
        """Ends the connection, whatever it is doing."""
        if self._begun:
            self._task.cancel()

    async def wait_closed(self) -> None:
        if self._begun:
            await asyncio.wait([self._task])

    def listen(self) -> None:
        """Reads on while a handler works, to notice the client's end."""
        if not self._outlet.lost and not self._transport.is_closing():
            self._transport.resume_reading()

    def event_at_hand(self) -> object:
        """The next piece of a body if it has arrived; anything else stays for ``event``, malformed input too."""
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError:
            return h11.NEED_DATA

    async def event(self) -> object:
        """The next event of the client. h11.RemoteProtocolError for malformed or half-sent input."""
        while (event := self._parser.next_event()) is h11.NEED_DATA:
            if self._parser.they_are_waiting_for_100_continue:
                await self._put(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            await self._more()
        return event

    # The life of the connection

    async def _serve(self) -> None:
        try:
            while (head := await self._head()) is not None:
                if not await self._respond(head):
                    break
            if self._channel is None:
                await self._linger()
        except ConnectionError as error:
            LOG.debug("client gone: %s", error)
        except LinkspanError as error:
            LOG.warning("a stream broke off: %s", error)
        finally:
            self._transport.close()

    async def _head(self) -> h11.Request | None:
        """The next request's head; None at the end of the client, also after malformed input, which is answered."""
        try:
            async with asyncio.timeout(None) as limit:
                while (event := self._parser.next_event()) is h11.NEED_DATA:
                    if limit.when() is None and self._parser.trailing_data[0]:
                        limit.reschedule(asyncio.get_running_loop().time() + HEAD_SECONDS)
                    await self._more()
        except TimeoutError:
            LOG.debug("client sent half a request and no more")
            return None
        except h11.RemoteProtocolError as error:
            await self._send_whole(self._application.refuse(InvalidRequest(f"malformed HTTP request: {error}")), True)
            return None
        return event if isinstance(event, h11.Request) else None

    async def _respond(self, head: h11.Request) -> bool:
        """Whether another request may follow."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        body = RequestBody(self, _announced(headers))
        body.peek()
        try:
            self._request = self._application.request(
                head.method.decode("latin-1"), head.target.decode("latin-1"), headers, body
            )
        except LinkspanError as error:
            answer: Answer = self._application.refuse(error)
        else:
            answer = await self._application.answer(self._request)
        if not body.complete and not self._parser.they_are_waiting_for_100_continue:
            await body.discard()
        if isinstance(answer, Hijacked):
            await self._hijack(answer, upgrade="upgrade" in headers)
            return False
        if isinstance(answer, Streamed):
            await self._stream(answer, not body.complete)
        else:
            await self._send_whole(answer, not body.complete, head=head.method == b"HEAD")
        self._request = None
        self._end_if_stopping()
        if self._parser.our_state is not h11.DONE or self._parser.their_state is not h11.DONE:
            return False
        self._parser.start_next_cycle()
        return True

    async def _send_whole(self, reply: Reply, close: bool, *, head: bool = False) -> None:
        headers = _headers(reply.content_type, reply.headers, close)
        if reply.status not in (204, 304):
            headers.append(("Content-Length", str(len(reply.body))))
        events: list[h11.Event] = [_response(reply.status, headers)]
        if reply.body and not head:
            events.append(h11.Data(data=reply.body))
        await self._put(*events, h11.EndOfMessage())

    async def _stream(self, answer: Streamed, close: bool) -> None:
        self._streaming = True
        self._end_if_stopping()
        try:
            headers = _headers(answer.content_type, answer.headers, close)
            await self._put(_response(answer.status, headers))
            async for chunk in answer.chunks:
                await self._put(h11.Data(data=chunk))
            await self._put(h11.EndOfMessage())
        finally:
            self._streaming = False
            await answer.chunks.aclose()

    async def _hijack(self, answer: Hijacked, *, upgrade: bool) -> None:
        """101 for clients that asked to upgrade, else Docker's bare 200; then raw bytes until the session ends.

        The session is pumped for a client that has gone as well: nobody else lets its process go.
        """
        content_type = _MULTIPLEXED if answer.multiplexed_type else _RAW
        waiting, ended = self._parser.trailing_data
        if upgrade:
            headers = [("Content-Type", content_type), ("Connection", "Upgrade"), ("Upgrade", "tcp")]
            reply = self._parser.send(h11.InformationalResponse(status_code=101, headers=headers, reason=b"UPGRADED"))
        else:
            reply = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode()
        channel = HijackedChannel(self._transport, self._outlet, multiplexed=answer.multiplexed)
        self._channel = channel
        self._end_if_stopping()
        channel.feed(waiting)
        if ended or self._outlet.lost:
            channel.feed_end()
        with contextlib.suppress(ConnectionError):
            await self._outlet.send(reply or b"")
            self.listen()
            await self._outlet.taken()
        pump = asyncio.ensure_future(answer.session.pump(channel))
        gone = asyncio.ensure_future(channel.gone())
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            pump.cancel()
            await asyncio.wait({pump, gone})
        if not pump.cancelled():
            pump.result()

    async def _linger(self) -> None:
        """Closes our half and swallows what the client still sends, so that it can read the reply (RFC 9112, 9.6)."""
        if self._outlet.lost or self._parser.their_state in (h11.DONE, h11.CLOSED, h11.IDLE):
            return
        self._lingering = True
        self._transport.write_eof()
        self.listen()
        await asyncio.sleep(LINGER_SECONDS)

    # Small parts

    def _end_if_stopping(self) -> None:
        """The stop came while a handler worked: what would come next is not begun."""
        if self._stopping:
            self._task.cancel()

    def _ends_with_client(self) -> bool:
        return self._streaming or (self._request is not None and self._request.cancellable)

    async def _put(self, *events: h11.Event) -> None:
        """Sends events; waits while the client is slow."""
        await self._outlet.send(b"".join(self._parser.send(event) or b"" for event in events))

    async def _more(self) -> None:
        self._arrived.clear()
        self.listen()
        await self._arrived.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._on_end(self)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("a connection ended with an error", exc_info=error)


def _response(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())


def _headers(content_type: str, more: Iterable[tuple[str, str]], close: bool) -> list[tuple[str, str]]:
    headers = [*STANDARD_HEADERS, *more]
    if content_type:
        headers.append(("Content-Type", content_type))
    if close:
        headers.append(("Connection", "close"))
    return headers


def _announced(headers: Mapping[str, str]) -> int:
    """Content-Length, which h11 has checked; 0 when there is none."""
    return int(headers.get("content-length", "0"))


def _peer(transport: asyncio.Transport) -> str:
    """Who connected (unix(7), SO_PEERCRED)."""
    socket = transport.get_extra_info("socket")
    pid, user, group = _UCRED.unpack(socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _UCRED.size))
    return f"pid {pid}, uid {user}, gid {group}"
