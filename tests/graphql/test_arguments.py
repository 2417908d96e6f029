"""The arguments of a resolver: how they are validated, and what they are when they are left out."""

from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
import strawberry
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.alias_generators import to_camel
from strawberry.tools import create_type

from gqlplugin.errors import DefinitionError, FieldProblem, InvalidInputError
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.resolver import Resolver, ResolverContext
from tests.graphql.schemas import answer, returning, schema_of

pytestmark = pytest.mark.anyio


class Line(BaseModel):
    sku: str
    unit_price: int = Field(ge=0)


class Order(BaseModel):
    customer: str = Field(min_length=2)
    lines: list[Line] = Field(min_length=1)
    tags: set[str] = set()
    extra: dict[str, int] = {}
    coupon: str | None = None

    @field_validator("coupon")
    @classmethod
    def known(cls, value: str | None) -> str | None:
        if value == "bad":
            raise ValueError("no such coupon")
        return value

    @model_validator(mode="after")
    def affordable(self) -> "Order":
        if sum(line.unit_price for line in self.lines) > 100:
            raise ValueError("too dear")
        return self


async def problems_of(query: str, model: type[BaseModel] = Order, **variables: Any) -> list[FieldProblem]:
    """What a resolver, whose body must not run, refuses in a query."""
    ran: list[object] = []
    result = await schema_of(returning(ran.append, int, input=model)).execute(query, variables)
    assert not ran
    assert result.errors
    (error,) = result.errors
    assert isinstance(error.original_error, InvalidInputError)
    assert error.original_error.__context__ is None
    return list(error.original_error.problems)


async def test_every_wrong_field_is_reported_where_the_client_wrote_it() -> None:
    """All problems come at once, under the names of GraphQL, down to the place in nested lists."""
    lines = [{"sku": "a", "unitPrice": -1}, {"sku": "b", "unitPrice": 1}, {"sku": "c", "unitPrice": -2}]
    query = """query($lines: [LineInput!]!) { get(customer: "x", lines: $lines, coupon: "bad", extra: {a: "x"}) }"""
    problems = await problems_of(query, lines=lines)
    assert {problem.path for problem in problems} == {
        ("customer",),
        ("lines", 0, "unitPrice"),
        ("lines", 2, "unitPrice"),
        ("coupon",),
        ("extra",),
    }
    assert FieldProblem(("coupon",), "no such coupon") in problems


async def test_long_list_of_problems_is_cut() -> None:
    """Thousands of wrong items make an answer of a bounded length, which says how many there were."""
    lines = [{"sku": "a", "unitPrice": -1}] * 5000
    problems = await problems_of('query($lines: [LineInput!]!) { get(customer: "xx", lines: $lines) }', lines=lines)
    assert len(problems) == 101
    assert problems[-1] == FieldProblem((), "There are 4900 more problems.")


async def test_problem_of_the_whole_input_has_the_fields_own_path() -> None:
    """What a validator of the whole model refuses is nobody's field: its path adds nothing."""
    query = '{ get(customer: "xx", lines: [{sku: "a", unitPrice: 101}]) }'
    assert await problems_of(query) == [FieldProblem((), "too dear")]


async def test_problem_is_named_by_the_alias_of_its_field() -> None:
    """A field with an alias is reported by it, as that is the argument's name."""

    class Aliased(BaseModel):
        model_config = ConfigDict(alias_generator=to_camel)
        unit_price: int = Field(ge=0)

    assert [one.path for one in await problems_of("{ get(unitPrice: -1) }", Aliased)] == [("unitPrice",)]


async def test_input_is_validated_once() -> None:
    """Nested models are validated with the whole, so a validator runs once per value."""
    calls: list[str] = []

    class Inner(BaseModel):
        value: int

        @model_validator(mode="before")
        @classmethod
        def seen(cls, value: Any) -> Any:
            calls.append("inner")
            return value

    class Outer(BaseModel):
        inner: Inner

        @model_validator(mode="before")
        @classmethod
        def seen(cls, value: Any) -> Any:
            calls.append("outer")
            return value

    schema = schema_of(returning(lambda ctx: ctx.input.inner.value, int, input=Outer))
    assert await answer(schema, "{ get(inner: {value: 3}) }") == {"get": 3}
    assert calls == ["outer", "inner"]


