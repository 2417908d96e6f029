"""Which idempotency keys are taken, from where, and by whom."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.graphql.keyed import PLACE, Shop, code, said, served_shop, told, unguessable

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with served_shop() as served:
        yield served


@pytest.mark.parametrize("header", ["k", '"k"', ' "k" ', "\tk"])
async def test_the_bare_key_and_the_quoted_one_are_one_key(shop: Shop, header: str) -> None:
    """The draft has a quoted string; most clients send the bare key."""
    first = await shop.ask(PLACE, header="k")
    assert (await shop.ask(PLACE, header=header))["data"] == first["data"]


async def test_a_quoted_key_is_unescaped(shop: Shop) -> None:
    """In a quoted string a backslash stands before quotes and backslashes (RFC 8941, section 3.3.3)."""
    quoted = await shop.ask(PLACE, header=r'"a \"b\" \\ c"')
    query = 'mutation ($k: String!) { place(orderId: "1") @idempotent(key: $k) }'
    assert (await shop.ask(query, variables={"k": r'a "b" \ c'}))["data"] == quoted["data"]


@pytest.mark.parametrize("key", ["k" * 255, "!#$%&'()*+-./:;<=>?@[\\]^_`{|}~"])
async def test_keys_of_up_to_255_printable_characters_are_taken(shop: Shop, key: str) -> None:
    """Whatever a bare key may be made of."""
    assert told(await shop.ask(PLACE, header=key)) == [said("place")]


@pytest.mark.parametrize(
    "header", ["", '""', "k" * 256, f'"{"k" * 256}"', "a b", "a,b", '"a', 'a"', '"a"; p=1', "\xe9"]
)
async def test_a_malformed_header_is_refused_before_anything_runs(shop: Shop, header: str) -> None:
    """Empty, too long, unbalanced, or not of printable ASCII characters: `BAD_USER_INPUT`."""
    body = json.dumps({"query": PLACE})
    headers = [
        (b"x-user", b"ann"),
        (b"content-type", b"application/json"),
        (b"idempotency-key", header.encode("latin-1")),
    ]
    response = await shop.client.http.post("/graphql", content=body, headers=headers)
    assert code(response.json()) == "BAD_USER_INPUT"
    assert "data" not in response.json()
    assert await shop.runs() == []


async def test_two_headers_are_refused(shop: Shop) -> None:
    """Two keys are no key."""
    headers = [(b"x-user", b"ann"), (b"idempotency-key", b"a"), (b"idempotency-key", b"b")]
    response = await shop.client.http.post("/graphql", json={"query": PLACE}, headers=headers)
    assert code(response.json()) == "BAD_USER_INPUT"


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\nb", "\u2028"])
async def test_a_malformed_key_of_the_directive_is_refused_before_anything_runs(shop: Shop, key: str) -> None:
    """The same characters as in the header; no other field runs either."""
    query = 'mutation ($k: String!) { shipNow(orderId: "1") place(orderId: "1") @idempotent(key: $k) }'
    answer = await shop.ask(query, variables={"k": key})
    assert code(answer) == "BAD_USER_INPUT"
    assert await shop.runs() == []


@pytest.mark.parametrize(
    "query",
    [
        '{ greeting @idempotent(key: "k") }',
        'mutation { placeTwice: resumeWorkflowRun(id: "1") { id @idempotent(key: "k") } }',
        'mutation { ...F } fragment F on Mutation { resumeWorkflowRun(id: "1") { id @idempotent(key: "k") } }',
        'query { ...F } fragment F on Query { greeting @idempotent(key: "k") }',
        'mutation { nothing __typename @idempotent(key: "k") }',
        'mutation { nothing @idempotent(key: "a") @idempotent(key: "b") }',
        "mutation { nothing @idempotent }",
        'mutation @idempotent(key: "k") { nothing }',
    ],
)
async def test_the_directive_anywhere_else_is_refused(shop: Shop, query: str) -> None:
    """It is for fields at the root of a mutation."""
    answer = await shop.ask(query)
    assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
    assert "idempotent" in answer["errors"][0]["message"]


async def test_fragments_and_skipped_fields_are_understood(shop: Shop) -> None:
    """The key of a field in a fragment is the field's; a field that is skipped has none and takes none."""
    query = (
        'mutation ($no: Boolean!) { ...F ... @skip(if: true) { b: place(orderId: "2") } c: place(orderId: "3") '
        '@include(if: $no) } fragment F on Mutation { ... { a: place(orderId: "1") } }'
    )
    for replayed in (False, True):
        assert told(await shop.ask(query, header="k", variables={"no": False})) == [said("a", replayed=replayed)]


async def test_a_header_for_the_same_field_twice_is_refused(shop: Shop) -> None:
    """One key can't tell two equal fields apart; with a directive each, they have keys of their own."""
    query = 'mutation {{ a: place(orderId: "1") {} b: place(orderId: "1") {} }}'
    keys = [f'@idempotent(key: "{key}")' for key in "ab"]
    for first, second in (("", ""), (keys[0], keys[0])):
        answer = await shop.ask(query.format(first, second), header="k")
        assert code(answer) == "BAD_USER_INPUT"
    assert await shop.runs() == []
    data = (await shop.ask(query.format(*keys)))["data"]
    assert data["a"] != data["b"]
    assert (await shop.ask(query.format(*keys)))["data"] == data


async def test_one_field_with_two_keys_is_refused(shop: Shop) -> None:
    """Fields that GraphQL merges to one can't have two keys."""
    fragment = 'fragment F on Mutation { nothing @idempotent(key: "a") }'
    query = f"mutation ($b: String!) {{ ...F nothing @idempotent(key: $b) }} {fragment}"
    assert code(await shop.ask(query, variables={"b": "b"})) == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    "key", ["k", "1" * 36, "00000000-0000-0000-0000-000000000000", "01a2020c-ffc8-7afe-87a1-392411ed6c2d"]
)
async def test_an_anonymous_callers_key_must_be_unguessable(shop: Shop, key: str) -> None:
    """All anonymous callers are one to the platform, so that a stranger's guess must not hit a key."""
    for query in (PLACE, f'mutation {{ place(orderId: "1") @idempotent(key: "{key}") }}'):
        answer = await shop.ask(query, header=key, user=None)
        assert code(answer) == "BAD_USER_INPUT"
        assert "randomUUID" in answer["errors"][0]["message"]
    assert await shop.runs() == []


async def test_an_anonymous_caller_may_send_a_random_uuid(shop: Shop) -> None:
    """What `crypto.randomUUID()` returns is taken."""
    key = unguessable()
    for replayed in (False, True):
        assert told(await shop.ask(PLACE, header=key, user=None)) == [said("place", replayed=replayed)]
