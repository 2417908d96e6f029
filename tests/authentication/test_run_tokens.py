"""Run-scoped tokens: what they open, and that they open nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import strawberry
from pydantic import SecretStr
from strawberry.extensions import DisableValidation, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.authentication.tokens import RunTokens
from gqlplugin.errors import DefinitionError, FailedPreconditionError, UnauthenticatedError
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import RunGrant, User
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionFilter
from gqlplugin.secret import secret
from gqlplugin.testing import GraphQLClient, GraphQLResult, MemoryPlatform, serve
from tests.authentication.support import SECRET, forged
from tests.graphql.conftest import authenticate
from tests.graphql.shop import define_shop, shop_schema

pytestmark = pytest.mark.anyio

RUN = "query ($id: ID!) { workflowRun(id: $id) { id status jobs { name logs } } }"
CANCEL = "mutation ($id: ID!) { cancelWorkflowRun(id: $id) { id status } }"


@dataclass(frozen=True)
class Served:
    client: GraphQLClient
    tokens: RunTokens
    platform: MemoryPlatform
    mine: str
    other: str

    async def ask(self, token: str, query: str, run_id: str | None = None, **more: Any) -> GraphQLResult:
        headers = {"authorization": f"Bearer {token}"}
        return await self.client.execute(query, {"id": run_id or self.mine}, headers=headers, **more)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    platform, tokens = MemoryPlatform(), RunTokens(SECRET)
    asgi = create_asgi(define_shop(), platform, schema=shop_schema(), authenticate=authenticate, run_tokens=tokens)
    async with serve(asgi) as client:
        started = []
        for _ in range(2):
            query = 'mutation { placeOrder(orderId: "1") { runId } }'
            answer = await client.execute(query, headers={"x-user": "ann"})
            started.append(answer.data["placeOrder"]["runId"])
            async with asyncio.timeout(60):
                assert [run async for run in platform.watch(started[-1])]
        yield Served(client, tokens, platform, *started)


async def test_a_token_opens_its_run(served: Served) -> None:
    """Its holder, who is nobody known, reads a run that belongs to somebody."""
    assert (await served.client.execute(RUN, {"id": served.mine})).codes == ["NOT_FOUND"]
    run = (await served.ask(served.tokens.issue(served.mine), RUN)).data["workflowRun"]
    assert (run["id"], run["status"]) == (served.mine, "SUCCESS")
    assert len(run["jobs"]) == 2


async def test_other_runs_look_unknown(served: Served) -> None:
    """A run that the token is not for is told of in the words for one that doesn't exist."""
    issued = served.tokens.issue(served.mine)
    other, unknown = [await served.ask(issued, RUN, one) for one in (served.other, served.other[:-4] + "0000")]
    assert other.codes == ["NOT_FOUND"]
    assert other == unknown


@pytest.mark.parametrize("may_cancel", [False, True])
@pytest.mark.parametrize(
    "query",
    [
        "{ workflowRuns { edges { cursor } } }",
        "{ whoAmI }",
        'mutation { placeOrder(orderId: "1") { runId } }',
        "mutation { noop }",
        "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id } }",
        "{ __schema { types { name } } }",
        '{ __type(name: "Query") { name } }',
        "query ($id: ID!) { workflowRun(id: $id) { id } whoAmI }",
        "query ($id: ID!) { workflowRun(id: $id) { id } ... { workflowRun: whoAmI } }",
        "query ($id: ID!) { ...A } fragment A on Query { ...B } fragment B on Query { whoAmI ...A }",
        "query ($id: ID!) { workflowRun(id: $id) { id } whoAmI @skip(if: true) }",
        "{ workflowRun: whoAmI }",
        "{ nothing }",
    ],
)
async def test_nothing_else_is_open(served: Served, query: str, may_cancel: bool) -> None:
    """Every other root field is refused before anything runs or is validated, wherever it stands and if it is one."""
    answer = await served.ask(served.tokens.issue(served.mine, may_cancel=may_cancel), query)
    assert answer.codes == ["FORBIDDEN"]
    assert answer.data is None
    assert "nothing" not in str(answer.errors).replace("nothing else", "")
    runs = await served.platform.list_executions(ExecutionFilter(), first=10)
    assert len(runs.executions) == 2