async def test_names_never_stand_in_for_aliases() -> None:
    """A field whose alias is the Python name of another one gets its own value."""

    class Crossed(BaseModel):
        first: str = Field(alias="second")
        second: str = Field(alias="third")

    schema = schema_of(returning(lambda ctx: f"{ctx.input.first} {ctx.input.second}", str, input=Crossed))
    assert await answer(schema, '{ get(second: "1", third: "2") }') == {"get": "1 2"}


async def test_strict_models_take_what_graphql_sends() -> None:
    """GraphQL has no UUID, set or tuple to send, and a strict model is content with their JSON form."""

    class Mode(Enum):
        FAST = "f"

    class Inner(BaseModel):
        model_config = ConfigDict(strict=True)
        mode: Mode
        level: Literal["low"]

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        ident: UUID
        tags: set[str]
        pair: tuple[int, ...]
        inner: Inner

    schema = schema_of(returning(lambda ctx: repr(ctx.input), str, input=Strict))
    query = f'{{ get(ident: "{UUID(int=1)}", tags: ["a"], pair: [1], inner: {{mode: FAST, level: low}}) }}'
    assert "pair=(1,), inner=Inner(mode=<Mode.FAST: 'f'>, level='low')" in (await answer(schema, query))["get"]


async def test_models_in_free_form_json_are_read_by_alias() -> None:
    """A model within a dict is JSON to GraphQL, and its aliases are its names there."""

    class Item(BaseModel):
        model_config = ConfigDict(alias_generator=to_camel)
        unit_price: int

    class Inner(BaseModel):
        items: dict[str, Item]

    class Stock(BaseModel):
        shop_name: str = Field(alias="shopName")
        inner: Inner

    schema = schema_of(returning(lambda ctx: ctx.input.inner.items["a"].unit_price, int, input=Stock))
    query = 'query($items: JSON!) { get(shopName: "x", inner: {items: $items}) }'
    assert await answer(schema, query, items={"a": {"unitPrice": 7}}) == {"get": 7}


async def test_left_out_arguments_get_the_models_defaults() -> None:
    """Defaults are pydantic's: made afresh for every call, never shared, never marked as set."""
    seen: list[Any] = []

    class Basket(BaseModel):
        items: list[str] = []
        sizes: list[int] = Field(default_factory=lambda: [1])
        note: str | None
        quantity: int = Field(default=-1, ge=0)
        line: Line = Line(sku="none", unit_price=1)

    def body(ctx: ResolverContext[Basket]) -> int:
        seen.append(ctx.input.model_copy(deep=True))
        assert ctx.input.model_fields_set <= {"note", "line"}
        ctx.input.items.append("mine")
        ctx.input.sizes.append(2)
        return len(ctx.input.items)

    schema = schema_of(returning(body, int, input=Basket))
    for arguments in ("", "(sizes: null, note: null)", '(line: {sku: "none", unitPrice: 1})'):
        assert await answer(schema, f"{{ get{arguments} }}") == {"get": 1}
    assert seen == [Basket(note=None)] * 3


class Size(BaseModel):
    width: int = 1
    fixed: bool = True


class Parcel(BaseModel):
    size: Size = Size(width=2)
    sizes: list[Size] = [Size()]
    active: bool = True
    level: Literal["low", "high"] = "low"
    weight: Any = 1
    tags: list[str] = ["a"]
    note: str | None = "none"
    limit: int = Field(-1, ge=0)


def extended(*resolvers: Resolver[Any, Any]) -> strawberry.Schema:
    query = create_type("Query", [resolver.field() for resolver in resolvers])
    return strawberry.Schema(query, extensions=[lambda: WorkflowExtension()])  # noqa: PLW0108 - a factory


