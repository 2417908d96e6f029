"""`gqlplugin workflow start` on a file of this machine."""

import io
import re
from datetime import timedelta
from pathlib import Path

import pytest

from gqlplugin.platform.tailor.server.served import workflow_id
from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP, ORDER, run_command, until

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
Local = tuple[str, ...]


def test_start_prints_what_the_older_command_line_does(gqlplugin: Gqlplugin, local: Local) -> None:
    """A start prints the execution's ID and that it is pending, each on a line of stdout, and exits with 0."""
    result = gqlplugin("workflow", "start", "place-order", "-a", ORDER, *local)
    assert re.fullmatch(rf"Execution ID: {UUID}\nStatus: pending\n", result.out)
    assert (result.code, result.err) == (0, "")


def test_wait_shows_changes_and_the_end(gqlplugin: Gqlplugin, local: Local) -> None:
    """With --wait every job's end is a line on stderr, and the final status and output are on stdout."""
    result = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-W", *local)
    assert result.code == 0
    assert result.out.splitlines()[2:] == ["Status: success", 'Output: {"order_id":"1","charged":5}']
    for job in ("place-order", "place-order/charge-card", "place-order/charge-card/look-up-price"):
        assert re.search(rf"^\d\d:\d\d:\d\d  SUCCESS +{job}  \d+ms$", result.err, re.MULTILINE)
    assert re.search(r"  SUCCESS +workflow place-order  \d+ms$", result.err.strip())


def test_logs_and_results_of_each_job(gqlplugin: Gqlplugin, local: Local) -> None:
    """With --logs each job is listed with its log lines and its result."""
    result = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-W", "-l", *local)
    _, main, charge, price = result.out.split("\n\n")
    assert main.startswith("place-order  SUCCESS\n")
    assert "INFO order 1\n" in main
    assert main.endswith('→ {"order_id":"1","charged":5}')
    assert charge.startswith("place-order/charge-card  SUCCESS\n")
    assert "INFO looking up 1\n  → 5" in price


def test_quiet_prints_only_the_id(gqlplugin: Gqlplugin, local: Local) -> None:
    """With --quiet the ID alone is on stdout, with --wait too, and nothing is on stderr."""
    result = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-q", "-W", *local)
    assert re.fullmatch(rf"{UUID}\n", result.out)
    assert (result.code, result.err) == (0, "")


def test_a_failed_run_is_exit_code_1(gqlplugin: Gqlplugin, local: Local) -> None:
    """A followed run that fails shows its error on stderr and exits with 1."""
    result = gqlplugin("workflow", "start", "ship-order", "-W", *local)
    assert result.code == 1
    assert result.out.endswith("Status: failed\n")
    assert result.err.splitlines()[-1].startswith("Error: PRINTER_OFF: The printer is off.")


def test_text_of_runs_reaches_no_terminal_raw(gqlplugin: Gqlplugin, local: Local) -> None:
    """Escape sequences, markup and direction marks in logs and errors are shown as what they are."""
    result = gqlplugin("workflow", "start", "ship-order", "-W", "-l", *local)
    for text in (result.out, result.err):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert r"\x1b[31mred\x1b]0;owned\x07 [bold]not markup[/bold] \u202egnp" in text


def test_an_error_is_shown_where_it_happened(gqlplugin: Gqlplugin, local: Local) -> None:
    """A job that passes on the error of a job below it does not show it again."""
    result = gqlplugin("workflow", "start", "ship-order", "-W", *local)
    failed = [line for line in result.err.splitlines() if "FAILED" in line]
    assert ["PRINTER_OFF" in line for line in failed] == ["print-label" in line for line in failed]


@pytest.mark.parametrize(
    ("arg", "shown"),
    [
        ('{"order_id": "1", "total": "x"}', "  total  Input should be a valid integer"),
        ("{}", "  order_id  Field required\n  total     Field required\n"),
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
    ],
)
def test_the_argument_is_checked_before_anything_starts(
    gqlplugin: Gqlplugin, local: Local, arg: str, shown: str
) -> None:
    """An argument that doesn't fit starts nothing; each field's problem is on a line."""
    result = gqlplugin("workflow", "start", "place-order", "-a", arg, *local)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: The argument of workflow 'place-order' is not valid:\n")
    assert shown in result.err
    assert gqlplugin("workflow", "executions", "-j", *local).json == []


def test_a_missing_argument_is_said(gqlplugin: Gqlplugin, local: Local) -> None:
    """A workflow that takes an argument says so when there is none."""
    result = gqlplugin("workflow", "start", "place-order", *local)
    assert result.err == "Error: Workflow 'place-order' takes an argument: give it with --arg JSON.\n"
    assert result.code == 1


