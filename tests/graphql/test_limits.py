"""What an operation may cost, and that refusing one costs little."""

from collections.abc import Iterator

import pytest
import strawberry
from graphql import get_introspection_query, parse

from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.limits import Limits, find_exceeded
from gqlplugin.graphql.schema import create_schema
from tests.calls import at_most_calls
from tests.graphql.conftest import Shop
from tests.graphql.shop import define_shop, shop_schema

pytestmark = pytest.mark.anyio


def exceeded(query: str, limits: Limits) -> list[str]:
    return [error.message for error in find_exceeded(parse(query), limits)]


def doubling(levels: int, *, aliased: bool) -> str:
    """Fragments that spread the next one twice each."""
    names = ("a: me", "b: me") if aliased else ("me", "you")
    fragments = [
        f"fragment F{level} on Query {{ {names[0]} {{ ...F{level + 1} }} {names[1]} {{ ...F{level + 1} }} }}"
        for level in range(levels)
    ]
    return "{ ...F0 } " + " ".join(fragments) + f" fragment F{levels} on Query {{ id }}"


@pytest.fixture
def few_calls() -> Iterator[None]:
    """Refusing costs little: half of this in practice."""
    with at_most_calls(1_000_000):
        yield


@pytest.mark.parametrize(
    ("query", "limits"),
    [
        ("{ a { b { c } } }", Limits(max_depth=2)),
        ("{ a { ...F } } fragment F on A { b { c } }", Limits(max_depth=2)),
        ("{ a { ... on A { b { ... { c } } } } }", Limits(max_depth=2)),
        ("{ x: a y: a z: a }", Limits(max_aliases=2)),
        ("{ x: a { ...F } b { ...F } } fragment F on A { y: c }", Limits(max_aliases=2)),
        ("{ a b c }", Limits(max_fields=2)),
        ("mutation { a b c }", Limits(max_mutations=2)),
        ("mutation { a ...F } fragment F on Mutation { b ... { c } }", Limits(max_mutations=2)),
        ("query A { a } mutation B { a b c }", Limits(max_mutations=2)),
    ],
)
def test_one_more_than_the_limit_is_refused(query: str, limits: Limits) -> None:
    """Depth, aliases, fields and mutations count through fragments; raised by one the query passes."""
    [message] = exceeded(query, limits)
    assert "the limit is 2" in message
    assert "3" in message
    changed = next(name for name in Limits.__slots__ if getattr(limits, name) == 2)
    assert exceeded(query, Limits(**{changed: 3})) == []


def test_the_introspection_of_tools_passes_by_default() -> None:
    """GraphiQL and code generators ask for more depth than anybody else."""
    assert exceeded(get_introspection_query(input_value_deprecation=True), Limits()) == []


def test_fragments_in_a_circle_are_left_to_validation() -> None:
    """They are measured without end otherwise."""
    assert exceeded("{ ...A } fragment A on Query { ...B } fragment B on Query { a ...A ...C }", Limits()) == []


@pytest.mark.usefixtures("few_calls")
@pytest.mark.parametrize("aliased", [True, False])
def test_fragments_that_double_are_measured_quickly(aliased: bool) -> None:
    """25 levels of doubling ask for 33 million fields, and are found out without counting them one by one."""
    messages = exceeded(doubling(25, aliased=aliased), Limits(max_depth=100))
    assert any("over a million fields" in message for message in messages)


@pytest.mark.usefixtures("few_calls")
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ " + " ".join(f"a{number}: whoAmI" for number in range(20_000)) + " }", "LIMIT_EXCEEDED"),
        ("mutation { " + " ".join(f"a{number}: noop" for number in range(11)) + " }", "LIMIT_EXCEEDED"),
        ("{ " + " ".join(f"a{number}: whoAmI" for number in range(800)) + " }", "LIMIT_EXCEEDED"),
        ("{ " + "whoAmI " * 5_000 + "}", "GRAPHQL_PARSE_FAILED"),
        ("{ whoAmI } # " + "x" * 1_900_000, "LIMIT_EXCEEDED"),
        (doubling(25, aliased=True), "LIMIT_EXCEEDED"),
    ],
)
async def test_a_query_that_is_too_large_is_refused_quickly(shop: Shop, query: str, code: str) -> None:
    """20,000 aliases, eleven triggers, endless fields or text: an error, and nothing runs."""
    result = await shop.client.execute(query)
    assert result.data is None
    assert result.codes[0] == code


