"""What is no `Exception`, raised by code of the app while a request is answered: it ends that answer and no more."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
import strawberry
from graphql import GraphQLError
from strawberry.permission import BasePermission

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.authentication.callers import AuthRequest
from gqlplugin.errors import FailedPreconditionError, InvalidInputError
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import current_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.graphql.live import events_of

pytestmark = pytest.mark.anyio

NOT_UTF_8 = os.fsdecode(b"caf\xe9.txt")


class PanicException(BaseException):
    """What a panic in a library written in Rust becomes."""


RAISED: dict[str, type[BaseException]] = {
    "panic": PanicException,
    "interrupt": KeyboardInterrupt,
    "exit": SystemExit,
    "generator-exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
}


def end(how: str) -> NoReturn:
    raise RAISED[how]("a secret")


class Refusing(BasePermission):
    message = "no"

    def has_permission(self, source: Any, info: strawberry.Info, **arguments: Any) -> bool:
        end(_how(info))


class RefusingLater(BasePermission):
    message = "no"

    async def has_permission(self, source: Any, info: strawberry.Info, **arguments: Any) -> bool:
        await asyncio.sleep(0)
        end(_how(info))


def _how(info: strawberry.Info) -> str:
    return str(info.context["request"].headers["x-how"])


@create_resolver(name="inLoop", operation="query")
async def in_loop(ctx: ResolverContext[None]) -> str:
    await asyncio.sleep(0)
    end(_how(ctx.info))


@create_resolver(name="inThread", operation="query")
def in_thread(ctx: ResolverContext[None]) -> str:
    end(_how(ctx.info))


@create_resolver(name="guarded", operation="query", permission_classes=[Refusing])
async def guarded(ctx: ResolverContext[None]) -> str:
    return "guarded"


@create_resolver(name="guardedLater", operation="query", permission_classes=[RefusingLater])
async def guarded_later(ctx: ResolverContext[None]) -> str:
    return "guarded"


@create_resolver(name="fine", operation="query")
async def fine(ctx: ResolverContext[None]) -> str:
    return "fine"


@create_resolver(name="refuses", operation="query")
async def refuses(ctx: ResolverContext[None]) -> str:
    raise FailedPreconditionError(f"There is no {NOT_UTF_8}.")


@create_resolver(name="extends", operation="query")
async def extends(ctx: ResolverContext[None]) -> str:
    raise GraphQLError(f"There is no {NOT_UTF_8}.", extensions={"code": "NONE", "files": [NOT_UTF_8]})


@create_resolver(name="refusesInput", operation="query")
async def refuses_input(ctx: ResolverContext[None]) -> str:
    raise InvalidInputError(f"There is no {NOT_UTF_8}.")


@create_workflow_job(name="main-job")
async def main_job() -> str:
    return "done"


workflow = create_workflow(name="the-workflow", main_job=main_job)


@create_resolver(name="startIt", operation="mutation")
async def start_it(ctx: ResolverContext[None]) -> str:
    return await workflow.trigger()


@strawberry.type
class Mine:
    @strawberry.field
    async def nested(self, info: strawberry.Info) -> str | None:
        await asyncio.sleep(0)
        end(_how(info))

    @strawberry.field
    def plain(self, info: strawberry.Info) -> str | None:
        end(_how(info))


@strawberry.type
class Query:
    @strawberry.field
    def mine(self) -> Mine:
        return Mine()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def counted(self, how: str) -> AsyncIterator[int]:
        yield 1
        end(how)


RESOLVERS = (in_loop, in_thread, guarded, guarded_later, fine, refuses, refuses_input, extends, start_it)


def identify(request: AuthRequest) -> User:
    if "x-caller" in request.headers:
        end(request.headers["x-caller"])
    return User("ann", attributes={"how": request.headers.get("x-how", "")})


class Policy(CallerPolicy):
    def may_see(self, user: User, run: Any) -> bool:
        how = str((user.attributes or {}).get("how"))
        return end(how) if how else True


@pytest.fixture
async def client() -> AsyncIterator[GraphQLClient]:
    app = define_app("contained", resolvers=RESOLVERS, workflows=[workflow])
    schema = create_schema(app, query=Query, subscription=Subscription, policy=Policy())
    async with serve(create_asgi(app, MemoryPlatform(), schema=schema, authenticate=identify)) as client:
        yield client


@pytest.mark.parametrize("how", RAISED)
async def test_it_ends_one_field(client: GraphQLClient, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The field is an internal error, which is logged with its traceback; the others have their values."""
    fields = ["inLoop", "inThread", "guarded", "guardedLater", "mine { nested }", "mine { plain }"]
    for field in fields:
        caplog.clear()
        answer = await client.execute(f"{{ {field} }}", headers={"x-how": how})
        assert answer.codes == ["INTERNAL"], field
        assert "secret" not in str(answer.errors)
        assert RAISED[how].__name__ in caplog.text
        assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)
    answer = await client.execute("{ mine { nested plain } other: mine { nested } }", headers={"x-how": how})
    assert answer.data == {"mine": {"nested": None, "plain": None}, "other": {"nested": None}}
    assert (await client.execute("{ fine }")).data == {"fine": "fine"}


@pytest.mark.parametrize("how", RAISED)
async def test_it_ends_one_stream(client: GraphQLClient, how: str) -> None:
    """What came before it has come, and then an internal error."""
    query, headers = "subscription($h: String!) { counted(how: $h) }", {"accept": "text/event-stream"}
    given = {"query": query, "variables": {"h": how}}
    async with client.http.stream("POST", "/graphql", json=given, headers=headers) as response:
        first, second = [data.get("payload", data) async for _, data in events_of(response) if data]
    assert first["data"] == {"counted": 1}
    assert [error["extensions"]["code"] for error in second["errors"]] == ["INTERNAL"]
    assert (await client.execute("{ fine }")).data == {"fine": "fine"}


@pytest.mark.parametrize("how", RAISED)
async def test_it_ends_one_request(client: GraphQLClient, how: str) -> None:
    """When it comes from what identifies the caller, or from the policy."""
    answer = await client.execute("{ fine }", headers={"x-caller": how})
    assert (answer.status, answer.codes) == (500, ["INTERNAL"])
    run_id = (await client.execute("mutation { startIt }")).data["startIt"]
    read = "query($id: ID!) { workflowRun(id: $id) { id } }"
    assert (await client.execute(read, {"id": run_id}, headers={"x-how": how})).codes == ["INTERNAL"]
    assert (await client.execute(read, {"id": run_id})).data == {"workflowRun": {"id": run_id}}
    assert current_job.get() is None


async def test_messages_that_are_not_utf_8_are_answered(client: GraphQLClient) -> None:
    """With the escapes of what can't be encoded, in extensions too."""
    answer = await client.execute("{ extends }")
    assert answer.errors[0]["message"] == "There is no caf\\udce9.txt."
    assert answer.errors[0]["extensions"] == {"code": "NONE", "files": ["caf\\udce9.txt"]}
    for field in ("refuses", "refusesInput"):
        answer = await client.execute(f"{{ {field} }}")
        assert [error["message"] for error in answer.errors] == ["There is no caf\\udce9.txt."]
