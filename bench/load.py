"""The load generator, a process of its own: `python -m bench.load PORT CONNECTIONS SECONDS WHAT` prints its result.

Plain non-blocking sockets, requests made of bytes beforehand and the least of parsing, so that it is not what limits
the rate. Each connection has one request under way; the next one follows the answer.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.shop import ORDER, VARIABLES, mutation

LONGEST_ANSWER = 65_536
_FEWEST_ANSWERS = 2


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it.

    Attributes:
        accepted: Requests that were answered within the time, with 200 or 204 and without errors.
        refused: Those answered otherwise.
        seconds: How long it lasted.
        p50: The median of the answer times, in milliseconds.
        p99: Their 99th percentile.
        cpu: The share of one core that the generator took.
    """

    accepted: int
    refused: int
    seconds: float
    p50: float
    p99: float
    cpu: float


class Connection:
    """A socket with a request under way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._answer = b""
        self._sent_at = 0.0

    def send(self) -> None:
        """Send the request; it fits the socket's buffer."""
        self._answer = b""
        self._sent_at = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> tuple[float, bool] | None:
        """How long the answer took in seconds, and whether it is a good one; None when more of it is to come."""
        received = self.socket.recv(LONGEST_ANSWER)
        if not received:
            raise ConnectionError("The server closed a connection.")
        self._answer += received
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return None
        good = head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")) and b'"errors"' not in body
        return time.perf_counter() - self._sent_at, good


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)


def request_for(what: str) -> bytes:
    """An HTTP request with one of the shop's mutations or, for a path, with what a webhook sends."""
    sent: object = ORDER if what.startswith("/") else {"query": mutation(what), "variables": VARIABLES}
    path, body = what if what.startswith("/") else "/graphql", json.dumps(sent).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(port: int, connections: int, seconds: float, what: str) -> Load:
    """Put load on a server on this machine.

    Args:
        port: Its port.
        connections: How many requests are under way at any time.
        seconds: How long; on a slow machine longer, as two answers are the least that has a median.
        what: The mutation to send, or the path to send an order to.
    """
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(port, request_for(what))
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    started, cpu = time.perf_counter(), time.process_time()
    answers = _exchange(selector, started + seconds)
    lasted, cpu = time.perf_counter() - started, time.process_time() - cpu
    for key in selector.get_map().values():
        key.data.socket.close()
    return _summary(answers, lasted, cpu)


def _exchange(selector: selectors.BaseSelector, deadline: float) -> list[tuple[float, bool]]:
    answers: list[tuple[float, bool]] = []
    for key in selector.get_map().values():
        key.data.send()
    while (left := deadline - time.perf_counter()) > 0 or len(answers) < _FEWEST_ANSWERS:
        for key, _ in selector.select(max(left, 0.1)):
            answer = key.data.receive()
            if answer is not None:
                answers.append(answer)
                key.data.send()
    return answers


def _summary(answers: Sequence[tuple[float, bool]], seconds: float, cpu_seconds: float) -> Load:
    good = [took * 1e3 for took, is_good in answers if is_good]
    percentiles = statistics.quantiles(good, n=100)
    refused = len(answers) - len(good)
    return Load(len(good), refused, seconds, percentiles[49], percentiles[98], cpu_seconds / seconds)


def main(port: str, connections: str, seconds: str, what: str) -> None:
    """Drive a server and print the result as JSON."""
    load = drive(int(port), int(connections), float(seconds), what)
    sys.stdout.write(json.dumps(asdict(load)))
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
