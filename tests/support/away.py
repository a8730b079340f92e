"""A Prefect server that goes away: a real proxy in front of it that forwards, delays, refuses, hangs or answers 503."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEAD_END = b"\r\n\r\n"
CHUNK = 1 << 16
TOGETHER_SEC = 0.05


class Fault(StrEnum):
    """What the proxy does with whoever asks."""

    NONE = "none"
    """Every request goes through, websockets too."""
    REFUSED = "refused"
    """Nobody listens, and every connection that was open is cut."""
    UNAVAILABLE = "unavailable"
    """Every connection is answered 503 and closed; those that were open are cut."""
    SLOW = "slow"
    """Every answer comes so many seconds later."""
    HANGING = "hanging"
    """Connections are taken and never answered."""


class Away:
    """A proxy on a port of its own in front of a server's API; used as a context manager.

    `hearing` is called with each piece that a client sends, before it is passed on: it may set the fault.
    """

    def __init__(self, api_url: str, *, delay_sec: float = 5.0) -> None:
        self._target = urlsplit(api_url)
        self.delay_sec = delay_sec
        self.hearing: Callable[[bytes], None] | None = None
        self.connections = 0
        self._fault = Fault.NONE
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="away", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def api_url(self) -> str:
        """The server's API as it is reached through the proxy."""
        return urlunsplit(self._target._replace(netloc=f"127.0.0.1:{self._port}"))

    @property
    def fault(self) -> Fault:
        """What the proxy does now."""
        return self._fault

    def be(self, fault: Fault) -> None:
        """Behave so from now on; may be called from any thread, also by `hearing`."""
        if threading.current_thread() is self._thread:
            # The piece that was heard is not passed on any more, but its connection has to be cut later.
            self._fault = fault
            self._cut()
            self._keep(self._change(fault))
        else:
            self._do(self._change(fault))

    def be_for(self, fault: Fault, seconds: float) -> None:
        """Behave so for that long, and then forward again; returns at once."""
        self.be(fault)
        self._loop.call_soon_threadsafe(lambda: self._loop.call_later(seconds, lambda: self.be(Fault.NONE)))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _change(self, fault: Fault) -> None:
        self._fault = fault
        if fault is not Fault.SLOW:
            self._cut()
        if fault is Fault.REFUSED:
            await self._deafen()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listening)

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _cut(self) -> None:
        for writer in list(self._open):
            transport = writer.transport
            if transport is not None:
                transport.abort()
        self._open.clear()

    async def _end(self) -> None:
        await self._deafen()
        self._cut()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        serving = asyncio.current_task()
        if serving is not None:
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        with suppress(OSError, asyncio.IncompleteReadError):
            if self._fault is Fault.UNAVAILABLE:
                await reader.readuntil(HEAD_END)
                writer.write(UNAVAILABLE)
                await writer.drain()
            elif self._fault is Fault.HANGING:
                await reader.read()
            else:
                await self._forward(reader, writer)
        self._open.discard(writer)
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._open.add(back)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(reader, back))
                both.create_task(self._answer(there, writer))
        except* OSError:
            pass  # One end was cut, and so is the other.
        finally:
            self._open.discard(back)
            back.close()

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while piece := await reader.read(CHUNK):
            if self.hearing is not None:
                self.hearing(piece)
            if self._fault not in {Fault.NONE, Fault.SLOW}:
                raise ConnectionAbortedError
            back.write(piece)
            await back.drain()
        back.close()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered_at = 0.0
        while piece := await there.read(CHUNK):
            # The pieces of one answer come together.
            if self._fault is Fault.SLOW and self._loop.time() - answered_at > TOGETHER_SEC:
                await asyncio.sleep(self.delay_sec)
            answered_at = self._loop.time()
            writer.write(piece)
            await writer.drain()
        writer.close()
