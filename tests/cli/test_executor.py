"""`gqlplugin executor` on a file of this machine, and on a platform that answers over HTTP."""

import asyncio
import io
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gqlplugin.identity import executor_user
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import WorkflowExecution
from tests.cli.conftest import Gqlplugin
from tests.cli.night_shop import SECRET, app
from tests.cli.support import on_terminal, plain, run_command, running, worker

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NIGHT_SHOP = ("-A", "tests.cli.night_shop:app")
DUE = '{"scheduled_time": "2026-11-22T02:00:00Z"}'
CALL = '{"body": {"id": 1}, "headers": {}, "method": "POST", "raw_body": ""}'
TEST_CALL = CALL.replace('"headers": {}', '"headers": {"x-test": "yes"}')
WORKSPACE = "11111111-1111-4111-8111-111111111111"
TOKEN = "operator-token-of-these-tests"  # noqa: S105 - of a server on loopback
Options = tuple[str, ...]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file whose jobs are run."""
    path = tmp_path / "night.sqlite"
    with worker(path, app):
        yield path


@pytest.fixture
def local(file: Path) -> Options:
    """The options for it."""
    return (*NIGHT_SHOP, "--database", str(file))


def read(file: Path, run_id: str) -> WorkflowExecution:
    """A run, as the platform has it."""

    async def run() -> WorkflowExecution:
        async with EmbeddedPlatform(file) as platform:
            return await platform.get_execution(run_id)

    return asyncio.run(run())


def test_the_list(gqlplugin: Gqlplugin) -> None:
    """It has a line for each executor, sorted by name, with what it waits for and does, when, and no secret."""
    result = gqlplugin("executor", "list", *NIGHT_SHOP)
    assert (result.code, result.err) == (0, "")
    head, *rows = result.out.splitlines()
    assert head.split() == ["NAME", "TRIGGER", "OPERATION", "NEXT"]
    assert [row.split()[0] for row in rows] == sorted(app.executors)
    shown = {row.split()[0]: re.split(r"  +", row)[1:] for row in rows}
    assert shown["nightly-report"][:2] == ["schedule: 0 2 * * * (Europe/Berlin)", "workflow: reporting"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:00:00", shown["nightly-report"][2])
    assert shown["order-placed"] == ["resolver-executed: placeOrder", "function: echo"]
    assert shown["switched-off"][-1] == "disabled"
    assert SECRET not in result.out


def test_the_list_as_json(gqlplugin: Gqlplugin) -> None:
    """--json prints the documented shape; the next time is that of the schedule, and null where there is none."""
    found = {one["name"]: one for one in gqlplugin("executor", "list", "-j", *NIGHT_SHOP).json}
    assert list(found) == sorted(app.executors)
    assert list(found["order-hook"]) == [
        "name",
        "description",
        "disabled",
        "triggerKind",
        "triggerDetail",
        "operationKind",
        "operationDetail",
        "nextTime",
    ]
    next_time = datetime.fromisoformat(found["nightly-report"]["nextTime"])
    assert timedelta(0) < next_time - datetime.now(UTC) <= timedelta(hours=26)
    assert (found["switched-off"]["disabled"], found["switched-off"]["nextTime"]) == (True, None)
    assert (found["order-hook"]["triggerKind"], found["order-hook"]["nextTime"]) == ("incoming-webhook", None)
    assert SECRET not in json.dumps(found)


def test_one_executor(gqlplugin: Gqlplugin) -> None:
    """It is shown with its facts, in a form that no terminal acts on; with --json as in the list."""
    result = gqlplugin("executor", "get", "nightly-report", *NIGHT_SHOP)
    told = dict(re.split(r":\s+", line, maxsplit=1) for line in result.out.splitlines())
    assert list(told) == ["Name", "Description", "Trigger", "Operation", "Next time"]
    assert told["Description"] == r"Reports the day. \x1b[31mred\x1b]0;owned\x07 [bold]not markup[/bold]"
    assert "Disabled:" in gqlplugin("executor", "get", "switched-off", *NIGHT_SHOP).out
    listed = gqlplugin("executor", "list", "-j", *NIGHT_SHOP).json
    assert gqlplugin("executor", "get", "order-placed", "-j", *NIGHT_SHOP).json in listed


@pytest.mark.parametrize("words", [("get", "nothing"), ("trigger", "nothing"), ("jobs", "nothing")])
def test_an_unknown_name_lists_the_known_ones(gqlplugin: Gqlplugin, local: Options, words: Options) -> None:
    """A name that no executor has is answered with those that there are, or with the one that was meant."""
    result = gqlplugin("executor", *words, *local)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: App 'night-shop' has no executor 'nothing'. ")
    assert all(name in result.err for name in app.executors)
    assert "Did you mean 'nightly-report'?" in gqlplugin("executor", words[0], "nightly-reprt", *local).err


@pytest.mark.parametrize("where", [(), ("--platform-url", "http://127.0.0.1:1"), ("--database", "x.sqlite")])
@pytest.mark.parametrize("words", [("list",), ("get", "nightly-report")])
def test_definitions_need_the_application(gqlplugin: Gqlplugin, where: Options, words: Options) -> None:
    """No platform tells of executors: the usage error says to name the application."""
    result = gqlplugin("executor", *words, *where)
    assert (result.code, result.out) == (2, "")
    assert "-A module:app" in result.err


def test_no_executors(gqlplugin: Gqlplugin) -> None:
    """An empty list is said on stderr, and is an empty array in JSON."""
    smaller = ("-A", "tests.cli.night_shop:smaller")
    result = gqlplugin("executor", "list", *smaller)
    assert (result.code, result.out, result.err) == (0, "", "There are no executors.\n")
    assert gqlplugin("executor", "list", "-j", *smaller).json == []
    assert "It has: none." in gqlplugin("executor", "get", "x", *smaller).err


def test_a_schedule_is_fired_by_hand(gqlplugin: Gqlplugin, local: Options, file: Path) -> None:
    """It prints what `workflow start` prints; the time is now, and it is the executor's own firing."""
    before = datetime.now(UTC)
    result = gqlplugin("executor", "trigger", "nightly-report", *local)
    assert re.fullmatch(rf"Execution ID: {UUID}\nStatus: pending\n", result.out)
    assert (result.code, result.err) == (0, "")
    run = read(file, result.out.split()[2])
    assert (run.workflow_name, run.caller) == ("executor/nightly-report", executor_user("nightly-report"))
    assert before <= datetime.fromisoformat(json.loads(run.input)["scheduled_time"]) <= datetime.now(UTC)