async def test_the_operation_that_runs_is_looked_at(served: Served) -> None:
    """Others in the same document don't matter, however they are named."""
    document = "query A { whoAmI } query B($id: ID!) { __typename workflowRun(id: $id) { id } }"
    issued = served.tokens.issue(served.mine)
    assert (await served.ask(issued, document, operation_name="A")).codes == ["FORBIDDEN"]
    assert (await served.ask(issued, document)).codes == ["FORBIDDEN"]
    allowed = await served.ask(issued, document, operation_name="B")
    assert allowed.data == {"__typename": "Query", "workflowRun": {"id": served.mine}}


async def test_canceling_needs_a_token_that_says_so(served: Served) -> None:
    """A token for reading does not cancel; one for canceling does so for its own run only."""
    refused = await served.ask(served.tokens.issue(served.mine), CANCEL)
    assert refused.codes == ["FORBIDDEN"]
    assert "path" not in refused.errors[0]  # as it did not run
    both = served.tokens.issue(served.mine, may_cancel=True)
    assert (await served.ask(both, CANCEL)).codes in ([], ["FAILED_PRECONDITION"])
    assert (await served.ask(both, CANCEL, served.other)).codes == ["NOT_FOUND"]
    assert (await served.ask(both, RUN)).data["workflowRun"]["id"] == served.mine


@pytest.mark.parametrize("extension", [ValidationCache, DisableValidation])
async def test_other_extensions_do_not_open_more(extension: type[SchemaExtension]) -> None:
    """Neither one that remembers what was valid for others, nor one that leaves validation out."""
    tokens = RunTokens(SECRET)
    schema = create_schema(define_shop(), extensions=[extension])
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=schema, run_tokens=tokens)) as client:
        assert (await client.run("{ whoAmI }"))["whoAmI"] == User().id
        for may_cancel in (False, True):
            headers = {"authorization": f"Bearer {tokens.issue('1', may_cancel=may_cancel)}"}
            assert (await client.execute("{ whoAmI }", headers=headers)).codes == ["FORBIDDEN"]
            assert (await client.execute("{ __typename }", headers=headers)).data == {"__typename": "Query"}
        assert (await client.run("{ whoAmI }"))["whoAmI"] == User().id


async def test_a_batch_is_looked_at_one_by_one(served: Served) -> None:
    """What one operation may is not what the next one may."""
    schema = create_schema(define_shop(), config=StrawberryConfig(batching_config={"max_operations": 5}))
    asgi = create_asgi(define_shop(), MemoryPlatform(), schema=schema, run_tokens=served.tokens)
    async with serve(asgi) as client:
        headers = {"authorization": f"Bearer {served.tokens.issue('1')}"}
        queries = ["{ __typename }", "{ whoAmI }", "{ __typename }"]
        response = await client.http.post("/graphql", json=[{"query": one} for one in queries], headers=headers)
    first, second, third = response.json()
    assert first == third == {"data": {"__typename": "Query"}}
    assert second["errors"][0]["extensions"] == {"code": "FORBIDDEN"}


@strawberry.type
class OwnQuery:
    @strawberry.field
    def workflow_run(self, id: strawberry.ID) -> str:
        return f"everything about {id}"


async def test_a_field_of_ones_own_is_not_opened_by_its_name() -> None:
    """What opens is the library's field, not any that is called the same."""
    schema = strawberry.Schema(OwnQuery, extensions=[WorkflowExtension])
    tokens = RunTokens(SECRET)
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=schema, run_tokens=tokens)) as client:
        headers = {"authorization": f"Bearer {tokens.issue('1')}"}
        assert (await client.execute('{ workflowRun(id: "1") }', headers=headers)).codes == ["FORBIDDEN"]
        assert (await client.run('{ workflowRun(id: "1") }')) == {"workflowRun": "everything about 1"}


async def test_the_names_of_fields_don_t_matter() -> None:
    """With names in snake case the same fields are open."""
    schema = create_schema(define_shop(), config=StrawberryConfig(auto_camel_case=False))
    tokens = RunTokens(SECRET)
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=schema, run_tokens=tokens)) as client:
        headers = {"authorization": f"Bearer {tokens.issue('1')}"}
        assert (await client.execute('{ workflow_run(id: "1") { id } }', headers=headers)).codes == ["NOT_FOUND"]
        assert (await client.execute("{ workflow_runs { edges { cursor } } }", headers=headers)).codes == ["FORBIDDEN"]


