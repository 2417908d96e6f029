"""A TCP link to a server that can be cut in several ways."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

from tests.loopback import free_port


class Cut(Enum):
    """What happens to those who use a link that is cut."""

    SILENT = "what they send goes nowhere, and nothing comes back"
    REFUSED = "their connections are closed, and new ones refused"
    RESET = "their connections are reset, and new ones at once"
    UNANSWERED = "what they send arrives, and nothing comes back"


class Link:
    """Passes bytes on, on a port of its own.

    Args:
        address: Host and port of the server.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._upstream = host, int(port)
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._cut: Cut | None = None
        self._whole = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Pass on what comes."""
        await self.mend()
        try:
            yield
        finally:
            self._stop_listening()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, cut: Cut) -> None:
        """Pass nothing on."""
        self._cut = cut
        self._whole.clear()
        if cut is Cut.REFUSED:
            self._stop_listening()
        if cut in (Cut.REFUSED, Cut.RESET):
            for writer in self._writers:
                writer.transport.abort()

    async def mend(self) -> None:
        """Pass everything on again. What was sent into the silence arrives late, as TCP sends it again."""
        self._cut = None
        self._whole.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut is Cut.RESET:
            writer.transport.abort()
            return
        await self._whole.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer, is_answer=False))
                group.create_task(self._pass_on(far_reader, writer, is_answer=True))
        finally:
            self._writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if is_answer or self._cut is not Cut.UNANSWERED:
                    await self._whole.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
