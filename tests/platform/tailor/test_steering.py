"""Canceling runs, answering those that wait, and starting batches over HTTP: what a lost answer leads to."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from gqlplugin.errors import (
    FailedPreconditionError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformUnavailableError,
    UnsupportedError,
)
from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, WaitFilter
from tests.contract.support import ALICE
from tests.platform.tailor.fake import RUN, WORKFLOW, WORKSPACE, FakeTailor, connect_error, html, run
from tests.platform.tailor.test_starts import LOST

pytestmark = pytest.mark.anyio

ANYWHERE = WaitFilter()
UNANSWERED = [name for name in LOST if name not in ("another shape", "nothing")]
"""To what has no more to say than that it was done, those are answers."""
WAIT = {
    "id": "w",
    "key": "approval",
    "payload": '{"cents":5}',
    "execution": run(7, details={"input": "5", "status": "WAITING"}),
    "since": "2026-01-02T03:04:05Z",
}


@pytest.fixture
def ours(fake: FakeTailor) -> FakeTailor:
    """A server with gqlplugin's extensions, that does all it is asked for."""
    fake.extensions = True
    fake.on["CancelWorkflowExecution"] = lambda message: {"executionId": message["executionId"]}
    fake.on["ResolveWaitPoint"] = lambda message: {"executionId": message["executionId"]}
    fake.on["StartWorkflows"] = lambda message: {"executionIds": [f"run {arg}" for arg in message["args"]]}
    fake.on["ListWaitPoints"] = lambda _: {}
    return fake


def now_is(fake: FakeTailor, status: ExecutionStatus) -> None:
    fake.on["GetWorkflowExecution"] = lambda _: {"execution": run(5, details={"status": status.value})}


async def start_all(platform: TailorPlatform) -> list[str]:
    return await platform.start_workflows("order-processing", ["1", "2"], caller=ALICE)


@pytest.mark.parametrize("lost", UNANSWERED)
async def test_a_cancel_whose_answer_is_lost_is_sent_again(ours: FakeTailor, lost: str) -> None:
    """To cancel twice is as good as once: whatever became of the first try, the second one tells."""
    ours.queue("CancelWorkflowExecution", LOST[lost])
    async with ours.platform() as platform:
        await platform.cancel(RUN)
    assert [one.message["executionId"] for one in ours.calls("CancelWorkflowExecution")] == [RUN] * 2


async def test_a_cancel_that_arrived_unanswered_has_canceled(ours: FakeTailor) -> None:
    """The second try finds that the run has ended; whether the first one did it is what the run says."""
    async with ours.platform() as platform:
        for status in (ExecutionStatus.CANCELED, ExecutionStatus.SUCCESS):
            now_is(ours, status)
            ours.queue("CancelWorkflowExecution", html(502), connect_error("failed_precondition"))
            if status is ExecutionStatus.CANCELED:
                await platform.cancel(RUN)
            else:
                with pytest.raises(FailedPreconditionError, match="is SUCCESS; only a run that has not ended"):
                    await platform.cancel(RUN)


async def test_a_cancel_of_a_canceled_run_is_refused(ours: FakeTailor) -> None:
    """Where no try was lost, it was somebody else who canceled it."""
    now_is(ours, ExecutionStatus.CANCELED)
    ours.queue("CancelWorkflowExecution", connect_error("failed_precondition"), connect_error("not_found"))
    async with ours.platform() as platform:
        with pytest.raises(FailedPreconditionError, match="is CANCELED; only a run that has not ended"):
            await platform.cancel(RUN)
        with pytest.raises(NotFoundError, match=f"no run '{RUN}'"):
            await platform.cancel(RUN)
        with pytest.raises(NotFoundError, match="no run 'x'"):
            await platform.cancel("x")


async def test_a_cancel_whose_run_can_not_be_looked_at_is_unknown(ours: FakeTailor) -> None:
    """It has ended, and nobody can tell how; where no try was lost, nothing was done."""
    ours.on["GetWorkflowExecution"] = lambda _: connect_error("unknown")
    refused = connect_error("failed_precondition")
    ours.queue("CancelWorkflowExecution", html(502), refused, refused)
    async with ours.platform() as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.cancel(RUN)
        with pytest.raises(PlatformUnavailableError):
            await platform.cancel(RUN)


async def test_a_cancel_that_is_never_answered_is_unknown(ours: FakeTailor) -> None:
    """After three tries nobody knows; a refusal for another reason proves nothing of the tries before."""
    ours.queue("CancelWorkflowExecution", *[html(502)] * 3, html(502), connect_error("permission_denied"))
    async with ours.platform() as platform:
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError):
                await platform.cancel(RUN)
    assert len(ours.calls("CancelWorkflowExecution")) == 5


