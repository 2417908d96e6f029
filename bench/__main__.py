"""`python -m bench`: one table from one run."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import hooks, http, imports, keys, live, outbox, reads, remote, resolvers, starts, temporal
from bench.table import Row, render

Part = Callable[[Path, bool], tuple[list[Row], str]]


def _http(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return http.rows(
        directory, seconds=1 if quick else 4, long_seconds=4 if quick else 30, repetitions=2 if quick else 4
    )


def _starts(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return starts.rows(directory, count=1000 if quick else 4000, repetitions=3 if quick else 5), ""


def _resolvers(_: Path, quick: bool) -> tuple[list[Row], str]:
    return resolvers.rows(count=300 if quick else 1000, repetitions=3 if quick else 7), ""


def _reads(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return reads.rows(
        directory, runs=20_000 if quick else 1_000_000, count=50 if quick else 100, repetitions=3 if quick else 5
    )


def _imports(_: Path, quick: bool) -> tuple[list[Row], str]:
    return imports.rows(repetitions=3 if quick else 10), ""


def _remote(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return remote.rows(directory, seconds=1 if quick else 4, repetitions=2 if quick else 4), ""


def _hooks(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return hooks.rows(directory, seconds=1 if quick else 4, repetitions=2 if quick else 4), ""


def _outbox(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return outbox.rows(
        directory, flushes=100 if quick else 400, drained=5_000 if quick else 100_000, repetitions=3 if quick else 5
    ), ""


def _keys(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return keys.rows(directory, count=500 if quick else 2000, repetitions=3 if quick else 5), ""


def _live(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return live.rows(directory, watchers=(1, 100, 500), messages=5 if quick else 40), ""


def _temporal(directory: Path, quick: bool) -> tuple[list[Row], str]:
    return temporal.rows(
        directory,
        starts=100 if quick else 400,
        runs=50 if quick else 200,
        repetitions=2 if quick else 3,
        on_file=not quick,
    ), ""


PARTS: dict[str, Part] = {
    "a": _http,
    "bc": _starts,
    "d": _resolvers,
    "e": _reads,
    "f": _imports,
    "g": _remote,
    "h": _hooks,
    "ij": _outbox,
    "k": _keys,
    "l": _live,
    "m": _temporal,
}


def machine() -> str:
    """What the numbers were measured on."""
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}; load before: {load}"


def main(arguments: list[str]) -> None:
    """Measure, and print as it goes."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure gqlplugin beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples: under a minute, and rougher")
    parser.add_argument("--only", default=" ".join(PARTS), help="which parts to measure, such as 'bc d'")
    parser.add_argument(
        "--directory", type=Path, default=Path("build"), help="on the disk to measure; build by default"
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    write = sys.stdout.write
    write(f"{machine()}\n")
    rows, notes = measure(options.only.split(), options.directory, quick=options.quick)
    write(f"\n{render(rows)}\n\n{notes}")
    short = sum(row.verdict == "short" for row in rows)
    write(f"{short} of {sum(bool(row.verdict) for row in rows)} bounds missed; {time.monotonic() - started:.0f} s.\n")


def measure(parts: list[str], directory: Path, *, quick: bool) -> tuple[list[Row], str]:
    """The rows of some parts, and what is to be said of them."""
    directory.mkdir(exist_ok=True)
    rows: list[Row] = []
    notes = ""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as temporary:
        for part in parts:
            sys.stderr.write(f"measuring ({') ('.join(part)}) ...\n")
            found, note = PARTS[part](Path(temporary), quick)
            rows += found
            notes += note and f"{note}\n"
    return rows, notes


if __name__ == "__main__":
    main(sys.argv[1:])