def test_a_firing_is_followed(gqlplugin: Gqlplugin, local: Options) -> None:
    """With --wait it is followed to its end; the run that it started is in its output, and done."""
    result = gqlplugin("executor", "trigger", "nightly-report", "-d", DUE, "-W", *local)
    assert result.code == 0
    assert re.search(r"  SUCCESS +executor nightly-report  \d+ms$", result.err.strip())
    outcome = json.loads(result.out.splitlines()[-1].removeprefix("Output: "))
    started = gqlplugin("workflow", "executions", outcome["workflow_run_id"], "-W", "-j", *local).json
    assert (started["workflowName"], started["output"]) == ("reporting", "report of 2026-11-22")
    [listed] = gqlplugin("workflow", "executions", "-j", *local).json
    assert listed["id"] == started["id"]
    [firing] = gqlplugin("workflow", "executions", "-n", "executor/nightly-report", "-j", *local).json
    assert firing["workflowName"] == "executor/nightly-report"


def test_quiet_and_json(gqlplugin: Gqlplugin, local: Options) -> None:
    """--quiet prints the ID alone, --json the documented shapes; not both."""
    fire = ("executor", "trigger", "order-placed", "-d", '{"resolver_name": "placeOrder", "success": true}')
    assert re.fullmatch(rf"{UUID}\n", gqlplugin(*fire, "-q", *local).out)
    assert list(gqlplugin(*fire, "-j", *local).json) == ["executionId", "status"]
    run = gqlplugin(*fire, "-j", "-W", *local).json
    assert (run["status"], run["output"]["result"]) == ("SUCCESS", "ResolverExecutedArgs[str]")
    for wrong in (("-q", "-j"), ("-l",), ("--timeout", "1s")):
        assert gqlplugin(*fire, *wrong, *local).code == 2


def test_a_failed_firing_is_exit_code_1(gqlplugin: Gqlplugin, local: Options) -> None:
    """One whose tries have all failed, and one whose condition failed, say why, safely."""
    printing = gqlplugin("executor", "trigger", "label-printing", "-W", *local)
    assert printing.code == 1
    assert printing.err.splitlines()[-1].startswith(r"Error: PRINTER_OFF: The printer is off. \x1b[31mred")
    condition = gqlplugin("executor", "trigger", "broken-condition", "-W", *local)
    assert condition.code == 1
    assert condition.err.splitlines()[-1].startswith("Error: EXECUTOR_CONDITION_FAILED: ")
    assert SECRET not in condition.out + condition.err


