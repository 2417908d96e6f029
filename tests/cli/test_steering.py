"""`gqlplugin workflow cancel` and `resolve` on a file of this machine."""

import io
import os
import re
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP, ORDER, on_terminal, plain, running

Local = tuple[str, ...]

YES = '{"approved": true}'
SIGN = ("workflow", "start", "sign-order", "-a", ORDER)


def waiting(gqlplugin: Gqlplugin, local: Local) -> str:
    """Start a run, and return its ID once it waits for an answer."""
    run_id: str = gqlplugin(*SIGN, "-q", *local).out.strip()
    return in_status(gqlplugin, local, run_id, "WAITING")


def in_status(gqlplugin: Gqlplugin, local: Local, run_id: str, status: str) -> str:
    """The ID of a run once it is in a status."""
    for _ in range(500):
        if gqlplugin("workflow", "executions", run_id, "-j", *local).json["status"] == status:
            return run_id
    raise AssertionError(f"the run is never {status}")


def test_a_waiting_run_is_canceled_at_once(gqlplugin: Gqlplugin, local: Local) -> None:
    """It prints the ID and the status; the run is found by it, exits with 1 when followed, and can be resumed."""
    run_id = waiting(gqlplugin, local)
    result = gqlplugin("workflow", "cancel", run_id, *local)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [f"Execution ID: {run_id}", "Status: canceled"]
    [row] = gqlplugin("workflow", "executions", "-s", "canceled", "-j", *local).json
    assert (row["id"], row["status"]) == (run_id, "CANCELED")
    followed = gqlplugin("workflow", "executions", run_id, "-W", *local)
    assert (followed.code, followed.out) == (1, "Status: canceled\n")
    assert gqlplugin("workflow", "resume", run_id, *local).code == 0
    in_status(gqlplugin, local, run_id, "WAITING")


def test_a_running_job_is_told_to_stop(gqlplugin: Gqlplugin, local: Local) -> None:
    """A run that is under way is RUNNING for a moment more: how to see its end is said on stderr."""
    run_id = gqlplugin("workflow", "start", "pack-order", "-a", '"gate"', "-q", *local).out.strip()
    in_status(gqlplugin, local, run_id, "RUNNING")
    result = gqlplugin("workflow", "cancel", run_id, *local)
    assert result.code == 0
    assert result.out.splitlines()[1] in ("Status: running", "Status: canceled")
    if "running" in result.out:
        assert f"gqlplugin workflow executions {run_id} -W" in result.err
    in_status(gqlplugin, local, run_id, "CANCELED")


def test_a_cancel_is_followed_to_the_end(gqlplugin: Gqlplugin, local: Local) -> None:
    """With --wait the end is shown; that it is CANCELED is the success of a cancel."""
    run_id = gqlplugin("workflow", "start", "pack-order", "-a", '"gate"', "-q", *local).out.strip()
    in_status(gqlplugin, local, run_id, "RUNNING")
    result = gqlplugin("workflow", "cancel", run_id, "-W", *local)
    assert (result.code, result.out.splitlines()[-1]) == (0, "Status: canceled")
    assert "CANCELED        workflow pack-order" in result.err


def test_cancel_as_json(gqlplugin: Gqlplugin, local: Local) -> None:
    """--json prints the ID and the status, or with --wait the whole run."""
    run_id = waiting(gqlplugin, local)
    result = gqlplugin("workflow", "cancel", run_id, "-j", *local)
    assert result.json == {"executionId": run_id, "status": "CANCELED"}
    other = waiting(gqlplugin, local)
    run = gqlplugin("workflow", "cancel", other, "-j", "-W", *local).json
    assert (run["id"], run["status"]) == (other, "CANCELED")
    assert [(job["stackedName"], job["status"], job["isWaitPoint"]) for job in run["jobs"]] == [
        ("sign-order", "CANCELED", False),
        ("sign-order/approval", "CANCELED", True),
    ]


