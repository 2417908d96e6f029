"""`make demo`, as somebody sees it who runs it."""

import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from example_app import demo

ROOT = Path(__file__).parent.parent.parent


def command(database: Path, pace: float) -> list[str]:
    return [sys.executable, "-m", "example_app.demo", "--database", str(database), "--pace", str(pace)]


def run_demo(database: Path) -> str:
    done = subprocess.run(command(database, 0), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_id_in(output: str) -> str:
    found = re.search(r"run's ID at once: (\S+)", output)
    assert found, output
    return found[1]


def is_served(database: Path) -> bool:
    """Whether a process executes the runs of the file; the kernel drops the lock with the process."""
    with database.with_name(f"{database.name}.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.fixture
def _signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_demo_follows_a_run_and_the_next_one_lists_it(tmp_path: Path) -> None:
    """It shows the run's ID, its jobs and its result, names its file and keeps it, and leaves no server behind."""
    database = tmp_path / "shop.sqlite"
    first, second = run_demo(database), run_demo(database)
    for line in ("process-order/send-notification SUCCESS", "order-processing SUCCESS", '"totalCents": 450'):
        assert line in first
    assert "In the outbox, to alice@example.com" in first
    assert str(database) in first
    assert database.exists()
    assert "This was the first run" in first
    assert run_id_in(first) != run_id_in(second)
    assert run_id_in(first) in second
    assert not is_served(database)


def test_a_demo_shows_what_happens_by_itself(tmp_path: Path) -> None:
    """A payment that is signed with a key made for this demo is accepted, and the executors show what they did."""
    output = run_demo(tmp_path / "shop.sqlite")
    assert "and has the answer 204 at once" in output
    lines = [line for line in output.splitlines() if line.startswith("│")]
    lately = {line.split("│")[1].strip(): line.split("│")[3].strip() for line in lines}
    assert lately["order-placed"] == "SUCCESS"
    assert lately["order-created"].startswith("SUCCESS started run")
    assert lately["payment-received"].startswith("SUCCESS started run")
    assert lately["daily-report"].startswith("next time")
    assert (lately["order-processed"], lately["order-cancelled"]) == ("disabled", "not yet")
    assert "whsec_" not in output


def test_a_demo_shows_an_approval(tmp_path: Path) -> None:
    """The large order that is paid waits for the manager, who is told what it is, and goes on."""
    output = run_demo(tmp_path / "shop.sqlite")
    waits, _, goes_on = output.partition("The manager sends")
    assert "waits for an approval: Bob Baker, A bicycle, 799.00 EUR." in waits
    assert "resolveApproval" in goes_on
    assert "and the run goes on: SUCCESS, with the note “Ride safely.”" in goes_on


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_no_server_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a polite kill and a closed terminal end the server before they end the demo."""
    database = tmp_path / "shop.sqlite"
    with subprocess.Popen(command(database, 60), cwd=ROOT, stdout=subprocess.PIPE, text=True) as shown:
        assert shown.stdout
        output = ""
        while "fetch-customer RUNNING" not in output:
            line = shown.stdout.readline()
            assert line, output
            output += line
        assert is_served(database)
        shown.send_signal(number)
        assert shown.wait(timeout=60) == 130
    assert not is_served(database)


@pytest.mark.usefixtures("_signals")
def test_a_demo_whose_run_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status tells scripts, and the message tells why: the order is Bob's."""
    monkeypatch.setattr(demo, "PLACE", demo.PLACE.replace("alice", "bob"))
    with pytest.raises(typer.Exit) as caught:
        demo.main(tmp_path / "shop.sqlite", pace=0)
    assert caught.value.exit_code == 1
    assert "The run failed: Alice Archer has no order" in capsys.readouterr().out


@pytest.mark.usefixtures("_signals")
def test_a_shop_that_does_not_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server said is shown, and the exit status is not 0."""
    with pytest.raises(typer.Exit) as caught:
        demo.main(tmp_path / "no-such-directory" / "shop.sqlite", pace=0)
    assert caught.value.exit_code == 1
    assert "unable to open database file" in capsys.readouterr().out


def test_a_taken_port_is_no_trouble() -> None:
    """Where 8000 is taken, by this socket or by somebody else's, another free port is used."""
    with demo.listen(), demo.listen() as other:
        assert other.getsockname()[1] != demo.PORT
