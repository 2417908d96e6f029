"""Idempotency keys of clients: what a field starts under one is started once."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import strawberry
from starlette.requests import Request
from strawberry.asgi import GraphQL
from strawberry.directive import DirectiveLocation, DirectiveValue
from strawberry.schema.config import StrawberryConfig

from gqlplugin.asgi import create_asgi
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.idempotency_keys import idempotent
from gqlplugin.graphql.schema import create_schema
from gqlplugin.idempotency import KeyedField
from gqlplugin.platform.base import Binding, bind
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.testing import MemoryPlatform, serve
from tests.contract.support import ended
from tests.graphql.conftest import authenticate
from tests.graphql.keyed import PLACE, Shop, code, said, served_shop, told, unguessable
from tests.graphql.keyed_shop import Order, PlainMutation, keyed_schema, keyed_shop, packing, tries
from tests.loopback import TOKEN, WORKSPACE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with served_shop() as served:
        yield served


async def test_a_request_sent_again_with_its_header_starts_nothing(shop: Shop) -> None:
    """The same key answers with the same run, and `extensions` says which of the answers is a replay."""
    first = await shop.ask(PLACE, header="k")
    again = await shop.ask(PLACE, header="k")
    assert first["data"] == again["data"]
    assert told(first) == [said("place")]
    assert told(again) == [said("place", replayed=True)]
    assert len(await shop.runs("packing")) == 1


async def test_a_plain_resolver_starts_under_the_key_of_its_client(shop: Shop) -> None:
    """Its starts are on event loops of their own, and are replayed as those of an async one are."""
    first, again = [await shop.ask('mutation { placeInThread(orderId: "1") }', header="k") for _ in range(2)]
    assert first["data"] == again["data"]
    assert told(again) == [said("placeInThread", replayed=True)]
    assert {run.id for run in await shop.runs("packing")} == set(first["data"]["placeInThread"])
    assert {run.caller.id for run in await shop.runs("packing")} == {"ann"}


async def test_without_a_key_nothing_is_said_and_every_request_starts(shop: Shop) -> None:
    """Two equal requests without a key are two runs, and have no `extensions`."""
    answers = [await shop.ask(PLACE) for _ in range(2)]
    assert [list(answer) for answer in answers] == [["data"], ["data"]]
    assert len(await shop.runs("packing")) == 2


@pytest.mark.parametrize("keyed", [PLACE, 'mutation { place(orderId: "1") shipNow(orderId: "1") }'])
async def test_a_key_ends_with_its_operation(keyed: str) -> None:
    """What is started in the same context afterwards has no key."""
    app, platform = keyed_shop(), MemoryPlatform()
    key = unguessable()

    async def start_afterwards() -> str:
        request = Request({"type": "http", "headers": [(b"idempotency-key", key.encode())]})
        assert not (await keyed_schema().execute(keyed, context_value={"request": request})).errors
        return await packing.trigger(Order(order_id="1"))

    async with platform, platform.execute(app):
        assert len({await asyncio.create_task(start_afterwards()) for _ in range(2)}) == 2


def test_a_key_is_not_in_the_text_of_what_holds_it() -> None:
    """An anonymous caller's key is as good as a password."""
    assert "secret" not in repr(KeyedField("secret", field="Mutation.place", response_key="place"))


async def test_the_directive_is_the_same_as_the_header(shop: Shop) -> None:
    """A key by directive, in the text or in a variable, is the key that the header would be."""
    by_header = await shop.ask(PLACE, header="k")
    literal = await shop.ask('mutation { place(orderId: "1") @idempotent(key: "k") }')
    query = 'mutation M($k: String!) { it: place(orderId: "1") @idempotent(key: $k) }'
    variable = await shop.ask(query, variables={"k": "k"})
    assert by_header["data"]["place"] == literal["data"]["place"] == variable["data"]["it"]
    assert told(variable) == [said("it", replayed=True)]