LENIENT = """
from pydantic import BaseModel
from gqlplugin import create_workflow, create_workflow_job, define_app

class Input(BaseModel):
    name: str = "nobody"

@create_workflow_job(name="defaults-main")
async def defaults(input: Input) -> str:
    return input.name

@create_workflow_job(name="either-main")
async def either(input: Input | None) -> str:
    return "none" if input is None else input.name

workflows = [create_workflow(name="defaults", main_job=defaults), create_workflow(name="either", main_job=either)]
app = define_app("lenient", workflows=workflows)
"""


def test_no_argument_where_none_is_needed(
    gqlplugin: Gqlplugin, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an argument a workflow gets null, and where it does not take that, the defaults of all fields."""
    (tmp_path / "lenient_shop.py").write_text(LENIENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    target = ("-A", "lenient_shop:app", "--database", local[-1])
    for name, recorded in (("defaults", {"name": "nobody"}), ("either", None)):
        run_id = gqlplugin("workflow", "start", name, "-q", *target).out.strip()
        assert gqlplugin("workflow", "executions", run_id, "-j", *target).json["input"] == recorded


def test_the_argument_from_a_file_and_stdin(
    gqlplugin: Gqlplugin, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """@FILE and - read the argument from a file and from stdin."""
    (tmp_path / "arg.json").write_text(ORDER)
    assert gqlplugin("workflow", "start", "place-order", "-a", "@arg.json", *local).code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(ORDER))
    assert gqlplugin("workflow", "start", "place-order", "-a", "-", *local).code == 0
    missing = gqlplugin("workflow", "start", "place-order", "-a", "@nowhere.json", *local)
    assert (missing.code, missing.err) == (
        2,
        "Error: The argument can't be read from 'nowhere.json': No such file or directory.\n",
    )


def test_the_machine_user(gqlplugin: Gqlplugin, local: Local) -> None:
    """A run is anonymous without --machineuser, and runs as that of the app's namespace with it."""
    started = gqlplugin("workflow", "start", "refund-order", "-m", "clerk", "-a", ORDER, "-W", "-j", *local)
    assert started.json["machineUser"] == "clerk"
    named = gqlplugin(
        "workflow", "start", "refund-order", "-m", "clerk", "--app", "shop-auth", "-a", ORDER, "-W", "-j", *local
    )
    assert named.json["machineUser"] == "clerk"
    anonymous = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-W", "-j", *local)
    assert anonymous.json["machineUser"] is None


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "You may not start workflow 'refund-order'."),
        (("-m", "robot"), "You may not start workflow 'refund-order'."),
        (("-m", "boss"), "Machine user 'boss' is not defined in auth 'shop-auth'; defined: clerk, robot."),
        (("-m", "clerk", "--app", "other"), "Auth namespace 'other' is not the app's"),
    ],
)
def test_who_may_not_start(gqlplugin: Gqlplugin, local: Local, options: Local, shown: str) -> None:
    """A permission, an unknown machine user or another namespace refuse the start."""
    result = gqlplugin("workflow", "start", "refund-order", "-a", ORDER, *options, *local)
    assert (result.code, result.out) == (1, "")
    assert shown in result.err
    assert gqlplugin("workflow", "executions", "-j", *local).json == []


def test_an_unknown_workflow_is_corrected(gqlplugin: Gqlplugin, local: Local) -> None:
    """A misspelt name is answered with the one that was meant, and nothing is started."""
    result = gqlplugin("workflow", "start", "place-ordr", *local)
    assert result.err == "Error: App 'shop' has no workflow 'place-ordr'. Did you mean 'place-order'?\n"
    assert result.code == 1


def test_by_the_id_that_a_server_gives(gqlplugin: Gqlplugin, local: Local) -> None:
    """--workflow-id takes the ID under which a server of the app knows the workflow."""
    uuid = workflow_id("shop", "place-order")
    result = gqlplugin("workflow", "start", "--workflow-id", uuid, "-a", ORDER, "-W", "-j", *local)
    assert result.json["workflowName"] == "place-order"
    unknown = gqlplugin("workflow", "start", "--workflow-id", "0" + uuid[1:][::-1], *local)
    assert unknown.code == 1
    assert "There is no workflow with the ID" in unknown.err


