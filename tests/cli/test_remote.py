"""The same commands on a platform that answers over HTTP: `serve-platform`, in a process of its own."""

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gqlplugin.platform.tailor.server.served import workflow_id
from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP, ORDER, run_command, running, until

WORKSPACE = "11111111-1111-4111-8111-111111111111"
TOKEN = "operator-token-of-these-tests"  # noqa: S105 - of a server on loopback
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SOON = ("-W", "-i", "20ms")


@dataclass(frozen=True)
class Server:
    """A platform, and the folder its gates are in."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    options = ("tests.cli.shop:app", "--database", "x.sqlite", "--port", "0", "--workspace-id", WORKSPACE)
    with running(folder, "serve-platform", *options, TAILOR_PLATFORM_TOKEN=TOKEN) as process:
        url = process.says("TAILOR_PLATFORM_URL=").split("=")[1]
        yield Server(url, folder)


@pytest.fixture
def remote(server: Server, gqlplugin: Gqlplugin, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The options for the platform; the token is in the environment."""
    monkeypatch.setenv("TAILOR_PLATFORM_TOKEN", TOKEN)
    return ("--platform-url", server.url, "--workspace-id", WORKSPACE)


Remote = tuple[str, ...]


def test_lists(gqlplugin: Gqlplugin, remote: Remote) -> None:
    """Workflows and machine users are those of the platform, in the same shapes as those of an application."""
    lines = gqlplugin("workflow", "list", *remote).out.splitlines()
    assert lines[0].split() == ["NAME", "MAIN", "JOB", "JOBS", "UPDATED"]
    assert lines[2].split()[:3] == ["place-order", "place-order", "3"]
    one = gqlplugin("workflow", "get", "place-order", "-j", *remote).json
    assert list(one) == ["name", "mainJob", "jobFunctions", "updatedAt"]
    assert set(one["jobFunctions"]) == {"place-order", "charge-card", "look-up-price"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["updatedAt"])
    users = gqlplugin("machineuser", "list", "-j", *remote).json
    assert [(user["name"], user["namespace"]) for user in users] == [("clerk", "shop-auth"), ("robot", "shop-auth")]
    assert re.fullmatch(UUID, users[0]["clientId"])
    assert users[0]["attributes"] == {"role": "CLERK"}


