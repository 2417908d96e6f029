"""Pydantic models as GraphQL types."""

import gc
import ipaddress
import json
import pathlib
import uuid
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypeVar, get_args

import pytest
import strawberry
from pydantic import (
    AliasChoices,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    JsonValue,
    PositiveInt,
    PostgresDsn,
    RootModel,
    SecretStr,
)
from pydantic.alias_generators import to_camel
from strawberry.exceptions import DuplicatedTypeName
from strawberry.tools import create_type
from typing_extensions import TypeAliasType, deprecated

from gqlplugin.errors import DefinitionError
from gqlplugin.graphql.types import BigInt, input_annotation, output_annotation, output_converter
from tests.graphql.schemas import answer, echo, model_of, returning, schema_of, sdl

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Sku = NewType("Sku", str)
Low = Literal["low"]
High = Literal["high"]
Level = TypeAliasType("Level", Literal["low", "high"])
ID = "0b8c0e7c-6d25-4d4b-9c93-0a1c6a3c1b2d"


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Size(StrEnum):
    SMALL = "s"


class User(BaseModel):
    """Somebody."""

    id: uuid.UUID
    name: str = "anonymous"
    friends: list["User"] = []


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    total: int


class Tags(RootModel[list[str]]):
    pass


class Users(RootModel[list[User]]):
    pass


ANNOTATIONS: list[tuple[Any, str, Any, Any]] = [
    # annotation, its GraphQL type, a value that a client sends, what it reads back (... for the same)
    (str, "String!", "a", ...),
    (int, "Int!", 1, ...),
    (float, "Float!", 1.5, ...),
    (bool, "Boolean!", True, ...),
    (int | float, "Float!", 2, ...),
    (PositiveInt, "Int!", 2, ...),
    (Sku, "String!", "a", ...),
    (strawberry.ID, "ID!", "a", ...),
    (uuid.UUID, "ID!", ID, ...),
    (datetime, "DateTime!", "2020-01-02T03:04:05", ...),
    (AwareDatetime, "DateTime!", "2020-01-02T03:04:05+00:00", ...),
    (date, "Date!", "2020-01-02", ...),
    (time, "Time!", "03:04:05", ...),
    (Decimal, "Decimal!", "1.50", ...),
    (timedelta, "Duration!", "PT1H30M", ...),
    (BigInt, "BigInt!", 2**60, str(2**60)),
    (BigInt, "BigInt!", str(-(2**60)), ...),
    (list[BigInt], "[BigInt!]!", ["1"], ...),
    (int | None, "Int", None, ...),
    (Optional[str], "String", "a", ...),  # noqa: UP045 - as older code has it
    (list[int], "[Int!]!", [1, 2], ...),
    (list[int | None] | None, "[Int]", [1, None], ...),
    (set[int], "[Int!]!", [1, 1], [1]),
    (frozenset[int], "[Int!]!", [1, 1], [1]),
    (tuple[int, ...], "[Int!]!", [1, 2], ...),
    (tuple[float, float], "[Float!]!", [1, 2], ...),
    (deque[int], "[Int!]!", [1, 2], ...),
    (Sequence[str], "[String!]!", ["a"], ...),
    (list[list[str]], "[[String!]!]!", [["a"]], ...),
    (list[Annotated[int, Field(gt=0)]], "[Int!]!", [1], ...),
    (Any, "JSON", {"a": [1, None]}, ...),
    (JsonValue, "JSON", {"a": [1, None]}, ...),
    (dict[str, int], "JSON!", {"a": 1}, ...),
    (dict, "JSON!", {"a": 1}, ...),
    (Mapping[str, date], "JSON!", {"a": "2020-01-02"}, ...),
    (list, "[JSON]!", [1, "a"], ...),
    (Colour, "Colour!", "BLUE", ...),
    (list[Size], "[Size!]!", ["SMALL"], ...),
    (Literal["low", "in-progress"], "HolderValue!", "in_progress", ...),
    (Low | High | None, "HolderValue", "high", ...),
    (Literal["low", None], "HolderValue", None, ...),  # noqa: PYI061 - the very case
    (list[Level], "[Level!]!", ["high"], ...),
    (HttpUrl, "String!", "https://example.com/", ...),
    (PostgresDsn, "String!", "postgres://a/b", ...),
    (ipaddress.IPv4Address, "String!", "127.0.0.1", ...),
    (pathlib.Path, "String!", "a/b", ...),
    (bytes, "String!", "abc", ...),
    (Base64Bytes | None, "String", "YWJj", ...),
    (SecretStr, "String!", "hunter2", "**********"),
    (Tags, "[String!]!", ["a"], ...),
    (dict[str, Tags], "JSON!", {"a": ["b"]}, ...),
]