@pytest.mark.parametrize(
    ("literal", "variables"),
    [
        ("", {}),
        ("active: true", {"active": True}),
        ("weight: true", {"weight": True}),
        ("weight: 1.0", {"weight": 1.0}),
        ('level: low, tags: ["a"], note: "none"', {"level": "low", "tags": ["a"], "note": "none"}),
        ("tags: []", {"tags": []}),
        ("size: {}", {"size": {}}),
        ("size: {width: 1}", {"size": {"width": 1}}),
        ("size: {width: 2, fixed: true}", {"size": {"width": 2, "fixed": True}}),
        ("sizes: [{fixed: true}, {}]", {"sizes": [{"fixed": True}, {}]}),
        ("sizes: {width: 1}", {"sizes": {"width": 1}}),
    ],
)
async def test_what_the_client_sent_is_set(literal: str, variables: dict[str, Any]) -> None:
    """A value that equals the default counts as sent, with its own type; a default that GraphQL filled in does not."""

    def body(ctx: ResolverContext[Parcel]) -> JsonValue:
        return {"set": ctx.input.model_dump(exclude_unset=True), "weight": type(ctx.input.weight).__name__}

    schema = extended(returning(body, JsonValue, input=Parcel))
    expected = variables | ({"sizes": [variables["sizes"]]} if isinstance(variables.get("sizes"), dict) else {})
    weight = type(variables.get("weight", 1)).__name__
    names = {
        "size": "SizeInput",
        "sizes": "[SizeInput!]",
        "tags": "[String!]",
        "weight": "JSON",
        "active": "Boolean",
        "level": "ParcelLevel",
        "note": "String",
    }
    given = ", ".join(f"${name}: {names[name]}" for name in names)
    passed = ", ".join(f"{name}: ${name}" for name in names)
    for query, sent in (
        (f"{{ get{f'({literal})' if literal else ''} }}", {}),
        (f"query ({given}) {{ get({passed}) }}", variables),
    ):
        assert await answer(schema, query, **sent) == {"get": {"set": expected, "weight": weight}}


async def test_a_value_that_equals_the_default_is_validated() -> None:
    """A default need not be valid, and a client that sends it is told so; that of a variable counts as sent."""
    schema = extended(returning(lambda ctx: ctx.input.limit, int, input=Parcel))
    assert await answer(schema, "{ get }") == {"get": -1}
    assert await answer(schema, "query ($limit: Int!) { get(limit: $limit) }", limit=3) == {"get": 3}
    for query in ("{ get(limit: -1) }", "query ($limit: Int! = -1) { get(limit: $limit) }"):
        [error] = (await schema.execute(query)).errors or []
        assert "greater than or equal to 0" in error.message


async def test_optional_field_of_a_nested_input_may_be_left_out() -> None:
    """What may be null and has no default is null when it is left out, in a nested input too."""

    class Inner(BaseModel):
        note: str | None
        lines: list[Line] = Field(default_factory=list)

    class Outer(BaseModel):
        inner: Inner

    schema = schema_of(returning(lambda ctx: repr(ctx.input.inner), str, input=Outer))
    assert await answer(schema, "{ get(inner: {lines: null}) }") == {"get": "Inner(note=None, lines=[])"}


async def test_null_is_passed_on_where_it_is_a_value() -> None:
    """An optional argument that the client sets to null is null, not the default."""

    class Note(BaseModel):
        text: str | None = "none given"

    schema = schema_of(returning(lambda ctx: repr(ctx.input.text), str, input=Note))
    assert await answer(schema, "{ a: get b: get(text: null) }") == {"a": "'none given'", "b": "None"}


async def test_any_field_name_can_be_an_argument() -> None:
    """Names that Strawberry and Python keep for themselves reach the model as well."""
    names = ("source", "self", "root", "cls", "kwargs", "given", "name")
    annotations = dict.fromkeys(names, str)
    model = type("Names", (BaseModel,), {"__annotations__": annotations, "__module__": __name__})
    schema = schema_of(returning(lambda ctx: list(ctx.input.model_dump().values()), list[str], input=model))
    arguments = ", ".join(f'{name}: "{name}"' for name in names)
    assert await answer(schema, f"{{ get({arguments}) }}") == {"get": list(names)}


def test_argument_that_strawberry_cannot_take_is_refused() -> None:
    """An argument named `info` would never arrive: the definition is an error that says what to do."""

    class Informed(BaseModel):
        info: str

    with pytest.raises(DefinitionError, match=r"field 'info' of .*Informed \(.*arguments.py:\d+\): .*an alias"):
        returning(lambda ctx: 1, int, input=Informed).field()