@pytest.mark.parametrize("lost", LOST)
async def test_a_batch_is_sent_once(ours: FakeTailor, lost: str) -> None:
    """A batch has no key to be known by: where its answer is lost, nobody knows whether it was started."""
    ours.queue("StartWorkflows", LOST[lost])
    async with ours.platform() as platform:
        with pytest.raises(OutcomeUnknownError):
            await start_all(platform)
    assert len(ours.calls("StartWorkflows")) == 1


@pytest.mark.parametrize("lost", UNANSWERED)
async def test_an_answer_to_a_run_is_sent_once(ours: FakeTailor, lost: str) -> None:
    """It may have been taken, and a second one may be for another wait: where that is lost, nobody knows."""
    ours.queue("ResolveWaitPoint", LOST[lost])
    async with ours.platform() as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.resolve(RUN, "approval", "1")
    assert len(ours.calls("ResolveWaitPoint")) == 1


async def test_an_answer_says_which_wait_is_meant(ours: FakeTailor) -> None:
    """The run, the wait point, the result to the letter, and the wait where one is meant."""
    async with ours.platform() as platform:
        await platform.resolve(RUN, "approval", '{ "a": 1 }')
        await platform.resolve(RUN, "approval", "1", job_id="w")
    first, second = [one.message for one in ours.calls("ResolveWaitPoint")]
    assert first == {"workspaceId": WORKSPACE, "executionId": RUN, "key": "approval", "result": '{ "a": 1 }'}
    assert second == {**first, "result": "1", "waitId": "w"}


async def test_a_refused_answer_says_why(ours: FakeTailor) -> None:
    """The words are those of the platform behind; what no server should accept is not sent."""
    ours.queue("ResolveWaitPoint", connect_error("not_found"), connect_error("failed_precondition", "It waits at 'b'."))
    async with ours.platform() as platform:
        with pytest.raises(NotFoundError, match=f"no run '{RUN}'"):
            await platform.resolve(RUN, "a", "1")
        with pytest.raises(FailedPreconditionError, match="It waits at 'b'"):
            await platform.resolve(RUN, "a", "1")
        ours.received.clear()
        with pytest.raises(NotFoundError, match="no run 'x'"):
            await platform.resolve("x", "a", "1")
        for wrong in ("{", "NaN", f'"{"x" * 1024 * 1024}"', '"\ud800"'):
            with pytest.raises(InvalidInputError):
                await platform.resolve(RUN, "a", wrong)
    assert ours.received == []


async def test_waits_are_told_with_their_runs(ours: FakeTailor) -> None:
    """A listing says what it was asked for, and where it goes on; what can't match is not asked for."""
    ours.on["ListWaitPoints"] = lambda _: {"waitPoints": [WAIT], "nextPageToken": "t", "pageTokens": ["t"]}
    where = WaitFilter(name="approval", run_id=RUN, workflow_name="order-processing", caller_id="alice")
    async with ours.platform() as platform:
        page = await platform.list_waits(where, first=7, after="before")
        nothing = await platform.list_waits(WaitFilter(caller_id="\ud800"), first=7)
    [wait] = page.waits
    assert (wait.name, wait.payload, wait.job_id) == ("approval", '{"cents":5}', "w")
    assert (wait.execution.id, wait.execution.status) == (RUN, ExecutionStatus.WAITING)
    assert (wait.since.isoformat(), wait.expires_at) == ("2026-01-02T03:04:05+00:00", None)
    assert (page.cursors, page.has_next) == (("t",), True)
    assert (nothing.waits, nothing.has_next) == ([], False)
    [asked] = ours.calls("ListWaitPoints")
    assert asked.message == {
        "workspaceId": WORKSPACE,
        "key": "approval",
        "executionId": RUN,
        "workflowName": "order-processing",
        "callerId": "alice",
        "pageSize": 7,
        "pageToken": "before",
    }


async def test_bad_pages_of_waits(ours: FakeTailor) -> None:
    """A size out of range and an empty cursor are refused here, any other cursor by the server."""
    ours.on["ListWaitPoints"] = lambda _: connect_error("invalid_argument")
    async with ours.platform() as platform:
        for size in (0, 1001):
            with pytest.raises(InvalidInputError, match="`first` must be from 1 to 1000"):
                await platform.list_waits(ANYWHERE, first=size)
        for cursor in ("", "x"):
            with pytest.raises(InvalidInputError, match="not a cursor of this listing"):
                await platform.list_waits(ANYWHERE, first=1, after=cursor)
        with pytest.raises(InvalidInputError, match="server's own words"):
            await platform.list_waits(ANYWHERE, first=1)
    assert len(ours.calls("ListWaitPoints")) == 2


async def test_a_listing_of_waits_is_asked_for_again(ours: FakeTailor) -> None:
    """To read twice does nothing twice."""
    ours.queue("ListWaitPoints", html(503))
    async with ours.platform() as platform:
        assert (await platform.list_waits(ANYWHERE, first=1)).waits == []
    assert len(ours.calls("ListWaitPoints")) == 2