@pytest.mark.parametrize(("annotation", "graphql", "sent", "read"), ANNOTATIONS, ids=lambda value: str(value)[:40])
async def test_annotation_is_an_argument_an_input_field_and_an_output_field(
    annotation: Any, graphql: str, sent: Any, read: Any
) -> None:
    """Every annotation has one GraphQL type, in arguments, in nested inputs and in outputs, and its values pass."""
    holder = model_of("Holder", value=(annotation, ...))
    outer = model_of("Outer", value=(annotation, ...), nested=(holder, ...))
    named = graphql.replace("HolderValue", "OuterValue")
    schema = schema_of(echo(outer))
    data = await answer(
        schema,
        f"query($a: {named}, $b: {graphql}) {{echo(value: $a, nested: {{value: $b}}) {{ value nested {{ value }} }} }}",
        a=sent,
        b=sent,
    )
    expected = sent if read is ... else read
    assert json.loads(json.dumps(data)) == {"echo": {"value": expected, "nested": {"value": expected}}}
    assert f"value: {graphql}\n" in sdl(schema, "Holder")
    assert f"value: {graphql}\n" in sdl(schema, "HolderInput")


class Tree(BaseModel, Generic[T]):
    value: T
    branches: list["Tree[T]"] = []
    left: "Tree[T] | None" = None


class There(BaseModel, Generic[T]):
    back: "Back[T] | None" = None


class Back(BaseModel, Generic[T]):
    there: There[T] | None = None


async def test_generic_models_refer_to_themselves() -> None:
    """A generic model may be in itself, as input and as output."""
    schema = schema_of(echo(Tree[int]))
    query = "{ echo(value: 1, branches: [{value: 2, branches: [{value: 3}]}], left: {value: 4}) "
    shown = "{ value left { value } branches { value branches { value } } } }"
    assert await answer(schema, query + shown) == {
        "echo": {"value": 1, "left": {"value": 4}, "branches": [{"value": 2, "branches": [{"value": 3}]}]}
    }


def test_generic_models_that_refer_to_each_other_are_refused() -> None:
    """Pydantic doesn't resolve them; the error names the field, and says what to write."""
    with pytest.raises(
        DefinitionError, match=r"field 'there' of model .*Back\[int\].*write models without type variables"
    ):
        schema_of(echo(There[int]))


async def test_models_nest_recurse_and_are_generic() -> None:
    """A model in a model, in itself and in a generic one is a GraphQL type of its own, as input and as output."""

    schema = schema_of(echo(model_of("Echo", page=(Page[User], ...), people=(Users, ...))))
    friend = {"id": ID, "name": "Ada", "friends": []}
    page = {"items": [{"id": ID, "name": "Bob", "friends": [friend]}], "total": 1}
    data = await answer(
        schema,
        """query($page: UserPageInput!, $people: [UserInput!]!) { echo(page: $page, people: $people) {
            page { items { id name friends { id name friends { id } } } total } people { name }
        } }""",
        page=page,
        people=[friend],
    )
    assert data == {"echo": {"page": page, "people": [{"name": "Ada"}]}}
    assert sdl(schema, "UserPage") == "type UserPage {\n  items: [User!]!\n  total: Int!\n}"
    assert '"""A part of a list."""\ninput UserPageInput {' in schema.as_str()


