"""(f): importing gqlplugin, against importing what it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial

from bench.measure import Sample, in_turns, median_cpu
from bench.table import Bound, Row

OURS = "import gqlplugin"
PEERS = "import strawberry, pydantic, starlette, httpx"


def rows(*, repetitions: int) -> list[Row]:
    """Measure the CPU time of both imports, each in processes of its own."""
    samples = in_turns(repetitions, partial(imported, OURS), partial(imported, PEERS))
    ours, peers = (median_cpu(one) / 1e3 for one in samples)
    return [Row(f"(f) {OURS}, vs {PEERS.removeprefix('import ')}, CPU", ours, peers, "ms", Bound("at most", 1.2))]


def imported(statement: str) -> Sample:
    """One new interpreter that runs a statement."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", statement])  # noqa: S603 - ours
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"`{statement}` failed")
    return Sample(1, time.perf_counter() - started, usage.ru_utime + usage.ru_stime)
