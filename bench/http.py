"""(a): the trigger mutation over HTTP, its runs executed in the same process, against a mutation that does nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from bench.files import fresh
from bench.load import Load
from bench.measure import Sample, in_turns, median_cpu, median_rate
from bench.server import CPU_PATH
from bench.table import Bound, Row

TRIGGER, NOTHING = "triggerOrderProcessing", "doNothing"
CONNECTIONS = (16, 64)
LONGEST_START_SECONDS = 30.0
LONGEST_DRAIN_SECONDS = 120.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Server:
    """The server process and its journal."""

    port: int
    journal: Path

    def cpu_seconds(self) -> float:
        """The CPU time it has taken so far."""
        return float(httpx.get(f"http://127.0.0.1:{self.port}{CPU_PATH}").text)

    def load(self, connections: int, seconds: float, field: str) -> Load:
        """Put load on it, from another process."""
        command = [sys.executable, "-m", "bench.load", str(self.port), str(connections), str(seconds), field]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as generator:  # noqa: S603 - ours
            printed, _ = generator.communicate()
        load = Load(**json.loads(printed))
        if load.refused:
            raise RuntimeError(f"{load.refused} of {load.accepted + load.refused} requests were refused")
        return load

    def finished(self) -> int:
        """Runs in the journal that have ended well."""
        return self._count("status = 'SUCCESS'")

    def drain(self) -> None:
        """Wait until every run has ended."""
        deadline = time.monotonic() + LONGEST_DRAIN_SECONDS
        while self._count("status <> 'SUCCESS'"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Runs go on {LONGEST_DRAIN_SECONDS} s after the load.")
            time.sleep(POLL_SECONDS)

    def _count(self, condition: str) -> int:
        with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as connection:
            query = f"SELECT count(*) FROM run WHERE {condition}"  # noqa: S608 - ours
            return int(connection.execute(query).fetchone()[0])


@contextmanager
def serving(platform: str, journal: Path) -> Iterator[Server]:
    """A server.

    Args:
        platform: The file of an embedded platform, or the URL of a platform server.
        journal: Where the runs come to be.
    """
    command = [sys.executable, "-m", "bench.server", platform]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            server = Server(int(process.stdout.readline()), journal)
            _wait_until_up(server)
            yield server
        finally:
            process.terminate()


def _wait_until_up(server: Server) -> None:
    deadline = time.monotonic() + LONGEST_START_SECONDS
    while True:
        try:
            server.cpu_seconds()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return


def rows(directory: Path, *, seconds: float, long_seconds: float, repetitions: int) -> tuple[list[Row], str]:
    """Measure the trigger mutation; the second value tells what the load generator took.

    Args:
        directory: On the disk to measure.
        seconds: Length of one sample of either mutation.
        long_seconds: Length of the load under which runs must keep pace.
        repetitions: Samples of each mutation.
    """
    journal = fresh(directory / "http.sqlite")
    with serving(str(journal), journal) as server:
        takes = [partial(sample, server, field, CONNECTIONS[0], seconds) for field in (TRIGGER, NOTHING)]
        ours, peer = in_turns(repetitions, *takes)
        cpu = median_cpu(ours), median_cpu(peer)
        name = f"(a) trigger over HTTP, runs executed, vs a no-op, {CONNECTIONS[0]} connections"
        table = [Row(name, median_rate(ours), median_rate(peer), "/s", Bound("at least", 0.5), cpu)]
        loads = [_keep_pace(server, connections, long_seconds, table) for connections in CONNECTIONS]
    shares = ", ".join(f"{load.cpu:.0%}" for load in loads)
    return (
        table,
        f"(a) The load generator took {shares} of one core at {CONNECTIONS[0]} and {CONNECTIONS[1]} connections.",
    )


def sample(server: Server, field: str, connections: int, seconds: float) -> Sample:
    """Load on one mutation: its rate while it lasts, and the server's CPU time until the last run has ended."""
    before = server.cpu_seconds()
    load = server.load(connections, seconds, field)
    server.drain()
    return Sample(load.accepted, load.seconds, server.cpu_seconds() - before)


def _keep_pace(server: Server, connections: int, seconds: float, table: list[Row]) -> Load:
    """Whether runs finish as fast as they are accepted; counted the moment the load ends."""
    before = server.finished()
    load = server.load(connections, seconds, TRIGGER)
    finished = server.finished() - before
    server.drain()
    label = f"{seconds:g} s at {connections} connections"
    table += [
        Row(f"(a) finished runs vs accepted, {label}", finished, load.accepted, "runs", Bound("at least", 0.9)),
        Row(f"(a) p99 vs p50 of the mutation, {label}", load.p99, load.p50, "ms", Bound("at most", 10)),
    ]
    return load
