"""Runs and jobs of a server without extensions: as near to what other platforms tell as can be."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from gqlplugin.errors import NotFoundError, PlatformUnavailableError, UnsupportedError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.runs import ExecutionError, ExecutionStatus, JobStatus, by_place
from tests.own_time import in_own_time
from tests.platform.tailor.fake import RUN, FakeTailor, connect_error, job, run

pytestmark = pytest.mark.anyio

OTHER = "0197a1b2-0000-4000-8000-000000000002"
JOB = "0197a1b2-0000-4000-8000-00000000000a"
STARTED = "2026-01-02T03:04:05Z"
STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

NUMBERS = ["", "PENDING", "PENDING_RESUME", "RUNNING", "SUCCESS", "FAILED", "PENDING_RETRY", "WAITING"]


def serve_run(fake: FakeTailor, answer: dict[str, Any]) -> None:
    fake.on["GetWorkflowExecution"] = lambda _: {"execution": answer}


def serve_functions(fake: FakeTailor, functions: dict[str, dict[str, Any]]) -> None:
    def answer(message: dict[str, Any]) -> Any:
        found = functions.get(message["executionId"])
        return connect_error("not_found") if found is None else {"execution": found}

    fake.on["GetFunctionExecution"] = answer


@pytest.mark.parametrize("status", NUMBERS[1:])
@pytest.mark.parametrize("as_number", [True, False])
async def test_each_status_is_read_by_name_and_number(fake: FakeTailor, status: str, as_number: bool) -> None:
    """Every status of the contract is the one of the same name."""
    serve_run(fake, run(NUMBERS.index(status) if as_number else f"STATUS_{status}"))
    async with fake.platform() as platform:
        assert (await platform.get_execution(RUN)).status.value == status


@pytest.mark.parametrize("status", ["STATUS_BRAND_NEW", 99, 0, "STATUS_UNSPECIFIED", ""])
async def test_an_unknown_status_is_running_or_failed(fake: FakeTailor, status: str | int) -> None:
    """A status of the future goes on until there is an end, and then says what it was."""
    async with fake.platform() as platform:
        serve_run(fake, run(status))
        assert (await platform.get_execution(RUN)).status is ExecutionStatus.RUNNING
        serve_run(fake, run(status, finishedAt=STARTED))
        ended = await platform.get_execution(RUN)
    assert ended.status is ExecutionStatus.FAILED
    assert ended.error is not None
    assert repr(status) in ended.error.message


async def test_a_finished_run_has_its_main_jobs_result(fake: FakeTailor) -> None:
    """The output is the result of the main job's last try; what only our own server knows is empty."""
    serve_run(
        fake,
        run(
            "STATUS_SUCCESS",
            job("process-order", "STATUS_FAILED", executionId="first"),
            job("process-order/ship", executionId="ship"),
            job("process-order", executionId="main"),
            startedAt=STARTED,
            finishedAt="2026-01-02T03:04:06.5Z",
        ),
    )
    serve_functions(fake, {"main": {"id": "main", "result": '{"a": 1}'}, "ship": {"id": "ship", "result": "0"}})
    async with fake.platform() as platform:
        found = await platform.get_execution(RUN)
    assert (found.status, found.output, found.error) == (ExecutionStatus.SUCCESS, '{"a": 1}', None)
    assert (found.input, found.caller, found.invoker) == ("null", User(), None)
    assert found.created_at == found.started_at == STARTED_AT
    assert found.finished_at == STARTED_AT.replace(second=6, microsecond=500_000)


@pytest.mark.parametrize(
    ("functions", "output"),
    [
        ({}, None),
        ({"main": {"id": "main"}}, "null"),
        ({"main": {"id": "main", "result": "not JSON"}}, '"not JSON"'),
        ({"main": {"id": "main", "result": "NaN"}}, '"NaN"'),
    ],
)
async def test_an_odd_result_does_no_harm(fake: FakeTailor, functions: dict[str, Any], output: str | None) -> None:
    """A result that is gone is none, an empty one null, and one that is not JSON a string."""
    serve_run(fake, run("STATUS_SUCCESS", job("process-order", executionId="main")))
    serve_functions(fake, functions)
    async with fake.platform() as platform:
        assert (await platform.get_execution(RUN)).output == output


async def test_a_failed_run_names_the_deepest_failed_job(fake: FakeTailor) -> None:
    """Where a run failed is what its error says."""
    jobs = [job("a", 4), job("a/b", 3), job("a/c", 4), job("a/c/d", "STATUS_FAILED"), job("a/e", 3)]
    serve_run(fake, run(5, *jobs))
    async with fake.platform() as platform:
        assert (await platform.get_execution(RUN)).error == ExecutionError("JOB_FAILED", "Job 'a/c/d' failed.")
        serve_run(fake, run(5))
        assert (await platform.get_execution(RUN)).error == ExecutionError("JOB_FAILED", "The run failed.")