@pytest.mark.parametrize("name", ["order-hook", "order-placed"])
def test_what_is_missing_is_shown_by_example(gqlplugin: Gqlplugin, local: Options, name: str) -> None:
    """Without --data what the trigger hands over is shown as JSON, and that JSON fires it."""
    result = gqlplugin("executor", "trigger", name, *local)
    assert (result.code, result.out) == (1, "")
    message, example = result.err.splitlines()
    assert message.startswith(f"Error: Executor {name!r} takes what its trigger hands over: give it with --data JSON")
    assert gqlplugin("executor", "jobs", name, "-j", *local).json == []
    assert gqlplugin("executor", "trigger", name, "-W", "-d", example.strip(), *local).code == 0


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("{", "not valid JSON"),
        ("[]", "Input should be an object"),
        (f'{{"body": {{"password": "{SECRET}"}}, "method": "PATCH"}}', "  headers   Field required\n  method    Input"),
    ],
)
def test_data_that_does_not_fit_fires_nothing(gqlplugin: Gqlplugin, local: Options, data: str, shown: str) -> None:
    """Each field's problem is on a line, without the values, and nothing is started."""
    result = gqlplugin("executor", "trigger", "order-hook", "-d", data, *local)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: The arguments of executor 'order-hook' are not valid:\n")
    assert shown in result.err
    assert SECRET not in result.err
    assert gqlplugin("executor", "jobs", "order-hook", "-j", *local).json == []


def test_data_from_a_file_and_stdin(
    gqlplugin: Gqlplugin, local: Options, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """@FILE and - read it from a file and from stdin."""
    (tmp_path / "due.json").write_text(DUE)
    started = gqlplugin("executor", "trigger", "nightly-report", "-q", "-d", "@due.json", *local).out.strip()
    assert read(file, started).input == DUE
    monkeypatch.setattr("sys.stdin", io.StringIO(DUE))
    assert gqlplugin("executor", "trigger", "nightly-report", "-d", "-", *local).code == 0
    assert gqlplugin("executor", "trigger", "nightly-report", "-d", "@nowhere.json", *local).code == 2


def test_a_disabled_executor_is_refused(gqlplugin: Gqlplugin, local: Options) -> None:
    """Nothing fires it, by hand neither."""
    result = gqlplugin("executor", "trigger", "switched-off", *local)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: Executor 'switched-off' is disabled")
    assert gqlplugin("executor", "jobs", "switched-off", "-j", *local).json == []


def test_the_jobs(gqlplugin: Gqlplugin, local: Options) -> None:
    """They are listed newest first, with what came of each: a run, nothing, or an error."""
    done = gqlplugin("executor", "trigger", "order-hook", "-W", "-j", "-d", CALL, *local).json
    skipped = gqlplugin("executor", "trigger", "order-hook", "-W", "-j", "-d", TEST_CALL, *local).json
    head, *rows = gqlplugin("executor", "jobs", "order-hook", *local).out.splitlines()
    assert head.split() == ["ID", "STATUS", "ATTEMPTS", "ARGUMENTS", "STARTED", "FINISHED", "OUTCOME"]
    cells = [re.split(r"  +", row) for row in rows]
    assert [row[:3] for row in cells] == [[skipped["id"], "SUCCESS", "1"], [done["id"], "SUCCESS", "1"]]
    assert [row[-1] for row in cells] == ["skipped", f"run {done['output']['workflow_run_id']}"]
    gqlplugin("executor", "trigger", "label-printing", "-W", *local)
    [_, failed] = gqlplugin("executor", "jobs", "label-printing", *local).out.splitlines()
    assert re.split(r"  +", failed)[1:3] == ["FAILED", "3"]
    assert failed.endswith(r"PRINTER_OFF: The printer is off. \x1b[31mred\x1b]0;owned\x07 [bold]not markup[/bold]")


def test_the_jobs_as_json(gqlplugin: Gqlplugin, local: Options) -> None:
    """--json prints the documented shape, and never the arguments."""
    call = CALL.replace('"raw_body": ""', f'"raw_body": "{SECRET}"')
    gqlplugin("executor", "trigger", "order-hook", "-W", "-d", call, *local)
    gqlplugin("executor", "trigger", "order-hook", "-W", "-d", TEST_CALL, *local)
    result = gqlplugin("executor", "jobs", "order-hook", "-j", *local)
    skipped, done = result.json
    assert list(done) == [
        "id",
        "executor",
        "status",
        "attempts",
        "argumentsHash",
        "skipped",
        "workflowRunId",
        "error",
        "startedAt",
        "finishedAt",
    ]
    assert (done["executor"], done["status"], done["attempts"], done["skipped"]) == ("order-hook", "SUCCESS", 1, False)
    assert re.fullmatch(UUID, done["workflowRunId"])
    assert re.fullmatch(r"[0-9a-f]{64}", done["argumentsHash"])
    assert (skipped["skipped"], skipped["workflowRunId"]) == (True, None)
    assert skipped["argumentsHash"] != done["argumentsHash"]
    assert SECRET not in result.out
    gqlplugin("executor", "trigger", "label-printing", "-W", *local)
    [failed] = gqlplugin("executor", "jobs", "label-printing", "-j", *local).json
    assert (failed["status"], failed["attempts"], failed["error"]["code"]) == ("FAILED", 3, "PRINTER_OFF")


def test_jobs_are_chosen(gqlplugin: Gqlplugin, local: Options) -> None:
    """Only those of the executor are listed; --status and --limit choose among them."""
    ids = [gqlplugin("executor", "trigger", "order-hook", "-W", "-j", "-d", CALL, *local).json["id"] for _ in range(3)]
    gqlplugin("executor", "trigger", "nightly-report", "-W", *local)

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in gqlplugin("executor", "jobs", "order-hook", "-j", *options, *local).json]

    assert listed() == listed("-s", "success") == ids[::-1]
    assert listed("-s", "FAILED") == []
    assert listed("--limit", "2") == ids[:0:-1]
    more = gqlplugin("executor", "jobs", "order-hook", "--limit", "2", *local)
    assert more.err == "There are more jobs: --limit 4 lists more.\n"
    none = gqlplugin("executor", "jobs", "order-hook", "-s", "failed", *local)
    assert (none.code, none.out, none.err) == (0, "", "There are no such jobs.\n")
    assert gqlplugin("executor", "jobs", "order-hook", "-s", "done", *local).code == 2


