"""Starting and resuming over HTTP: once, or the caller is told that nobody knows."""

import asyncio
import json
from datetime import timedelta

import pytest
from starlette.responses import JSONResponse, Response

from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformUnavailableError,
    UnsupportedError,
)
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.tailor.runs import header_value
from gqlplugin.workflow import create_workflow
from tests.contract.support import ALICE, app_of, echo_workflow
from tests.own_time import in_own_time, running_loop
from tests.platform.tailor.fake import RUN, WORKFLOW, WORKSPACE, FakeTailor, connect_error, html, run

pytestmark = pytest.mark.anyio

LOST = {
    "unavailable": connect_error("unavailable"),
    "internal": connect_error("internal"),
    "unknown": connect_error("unknown"),
    "data loss": connect_error("data_loss"),
    "canceled": connect_error("canceled"),
    "deadline": connect_error("deadline_exceeded"),
    "a gateway's 502": html(502),
    "a gateway's 504": html(504),
    "not JSON": Response("<html>", media_type="application/json"),
    "another shape": JSONResponse({"executionId": 7}),
    "nothing": JSONResponse({}),
    "a redirect": Response(status_code=303, headers={"location": "http://tailor.test/elsewhere"}),
}

REFUSED = {
    "invalid_argument": InvalidInputError,
    "out_of_range": InvalidInputError,
    "failed_precondition": FailedPreconditionError,
    "permission_denied": ForbiddenError,
    "already_exists": IdempotencyKeyReusedError,
    "unimplemented": UnsupportedError,
    "aborted": PlatformUnavailableError,
    "resource_exhausted": PlatformUnavailableError,
}


async def test_a_start_sends_what_the_contract_says(fake: FakeTailor) -> None:
    """The workflow is found by name, and started by ID with its argument verbatim and its invoker."""
    async with fake.platform() as platform:
        run_id = await platform.start_workflow(
            "order-processing", '{ "a":1 }', caller=ALICE, invoker=AuthInvoker("my-auth", "manager")
        )
    assert run_id == RUN
    assert fake.calls("GetWorkflowByName")[0].message == {
        "workspaceId": WORKSPACE,
        "workflowName": "order-processing",
    }
    [start] = fake.calls("TestStartWorkflow")
    assert start.message == {
        "workspaceId": WORKSPACE,
        "workflowId": WORKFLOW,
        "arg": '{ "a":1 }',
        "authInvoker": {"namespace": "my-auth", "machineUserName": "manager"},
    }
    assert "idempotency-key" not in start.headers


async def test_an_anonymous_start_has_no_invoker(fake: FakeTailor) -> None:
    """Without an invoker none is sent."""
    async with fake.platform() as platform:
        await platform.start_workflow("order-processing", "null", caller=User())
    assert "authInvoker" not in fake.calls("TestStartWorkflow")[0].message


async def test_gqlplugins_server_is_told_who_calls(fake: FakeTailor) -> None:
    """A server with extensions gets the caller, and a key of each start's own; an anonymous one has no attributes."""
    fake.extensions = True
    async with fake.platform() as platform:
        await platform.start_workflow("order-processing", "1", caller=ALICE)
        await platform.start_workflow("order-processing", "1", caller=User())
    alice, anonymous = fake.calls("TestStartWorkflow")
    caller = alice.message["caller"]
    assert json.loads(caller.pop("attributes")) == {"role": "BUYER", "age": 7}
    assert caller == {"id": "alice", "type": "user", "workspaceId": "workspace-1", "attributeList": ["a", "b"]}
    assert "attributes" not in anonymous.message["caller"]
    keys = {one.headers["idempotency-key"] for one in (alice, anonymous)}
    assert len(keys) == 2


async def test_the_name_is_looked_up_once(fake: FakeTailor) -> None:
    """Concurrent and later starts of a workflow share one look-up."""
    async with fake.platform() as platform:
        await asyncio.gather(*(platform.start_workflow("order-processing", "1", caller=ALICE) for _ in range(10)))
        await platform.start_workflow("order-processing", "1", caller=ALICE)
    assert len(fake.calls("GetWorkflowByName")) == 1
    assert len(fake.calls("TestStartWorkflow")) == 11


async def test_a_workflow_that_was_made_anew_is_found_again(fake: FakeTailor) -> None:
    """A server that no longer knows the ID is asked for it once more, and the start goes on."""
    ids = iter(["old", "new"])
    fake.on["GetWorkflowByName"] = lambda _: {"workflow": {"id": next(ids), "name": "x"}}
    fake.on["TestStartWorkflow"] = lambda message: (
        {"executionId": RUN} if message["workflowId"] == "new" else connect_error("not_found")
    )
    async with fake.platform() as platform:
        assert await platform.start_workflow("order-processing", "1", caller=ALICE) == RUN
    assert [one.message["workflowId"] for one in fake.calls("TestStartWorkflow")] == ["old", "new"]


