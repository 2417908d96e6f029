"""Executors that wait for resolvers: a firing per run of the body, with what the client is told."""

import json
import logging
from typing import Any

import pytest
from graphql import GraphQLError
from pydantic import BaseModel, Field

from gqlplugin.app import App, define_app
from gqlplugin.errors import DefinitionError, NotFoundError, PlatformUnavailableError
from gqlplugin.executor import (
    Executor,
    ResolverExecutedArgs,
    create_executor,
    function_operation,
    resolver_executed_trigger,
)
from gqlplugin.graphql.schema import create_schema
from gqlplugin.platform.base import Platform
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionFilter
from gqlplugin.testing import MemoryPlatform
from tests.contract.support import all_runs, ended

pytestmark = pytest.mark.anyio


class Halve(BaseModel):
    number: int = Field(ge=0)


class Half(BaseModel):
    half_of: int
    value: int


@create_resolver(name="halve", operation="mutation")
async def halve(ctx: ResolverContext[Halve]) -> Half:
    match ctx.input.number:
        case 3:
            raise NotFoundError("There is no half of 3.")
        case 5:
            raise RuntimeError("a detail for nobody")
        case 7:
            raise GraphQLError("Not seven.", extensions={"code": "SEVEN"})
        case number:
            return Half(half_of=number, value=number // 2)


@create_resolver(name="silent", operation="query", publish_events=False)
async def silent(_: ResolverContext[None]) -> int:
    return 1


def body(args: ResolverExecutedArgs[Half]) -> Any:
    return args.result.value if args.result else args.error and args.error.code


def listening(name: str = "on-halve", **options: Any) -> Executor[Any]:
    trigger = resolver_executed_trigger(halve)
    return create_executor(name, trigger=trigger, operation=function_operation(body), **options)


def app_with(*executors: Executor[Any]) -> App:
    return define_app("events", resolvers=[halve, silent], executors=executors)


async def halved(app: App, platform: Platform, number: int) -> Any:
    return await create_schema(app, platform=platform).execute(
        "mutation ($n: Int!) { halve(number: $n) { value } }", {"n": number}
    )


async def fired(platform: Platform, name: str = "on-halve") -> list[dict[str, Any]]:
    runs = await all_runs(platform, ExecutionFilter(workflow_name=f"executor/{name}"))
    return [json.loads(run.input) for run in runs]


async def test_an_executor_is_fired_before_the_client_is_answered() -> None:
    """The firing is kept by then, with the result of the resolver, and its function gets it as the model it is."""
    app = app_with(listening(), listening("another"))
    async with MemoryPlatform() as platform, platform.execute(app):
        assert (await halved(app, platform, 8)).data == {"halve": {"value": 4}}
        for name in ("on-halve", "another"):
            assert await fired(platform, name) == [
                {
                    "resolver_name": "halve",
                    "success": True,
                    "result": {"half_of": 8, "value": 4},
                    "error": None,
                    "workspace_id": "00000000-0000-0000-0000-000000000000",
                    "app_namespace": "events",
                }
            ]
        run = (await all_runs(platform))[0]
        assert json.loads((await ended(platform, run.id)).output or "")["result"] == 4
        assert run.caller.id == "executor/another"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (3, {"code": "NOT_FOUND", "message": "There is no half of 3."}),
        (5, {"code": "INTERNAL", "message": "Internal error"}),
        (7, {"code": "SEVEN", "message": "Not seven."}),
    ],
)
async def test_a_failure_is_told_as_the_client_sees_it(number: int, error: dict[str, str]) -> None:
    """The event of a failure has the public code and message, and nothing internal."""
    app = app_with(listening())
    async with MemoryPlatform() as platform, platform.execute(app):
        result = await halved(app, platform, number)
        assert [one.message for one in result.errors] == [error["message"]]
        [event] = await fired(platform)
        assert (event["success"], event["result"], event["error"]) == (False, None, error)


async def test_a_body_that_did_not_run_is_no_event() -> None:
    """Input that is refused fires nothing."""
    app = app_with(listening())
    async with MemoryPlatform() as platform, platform.execute(app):
        assert (await halved(app, platform, -1)).errors
        assert await fired(platform) == []


async def test_a_disabled_executor_is_not_fired() -> None:
    """Nothing is kept for an executor that is disabled."""
    app = app_with(listening(disabled=True))
    async with MemoryPlatform() as platform, platform.execute(app):
        assert (await halved(app, platform, 2)).errors is None
        assert await fired(platform) == []


async def test_an_event_that_can_not_be_kept_does_not_undo_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What the resolver did stands; that the platform was away is in the log."""

    class Away(MemoryPlatform):
        async def start_workflow(self, *_: Any, **__: Any) -> str:
            raise PlatformUnavailableError

    app = app_with(listening())
    async with Away() as platform, platform.execute(app):
        with caplog.at_level(logging.ERROR, "gqlplugin.graphql"):
            assert (await halved(app, platform, 2)).data == {"halve": {"value": 1}}
    assert "'executor/on-halve' was not fired by resolver 'halve'" in caplog.text


def test_a_resolver_that_does_not_publish_can_not_be_waited_for() -> None:
    """`publish_events=False` and an executor that waits for it contradict each other."""
    executor = create_executor(
        "on-silent", trigger=resolver_executed_trigger(silent), operation=function_operation(lambda _: None)
    )
    with pytest.raises(DefinitionError, match=r"on-silent.*'silent', which has publish_events=False"):
        app_with(executor)


def test_a_resolver_of_another_app_can_not_be_waited_for() -> None:
    """The resolver must be registered."""
    with pytest.raises(DefinitionError, match=r"on-halve.*'halve', which is not in define_app\(resolvers"):
        define_app("events", executors=[listening()])