def test_the_environment_says_where(
    gqlplugin: Gqlplugin, remote: Remote, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """URL, workspace and token from the environment are enough."""
    monkeypatch.setenv("TAILOR_PLATFORM_URL", server.url)
    monkeypatch.setenv("TAILOR_PLATFORM_WORKSPACE_ID", WORKSPACE)
    assert gqlplugin("workflow", "list", "-j").json == gqlplugin("workflow", "list", "-j", *remote).json


def test_a_profile_says_where(
    gqlplugin: Gqlplugin, remote: Remote, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile of the vendor's configuration file gives the workspace and the token, which nobody prints."""
    monkeypatch.delenv("TAILOR_PLATFORM_TOKEN")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "tailor-platform" / "config.yaml"
    file.parent.mkdir()
    users = f"users: {{me@example.com: {{access_token: {TOKEN}}}}}"
    profiles = f"profiles: {{work: {{user: me@example.com, workspace_id: {WORKSPACE}}}}}"
    file.write_text(f"version: 1\n{users}\n{profiles}\n")
    result = gqlplugin("workflow", "list", "--profile", "work", "--platform-url", server.url)
    assert result.code == 0
    assert "place-order" in result.out
    unknown = gqlplugin("workflow", "list", "--profile", "home", "--platform-url", server.url)
    assert unknown.code == 1
    assert "has no profile 'home'; it has: work." in unknown.err
    assert TOKEN not in unknown.err


def test_start_and_follow(gqlplugin: Gqlplugin, remote: Remote) -> None:
    """A start is followed to its end, with the logs and results of its jobs."""
    result = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-m", "clerk", *SOON, "-l", *remote)
    assert result.code == 0
    assert re.match(rf"Execution ID: {UUID}\nStatus: pending\nStatus: success\nOutput: ", result.out)
    assert "place-order/charge-card/look-up-price  SUCCESS\n" in result.out
    assert "INFO looking up 1\n  → 5" in result.out
    assert "SUCCESS         workflow place-order" in result.err


def test_the_whole_run(gqlplugin: Gqlplugin, remote: Remote) -> None:
    """A run says as much over HTTP as on a file: input, output, machine user, jobs."""
    run = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-m", "clerk", *SOON, "-j", *remote).json
    assert run["machineUser"] == "clerk"
    assert run["input"] == {"order_id": "1", "total": 5}
    assert run["output"] == {"order_id": "1", "charged": 5}
    assert gqlplugin("workflow", "executions", run["id"], "-j", *remote).json == run
    [row] = [one for one in gqlplugin("workflow", "executions", "-j", *remote).json if one["id"] == run["id"]]
    assert row["jobExecutions"] == 3
    assert (row["startedAt"], row["finishedAt"]) == (run["startedAt"], run["finishedAt"])


def test_fail_and_resume(gqlplugin: Gqlplugin, remote: Remote, server: Server) -> None:
    """A failed run exits with 1, is found by its status, and is resumed to success."""
    failed = gqlplugin("workflow", "start", "ship-order", *SOON, *remote)
    assert failed.code == 1
    assert failed.err.splitlines()[-1].startswith("Error: PRINTER_OFF: The printer is off.")
    run_id = failed.out.split()[2]
    assert run_id in gqlplugin("workflow", "executions", "-s", "failed", "-n", "ship-order", *remote).out
    (server.folder / "printer").touch()
    resumed = gqlplugin("workflow", "resume", run_id, *SOON, *remote)
    assert resumed.code == 0
    assert resumed.out.endswith('Status: success\nOutput: "printed"\n')
    again = gqlplugin("workflow", "resume", run_id, *remote)
    assert (again.code, again.err) == (1, f"Error: Execution '{run_id}' is not in a resumable state.\n")


def test_by_the_workflow_s_id(gqlplugin: Gqlplugin, remote: Remote) -> None:
    """--workflow-id is looked up among the platform's workflows."""
    uuid = workflow_id("shop", "place-order").upper()
    run = gqlplugin("workflow", "start", "--workflow-id", uuid, "-a", ORDER, *SOON, "-j", *remote).json
    assert run["workflowName"] == "place-order"
    assert gqlplugin("workflow", "start", "--workflow-id", WORKSPACE, *remote).code == 1


def test_an_application_checks_before_the_platform_is_asked(gqlplugin: Gqlplugin, remote: Remote) -> None:
    """With -A an argument is checked here, field by field; without, the platform's refusal is shown."""
    here = gqlplugin("workflow", "start", "place-order", "-a", "{}", *APP, *remote)
    assert here.err.endswith("is not valid:\n  order_id  Field required\n  total     Field required\n")
    there = gqlplugin("workflow", "start", "place-order", "-a", "{}", *remote)
    assert (here.code, there.code) == (1, 1)
    assert "order_id: Field required" in there.err
    assert "Traceback" not in there.err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("executions", WORKSPACE), f"Error: Execution '{WORKSPACE}' not found."),
        (("executions", "nope"), "Error: Execution 'nope' not found."),
        (("resume", WORKSPACE), f"Error: Execution '{WORKSPACE}' not found."),
        (("cancel", WORKSPACE), f"Error: Execution '{WORKSPACE}' not found."),
        (("resolve", WORKSPACE), f"Error: Execution '{WORKSPACE}' not found."),
        (("resolve", WORKSPACE, "approval", "1"), f"Error: Execution '{WORKSPACE}' not found."),
        (("get", "nothing"), "Error: There is no workflow 'nothing'."),
        (("start", "nothing"), "Error: There is no workflow 'nothing'."),
        (("start", "refund-order", "-m", "boss", "-a", ORDER), "boss"),
    ],
)
def test_what_is_not_there(gqlplugin: Gqlplugin, remote: Remote, words: Remote, shown: str) -> None:
    """What the platform does not have is said in one line or two, with exit code 1 and an empty stdout."""
    result = gqlplugin("workflow", *words, *remote)
    assert (result.code, result.out) == (1, "")
    assert shown in result.err.splitlines()[0]