async def test_a_workflow_that_is_gone_is_not_found(fake: FakeTailor) -> None:
    """When the ID is still the same, the start is not sent again."""
    fake.on["TestStartWorkflow"] = lambda _: connect_error("not_found")
    async with fake.platform() as platform:
        with pytest.raises(NotFoundError, match="no workflow 'order-processing'"):
            await platform.start_workflow("order-processing", "1", caller=ALICE)
    assert len(fake.calls("TestStartWorkflow")) == 1


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
async def test_a_start_that_may_have_been_accepted_is_never_sent_twice(fake: FakeTailor, answer: Response) -> None:
    """Any answer but a clear refusal leaves it open whether the run exists: the caller is told, and nobody retries."""
    fake.queue("TestStartWorkflow", answer)
    async with fake.platform() as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.start_workflow("order-processing", "1", caller=ALICE)
    assert len(fake.received) == 2


@pytest.mark.parametrize(("code", "kind"), REFUSED.items())
async def test_a_refusal_is_told_as_what_it_is(fake: FakeTailor, code: str, kind: type[Exception]) -> None:
    """A refused start is known not to have happened; a foreign server's words stay with the operators."""
    fake.queue("TestStartWorkflow", connect_error(code))
    async with fake.platform() as platform:
        with pytest.raises(kind) as caught:
            await platform.start_workflow("order-processing", "1", caller=ALICE)
    assert type(caught.value) is kind
    assert "own words" not in str(caught.value)
    assert code in str(caught.value.__cause__)
    assert "own words" in str(caught.value.__cause__)
    assert len(fake.calls("TestStartWorkflow")) == 1


@pytest.mark.parametrize("code", ["unavailable", "internal"])
async def test_with_a_key_a_lost_start_is_sent_again(fake: FakeTailor, code: str) -> None:
    """gqlplugin's server starts once per key, so a lost start goes out again under the same key."""
    fake.extensions = True
    fake.queue("TestStartWorkflow", connect_error(code), html(503))
    async with fake.platform() as platform:
        assert await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key="k") == RUN
    assert [one.headers["idempotency-key"] for one in fake.calls("TestStartWorkflow")] == ["k"] * 3


async def test_with_a_key_the_tries_end(fake: FakeTailor) -> None:
    """After three unanswered tries the caller is told that nobody knows."""
    fake.extensions = True
    fake.on["TestStartWorkflow"] = lambda _: connect_error("unavailable")
    async with fake.platform() as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.start_workflow("order-processing", "1", caller=ALICE)
    assert len(fake.calls("TestStartWorkflow")) == 3
    assert len({one.headers["idempotency-key"] for one in fake.calls("TestStartWorkflow")}) == 1


async def test_a_refusal_after_a_lost_try_is_no_proof(fake: FakeTailor) -> None:
    """A try that was lost may have started the run, even when the next one is refused."""
    fake.extensions = True
    fake.queue("TestStartWorkflow", connect_error("unavailable"), connect_error("permission_denied"))
    async with fake.platform() as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.start_workflow("order-processing", "1", caller=ALICE)


@in_own_time
async def test_a_slow_start_is_lost_in_time(fake: FakeTailor) -> None:
    """A server that accepts and does not answer within the time-out leaves the outcome unknown."""
    fake.slow["TestStartWorkflow"] = asyncio.Event()
    async with fake.platform(timeout=timedelta(milliseconds=100)) as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.start_workflow("order-processing", "1", caller=ALICE)
        assert running_loop().time() == pytest.approx(0.1)
    assert len(fake.calls("TestStartWorkflow")) == 1


async def test_a_key_needs_a_server_that_knows_keys(fake: FakeTailor) -> None:
    """The vendor's server would start twice under one key: refused before anything is started."""
    async with fake.platform() as platform:
        with pytest.raises(UnsupportedError, match="idempotency"):
            await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key="k")
        assert not await platform.takes_run_ids()  # nor does it take IDs of ours
    assert fake.calls("TestStartWorkflow") == []


async def test_a_server_that_changes_its_kind_is_noticed(fake: FakeTailor) -> None:
    """Whether keys are honoured is what the server said last."""
    fake.extensions = True
    async with fake.platform() as platform:
        await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key="k")
        fake.extensions = False
        await platform.list_workflows()
        with pytest.raises(UnsupportedError):
            await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key="k")


async def test_a_gateways_error_says_nothing_of_the_server(fake: FakeTailor) -> None:
    """An error page of something in between does not make gqlplugin's server a foreign one."""
    fake.extensions = True
    fake.queue("TestResumeWorkflow", Response("<html>", 503, headers={"gqlplugin-extensions": ""}))
    async with fake.platform() as platform:
        await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key="k")
        with pytest.raises(OutcomeUnknownError):
            await platform.resume(RUN)
        await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key="k")
    assert [one.headers["idempotency-key"] for one in fake.calls("TestStartWorkflow")] == ["k", "k"]


