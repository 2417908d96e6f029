"""Following a run on a terminal and in a pipe, and leaving it."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import APP, on_terminal, plain, run_command, running, worker

GATE = ("workflow", "start", "pack-order", "-a", '"gate"', "-W", *APP, "--database", "shop.sqlite")


@pytest.fixture(autouse=True)
def _working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("tests.cli.shop.GATES", tmp_path)
    with worker(tmp_path / "shop.sqlite"):
        yield


def opening(folder: Path) -> Callable[[int], object]:
    """Opens the gate that the run waits at."""
    return lambda _: (folder / "gate").touch()


def test_the_tree_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the jobs are drawn as a tree, with statuses in words and colours, times and progress."""
    code, written = on_terminal(tmp_path, *GATE, until="40% at the gate", then=opening(tmp_path))
    assert code == 0
    shown = plain(written)
    assert re.search(r"pack-order +RUNNING +\d\.\ds *\n└─ pack-order +SUSPEND +\d\.\ds *\n", shown)
    assert re.search(r"\n   └─ wait-for-gate +RUNNING +\d\.\ds +40% at the gate", shown)
    assert "\x1b[36mRUNNING" in written
    assert "\x1b[32mSUCCESS" in written
    last = shown[shown.rindex("pack-order  ", 0, shown.rindex("└─ pack-order")) :]
    assert re.sub(r" +\d+(\.\d)?m?s *\n", "\n", last).splitlines()[1:] == [
        "└─ pack-order         SUCCESS",
        "   └─ wait-for-gate   SUCCESS",
        "Status: success",
        'Output: "gate"',
    ]


def test_the_cursor_is_given_back(tmp_path: Path) -> None:
    """A watcher that is interrupted leaves the terminal with its cursor."""
    code, written = on_terminal(
        tmp_path, *GATE, until="40% at the gate", then=lambda process: os.kill(process, signal.SIGINT)
    )
    assert code == 130
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_a_terminal_without_colours(tmp_path: Path) -> None:
    """NO_COLOR keeps the tree and drops the colours."""
    code, written = on_terminal(tmp_path, *GATE, until="40% at", then=opening(tmp_path), NO_COLOR="1")
    assert code == 0
    assert "└─ wait-for-gate" in plain(written)
    assert not re.search(r"\x1b\[(3\d|9\d)m", written)


def test_a_terminal_that_can_not_draw(tmp_path: Path) -> None:
    """A dumb terminal gets lines."""
    code, written = on_terminal(tmp_path, *GATE, until="40% at", then=opening(tmp_path), TERM="dumb")
    assert code == 0
    assert "\x1b" not in written
    assert re.search(r"\d  SUCCESS +pack-order/wait-for-gate", written)


def test_a_hint_on_a_terminal(tmp_path: Path) -> None:
    """That nothing runs the file's jobs is written above the drawing, once, after two seconds."""
    (tmp_path / "idle.sqlite").touch()
    words = ("workflow", "start", "ship-order", "-W", "--timeout", "5s", *APP, "--database", "idle.sqlite")
    code, written = on_terminal(tmp_path, *words)
    shown = plain(written)
    assert code == 3
    assert shown.count("No process runs the jobs of this file.") == 1
    assert "gqlplugin worker -A tests.cli.shop:app --database idle.sqlite" in shown
    assert re.search(r"ship-order +PENDING", shown[shown.index("No process") :])


def test_interrupted_in_a_pipe(tmp_path: Path) -> None:
    """Ctrl-C stops the watching and not the run: it says so, and the command it prints goes on watching."""
    with running(tmp_path, *GATE) as command:
        command.says("at the gate")
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == 130
        run_id = command.says("Execution ID: ").split()[-1]
    expected = f"gqlplugin workflow executions {run_id} -W -A tests.cli.shop:app --database shop.sqlite"
    assert command.err.splitlines()[-2:] == [
        "Stopped watching; the run goes on. To watch it again:",
        f"  {expected}",
    ]
    assert "Traceback" not in command.err
    (tmp_path / "gate").touch()
    again = run_command(tmp_path, *expected.split()[1:])
    assert (again.returncode, again.stdout) == (0, 'Status: success\nOutput: "gate"\n')


def test_interrupted_with_json(tmp_path: Path) -> None:
    """A followed run prints its JSON at its end: an interrupted watcher prints none."""
    with running(tmp_path, *GATE, "--json") as command:
        command.says("at the gate")
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == 130
    assert command.out == ""


def test_lines_tell_each_change_once(tmp_path: Path) -> None:
    """In a pipe a change is told once, however often the run is looked at."""
    with running(tmp_path, *GATE) as command:
        command.says("at the gate")
        (tmp_path / "gate").touch()
        assert command.ended() == 0
    told = [re.sub(r"^\S+|\d+(\.\d+)?m?s", "", line).split() for line in command.err.splitlines()]
    assert len(told) == len({tuple(line) for line in told})
    assert told[-1] == ["SUCCESS", "workflow", "pack-order"]
