"""(h): webhooks over HTTP, each kept as a firing that starts a run of three jobs, against a route that reads JSON."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.files import fresh
from bench.http import CONNECTIONS, sample, serving
from bench.measure import in_turns, median_cpu, median_rate
from bench.server import BARE_PATH
from bench.shop import HOOK
from bench.table import Row


def rows(directory: Path, *, seconds: float, repetitions: int) -> list[Row]:
    """Measure both; the runs are executed by the process that answers.

    Args:
        directory: On the disk to measure.
        seconds: Length of one sample.
        repetitions: Samples of each.
    """
    journal = fresh(directory / "hooks.sqlite")
    table = []
    with serving(str(journal), journal) as server:
        for connections in CONNECTIONS:
            takes = [partial(sample, server, path, connections, seconds) for path in (HOOK, BARE_PATH)]
            ours, peer = in_turns(repetitions, *takes)
            name = f"(h) webhook to a durable run vs a bare route, {connections} connections"
            cpu = median_cpu(ours), median_cpu(peer)
            table.append(Row(name, median_rate(ours), median_rate(peer), "/s", cpu=cpu))
    return table
