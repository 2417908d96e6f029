"""`gqlplugin workflow executions` and `resume` on a file of this machine."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from gqlplugin.runs import ExecutionStatus
from tests.cli.conftest import Gqlplugin
from tests.cli.support import ORDER

Local = tuple[str, ...]


def start(gqlplugin: Gqlplugin, local: Local, *options: str) -> str:
    """Start a run, follow it to its end, and return its ID."""
    run_id: str = gqlplugin("workflow", "start", *options, "-W", "-j", *local).json["id"]
    return run_id


def test_the_list_is_newest_first(gqlplugin: Gqlplugin, local: Local) -> None:
    """Runs are listed newest first, with aligned columns and without blanks at the ends of lines."""
    first = start(gqlplugin, local, "place-order", "-a", ORDER)
    second = start(gqlplugin, local, "ship-order")
    result = gqlplugin("workflow", "executions", *local)
    head, *rows = result.out.splitlines()
    assert head.split() == ["ID", "WORKFLOW", "STATUS", "JOBS", "STARTED", "FINISHED"]
    assert [row.split()[:4] for row in rows] == [
        [second, "ship-order", "FAILED", "2"],
        [first, "place-order", "SUCCESS", "3"],
    ]
    assert len({row.index("20", 40) for row in rows} | {head.index("STARTED")}) == 1
    assert all(line == line.rstrip() for line in result.out.splitlines())


def test_the_list_as_json(gqlplugin: Gqlplugin, local: Local) -> None:
    """--json prints the documented shape, with times in UTC."""
    run_id = start(gqlplugin, local, "place-order", "-a", ORDER)
    [row] = gqlplugin("workflow", "executions", "-j", *local).json
    assert list(row) == ["id", "workflowName", "status", "jobExecutions", "startedAt", "finishedAt"]
    assert (row["id"], row["workflowName"], row["status"], row["jobExecutions"]) == (
        run_id,
        "place-order",
        "SUCCESS",
        3,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["startedAt"])
    assert datetime.fromisoformat(row["startedAt"]) <= datetime.fromisoformat(row["finishedAt"])


def test_filters_and_limit(gqlplugin: Gqlplugin, local: Local) -> None:
    """--workflow-name, --status in any case, and --limit choose runs; that there are more is said on stderr."""
    ids = [start(gqlplugin, local, "place-order", "-a", ORDER) for _ in range(3)]
    failed = start(gqlplugin, local, "ship-order")

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in gqlplugin("workflow", "executions", "-j", *options, *local).json]

    assert listed("-n", "place-order") == ids[::-1]
    assert listed("-s", "failed") == listed("-s", "FAILED") == [failed]
    assert listed("-n", "place-order", "-s", "failed") == []
    assert listed("--limit", "2") == [failed, ids[2]]
    more = gqlplugin("workflow", "executions", "--limit", "2", *local)
    assert more.err == "There are more runs: --limit 4 lists more.\n"
    assert gqlplugin("workflow", "executions", "--limit", "4", *local).err == ""


def test_all_pages_up_to_the_limit(gqlplugin: Gqlplugin, local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit above the size of a page is reached over several pages."""
    monkeypatch.setattr("gqlplugin.cli.executions._PAGE", 2)
    ids = [start(gqlplugin, local, "place-order", "-a", ORDER) for _ in range(5)]
    rows = gqlplugin("workflow", "executions", "-j", "--limit", "5", *local).json
    assert [row["id"] for row in rows] == ids[::-1]


def test_an_unknown_status_lists_the_known_ones(gqlplugin: Gqlplugin, local: Local) -> None:
    """A status that is none is a usage error that lists all of them."""
    result = gqlplugin("workflow", "executions", "-s", "done", *local)
    assert result.code == 2
    assert all(status in result.err for status in ExecutionStatus)


def test_no_runs(gqlplugin: Gqlplugin, local: Local) -> None:
    """An empty list is said on stderr, and is an empty array in JSON."""
    result = gqlplugin("workflow", "executions", *local)
    assert (result.code, result.out, result.err) == (0, "", "There are no such runs.\n")
    assert gqlplugin("workflow", "executions", "-j", *local).json == []


def test_one_run(gqlplugin: Gqlplugin, local: Local) -> None:
    """A run is shown with its facts and the tree of its jobs, each below the one that triggered it."""
    run_id = start(gqlplugin, local, "place-order", "-a", ORDER, "-m", "clerk")
    facts, tree = gqlplugin("workflow", "executions", run_id, *local).out.split("\n\n")
    told = dict(re.split(r":\s+", line, maxsplit=1) for line in facts.splitlines())
    assert told["Execution ID"] == run_id
    assert told["Status"] == "SUCCESS"
    assert told["Machine user"] == "clerk"
    assert told["Input"] == '{"order_id":"1","total":5}'
    assert told["Output"] == '{"order_id":"1","charged":5}'
    assert re.sub(r" +\d+ms", "", tree).splitlines() == [
        "place-order              SUCCESS",
        "└─ place-order           SUCCESS",
        "   └─ charge-card        SUCCESS",
        "      └─ look-up-price   SUCCESS",
    ]