def test_jobs_of_an_executor_that_is_gone(gqlplugin: Gqlplugin, local: Options, file: Path) -> None:
    """What it did stays listed, with an application that no longer has it, and without one."""
    fired = gqlplugin("executor", "trigger", "nightly-report", "-W", "-j", *local).json
    for options in (("-A", "tests.cli.night_shop:smaller"), ()):
        [job] = gqlplugin("executor", "jobs", "nightly-report", "-j", *options, "--database", str(file)).json
        assert job["id"] == fired["id"]


def test_a_failed_job_is_resumed(gqlplugin: Gqlplugin, local: Options) -> None:
    """`workflow resume` does it again under its ID, and its attempts are counted anew."""
    run_id = gqlplugin("executor", "trigger", "broken-condition", "-W", "-j", *local).json["id"]
    assert gqlplugin("workflow", "resume", run_id, "-W", *local).code == 1
    [job] = gqlplugin("executor", "jobs", "broken-condition", "-j", *local).json
    assert (job["id"], job["status"], job["attempts"]) == (run_id, "FAILED", 1)


def test_nobody_runs_the_jobs(gqlplugin: Gqlplugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firing that waits for a worker is durable, and whoever follows it learns why nothing happens."""
    monkeypatch.setattr("gqlplugin.cli.executions.PENDING_PATIENCE", timedelta(0))
    with worker(tmp_path / "night.sqlite", app):
        pass
    options = (*NIGHT_SHOP, "--database", str(tmp_path / "night.sqlite"))
    result = gqlplugin("executor", "trigger", "nightly-report", "-W", "--timeout", "1s", *options)
    assert result.code == 3
    assert "No process runs the jobs of this file." in result.err
    [job] = gqlplugin("executor", "jobs", "nightly-report", "-j", *options).json
    assert (job["status"], job["attempts"], job["startedAt"]) == ("PENDING", 0, None)


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (80, ["ID", "STATUS", "OUTCOME"]),
        (110, ["ID", "STATUS", "ATTEMPTS", "STARTED", "OUTCOME"]),
        (200, ["ID", "STATUS", "ATTEMPTS", "ARGUMENTS", "STARTED", "FINISHED", "OUTCOME"]),
    ],
)
def test_jobs_on_a_terminal(
    gqlplugin: Gqlplugin, local: Options, tmp_path: Path, columns: int, headings: list[str]
) -> None:
    """No line is wider than the terminal, IDs and statuses are whole, and what has no room is left out."""
    run_id = gqlplugin("executor", "trigger", "label-printing", "-W", "-j", *local).json["id"]
    code, written = on_terminal(tmp_path, "executor", "jobs", "label-printing", *local, COLUMNS=str(columns))
    assert code == 0
    assert "\x1b[31mPRINTER_OFF" in written
    head, row = plain(written).splitlines()
    assert head.split() == headings
    assert row.split()[:2] == [run_id, "FAILED"]
    assert row.rstrip().endswith("…") is (columns < 200)
    assert max(len(head), len(row)) <= columns


def test_executors_on_a_narrow_terminal(tmp_path: Path) -> None:
    """Names and next times are whole; the rest is shortened to what there is room for."""
    code, written = on_terminal(tmp_path, "executor", "list", *NIGHT_SHOP, COLUMNS="80")
    assert code == 0
    head, *rows = plain(written).splitlines()
    assert head.split() == ["NAME", "TRIGGER", "OPERATION", "NEXT"]
    assert [row.split()[0] for row in rows] == sorted(app.executors)
    assert all(len(line) <= 80 for line in rows)
    assert "incoming-webhook: " in written
    assert re.search(r"… +workflow: reporting +\S.*\d\d:\d\d", plain(written))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a platform with the application."""
    folder = tmp_path_factory.mktemp("server")
    options = ("tests.cli.night_shop:app", "--database", "x.sqlite", "--port", "0", "--workspace-id", WORKSPACE)
    with running(folder, "serve-platform", *options, TAILOR_PLATFORM_TOKEN=TOKEN) as process:
        yield process.says("TAILOR_PLATFORM_URL=").split("=")[1]


@pytest.fixture
def remote(server: str, gqlplugin: Gqlplugin, monkeypatch: pytest.MonkeyPatch) -> Options:
    """The options for it; the token is in the environment."""
    monkeypatch.setenv("TAILOR_PLATFORM_TOKEN", TOKEN)
    return ("--platform-url", server, "--workspace-id", WORKSPACE)


def test_remote(gqlplugin: Gqlplugin, remote: Options) -> None:
    """A remote platform fires and lists as a file does."""
    fire = ("executor", "trigger", "nightly-report", "-W", "-i", "20ms", "-j")
    by_data = gqlplugin(*fire, "-d", DUE, *remote).json
    by_default = gqlplugin(*fire, *NIGHT_SHOP, *remote).json
    assert (by_data["input"], by_data["status"]) == (json.loads(DUE), "SUCCESS")
    assert by_default["status"] == "SUCCESS"
    jobs = gqlplugin("executor", "jobs", "nightly-report", "-j", *remote).json
    assert [job["id"] for job in jobs] == [by_default["id"], by_data["id"]]
    assert [job["workflowRunId"] for job in jobs] == [run["output"]["workflow_run_id"] for run in (by_default, by_data)]
    assert gqlplugin("executor", "trigger", "label-printing", "-W", "-i", "20ms", *NIGHT_SHOP, *remote).code == 1
    [failed] = gqlplugin("executor", "jobs", "label-printing", "-j", "-s", "failed", *remote).json
    assert (failed["attempts"], failed["error"]["code"]) == (3, "PRINTER_OFF")


def test_remote_refusals(gqlplugin: Gqlplugin, remote: Options) -> None:
    """What can't be fired there is said in a line."""
    unknown = gqlplugin("executor", "trigger", "nothing", "-d", "{}", *remote)
    assert (unknown.code, unknown.err) == (1, "Error: The platform has no executor 'nothing'.\n")
    missing = gqlplugin("executor", "trigger", "nightly-report", *remote)
    assert missing.code == 2
    assert "--data JSON" in missing.err
    assert "-A module:app" in missing.err
    misfit = gqlplugin("executor", "trigger", "nightly-report", "-d", "{}", *remote)
    assert (misfit.code, misfit.out) == (1, "")
    assert "scheduled_time" in misfit.err
    assert gqlplugin("executor", "jobs", "nothing", *remote).err == "There are no such jobs.\n"


def test_in_a_pipe(local: Options, tmp_path: Path) -> None:
    """What a script reads is the whole of it, in a process of its own, without colours."""
    fired = run_command(tmp_path, "executor", "trigger", "label-printing", "-W", *local)
    assert fired.returncode == 1
    listed = run_command(tmp_path, "executor", "jobs", "label-printing", *local)
    assert "\x1b" not in listed.stdout
    assert listed.stdout.splitlines()[1].endswith("[bold]not markup[/bold]")
    assert shlex.split(listed.stdout.splitlines()[0])[-1] == "OUTCOME"
