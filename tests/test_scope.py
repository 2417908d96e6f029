"""Scopes: what a body asked for is kept when it succeeds, undone when it fails, and let go of in any case."""

import asyncio
import logging
from typing import cast

import pytest

from gqlplugin.app import define_app
from gqlplugin.errors import FailedPreconditionError, JobFailedError
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionStatus
from gqlplugin.scope import Scope, current_scope, enter_scope
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended

pytestmark = pytest.mark.anyio


class Held:
    """Notes what happens to it."""

    def __init__(self, events: list[str], *, fails: str = "") -> None:
        self.events = events
        self._fails = fails

    @property
    def is_open(self) -> bool:
        return True

    async def commit(self) -> None:
        self.events.append("commit")
        if self._fails == "commit":
            raise JobFailedError("it can't be kept")

    async def close(self) -> None:
        self.events.append("close")
        if self._fails == "close":
            raise RuntimeError("it can't be closed")


def hold(events: list[str], *, fails: str = "") -> Held:
    scope = current_scope()
    assert scope is not None
    return scope.hold("held", lambda: Held(events, fails=fails))


def test_one_thing_is_held_under_a_key() -> None:
    """The second call with a key answers with what the first one made."""
    scope = Scope()
    with enter_scope(scope):
        assert hold([]) is hold([])
        assert current_scope() is scope
    assert current_scope() is None


async def test_a_task_that_outlives_its_body_is_refused() -> None:
    """After the end nothing is made that nobody would close."""
    scope = Scope()
    with enter_scope(scope):
        hold([])
        await scope.close()
        with pytest.raises(FailedPreconditionError, match="has ended"):
            hold([])


async def run_job(body_fails: bool = False, fails: str = "") -> tuple[ExecutionStatus, list[str]]:
    events: list[str] = []

    @create_workflow_job(name="inner")
    async def inner() -> None:
        assert current_scope() is not None
        events.append("inner")

    @create_workflow_job(name="outer")
    async def outer() -> None:
        hold(events, fails=fails)
        await inner.trigger()
        assert hold([]).events is events
        if body_fails:
            raise JobFailedError("no")

    app = define_app("scopes", workflows=[create_workflow(name="the-workflow", main_job=outer)])
    async with MemoryPlatform() as platform, platform.execute(app):
        run_id = await app.workflows["the-workflow"].trigger()
        return (await ended(platform, run_id)).status, events


async def test_a_job_keeps_what_it_did_before_a_trigger_and_at_its_end() -> None:
    """What is durable comes after what it builds on; a triggered job has a scope of its own."""
    assert await run_job() == (ExecutionStatus.SUCCESS, ["commit", "inner", "commit", "close"])


async def test_a_failed_job_keeps_nothing_more() -> None:
    """After the last trigger a failure undoes what was done."""
    assert await run_job(body_fails=True) == (ExecutionStatus.FAILED, ["commit", "inner", "close"])


async def test_a_job_whose_work_can_not_be_kept_fails() -> None:
    """A commit that fails before a trigger fails the job, and the other job does not run."""
    assert await run_job(fails="commit") == (ExecutionStatus.FAILED, ["commit", "close"])


async def test_what_can_not_be_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The outcome of a job stands when something it used can't be closed."""
    with caplog.at_level(logging.ERROR, "gqlplugin"):
        assert (await run_job(fails="close"))[0] is ExecutionStatus.SUCCESS
    assert "could not be closed" in caplog.text


@pytest.mark.parametrize(("body_fails", "expected"), [(False, ["commit", "close"]), (True, ["close"])])
async def test_a_resolver_keeps_what_it_did_when_it_succeeds(body_fails: bool, expected: list[str]) -> None:
    """Each run of a resolver's body has a scope, which ends before the client is answered."""
    events: list[str] = []

    @create_resolver(name="work", operation="query")
    async def work(_: ResolverContext[None]) -> int:
        hold(events)
        await asyncio.sleep(0)
        if body_fails:
            raise JobFailedError("no")
        return 1

    result = await create_schema(define_app("scopes", resolvers=[work])).execute("{ work }")
    assert bool(result.errors) is body_fails
    assert events == expected
    assert current_scope() is None


async def test_fields_of_one_operation_have_scopes_of_their_own() -> None:
    """Two fields that run at the same time share nothing."""
    made: list[Held] = []

    @create_resolver(name="work", operation="query")
    async def work(_: ResolverContext[None]) -> int:
        made.append(hold([]))
        await asyncio.sleep(0)
        assert hold([]) in made
        return 1

    result = await create_schema(define_app("scopes", resolvers=[work])).execute("{ a: work b: work }")
    assert result.errors is None
    assert made[0] is not made[1]


async def test_a_resolver_whose_result_does_not_fit_keeps_nothing() -> None:
    """The client gets an error, so nothing was done."""
    events: list[str] = []

    @create_resolver(name="work", operation="query")
    async def work(_: ResolverContext[None]) -> int:
        hold(events)
        return cast(int, "text")

    result = await create_schema(define_app("scopes", resolvers=[work])).execute("{ work }")
    assert result.errors
    assert events == ["close"]


async def test_a_scope_that_was_closed_empty_holds_nothing_any_more() -> None:
    """Closing it needs no loop, and what asks for something afterwards is refused."""
    scope = Scope()
    assert scope.close_if_empty()
    with pytest.raises(FailedPreconditionError), enter_scope(scope):
        hold([])


async def test_a_scope_that_holds_something_is_not_closed_on_the_way() -> None:
    """There is something to undo, which takes an `await`."""
    events: list[str] = []
    scope = Scope()
    with enter_scope(scope):
        hold(events)
        assert not scope.close_if_empty()
    await scope.close()
    assert events == ["close"]