async def test_the_directive_wins_over_the_header(shop: Shop) -> None:
    """A field with a directive has its key, and the others have the header's."""
    await shop.ask(PLACE, header="k")
    query = 'mutation { place(orderId: "1") @idempotent(key: "other") shipNow(orderId: "1") }'
    assert told(await shop.ask(query, header="k")) == [said("place"), said("shipNow")]
    assert told(await shop.ask(query, header="k")) == [said("place", replayed=True), said("shipNow", replayed=True)]
    assert len(await shop.runs("packing")) == 2


async def test_a_key_is_the_fields_own(shop: Shop) -> None:
    """Another field under the same key is another request, whatever its alias; the same field is the same."""
    first = await shop.ask(PLACE, header="k")
    other = await shop.ask('mutation { place: replace(orderId: "1") }', header="k")
    assert told(other) == [said("place")]
    assert other["data"] != first["data"]
    aliased = await shop.ask('mutation { replace: place(orderId: "1") }', header="k")
    assert aliased["data"]["replace"] == first["data"]["place"]


async def test_a_key_is_the_callers_own(shop: Shop) -> None:
    """Another caller with the same key gets a run of its own, and learns nothing of the other's."""
    first = await shop.ask(PLACE, header="k", user="ann")
    other = await shop.ask(PLACE, header="k", user="bob")
    assert told(other) == [said("place")]
    assert other["data"] != first["data"]


async def test_other_arguments_under_a_key_are_refused(shop: Shop) -> None:
    """`IDEMPOTENCY_KEY_REUSED`, and nothing is started."""
    await shop.ask(PLACE, header="k")
    answer = await shop.ask('mutation { place(orderId: "2") }', header="k")
    assert code(answer) == "IDEMPOTENCY_KEY_REUSED"
    assert len(await shop.runs("packing")) == 1


async def test_every_start_of_a_body_has_a_key_of_its_own(shop: Shop) -> None:
    """Two equal starts in one body are two runs, and both are the same two when the request comes again."""
    first = await shop.ask('mutation { placeTwice(orderId: "1") }', header="k")
    again = await shop.ask('mutation { placeTwice(orderId: "1") }', header="k")
    assert len(set(first["data"]["placeTwice"])) == 2
    assert again["data"] == first["data"]
    assert told(again) == [said("placeTwice", replayed=True)]


async def test_a_body_that_failed_halfway_goes_on_where_it_was(shop: Shop) -> None:
    """The retry finds the run that was started, starts the other, and is no replay."""
    tries["left"] = 1
    query = 'mutation { placeOrFail(orderId: "1") }'
    assert code(await shop.ask(query, header="k")) == "BAD_USER_INPUT"
    (packed,) = await shop.runs("packing")
    again = await shop.ask(query, header="k")
    assert again["data"]["placeOrFail"][0] == packed.id
    assert told(again) == [said("placeOrFail")]
    assert told(await shop.ask(query, header="k")) == [said("placeOrFail", replayed=True)]


async def test_a_key_that_did_nothing_is_told(shop: Shop) -> None:
    """A body that starts nothing, or under a key of its own, says `applied: false`: the client's key had no effect."""
    assert told(await shop.ask("mutation { nothing }", header="k")) == [said("nothing", applied=False)]
    own = 'mutation { placeUnderOwnKey(orderId: "1") }'
    first = await shop.ask(own, header="a")
    assert told(first) == [said("placeUnderOwnKey", applied=False)]
    assert (await shop.ask(own, header="b"))["data"] == first["data"]


@pytest.mark.parametrize("field", ["placeMany", "placeInSession"])
async def test_starts_that_a_key_can_not_cover_are_refused(shop: Shop, field: str) -> None:
    """`trigger_many` and `trigger(session=)` start nothing under a client's key, and say why."""
    answer = await shop.ask(f'mutation {{ {field}(orderId: "1") }}', header="k")
    assert code(answer) == "UNSUPPORTED"
    assert "idempotency key" in answer["errors"][0]["message"]
    assert await shop.runs() == []