def test_one_run_as_json(gqlplugin: Gqlplugin, local: Local) -> None:
    """--json prints the documented shape of a run and of its jobs, with JSON values as themselves."""
    run_id = start(gqlplugin, local, "place-order", "-a", ORDER)
    run = gqlplugin("workflow", "executions", run_id, "-j", *local).json
    assert list(run) == [
        "id",
        "workflowName",
        "status",
        "input",
        "output",
        "error",
        "machineUser",
        "startedAt",
        "finishedAt",
        "jobs",
    ]
    assert run["input"] == {"order_id": "1", "total": 5}
    assert run["output"] == {"order_id": "1", "charged": 5}
    assert [job["stackedName"] for job in run["jobs"]] == [
        "place-order",
        "place-order/charge-card",
        "place-order/charge-card/look-up-price",
    ]
    last = run["jobs"][-1]
    assert list(last) == [
        "id",
        "stackedName",
        "status",
        "isWaitPoint",
        "input",
        "result",
        "error",
        "logs",
        "startedAt",
        "finishedAt",
    ]
    assert (last["status"], last["isWaitPoint"], last["result"], last["error"]) == ("SUCCESS", False, 5, None)
    assert last["input"] == {"order_id": "1", "total": 5}
    assert last["logs"][0].endswith("INFO looking up 1")


def test_json_of_a_failed_run_is_safe_to_print(gqlplugin: Gqlplugin, local: Local) -> None:
    """The error has code, message and detail; what a terminal could act on is escaped, and means the same."""
    run_id = start(gqlplugin, local, "ship-order")
    result = gqlplugin("workflow", "executions", run_id, "-j", *local)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.out)
    error = result.json["jobs"][1]["error"]
    assert list(error) == ["code", "message", "detail"]
    assert error["code"] == "PRINTER_OFF"
    assert "\x1b[31mred" in error["message"]
    assert "Traceback" in error["detail"]


def test_resume_goes_on_to_success(gqlplugin: Gqlplugin, local: Local, tmp_path: Path) -> None:
    """A failed run is resumed under its ID, and followed to its end with --wait."""
    run_id = start(gqlplugin, local, "ship-order")
    (tmp_path / "printer").touch()
    result = gqlplugin("workflow", "resume", run_id, "-W", *local)
    assert result.out.splitlines() == [
        f"Execution ID: {run_id}",
        "Status: pending_resume",
        "Status: success",
        'Output: "printed"',
    ]
    assert result.code == 0


def test_resume_as_json(gqlplugin: Gqlplugin, local: Local) -> None:
    """Without --wait resume prints the ID and the status."""
    run_id = start(gqlplugin, local, "ship-order")
    result = gqlplugin("workflow", "resume", run_id, "-j", *local)
    assert result.json == {"executionId": run_id, "status": "PENDING_RESUME"}
    started = gqlplugin("workflow", "start", "ship-order", "-j", *local).json
    assert list(started) == ["executionId", "status"]
    assert started["status"] == "PENDING"


def test_what_can_not_be_resumed(gqlplugin: Gqlplugin, local: Local) -> None:
    """A run that has not failed, and one that isn't there, are refused in the words of the contract."""
    run_id = start(gqlplugin, local, "place-order", "-a", ORDER)
    result = gqlplugin("workflow", "resume", run_id, "--json", *local)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"Error: Execution '{run_id}' is not in a resumable state.\n"
    for words in (("resume", "nope"), ("executions", "nope")):
        result = gqlplugin("workflow", *words, *local)
        assert (result.code, result.err) == (1, "Error: Execution 'nope' not found.\n")


def test_waiting_for_a_run_that_has_failed(gqlplugin: Gqlplugin, local: Local) -> None:
    """`executions ID -W` of a run that has ended tells its end, and exits as a start would have."""
    run_id = start(gqlplugin, local, "ship-order")
    result = gqlplugin("workflow", "executions", run_id, "-W", *local)
    assert (result.code, result.out) == (1, "Status: failed\n")
    assert result.err.startswith("Error: PRINTER_OFF")


@pytest.mark.parametrize("options", [("-W",), ("--logs",), ("x", "-n", "y"), ("x", "-s", "failed"), ("--limit", "0")])
def test_wrong_use(gqlplugin: Gqlplugin, local: Local, options: Local) -> None:
    """Options of one run without an ID, and of the list with one, exit with 2."""
    result = gqlplugin("workflow", "executions", *options, *local)
    assert (result.code, result.out) == (2, "")