async def test_a_batch_is_one_request(ours: FakeTailor) -> None:
    """All arguments, the caller and the invoker go together, and the IDs come in the same order."""
    async with ours.platform() as platform:
        run_ids = await platform.start_workflows(
            "order-processing", ['{ "a":1 }', "2"], caller=ALICE, invoker=AuthInvoker("my-auth", "manager")
        )
        assert await platform.start_workflows("order-processing", [], caller=ALICE) == []
    assert run_ids == ['run { "a":1 }', "run 2"]
    [sent] = ours.calls("StartWorkflows")
    assert (sent.message["workflowId"], sent.message["args"]) == (WORKFLOW, ['{ "a":1 }', "2"])
    assert sent.message["caller"]["id"] == "alice"
    assert sent.message["authInvoker"] == {"namespace": "my-auth", "machineUserName": "manager"}


async def test_a_batch_finds_a_workflow_that_was_deployed_anew(ours: FakeTailor) -> None:
    """An ID that the server does not know any more is looked up again, once."""
    async with ours.platform() as platform:
        await start_all(platform)
        ours.on["GetWorkflowByName"] = lambda message: {"workflow": {"id": RUN, "name": message["workflowName"]}}
        ours.queue("StartWorkflows", connect_error("not_found"))
        await start_all(platform)
        ours.queue("StartWorkflows", connect_error("not_found"))
        with pytest.raises(NotFoundError, match="no workflow 'order-processing'"):
            await start_all(platform)
    assert [one.message["workflowId"] for one in ours.calls("StartWorkflows")] == [WORKFLOW, WORKFLOW, RUN, RUN]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["1"] * 1001, "At most 1000"),
        (["1", "{"], "not valid JSON"),
        (['"\ud800"'], "surrogate"),
        ([json.dumps("x" * 1024 * 1000)] * 4, "together"),
    ],
)
async def test_a_batch_that_can_not_be_is_not_sent(ours: FakeTailor, args: list[str], problem: str) -> None:
    """Too many, too much, or one argument that is none: nothing is sent."""
    async with ours.platform() as platform:
        with pytest.raises(InvalidInputError, match=problem):
            await platform.start_workflows("order-processing", args, caller=ALICE)
    assert ours.received == []


def _calls(platform: TailorPlatform) -> dict[str, Any]:
    return {
        "CancelWorkflowExecution": platform.cancel(RUN),
        "ResolveWaitPoint": platform.resolve(RUN, "approval", "1"),
        "ListWaitPoints": platform.list_waits(ANYWHERE, first=1),
        "StartWorkflows": start_all(platform),
    }


@pytest.mark.parametrize("method", ["CancelWorkflowExecution", "ResolveWaitPoint", "ListWaitPoints", "StartWorkflows"])
async def test_the_vendors_server_can_do_none_of_it(fake: FakeTailor, method: str) -> None:
    """It is not asked; gqlplugin's own of an earlier day refuses, and nothing is taken for unknown."""
    async with fake.platform() as platform:
        for extensions in (False, True):
            fake.extensions = extensions
            await platform.list_workflows()
            calls = _calls(platform)
            asked = calls.pop(method)
            for other in calls.values():
                other.close()
            with pytest.raises(UnsupportedError, match=r"This platform|on this platform"):
                await asked
            assert len(fake.calls(method)) == (1 if extensions else 0)


async def test_canceled_runs_are_listed_by_their_status(fake: FakeTailor) -> None:
    """gqlplugin's server is asked by the name; the vendor's has none, and is not asked."""
    fake.on["ListWorkflowExecutions"] = lambda _: {"executions": [run(5, details={"status": "CANCELED"})]}
    where = ExecutionFilter(status=ExecutionStatus.CANCELED)
    async with fake.platform() as platform:
        assert (await platform.list_executions(where, first=5)).executions == []
        assert fake.calls("ListWorkflowExecutions") == []
        fake.extensions = True
        await platform.list_workflows()
        [found] = (await platform.list_executions(where, first=5)).executions
    assert found.status is ExecutionStatus.CANCELED
    [asked] = fake.calls("ListWorkflowExecutions")
    assert asked.message["filter"]["and"][0]["condition"]["value"] == "CANCELED"


async def test_closing_ends_a_cancel_that_waits(ours: FakeTailor) -> None:
    """A call under way when the platform is closed does not hang, and may have been done."""
    ours.slow["CancelWorkflowExecution"] = asyncio.Event()
    async with asyncio.timeout(60):
        async with ours.platform(timeout=timedelta(hours=1)) as platform:
            call = asyncio.create_task(platform.cancel(RUN))
            while not ours.calls("CancelWorkflowExecution"):  # noqa: ASYNC110 - the fake has no event for it
                await asyncio.sleep(0.005)
        with pytest.raises((OutcomeUnknownError, PlatformUnavailableError)):
            await call