async def test_trigger_many_works_without_a_key(shop: Shop) -> None:
    """What is refused is the key, not the start."""
    assert len((await shop.ask('mutation { placeMany(orderId: "1") }'))["data"]["placeMany"]) == 2


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ('mutation { place(orderId: "") }', "BAD_USER_INPUT"),
        ("mutation { place }", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation ($id: String!) { place(orderId: $id) }", "BAD_USER_INPUT"),
    ],
)
async def test_a_refused_request_does_not_use_up_its_key(shop: Shop, refused: str, expected: str) -> None:
    """The same key is good for a request that is not refused."""
    assert code(await shop.ask(refused, header="k")) == expected
    assert told(await shop.ask(PLACE, header="k")) == [said("place")]


async def test_a_forbidden_start_does_not_use_up_its_key(shop: Shop) -> None:
    """A start that the workflow's `permission` refuses keeps no key; other arguments are good afterwards."""
    place = 'mutation {{ placeGuarded(orderId: "{}") }}'
    assert code(await shop.ask(place.format("1"), header="k", user="ann")) == "FORBIDDEN"
    assert told(await shop.ask(place.format("2"), header="k", user="admin")) == [said("placeGuarded")]


async def test_a_key_is_of_no_interest_to_queries(shop: Shop) -> None:
    """A header, malformed even, over a request without mutation is ignored."""
    assert await shop.ask("{ greeting }", header="not a key") == {"data": {"greeting": "Hello"}}
    body = {"query": 'query Q { greeting } mutation M { place(orderId: "1") }', "operationName": "Q"}
    response = await shop.client.http.post("/graphql", json=body, headers={"idempotency-key": "not a key"})
    assert response.json() == {"data": {"greeting": "Hello"}}


async def test_a_key_does_not_reach_the_jobs(shop: Shop) -> None:
    """What a job triggers is the job's own, and no start of the field."""
    app = keyed_shop()
    async with shop.platform.execute(app):
        answers = [await shop.ask('mutation { shipNow(orderId: "1") }', header="k") for _ in range(2)]
        assert told(answers[1]) == [said("shipNow", replayed=True)]
        run_id = answers[0]["data"]["shipNow"]
        assert (await ended(shop.platform, run_id)).output is not None
        with bind(Binding(shop.platform, app)):
            assert await packing.trigger({"order_id": "1"}) != await packing.trigger({"order_id": "1"})  # type: ignore[arg-type]


async def test_executors_hear_once_of_a_field_that_was_sent_again(shop: Shop) -> None:
    """A retry fires nothing anew; without starts the body runs for nothing but itself, and each run is told."""
    for _ in range(2):
        await shop.ask(PLACE, header="k")
        await shop.ask("mutation { nothing }", header="k")
    assert len(await shop.runs("executor/on-place")) == 1
    assert len(await shop.runs("executor/on-nothing")) == 2
    for user in ("ann", "bob"):
        await shop.ask('mutation { placeQuietly(orderId: "1") }', header="k", user=user)
    assert len(await shop.runs("executor/on-place-quietly")) == 2
    await shop.ask(PLACE, header="k", user="bob")
    await shop.ask('mutation { shipNow(orderId: "1") place(orderId: "1") }', header="other")
    await shop.ask('mutation { shipNow(orderId: "1") place(orderId: "1") }', header="other")
    assert len(await shop.runs("executor/on-place")) == 3


async def test_a_plain_mutation_has_the_key_when_it_is_alone(shop: Shop) -> None:
    """A field that `create_resolver` did not make is covered as the only one, and refused a key beside others."""
    for replayed in (False, True):
        answer = await shop.ask('mutation { it: plainPlace(orderId: "1") }', header="k")
        assert told(answer) == [said("it", replayed=replayed)]
    beside = 'mutation { plainPlace(orderId: "1") place(orderId: "1") }'
    answer = await shop.ask(beside, header="k")
    assert code(answer) == "BAD_USER_INPUT"
    assert "plainPlace" in answer["errors"][0]["message"]
    assert len(await shop.runs("packing")) == 1
    keyed = 'mutation { place(orderId: "1") @idempotent(key: "k") plainPlace(orderId: "1") }'
    first, again = [await shop.ask(keyed) for _ in range(2)]
    assert told(again) == [said("place", replayed=True)]
    assert first["data"]["plainPlace"] != again["data"]["plainPlace"]


@strawberry.type
class Query:
    @strawberry.field
    def greeting(self) -> str:
        return "Hello"