def test_names_come_from_aliases_or_are_camel_cased() -> None:
    """A field has its alias in GraphQL, each position its own; without one it is its name in lowerCamelCase."""

    class Names(BaseModel):
        plain_name: str
        aliased: str = Field(alias="otherName")
        both: str = Field(validation_alias=AliasChoices("bothIn", "more"), serialization_alias="bothOut")

    class Generated(BaseModel):
        model_config = ConfigDict(alias_generator=to_camel)
        user_id: str
        names: Names

    schema = schema_of(echo(Generated))
    assert sdl(schema, "Names") == "type Names {\n  plainName: String!\n  otherName: String!\n  bothOut: String!\n}"
    assert sdl(schema, "NamesInput") == (
        "input NamesInput {\n  plainName: String!\n  otherName: String!\n  bothIn: String!\n}"
    )
    assert sdl(schema, "Generated").startswith("type Generated {\n  userId: String!")


def test_input_that_is_called_input_keeps_its_name() -> None:
    """A nested model whose name ends with Input is that input object, not `...InputInput`."""
    schema = schema_of(returning(lambda ctx: 1, int, input=model_of("I", at=(model_of("PlaceInput", x=(int, 1)), ...))))
    assert sdl(schema, "PlaceInput") == "input PlaceInput {\n  x: Int! = 1\n}"


def test_literal_that_a_base_class_declares_is_one_enum() -> None:
    """Models that inherit a field share its enum; its name has the model that declares it."""

    class Base(BaseModel):
        kind: Literal["a-b", "true", "2"]

    class Left(Base):
        pass

    class Right(Base):
        pass

    schema = schema_of(returning(lambda ctx: None, model_of("Both", left=(Left, ...), right=(Right, ...))))
    assert sdl(schema, "BaseKind") == (
        'enum BaseKind {\n  """\n  "a-b"\n  """\n  a_b\n\n'
        '  """\n  "true"\n  """\n  true_\n\n  """\n  "2"\n  """\n  _2\n}'
    )


async def test_union_of_models_is_a_union_in_outputs() -> None:
    """A value of a union is told apart by its class, the most specific one first."""

    class Animal(BaseModel):
        name: str

    class Cat(Animal):
        lives: int

    class Dog(BaseModel):
        name: str

    class Zoo(BaseModel):
        star: Animal | Cat
        all: list[Cat | Dog]
        none: Cat | Dog | None = None

    zoo = Zoo(star=Cat(name="a", lives=9), all=[Cat(name="b", lives=8), Dog(name="c")])
    schema = schema_of(returning(lambda ctx: zoo, Zoo))
    data = await answer(
        schema, "{ get { star { __typename } all { __typename ... on Cat { lives } } none { __typename } } }"
    )
    assert data["get"] == {
        "star": {"__typename": "Cat"},
        "all": [{"__typename": "Cat", "lives": 8}, {"__typename": "Dog"}],
        "none": None,
    }
    assert sdl(schema, "ZooAll") == "union ZooAll = Cat | Dog"


async def test_output_leaves_out_what_json_leaves_out() -> None:
    """A field that the model excludes from its JSON, such as a password's hash, is not in its GraphQL type."""

    class Account(BaseModel):
        name: str
        hash: str = Field(exclude=True)

    schema = schema_of(returning(lambda ctx: Account(name="a", hash="x"), Account))
    assert sdl(schema, "Account") == "type Account {\n  name: String!\n}"


async def test_deprecated_fields_are_read_without_a_warning() -> None:
    """A client that asks for a deprecated field does not make the server warn its author."""

    class Old(BaseModel):
        value: Annotated[int, deprecated("no more")] = 1

    schema = schema_of(returning(lambda ctx: Old(), Old))
    assert await answer(schema, "{ get { value } }") == {"get": {"value": 1}}
    assert 'value: Int! @deprecated(reason: "no more")' in sdl(schema, "Old")