def test_that_nobody_heeds_a_cancel_is_said(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """A run whose process has died stays RUNNING until there is another one, which is told how to start."""
    options = (*APP, "--database", "shop.sqlite")
    (tmp_path / "shop.sqlite").touch()
    with running(tmp_path, "worker", "tests.cli.shop:app", "--database", "shop.sqlite") as worker:
        run_id = gqlplugin("workflow", "start", "pack-order", "-a", '"gate"', "-q", *options).out.strip()
        in_status(gqlplugin, options, run_id, "RUNNING")
        worker.process.kill()
        worker.ended()
    result = gqlplugin("workflow", "cancel", run_id, *options)
    assert (result.code, result.out.splitlines()[1]) == (0, "Status: running")
    assert "No process runs the jobs of this file." in result.err
    assert "gqlplugin worker -A tests.cli.shop:app --database shop.sqlite" in result.err


def test_an_answer_lets_the_run_go_on(gqlplugin: Gqlplugin, local: Local) -> None:
    """The answer is taken, and the run is followed to its success with --wait."""
    run_id = waiting(gqlplugin, local)
    result = gqlplugin("workflow", "resolve", run_id, "approval", '{"approved": true, "note": "fine"}', "-W", *local)
    assert result.code == 0
    assert result.out.splitlines() == [
        f"Execution ID: {run_id}",
        "Status: pending_resume",
        "Status: success",
        'Output: "fine"',
    ]


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_an_answer_from_elsewhere(
    gqlplugin: Gqlplugin, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """@FILE and - say where the answer is, as with `start --arg`."""
    (tmp_path / "answer.json").write_text(YES)
    monkeypatch.setattr("sys.stdin", io.StringIO(YES))
    run_id = waiting(gqlplugin, local)
    answer = "@answer.json" if way == "file" else "-"
    result = gqlplugin("workflow", "resolve", run_id, "approval", answer, "-j", *local)
    assert result.json == {"executionId": run_id, "status": "PENDING_RESUME"}
    in_status(gqlplugin, local, run_id, "SUCCESS")


def test_an_answer_that_does_not_fit_is_not_sent(gqlplugin: Gqlplugin, local: Local) -> None:
    """With an application it is checked field by field; without, that it is JSON; and the run still waits."""
    run_id = waiting(gqlplugin, local)
    resolve = ("workflow", "resolve", run_id, "approval")
    wrong = gqlplugin(*resolve, '{"note": 7}', *local)
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.splitlines() == [
        "Error: The answer to wait point 'approval' is not valid:",
        "  approved  Field required",
        "  note      Input should be a valid string",
    ]
    assert "Invalid JSON" in gqlplugin(*resolve, "{", *local).err
    for broken in ("{", "NaN"):
        result = gqlplugin(*resolve, broken, *local[2:])
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("Error: The answer to wait point 'approval' is not valid JSON: ")
    assert gqlplugin("workflow", "executions", run_id, "-j", *local).json["status"] == "WAITING"


def test_the_answer_is_sent_in_the_applications_form(gqlplugin: Gqlplugin, local: Local) -> None:
    """With an application its defaults are filled in; without, the answer goes as it is."""
    for options, told in ((local, {"approved": True, "note": ""}), (local[2:], {"approved": True})):
        run_id = waiting(gqlplugin, local)
        assert gqlplugin("workflow", "resolve", run_id, "approval", YES, "-W", *options).code == 0
        run = gqlplugin("workflow", "executions", run_id, "-j", *local).json
        assert run["jobs"][1]["result"] == told


def test_what_can_not_be_answered(gqlplugin: Gqlplugin, local: Local) -> None:
    """Another wait point, a second answer and a run that isn't there are told in the platform's words."""
    run_id = waiting(gqlplugin, local)
    result = gqlplugin("workflow", "resolve", run_id, "aproval", YES, *local)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"Error: Run '{run_id}' waits at 'approval', not at 'aproval'.\n"
    assert gqlplugin("workflow", "resolve", run_id, "approval", YES, "-W", *local).code == 0
    again = gqlplugin("workflow", "resolve", run_id, "approval", YES, *local)
    assert (again.code, again.err) == (
        1,
        f"Error: Wait point 'approval' of run '{run_id}' has been resolved already.\n",
    )
    ended = gqlplugin("workflow", "cancel", run_id, *local)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"Error: Run '{run_id}' is SUCCESS; only a run that has not ended can be canceled.\n"
    for words in (("cancel", "nope"), ("resolve", "nope"), ("resolve", "nope", "approval", YES)):
        result = gqlplugin("workflow", *words, *local)
        assert (result.code, result.out, result.err) == (1, "", "Error: Execution 'nope' not found.\n")


def test_what_a_run_waits_for(gqlplugin: Gqlplugin, local: Local) -> None:
    """Without KEY it is shown, as a table or as JSON, and how to answer is said on stderr."""
    run_id = waiting(gqlplugin, local)
    result = gqlplugin("workflow", "resolve", run_id, *local)
    head, row = result.out.splitlines()
    assert head.split() == ["KEY", "SINCE", "EXPIRES", "PAYLOAD"]
    assert re.match(r"approval  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \{", row)
    assert "\x1b" not in result.out
    assert f"  gqlplugin workflow resolve {run_id} approval JSON" in result.err
    [wait] = gqlplugin("workflow", "resolve", run_id, "-j", *local).json
    assert list(wait) == ["id", "executionId", "key", "payload", "since", "expiresAt"]
    assert (wait["executionId"], wait["key"], wait["payload"]["total"]) == (run_id, "approval", 5)
    gqlplugin("workflow", "cancel", run_id, *local)
    none = gqlplugin("workflow", "resolve", run_id, *local)
    assert (none.code, none.out, none.err) == (0, "", "The run is CANCELED: it waits for no answer.\n")
    assert gqlplugin("workflow", "resolve", run_id, "-j", *local).json == []


def test_a_waiting_run_is_shown_with_what_it_waits_for(gqlplugin: Gqlplugin, local: Local) -> None:
    """The tree has the wait below the job that waits, and the logs have its whole payload and its answer."""
    run_id = waiting(gqlplugin, local)
    assert run_id in gqlplugin("workflow", "executions", "-s", "waiting", *local).out
    shown = gqlplugin("workflow", "executions", run_id, "--logs", *local).out
    assert re.search(r"\n└─ sign-order +SUSPEND .*\n   └─ approval +WAITING +\d+\.\ds +answer wanted: \{", shown)
    assert re.search(r"\nsign-order/approval  WAITING\n  answer wanted: \{.*\}$", shown.rstrip())
    assert "\x1b" not in shown
    gqlplugin("workflow", "resolve", run_id, "approval", YES, "-W", *local)
    shown = gqlplugin("workflow", "executions", run_id, "--logs", *local).out
    assert re.search(
        r"\nsign-order/approval  SUCCESS\n  answer wanted: .*\n  → \{\"approved\":true,\"note\":\"\"\}", shown
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resolve", "x", "approval"), "What is the answer?"),
        (("resolve", "x", "-W"), "--wait follows a run that was answered"),
        (("resolve", "x", "approval", "1", "--logs"), "add --wait"),
        (("cancel", "x", "--logs"), "add --wait"),
        (("cancel", "x", "--timeout", "3s"), "add --wait"),
        (("cancel",), "Missing argument"),
        (("resolve",), "Missing argument"),
        (("resolve", "x", "approval", "@missing.json"), "can't be read"),
    ],
)
def test_wrong_use(gqlplugin: Gqlplugin, local: Local, words: Local, said: str) -> None:
    """What can't be meant exits with 2, and asks the platform nothing."""
    result = gqlplugin("workflow", *words, *local)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


FOLLOWED = (*SIGN, "-W", *APP, "--database", "shop.sqlite")


def test_following_goes_on_at_a_wait(tmp_path: Path, gqlplugin: Gqlplugin, local: Local) -> None:
    """A follower is told once how to answer, and goes on to the end when somebody does."""
    with running(tmp_path, *FOLLOWED) as command:
        command.says("The run waits for an answer.")
        hint = command.says("gqlplugin workflow resolve").split()
        run_id = hint[3]
        assert hint == ["gqlplugin", "workflow", "resolve", run_id, "approval", "JSON", *FOLLOWED[-4:]]
        assert gqlplugin("workflow", "resolve", run_id, "approval", YES, *local).code == 0
        assert command.ended() == 0
    assert command.err.count("gqlplugin workflow resolve") == 1
    assert len(re.findall(r"WAITING +sign-order/approval", command.err)) == 1
    assert command.out.splitlines()[-1] == 'Output: "True"'


def test_following_ends_at_a_cancel(tmp_path: Path, gqlplugin: Gqlplugin, local: Local) -> None:
    """A canceled run has ended, and not well."""
    with running(tmp_path, *FOLLOWED) as command:
        run_id = command.says("gqlplugin workflow resolve").split()[3]
        assert gqlplugin("workflow", "cancel", run_id, *local).code == 0
        assert command.ended() == 1
    assert command.out.splitlines()[-1] == "Status: canceled"


def test_leaving_a_waiting_run_leaves_it_waiting(tmp_path: Path, gqlplugin: Gqlplugin, local: Local) -> None:
    """On a terminal the wait is drawn in the tree; Ctrl-C stops the watching, and cancels nothing.

    The drawing leaves room for what the terminal shows of the key, and a question does not fill it up.
    """
    code, written = on_terminal(
        tmp_path, *FOLLOWED, until="└─ approval", then=lambda process: os.kill(process, signal.SIGINT), COLUMNS="60"
    )
    shown = plain(written)
    assert code == 130
    assert re.search(r"approval +WAITING +\d+\.\ds +answer wanted: ", shown)
    assert "Stopped watching; the run goes on." in shown
    row = next(line for line in shown.splitlines() if line.startswith("   └─ approval"))
    assert row.index("…") + 1 == 57
    [row] = gqlplugin("workflow", "executions", "-j", *local).json
    assert row["status"] == "WAITING"