def test_any_key_fits_into_a_header() -> None:
    """A plain key goes as it is; any other as a hash that no plain key can be taken for."""
    assert header_value("order-1") == "order-1"
    strange = ["\0", "é", "a b", " a", "\U0001f600" * 255, "sha256:x", header_value("é")]
    values = [header_value(key) for key in strange]
    assert all(value.isascii() and value.isprintable() and len(value) <= 255 for value in values)
    assert len({*values, *strange}) == 2 * len(strange) - 1


async def test_what_no_workflow_can_be_called_is_not_asked_for(fake: FakeTailor) -> None:
    """A malformed name is NOT_FOUND without a request, as is a name that the bound app does not have."""
    async with fake.platform() as platform:
        for name in ("", "x", "UPPER", "a/b", "\ud800"):
            with pytest.raises(NotFoundError):
                await platform.start_workflow(name, "1", caller=ALICE)
        async with platform.execute(app_of(echo_workflow())):
            with pytest.raises(NotFoundError, match="App 'contract' has no workflow 'order-processing'"):
                await platform.start_workflow("order-processing", "1", caller=ALICE)
    assert fake.received == []


async def test_a_workflow_defined_elsewhere_can_be_triggered(fake: FakeTailor) -> None:
    """A workflow whose jobs are not Python runs where it is defined."""
    elsewhere = create_workflow(name="order-processing", input=int)
    async with fake.platform() as platform, platform.execute(app_of(elsewhere)):
        assert await elsewhere.trigger(7) == RUN
    assert fake.calls("TestStartWorkflow")[0].message["arg"] == "7"


@pytest.mark.parametrize("key", ["", "k" * 256, "\ud800"])
async def test_bad_keys_are_refused(fake: FakeTailor, key: str) -> None:
    """A key has 1 to 255 characters; nothing is sent for any other."""
    async with fake.platform() as platform:
        with pytest.raises(InvalidInputError, match="key"):
            await platform.start_workflow("order-processing", "1", caller=ALICE, idempotency_key=key)
    assert fake.received == []


@pytest.mark.parametrize("arg", ["{", "NaN", '"\ud800"', f'"{"x" * 1024 * 1024}"'])
async def test_arguments_that_are_not_json_are_not_sent(fake: FakeTailor, arg: str) -> None:
    """What no server should accept is refused here."""
    async with fake.platform() as platform:
        with pytest.raises(InvalidInputError):
            await platform.start_workflow("order-processing", arg, caller=ALICE)
    assert fake.received == []


@pytest.mark.parametrize("caller", [User("\ud800", "user"), User("a", "user", attributes={"a": object()})])
async def test_callers_that_can_not_be_sent_are_refused(fake: FakeTailor, caller: User) -> None:
    """A caller that JSON has no form for is refused, and nothing is started."""
    fake.extensions = True
    async with fake.platform() as platform:
        with pytest.raises(InvalidInputError):
            await platform.start_workflow("order-processing", "1", caller=caller)
    assert fake.calls("TestStartWorkflow") == []


async def test_a_resume_that_was_not_answered_is_unknown(fake: FakeTailor) -> None:
    """A lost resume is not sent again by itself, whatever the server."""
    for extensions in (False, True):
        fake.extensions = extensions
        fake.received.clear()
        fake.queue("TestResumeWorkflow", connect_error("unavailable"))
        async with fake.platform() as platform:
            with pytest.raises(OutcomeUnknownError):
                await platform.resume(RUN)
        assert len(fake.received) == 1


async def test_a_refused_resume_says_why(fake: FakeTailor) -> None:
    """An unknown run and one that did not fail are told apart, in the same words for every server."""
    fake.queue("TestResumeWorkflow", connect_error("not_found"), connect_error("failed_precondition"))
    fake.on["GetWorkflowExecution"] = lambda _: {"execution": run("STATUS_WAITING")}
    async with fake.platform() as platform:
        with pytest.raises(NotFoundError, match=f"no run '{RUN}'"):
            await platform.resume(RUN)
        with pytest.raises(FailedPreconditionError, match="is WAITING; only a FAILED or CANCELED run"):
            await platform.resume(RUN)
        await platform.resume(RUN)
        with pytest.raises(NotFoundError):
            await platform.resume("no-uuid")
    assert [one.message["executionId"] for one in fake.calls("TestResumeWorkflow")] == [RUN] * 3


async def test_a_garbled_answer_does_not_make_a_server_another_one(fake: FakeTailor) -> None:
    """What garbles an answer loses its headers too: the server still knows keys, and the start is sent again."""
    fake.extensions = True
    garbled = Response('{"executionId": 7', headers={"gqlplugin-extensions": "0"})
    fake.queue("TestStartWorkflow", garbled)
    async with fake.platform() as platform:
        for _ in range(2):
            run_id = await platform.start_workflow("order-processing", "1", caller=User(), idempotency_key="k")
            assert run_id == RUN
    assert len(fake.calls("TestStartWorkflow")) == 3
