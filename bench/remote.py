"""(g): the trigger mutation with its runs on a server in another process, against runs in the process itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.files import fresh
from bench.http import CONNECTIONS, TRIGGER, sample, serving
from bench.measure import in_turns, median_cpu, median_rate
from bench.table import Row


@contextmanager
def platform_server(journal: Path) -> Iterator[str]:
    """A platform server with a new journal; yields its URL."""
    command = [sys.executable, "-m", "bench.platform_server", str(fresh(journal))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def rows(directory: Path, *, seconds: float, repetitions: int) -> list[Row]:
    """Measure triggers; the CPU time is that of the process that serves GraphQL, which is all there is of the peer.

    Args:
        directory: On the disk to measure.
        seconds: Length of one sample.
        repetitions: Samples of each.
    """
    here, there = directory / "here.sqlite", directory / "there.sqlite"
    with platform_server(there) as url, serving(url, there) as remote, serving(str(fresh(here)), here) as local:
        table = []
        for connections in CONNECTIONS:
            takes = [partial(sample, server, TRIGGER, connections, seconds) for server in (remote, local)]
            ours, peer = in_turns(repetitions, *takes)
            name = f"(g) trigger with a server in another process vs embedded, {connections} connections"
            table.append(
                Row(name, median_rate(ours), median_rate(peer), "/s", cpu=(median_cpu(ours), median_cpu(peer)))
            )
        return table