async def test_a_schema_of_ones_own_has_the_header_and_may_have_the_directive() -> None:
    """In Strawberry's own view too, with the extension alone."""
    app, platform = keyed_shop(), MemoryPlatform()
    schema = strawberry.Schema(
        Query, PlainMutation, directives=[idempotent], extensions=[lambda: WorkflowExtension(app, platform)]
    )
    key = unguessable()
    async with (
        platform,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(GraphQL[Any, Any](schema)), base_url="http://testserver"
        ) as http,
    ):
        place = {"query": 'mutation { plainPlace(orderId: "1") }'}
        directive = {"query": f'mutation {{ plainPlace(orderId: "1") @idempotent(key: "{key}") }}'}
        first = (await http.post("/", json=place, headers={"idempotency-key": key})).json()
        again = (await http.post("/", json=directive)).json()
    assert first["data"] == again["data"]
    assert told(again) == [said("plainPlace", replayed=True)]


@strawberry.directive(locations=[DirectiveLocation.FIELD], name="idempotent")
def another(value: DirectiveValue[str], key: str) -> str:
    return f"{value} {key}"


async def test_another_directive_of_that_name_is_left_alone() -> None:
    """A schema that has an `@idempotent` of its own keeps its meaning."""
    app, platform = keyed_shop(), MemoryPlatform()
    schema = strawberry.Schema(
        Query, PlainMutation, directives=[another], extensions=[lambda: WorkflowExtension(app, platform)]
    )
    async with platform:
        result = await schema.execute('{ greeting @idempotent(key: "k") }')
        assert result.data == {"greeting": "Hello k"}
        mutation = 'mutation { plainPlace(orderId: "1") @idempotent(key: "k") }'
        assert (await schema.execute(mutation, context_value={})).extensions == {}


async def test_a_header_over_a_batch_is_one_key_per_field() -> None:
    """Operations of a batch share the header: the same field in two of them is refused."""
    config = StrawberryConfig(batching_config={"max_operations": 10})
    schema = create_schema(keyed_shop(), config=config)
    asgi = create_asgi(keyed_shop(), MemoryPlatform(), schema=schema, authenticate=authenticate, execute=False)
    async with serve(asgi) as client:
        queries = [PLACE, PLACE, 'mutation { shipNow(orderId: "1") }']
        headers = {"idempotency-key": "k", "x-user": "ann"}
        answers = (await client.http.post("/graphql", json=[{"query": one} for one in queries], headers=headers)).json()
    assert told(answers[0]) == [said("place")]
    assert code(answers[1]) == "BAD_USER_INPUT"
    assert told(answers[2]) == [said("shipNow")]


async def test_no_key_is_logged_or_echoed(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """An anonymous caller's key is as good as a password: no error and no log line has it."""
    caplog.set_level(logging.DEBUG)
    key = unguessable()
    texts = [
        json.dumps(await shop.ask(query, header=header, user=None))
        for query, header in (
            (PLACE, key),
            ('mutation { place(orderId: "2") }', key),
            (PLACE, f"{key}!"),
            ('mutation { a: place(orderId: "1") b: place(orderId: "1") }', key),
        )
    ]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("gqlplugin")]
    assert not any(key in text for text in [*texts, *ours])


async def test_the_platform_client_tells_of_a_replay_as_the_platform_does() -> None:
    """Over the Tailor Platform's contract too, where the server is gqlplugin's."""
    app = keyed_shop()
    server = create_server(app, MemoryPlatform(), token=TOKEN, execute=False)
    async with serve(server) as served:
        platform = TailorPlatform(
            "http://testserver",
            workspace_id=WORKSPACE,
            token=TOKEN,
            transport=httpx.ASGITransport(server),
        )
        asgi = create_asgi(app, platform, schema=keyed_schema(), authenticate=authenticate, execute=False)
        async with serve(asgi) as client:
            shop = Shop(platform, client)
            for replayed in (False, True):
                assert told(await shop.ask(PLACE, header="k")) == [said("place", replayed=replayed)]
            assert len(await shop.runs("packing")) == 1
    assert served is not None