def test_a_platform_that_does_not_answer(tmp_path: Path) -> None:
    """Nobody listening is said once, with the reason for operators, and without the token."""
    options = ("--platform-url", "http://127.0.0.1:1", "--workspace-id", WORKSPACE)
    result = run_command(tmp_path, "workflow", "list", *options, TAILOR_PLATFORM_TOKEN=TOKEN)
    assert (result.returncode, result.stdout) == (1, "")
    first, *reasons = result.stderr.splitlines()
    assert first.startswith("Error: The workflow platform can't answer right now")
    assert "  because of ConnectError: All connection attempts failed" in reasons
    assert all(line.startswith("  because of ") for line in reasons)
    assert TOKEN not in result.stderr


def test_credentials(gqlplugin: Gqlplugin, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token and none are errors that never show a token, with --debug neither."""
    for token in ("wrong-token-of-somebody", ""):
        monkeypatch.setenv("TAILOR_PLATFORM_TOKEN", token)
        result = gqlplugin("--debug", "workflow", "list", *remote)
        assert result.code == 1
        assert "wrong-token" not in result.err
    assert "TAILOR_PLATFORM_TOKEN" in result.err


def test_interrupted(remote: Remote, tmp_path: Path) -> None:
    """Ctrl-C stops the watching; the command to go on names the same platform, and not the token."""
    words = ("workflow", "start", "pack-order", "-a", '"remote-gate"', *SOON, *remote)
    with running(tmp_path, *words, TAILOR_PLATFORM_TOKEN=TOKEN) as command:
        command.says("at the gate")
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == 130
    last = command.err.splitlines()[-1]
    assert re.fullmatch(rf"  gqlplugin workflow executions {UUID} -W {' '.join(remote)}", last)
    assert TOKEN not in command.out + command.err


def test_timeout(gqlplugin: Gqlplugin, remote: Remote, server: Server) -> None:
    """A run that takes too long exits with 3, however seldom it is looked at."""
    result = gqlplugin(
        "workflow", "start", "pack-order", "-a", '"late"', "-W", "-i", "1m", "--timeout", "300ms", *remote
    )
    assert result.code == 3
    (server.folder / "late").touch()


def test_cancel_and_resolve(gqlplugin: Gqlplugin, remote: Remote) -> None:
    """Over HTTP a run is answered and canceled as on a file, and shows it in the same words."""
    words = ("workflow", "start", "sign-order", "-a", ORDER, "-q", *remote)
    answered, canceled = (gqlplugin(*words).out.strip() for _ in range(2))
    for run_id in (answered, canceled):
        show = ("workflow", "executions", run_id, "-j", *remote)
        until(lambda show=show: gqlplugin(*show).json["status"] == "WAITING")  # type: ignore[misc] # of the loop
    [wait] = gqlplugin("workflow", "resolve", answered.upper(), "-j", *remote).json
    assert (wait["key"], wait["payload"]["total"]) == ("approval", 5)
    wrong = gqlplugin("workflow", "resolve", answered, "other", "1", *remote)
    assert (wrong.code, wrong.err) == (1, f"Error: Run '{answered}' waits at 'approval', not at 'other'.\n")
    result = gqlplugin("workflow", "resolve", answered, "approval", '{"approved": true}', *SOON, *remote)
    assert (result.code, result.out.splitlines()[-1]) == (0, 'Output: "True"')
    assert gqlplugin("workflow", "cancel", canceled, *SOON, *remote).out.splitlines()[-1] == "Status: canceled"
    rows = gqlplugin("workflow", "executions", "-s", "canceled", "-j", *remote).json
    assert [row["id"] for row in rows] == [canceled]
    shown = gqlplugin("workflow", "executions", canceled, *remote).out
    assert re.search(r"\n   └─ approval +CANCELED", shown)