async def test_when_a_run_was_made_follows_from_its_id(fake: FakeTailor) -> None:
    """A run that has not started has the time within its UUID, or the epoch when there is none in it."""
    async with fake.platform() as platform:
        serve_run(fake, run(1))
        created_at = (await platform.get_execution(RUN)).created_at
        assert int(created_at.timestamp() * 1000) == int(RUN.replace("-", "")[:12], 16)
        serve_run(fake, run(1, id=OTHER, startedAt="0001-01-01T00:00:00Z"))
        found = await platform.get_execution(OTHER)
    assert (found.created_at.timestamp(), found.started_at) == (0, None)


async def test_what_is_no_uuid_is_not_asked_for(fake: FakeTailor) -> None:
    """IDs that nothing can have are unknown without a request."""
    async with fake.platform() as platform:
        for odd in ("", "0", "x" * 100_000, "\ud800", f"{RUN}\n", f"{{{RUN}}}", RUN.replace("-", "")):
            with pytest.raises(NotFoundError):
                await platform.get_execution(odd)
            with pytest.raises(NotFoundError):
                await platform.get_job(odd)
            assert await platform.get_jobs([odd]) == {odd: []}
    assert fake.received == []


async def test_an_unknown_run_is_not_found(fake: FakeTailor) -> None:
    """A run that the server does not know has our words, and no jobs."""
    fake.on["GetWorkflowExecution"] = lambda _: connect_error("not_found")
    async with fake.platform() as platform:
        with pytest.raises(NotFoundError, match=f"no run '{RUN}'"):
            await platform.get_execution(RUN)
        assert await platform.get_jobs([RUN, "x", RUN]) == {RUN: [], "x": []}


async def test_jobs_get_places_from_their_names(fake: FakeTailor) -> None:
    """Jobs lie below the last job of their parent's name, in the order they came."""
    names = ["a", "a/b", "a/b/c", "a/b/c", "a/b", "a/b/c", "a/d", "a/x/y"]
    serve_run(fake, run(3, *(job(name, executionId=f"{number}") for number, name in enumerate(names))))
    serve_functions(fake, {})
    async with fake.platform() as platform:
        jobs = (await platform.get_jobs([RUN]))[RUN]
    assert [one.place for one in jobs] == ["0", "0.0", "0.0.0", "0.0.1", "0.1", "0.1.0", "0.2", "1"]
    assert [one.stacked_name for one in jobs] == names
    assert [one.name for one in jobs] == ["a", "b", "c", "c", "b", "c", "d", "y"]
    assert [one.id for one in jobs] == [str(number) for number in range(8)]
    assert len({by_place(one) for one in jobs}) == 8


async def test_jobs_tell_result_logs_and_error(fake: FakeTailor) -> None:
    """What a job said and what it ended with comes from its function execution; a foreign error is for operators."""
    serve_run(
        fake,
        run(
            5,
            job("a", 4, executionId="A", startedAt=STARTED, finishedAt=STARTED),
            job("a/b", "STATUS_SUCCESS", executionId="B"),
            job("a/c", "STATUS_SUSPEND", executionId="gone"),
            job("a/d", 5),
            job("a/e", "STATUS_BRAND_NEW"),
            job("a/f", 77, finishedAt=STARTED),
        ),
    )
    serve_functions(
        fake,
        {
            "A": {"id": "A", "status": 2, "logs": "one\ntwo\n", "result": "", "error": "Error: secret"},
            "B": {"id": "B", "status": 1, "logs": "", "result": "[1]"},
        },
    )
    async with fake.platform() as platform:
        a, b, c, d, e, f = (await platform.get_jobs([RUN]))[RUN]
    assert (a.status, a.logs, a.result) == (JobStatus.FAILED, ("one", "two"), None)
    assert a.error == ExecutionError("JOB_FAILED", "Job 'a' failed.", "Error: secret")
    assert (a.started_at, a.finished_at, a.input, a.run_id) == (STARTED_AT, STARTED_AT, "null", RUN)
    assert (b.status, b.logs, b.result, b.error) == (JobStatus.SUCCESS, (), "[1]", None)
    assert (c.status, c.logs, c.result, c.id) == (JobStatus.SUSPEND, (), None, "gone")
    assert [one.status for one in (d, e, f)] == [JobStatus.SUSPEND, JobStatus.RUNNING, JobStatus.FAILED]
    assert d.id == "job:a/d"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ({"name": "TypeError", "message": "secret"}, "TypeError: secret"),
        ({"name": "", "message": "secret", "stack": ["new"]}, "secret"),
        ({"message": None}, None),
        ({}, None),
        (None, None),
        ("", None),
        ("Error: secret", "Error: secret"),
    ],
)
async def test_errors_of_every_version(fake: FakeTailor, error: object, detail: str | None) -> None:
    """The error of a function execution is read as newer servers send it, as text, or as absent."""
    serve_run(fake, run(5, job("a", 4, executionId="A")))
    function = {"id": "A", "status": 2, "logs": "one", "error": error, "errorKind": "FUNCTION_ERROR_KIND_BRAND_NEW"}
    serve_functions(fake, {"A": function})
    async with fake.platform() as platform:
        [found] = (await platform.get_jobs([RUN]))[RUN]
    assert found.error == ExecutionError("JOB_FAILED", "Job 'a' failed.", detail)
    assert found.logs == ("one",)


