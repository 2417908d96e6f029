"""The benchmark runs; what it measures is not judged here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import (
    history,
    hooks,
    http,
    imports,
    keys,
    live,
    live_server,
    load,
    measure,
    outbox,
    platform_server,
    reads,
    remote,
    resolvers,
    server,
    shop,
    starts,
    sums,
    table,
    temporal,
    temporal_worker,
)
from bench.__main__ import main
from bench.table import Bound, Row, render


def test_every_part_can_be_imported() -> None:
    """The modules of the benchmark load, which `python -m bench` needs at once and no other test does."""
    parts = (
        history,
        hooks,
        http,
        imports,
        keys,
        live,
        live_server,
        load,
        measure,
        outbox,
        platform_server,
        reads,
        remote,
        resolvers,
        server,
        shop,
        starts,
        sums,
        table,
        temporal,
        temporal_worker,
    )
    assert all(part.__doc__ for part in parts)


@pytest.mark.slow
def test_starts_are_measured(tmp_path: Path) -> None:
    """Parts (b) and (c) run from start to SUCCESS and tell a rate, a peer's rate and CPU times."""
    rows = starts.rows(tmp_path, count=20, repetitions=1)
    assert [row.name[:3] for row in rows] == ["(b)", "(b)", "   ", "   ", "(c)"]
    assert all(row.ours > 0 and row.peer > 0 and row.cpu and min(row.cpu) > 0 for row in rows)


@pytest.mark.slow
def test_resolvers_are_measured() -> None:
    """Part (d) runs the resolver and the fields written by hand, which answer alike."""
    assert [row.ours > 0 for row in resolvers.rows(count=2, repetitions=1)] == [True, True]


@pytest.mark.slow
def test_a_history_is_read_through_graphql(tmp_path: Path) -> None:
    """Part (e) fills journals with runs that the schema can show."""
    rows, note = reads.rows(tmp_path, runs=2 * history.ORIGINALS, count=1, repetitions=1)
    assert len(rows) == 8
    assert "2,000 runs" in note


@pytest.mark.slow
def test_a_server_is_loaded_over_http(tmp_path: Path) -> None:
    """Part (a) starts a server, sends both mutations to it, and waits until what they started has ended."""
    journal = tmp_path / "http.sqlite"
    with http.serving(str(journal), journal) as running:
        accepted = running.load(2, 0.3, http.TRIGGER).accepted
        assert running.load(2, 0.3, http.NOTHING).accepted > 0
        running.drain()
        assert running.finished() >= accepted > 0


@pytest.mark.slow
def test_triggers_on_a_platform_server_are_measured(tmp_path: Path) -> None:
    """Part (g) starts three servers, and tells a rate and a CPU time for either platform."""
    rows = remote.rows(tmp_path, seconds=0.6, repetitions=1)
    assert [row.name[:3] for row in rows] == ["(g)", "(g)"]
    assert all(row.ours > 0 and row.peer > 0 and row.cpu and min(row.cpu) > 0 for row in rows)


@pytest.mark.slow
def test_webhooks_are_measured(tmp_path: Path) -> None:
    """Part (h) sends webhooks and bare requests to one server, and what the webhooks start runs to its end."""
    rows = hooks.rows(tmp_path, seconds=0.6, repetitions=1)
    assert [row.name[:3] for row in rows] == ["(h)", "(h)"]
    assert all(row.ours > 0 and row.peer > 0 and row.cpu and min(row.cpu) > 0 for row in rows)


@pytest.mark.slow
def test_the_outbox_is_measured(tmp_path: Path) -> None:
    """Parts (i) and (j) flush with and without a trigger, and drain an outbox to its last row."""
    rows = outbox.rows(tmp_path, flushes=2, drained=40, repetitions=1)
    assert [row.name[:3] for row in rows] == ["(i)", "(i)", "(j)"]
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


@pytest.mark.slow
def test_subscriptions_are_measured(tmp_path: Path) -> None:
    """Part (l) opens subscriptions of both kinds, and tells how long messages take to them."""
    rows = live.rows(tmp_path, watchers=[2], messages=2)
    assert [row.unit for row in rows] == ["/s", "ms", "ms", "ms", "ms"]
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


@pytest.mark.slow
def test_keys_are_measured(tmp_path: Path) -> None:
    """Part (k) triggers and mutates with a key and without."""
    rows = keys.rows(tmp_path, count=4, repetitions=1)
    assert [row.name[:3] for row in rows] == ["(k)", "   ", "(k)"] * len(keys.CALLERS)
    assert all(row.ours > 0 and row.peer > 0 and row.cpu and min(row.cpu) > 0 for row in rows)


@pytest.mark.temporal
def test_temporal_is_measured(tmp_path: Path) -> None:
    """Part (m) starts runs of either kind on a server of its own, and workers run them to their ends."""
    rows = temporal.rows(tmp_path, starts=8, runs=4, repetitions=1, on_file=False)
    assert [row.name[:3] for row in rows] == ["(m)"] * 3 + ["   "] * 2
    assert all(row.ours > 0 and row.peer > 0 for row in rows)


def test_a_row_tells_whether_its_bound_holds() -> None:
    """A ratio on the wrong side of its bound is called short, and the table shows all of it."""
    rows = [
        Row("fast", 3, 2, "/s", Bound("at least", 1.2), (1, 2)),
        Row("slow", 3, 2, "ms", Bound("at most", 1.2)),
        Row("shown", 3, 2, "ms"),
    ]
    assert [row.verdict for row in rows] == ["ok", "short", ""]
    assert [" ".join(line.split()) for line in render(rows).splitlines()[1:]] == [
        "fast 3 /s 2 /s 1.50 ≥ 1.2 ok 1 / 2 µs",
        "slow 3 ms 2 ms 1.50 ≤ 1.2 short",
        "shown 3 ms 2 ms 1.50",
    ]


def test_the_command_prints_machine_table_and_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m bench --only f` measures that part alone, and shows no path of the machine."""
    monkeypatch.setitem(sys.modules["bench.__main__"].PARTS, "f", lambda _, quick: ([Row("f", 1, 2, "ms")], "a note"))
    main(["--only", "f", "--quick", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "cores, Python" in printed.splitlines()[0]
    assert "a note\n0 of 0 bounds missed" in printed
    assert str(tmp_path) not in printed