async def test_bytes_are_as_the_model_writes_them() -> None:
    """Bytes are in the form that the model's configuration gives them, on both ways."""

    class Blob(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        data: bytes

    schema = schema_of(echo(Blob))
    assert await answer(schema, '{ echo(data: "aGk=") { data } }') == {"echo": {"data": "aGk="}}


async def test_json_never_holds_what_json_has_no_form_for() -> None:
    """NaN in free-form JSON is null in the answer, which a client could not parse otherwise."""
    schema = schema_of(returning(lambda ctx: {"a": float("nan"), "b": date(2020, 1, 2)}, dict[str, Any]))
    assert await answer(schema, "{ get }") == {"get": {"a": None, "b": "2020-01-02"}}


def test_models_are_left_as_they_are() -> None:
    """Making types of a model leaves no mark on it."""

    class Plain(BaseModel):
        value: int = 1

    before = set(vars(Plain))
    schema_of(echo(model_of("Outer", plain=(Plain, ...))))
    assert set(vars(Plain)) == before


def test_one_model_is_one_type_in_all_schemas() -> None:
    """Two schemas, and fields made by hand, share the type of a model; input and output are two types."""

    class Shared(BaseModel):
        value: int = 1

    assert output_annotation(Shared) is output_annotation(Shared)
    assert get_args(output_annotation(list[Shared])) == (output_annotation(Shared),)
    assert input_annotation(Shared) is input_annotation(Shared)
    assert input_annotation(Shared) is not output_annotation(Shared)


def test_type_goes_with_its_model() -> None:
    """A model that nobody uses any more is not kept alive by its types."""

    class Short(BaseModel):
        value: int = 1
        at: list[datetime] = []

    weak = weakref.ref(Short)
    schema_of(echo(Short))
    output_annotation(Short)
    del Short
    gc.collect()
    assert weak() is None


async def test_decorated_model_keeps_the_users_type() -> None:
    """A model that the user made a type with strawberry.pydantic is that type, and a dict still becomes one."""

    @strawberry.pydantic.type(name="Customer", description="Theirs")
    class Theirs(BaseModel):
        value: int

    schema = schema_of(returning(lambda ctx: {"theirs": {"value": 1}}, model_of("Outer", theirs=(Theirs, ...))))
    assert await answer(schema, "{ get { theirs { value } } }") == {"get": {"theirs": {"value": 1}}}
    assert '"""Theirs"""\ntype Customer {' in schema.as_str()


async def test_strawberry_type_is_an_output() -> None:
    """A resolver may answer with a type the user made with Strawberry."""

    @strawberry.type
    class Made:
        value: int

    schema = schema_of(returning(lambda ctx: [Made(value=1)], list[Made] | None))
    assert await answer(schema, "{ get { value } }") == {"get": [{"value": 1}]}


def test_values_without_a_form_of_their_own_are_passed_on() -> None:
    """A converter is only there where Strawberry can't take the value as it is."""
    assert output_converter(list[User]) is None
    convert = output_converter(list[Tags] | None)
    assert convert is not None
    assert convert(None) is None
    assert convert([Tags(["a"])]) == [["a"]]


def test_strawberry_does_not_merge_two_models_of_one_name() -> None:
    """Local classes may share their whole name; in a schema made by hand they are a clash, not one type."""

    def local(kind: Any) -> type[BaseModel]:
        class Order(BaseModel):
            value: kind

        return Order

    fields = [returning(lambda ctx: None, local(kind), name=f"get{kind.__name__}").field() for kind in (int, str)]
    with pytest.raises(DuplicatedTypeName):
        strawberry.Schema(create_type("Query", fields))


async def test_heir_of_a_decorated_model_is_a_type_of_its_own() -> None:
    """A model only inherits the mark of the model that the user decorated: it is not that type."""

    @strawberry.pydantic.type
    class Base(BaseModel):
        value: int = 1

    class Heir(Base):
        more: int = 2

    schema = schema_of(returning(lambda ctx: {}, Heir))
    assert await answer(schema, "{ get { __typename value more } }") == {
        "get": {"__typename": "Heir", "value": 1, "more": 2}
    }
