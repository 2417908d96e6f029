"""A proxy on loopback that loses, delays and refuses what goes through it."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

import httpx

PATIENCE_SECONDS = 4.0
"""Of the clients: much more than a request takes on a slow machine with all the others beside it."""


class Fault(Enum):
    """What happens to one request."""

    NONE = "goes through"
    LATE = "is answered after the client's patience has ended"
    UNREAD = "is cut off before any of it is passed on"
    UNANSWERED = "is passed on, and its answer cut off"
    HALF_ANSWERED = "is passed on, and half of its answer comes back"
    REFUSED = "is answered with a 503 and not passed on"
    LOST = "is passed on, and answered with a 503"
    GARBLED = "is passed on, and answered with something else"


SERVED = {Fault.NONE, Fault.LATE, Fault.UNANSWERED, Fault.HALF_ANSWERED, Fault.LOST, Fault.GARBLED}
"""Those whose request reaches the server."""


class Proxy:
    """Passes requests on to a server, with faults.

    Args:
        upstream: The server's URL.
        dice: Decides what happens to which request.
        sound: The share of requests that go through.

    Attributes:
        happened: How often each fault happened.
        faults_of: What happened to the requests with one idempotency key, in order.
    """

    def __init__(self, upstream: str, dice: random.Random, *, sound: float) -> None:
        self.happened: Counter[Fault] = Counter()
        self.faults_of: defaultdict[str, list[Fault]] = defaultdict(list)
        self.closed = 0
        self.sound = sound
        self._upstream = upstream
        self._dice = dice
        self._deck: list[Fault] = []
        self._http = httpx.AsyncClient(timeout=60, trust_env=False)
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, and stop listening again and again for a moment, so that connections can't be made."""
        await self._listen()
        closing = asyncio.create_task(self._close_now_and_then())
        try:
            yield
        finally:
            closing.cancel()
            with suppress(asyncio.CancelledError):
                await closing
            self._stop_listening()
            await asyncio.gather(*self._exchanges)
            await self._http.aclose()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _close_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.01, 0.1))
            if self._dice.random() < self.sound:
                continue
            self._stop_listening()
            self.closed += 1
            await asyncio.sleep(self._dice.uniform(0.01, 0.05))
            await self._listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection, so that each needs a new one."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._exchange(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request_line, *lines = head.rstrip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = next(int(value) for name, value in headers.items() if name.lower() == "content-length")
        body = await reader.readexactly(length)
        fault = self._fault()
        self.happened[fault] += 1
        if key := headers.get("idempotency-key"):
            self.faults_of[key].append(fault)
        answer = b""
        if fault in SERVED:
            answer = await self._pass_on(request_line.split(" ")[1], headers, body)
        await self._answer(writer, fault, answer)

    def _fault(self) -> Fault:
        if self._dice.random() < self.sound:
            return Fault.NONE
        if not self._deck:  # dealt as cards, so that a few requests meet every fault
            self._deck = 2 * [fault for fault in Fault if fault not in (Fault.NONE, Fault.LATE)] + [Fault.LATE]
            self._dice.shuffle(self._deck)
        return self._deck.pop()

    async def _pass_on(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection")}
        response = await self._http.post(f"{self._upstream}{path}", headers=kept, content=body)
        kept_back = ("content-encoding", "content-length", "transfer-encoding", "connection")
        fields = [f"{name}: {value}" for name, value in response.headers.items() if name not in kept_back]
        return _response(f"{response.status_code} {response.reason_phrase}", fields, response.content)

    async def _answer(self, writer: asyncio.StreamWriter, fault: Fault, answer: bytes) -> None:
        if fault is Fault.LATE:
            await asyncio.sleep(PATIENCE_SECONDS * 1.25)
        if fault in (Fault.NONE, Fault.LATE):
            writer.write(answer)
        elif fault is Fault.HALF_ANSWERED:
            writer.write(answer[: len(answer) // 2])
        elif fault in (Fault.REFUSED, Fault.LOST):
            writer.write(_response("503 Service Unavailable", ["content-type: text/html"], b"<h1>Busy</h1>"))
        elif fault is Fault.GARBLED:
            writer.write(_response("200 OK", ["content-type: application/json"], b'{"executionId": 7'))
        await writer.drain()


def _response(status: str, fields: list[str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *fields, f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + body