async def test_limits_can_be_raised() -> None:
    """They are one object, given once."""
    query = "{ " + " ".join(f"a{number}: whoAmI" for number in range(100)) + " }"
    assert (await create_schema(define_shop()).execute(query)).errors
    assert (await create_schema(define_shop(), limits=Limits(max_aliases=100)).execute(query)).errors is None


async def test_limits_apply_to_a_schema_of_ones_own() -> None:
    """They come with the extension."""

    @strawberry.type
    class Query:
        @strawberry.field
        def name(self) -> str:
            return "shop"

    schema = strawberry.Schema(Query, extensions=[lambda: WorkflowExtension(limits=Limits(max_aliases=1))])
    assert (await schema.execute("{ a: name }")).errors is None
    [error] = (await schema.execute("{ a: name b: name }")).errors or []
    assert error.extensions == {"code": "LIMIT_EXCEEDED"}


RUNS = "workflowRuns{} {{ edges {{ node {{ id status }} }} }}"


@pytest.mark.parametrize(
    ("query", "variables", "fields"),
    [
        ("{ " + RUNS.format("(first: 3)") + " }", {}, 1 + 3 * 4),
        ("{ " + RUNS.format("") + " }", {}, 1 + 20 * 4),
        ("query($n: Int!) { " + RUNS.format("(first: $n)") + " }", {"n": 7}, 1 + 7 * 4),
        ("query($n: Int! = 5) { " + RUNS.format("(first: $n)") + " }", {}, 1 + 5 * 4),
        ("query($n: Int) { " + RUNS.format("(first: $n)") + " }", {}, 1 + 20 * 4),
        ("{ a: " + RUNS.format("(first: 3)") + " b: " + RUNS.format("(first: 2)") + " }", {}, 2 + 5 * 4),
        ("{ ...P } fragment P on Query { " + RUNS.format("(first: 3)") + " }", {}, 1 + 3 * 4),
        ("{ ... on Query { " + RUNS.format("(first: 3)") + " } }", {}, 1 + 3 * 4),
        ("{ all(first: 3) { some(last: 4) { id } } }", {}, 1 + 3 * (1 + 4)),
        ("{ all(first: -5) { id } }", {}, 2),
    ],
)
def test_a_list_counts_by_what_it_can_hold(query: str, variables: dict[str, object], fields: int) -> None:
    """Its fields count as often as `first` says, literally, by a variable or by default; nested lists multiply."""
    schema = shop_schema()._schema
    assert find_exceeded(parse(query), Limits(max_fields=fields), schema, variables) == []
    [error] = find_exceeded(parse(query), Limits(max_fields=fields - 1), schema, variables)
    assert f"asks for {fields} fields" in error.message


async def test_a_variable_decides_at_each_request() -> None:
    """The verdict on a document is kept, and still another page may be too long for it."""
    schema = create_schema(define_shop(), limits=Limits(max_fields=300))
    query = "query($n: Int!) { " + RUNS.format("(first: $n)") + " }"
    for first, is_refused in ((5, False), (100, True), (74, False), (75, True), (5, False)):
        errors = (await schema.execute(query, {"n": first})).errors or []
        assert ("LIMIT_EXCEEDED" in [(error.extensions or {}).get("code") for error in errors]) is is_refused


async def test_a_page_of_a_frontend_passes_and_many_do_not(shop: Shop) -> None:
    """100 runs with all that there is of them and of their jobs; but not five such pages at once."""
    run = "id workflowName status createdAt startedAt finishedAt error progress progressMessage"
    job = "id name stackedName status startedAt finishedAt error logs result progress progressMessage isWaitPoint"
    values = "... on OrderProcessingRun { input { orderId amount } output { orderId total } }"
    node = f"cursor node {{ {run} {values} jobs {{ {job} }} }}"
    page = f"workflowRuns(first: 100) {{ pageInfo {{ hasNextPage }} edges {{ {node} }} }}"
    shop.act_as("ann")
    assert not (await shop.client.execute(f"{{ {page} }}")).errors
    many = " ".join(f"a{number}: {page}" for number in range(5))
    assert (await shop.client.execute(f"{{ {many} }}")).codes == ["LIMIT_EXCEEDED"]


async def test_a_long_alias_is_refused(shop: Shop) -> None:
    """It would be repeated for every item of a list."""
    assert (await shop.client.execute("{ " + "a" * 256 + ": whoAmI }")).codes == []
    assert (await shop.client.execute("{ " + "a" * 257 + ": whoAmI }")).codes == ["LIMIT_EXCEEDED"]