def test_what_a_token_says() -> None:
    """The grant, an anonymous caller, and an end that is as far away as the lifetime."""
    tokens = RunTokens(SecretStr(SECRET), lifetime=timedelta(minutes=3))
    told = tokens.verify(tokens.issue("run", may_cancel=True))
    assert told.expires_at is not None
    assert timedelta(minutes=2) < told.expires_at - datetime.now(UTC) <= timedelta(minutes=3)
    assert (told.user, told.grant) == (User(), RunGrant("run", may_cancel=True))
    assert tokens.verify(tokens.issue("run")).grant == RunGrant("run")
    signed = jwt.decode(tokens.issue("run").removeprefix("gqlrun_"), options={"verify_signature": False})
    assert signed["exp"] - signed["iat"] == 180


def test_forged_tokens_are_refused() -> None:
    """Another secret, a changed text, a token for another purpose, no prefix, and an expired one."""
    tokens = RunTokens(SECRET)
    issued = tokens.issue("run")
    signed = issued.removeprefix("gqlrun_")
    head, body, signature = signed.split(".")
    raw = jwt.decode(signed, options={"verify_signature": False})
    wrong = [
        RunTokens(SECRET + "x").issue("run"),
        f"gqlrun_{head}.{body}.{signature[::-1]}",
        f"gqlrun_{head}.{tokens.issue('other').split('.')[1]}.{signature}",
        signed,
        "gqlrun_",
        "gqlrun_" + jwt.encode(raw, SECRET, "HS256"),
        "gqlrun_" + forged({"alg": "none"}, raw),
    ]
    for one in wrong:
        with pytest.raises(UnauthenticatedError):
            tokens.verify(one)


def test_an_expired_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its lifetime a token opens nothing."""
    tokens = RunTokens(SECRET, lifetime=timedelta(seconds=1))
    tokens.lifetime = timedelta(seconds=-1)  # what was issued two seconds ago
    with pytest.raises(UnauthenticatedError):
        tokens.verify(tokens.issue("run"))


async def test_a_refused_token_is_answered_like_any_other(served: Served) -> None:
    """401 and UNAUTHENTICATED, whatever is wrong with it, and without its text."""
    for one in ("gqlrun_x.y.z", RunTokens("another secret, also of 32 bytes").issue(served.mine)):
        answer = await served.ask(one, RUN)
        assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])
        assert one not in str(answer.errors)


async def test_a_secret_that_is_not_set_is_told_to_the_operators(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns to try again later, the log which variable is missing."""
    tokens = RunTokens(secret("GQLPLUGIN_TEST_UNSET"))
    issued = RunTokens(SECRET).issue("1")
    with pytest.raises(FailedPreconditionError, match="GQLPLUGIN_TEST_UNSET"):
        tokens.issue("1")
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), run_tokens=tokens)) as client:
        answer = await client.execute("{ whoAmI }", headers={"authorization": f"Bearer {issued}"})
        assert (await client.run("{ whoAmI }"))["whoAmI"] == User().id
    assert (answer.status, answer.codes) == (503, ["AUTHENTICATION_UNAVAILABLE"])
    assert "GQLPLUGIN_TEST_UNSET" not in str(answer.errors)
    assert any("GQLPLUGIN_TEST_UNSET" in record.getMessage() for record in caplog.records)


def test_weak_secrets_and_lifetimes_are_refused() -> None:
    """At the definition where the value is at hand, and never with it in the text or the repr."""
    for weak in ("short-secret", SecretStr("short-secret")):
        with pytest.raises(DefinitionError, match="less than 32 bytes") as caught:
            RunTokens(weak)
        assert "short-secret" not in str(caught.value)
    with pytest.raises(DefinitionError, match="at least one second"):
        RunTokens(SECRET, lifetime=timedelta(0))
    assert SECRET not in f"{RunTokens(SECRET)!r} {vars(RunTokens(SECRET))!r}"


async def test_a_secret_that_is_not_set_is_not_told_to_clients(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A resolver that can't issue a token is an internal error, and the log names the variable."""
    monkeypatch.delenv("GQLPLUGIN_TEST_RUN_TOKENS", raising=False)
    tokens = RunTokens(secret("GQLPLUGIN_TEST_RUN_TOKENS"))

    @create_resolver(name="issue", operation="mutation")
    async def issue(ctx: ResolverContext[None]) -> str:
        return tokens.issue("a-run")

    async with serve(create_asgi(define_app("shop", resolvers=[issue]), MemoryPlatform())) as client:
        answer = await client.execute("mutation { issue }")
    assert answer.codes == ["INTERNAL"]
    assert "GQLPLUGIN_TEST_RUN_TOKENS" not in repr(answer)
    assert "GQLPLUGIN_TEST_RUN_TOKENS" in caplog.text