@pytest.mark.parametrize("by_name", [False, True])
def test_the_form_of_the_older_command_line(gqlplugin: Gqlplugin, local: Local, by_name: bool) -> None:
    """`workspace workflow start` takes its options as `tailorctl` does, the short ones too, and a name for an ID."""
    which = "refund-order" if by_name else workflow_id("shop", "refund-order")
    start = ("workspace", "workflow", "start")
    result = gqlplugin(*start, "-i", which, "-g", ORDER, "-a", "shop-auth", "-m", "clerk", "--quiet", *local)
    assert (result.code, result.err) == (0, "")
    shown = gqlplugin("workspace", "workflow", "executions", result.out.strip(), "-j", *local)
    assert (shown.json["workflowName"], shown.json["machineUser"]) == ("refund-order", "clerk")
    long = ("--workflow-id", which, "--arg", ORDER, "--app", "shop-auth", "--machineuser", "clerk")
    result = gqlplugin(*start, *long, *local)
    assert re.fullmatch(rf"Execution ID: {UUID}\nStatus: pending\n", result.out)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("-g", ORDER), "Missing option '--workflow-id' / '-i'"),
        (("-i", "place-order", "-a", "shop-auth"), "add --machineuser"),
        (("-i", "place-order", "-q", "-j"), "give one of them"),
        (("-i", "place-order", "-g", "@nowhere.json"), "can't be read from 'nowhere.json'"),
    ],
)
def test_wrong_use_of_the_older_form(gqlplugin: Gqlplugin, local: Local, options: Local, shown: str) -> None:
    """Options that can't be meant exit with 2, and say what to type."""
    result = gqlplugin("workspace", "workflow", "start", *options, *local)
    assert (result.code, result.out) == (2, "")
    assert shown in result.err


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "Which workflow?"),
        (("place-order", "--workflow-id", "x"), "Which workflow?"),
        (("place-order", "--logs"), "add --wait"),
        (("place-order", "--timeout", "1s"), "add --wait"),
        (("place-order", "-q", "-j"), "give one of them"),
        (("place-order", "--app", "shop-auth"), "add --machineuser"),
        (("place-order", "-W", "-i", "3"), "Invalid value for --interval: '3' is not a duration"),
        (("place-order", "-W", "--timeout", "1h"), "Invalid value for --timeout: '1h' is not a duration"),
        (("place-order", "-W", "--timeout", "0s"), "must be longer than 0"),
    ],
)
def test_wrong_use(gqlplugin: Gqlplugin, local: Local, options: Local, shown: str) -> None:
    """Options that can't be meant together exit with 2, and say what to type."""
    result = gqlplugin("workflow", "start", *options, *local)
    assert (result.code, result.out) == (2, "")
    assert shown in result.err


def test_a_run_that_takes_too_long_is_exit_code_3(gqlplugin: Gqlplugin, local: Local) -> None:
    """--timeout ends the watching with 3, and says how to go on; the run is left alone."""
    result = gqlplugin("workflow", "start", "pack-order", "-a", '"shut"', "-W", "--timeout", "300ms", *local)
    assert result.code == 3
    run_id = result.out.split()[2]
    again = f"gqlplugin workflow executions {run_id} -W -A tests.cli.shop:app --database {local[-1]}"
    assert result.err.endswith(f"The run has not ended in time; it goes on. To watch it again:\n  {again}\n")
    until(lambda: gqlplugin("workflow", "executions", run_id, "-j", *local).json["status"] == "RUNNING")


def test_a_file_without_a_worker_is_said(
    gqlplugin: Gqlplugin, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stays pending as nothing runs the file's jobs says which command does; nothing else is hinted at."""
    monkeypatch.setattr("gqlplugin.cli.executions.PENDING_PATIENCE", timedelta(0))
    idle = tmp_path / "idle.sqlite"
    idle.touch()
    result = gqlplugin("workflow", "start", "ship-order", "-W", "--timeout", "500ms", *APP, "--database", str(idle))
    assert result.code == 3
    assert f"gqlplugin worker -A tests.cli.shop:app --database {idle}" in result.err
    assert result.err.count("No process runs the jobs of this file.") == 1
    gqlplugin("workflow", "start", "queue-order", "-a", '"shut"', *local)
    queued = gqlplugin("workflow", "start", "queue-order", "-a", '"shut"', "-W", "--timeout", "500ms", *local)
    assert "PENDING" in queued.err
    assert "RUNNING" not in queued.err
    assert "No process" not in queued.err


def test_a_start_never_makes_the_file(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """Without a database a start is refused with the command that makes one."""
    result = gqlplugin("workflow", "start", "ship-order", *APP, "--database", "x.sqlite")
    assert result.code == 1
    assert result.err == (
        "Error: There is no database 'x.sqlite': "
        "`gqlplugin serve -A tests.cli.shop:app --database x.sqlite` makes it.\n"
    )
    assert not (tmp_path / "x.sqlite").exists()


def test_a_whole_process(local: Local, tmp_path: Path) -> None:
    """The same as a process: ID on stdout, lines without colours, exit code 0."""
    result = run_command(tmp_path, "workflow", "start", "place-order", "-a", "-", "-W", *local, stdin=ORDER)
    assert result.returncode == 0
    assert result.stdout.startswith("Execution ID: ")
    assert "\x1b" not in result.stdout + result.stderr