@in_own_time
async def test_many_runs_are_asked_for_a_few_at_once(fake: FakeTailor) -> None:
    """The jobs of many runs come by at most eight requests at a time."""
    at_once, most = 0, 0
    released = asyncio.Event()
    ids = [f"0197a1b2-0000-7000-8000-{number:012d}" for number in range(30)]
    serve_run(fake, run(3))
    answer = fake._call

    async def counted(request: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if request.path_params["method"] == "GetWorkflowExecution":
            await released.wait()
        at_once -= 1
        return await answer(request)

    fake.app.router.routes.clear()
    fake.app.add_route("/tailor.v1.OperatorService/{method}", counted, methods=["POST"])
    async with fake.platform() as platform:
        asyncio.get_running_loop().call_later(0.1, released.set)  # by then all that will come at once have come
        found = await platform.get_jobs(ids)
    assert list(found) == ids
    assert most == 8


async def test_one_run_that_fails_fails_them_all(fake: FakeTailor) -> None:
    """An error is not taken for a run without jobs."""
    fake.on["GetWorkflowExecution"] = lambda _: connect_error("unknown")
    async with fake.platform() as platform:
        with pytest.raises(PlatformUnavailableError):
            await platform.get_jobs([RUN, OTHER])


async def test_a_job_can_not_be_found_by_its_id_alone(fake: FakeTailor) -> None:
    """The vendor's server can't tell of which run a job is: said before it is asked for the job."""
    async with fake.platform() as platform:
        with pytest.raises(UnsupportedError, match="jobs of its run"):
            await platform.get_job(JOB)
    assert fake.calls("GetFunctionExecution") == []


DETAILS: dict[str, Any] = {
    "input": '{"a": 1}',
    "output": "null",
    "caller": {"id": "alice", "type": "user", "workspaceId": "w", "attributes": "{}", "attributeList": ["x"]},
    "invoker": {"namespace": "my-auth", "machineUserName": "manager"},
    "progress": {"message": "half"},
    "attempt": 2,
    "depth": 1,
    "createdAt": STARTED,
}


async def test_with_extensions_a_run_is_exact(fake: FakeTailor) -> None:
    """All that gqlplugin's server tells of a run is kept, and no second request is made for it."""
    fake.extensions = True
    serve_run(fake, run(4, details=DETAILS))
    async with fake.platform() as platform:
        found = await platform.get_execution(RUN)
        await platform.get_execution(RUN)
    assert (found.input, found.output, found.attempt, found.depth) == ('{"a": 1}', "null", 2, 1)
    assert found.caller == User("alice", "user", "w", {}, ("x",))
    assert found.invoker == AuthInvoker("my-auth", "manager")
    assert found.progress is not None
    assert (found.progress.fraction, found.progress.message) == (0.0, "half")
    assert found.created_at == STARTED_AT
    assert [one.method for one in fake.received] == ["GetWorkflowExecution"] * 2
    assert [one.message.get("view") for one in fake.received] == [None, "VIEW_RUN"]


@pytest.mark.parametrize("status", ExecutionStatus)
async def test_with_extensions_a_runs_status_is_the_servers_own(fake: FakeTailor, status: ExecutionStatus) -> None:
    """gqlplugin's server has more words for a status than the contract, and they come first."""
    fake.extensions = True
    serve_run(fake, run(5, details={"status": status.value}))
    async with fake.platform() as platform:
        assert (await platform.get_execution(RUN)).status is status
        serve_run(fake, run(5, details={"status": "BRAND_NEW"}))
        assert (await platform.get_execution(RUN)).status is ExecutionStatus.FAILED


@pytest.mark.parametrize("status", JobStatus)
async def test_with_extensions_a_jobs_status_is_the_servers_own(fake: FakeTailor, status: JobStatus) -> None:
    """So it is with a job, among those of its run and by itself; a wait is told from a job."""
    fake.extensions = True
    details = {"runId": RUN, "place": "0.1", "name": "approval", "status": status.value, "isWaitPoint": True}
    serve_run(
        fake, run(3, job("ask", 3, details={"runId": RUN, "place": "0"}), job("ask/approval", 4, details=details))
    )
    serve_functions(fake, {JOB: {"id": JOB, "status": 3, "details": details}})
    async with fake.platform() as platform:
        ask, wait = (await platform.get_jobs([RUN]))[RUN]
        found = await platform.get_job(JOB)
    assert (ask.status, ask.is_wait_point) == (JobStatus.SUCCESS, False)
    assert (wait.status, wait.is_wait_point, wait.name) == (status, True, "approval")
    assert (found.status, found.is_wait_point) == (status, True)
