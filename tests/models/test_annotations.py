"""What GraphQL makes of annotations: what it has nothing for."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel, Json, PlainSerializer, RootModel
from typing_extensions import TypedDict

from gqlplugin.errors import DefinitionError
from gqlplugin.models.annotations import ModelOf, Place, Position, shape_of, type_name
from gqlplugin.models.fields import fields_of
from tests.graphql.schemas import model_of

T = TypeVar("T")


class Left(BaseModel):
    value: int


class Right(BaseModel):
    value: int


class Page(BaseModel, Generic[T]):
    items: list[T]


@dataclass
class Point:
    x: int


class Movie(TypedDict):
    name: str


class Odd(enum.Enum):
    true = 1


class Empty(enum.Enum):
    pass


class Nested(RootModel[list["Nested"]]):
    pass


PAGE: Any = Page[T]  # type: ignore[valid-type]
REFUSED: list[tuple[Position, Any, str]] = [
    ("input", Point, "use a pydantic model"),
    ("output", Movie, "use a pydantic model"),
    ("output", complex, "use a pydantic model"),
    ("output", Callable[[int], int], "use a pydantic model"),
    ("input", int | str, "use one type, or Any for free-form JSON"),
    ("output", Left | int, "use one type, or Any for free-form JSON"),
    ("input", Left | Right, "use one model with optional fields"),
    ("input", tuple[int, str], "use a model with one field per item"),
    ("output", Literal[1, 2], "use a Literal of strings, or an Enum"),
    ("output", Literal["a-b", "a_b"], "'a_b' can't be told in a GraphQL name"),
    ("output", Literal["é"], "an Enum"),
    ("output", Literal["!"], "an Enum"),
    ("output", Odd, "rename its member 'true'"),
    ("output", Empty, "give it members"),
    ("output", PAGE, "such as Page[User]"),
    ("output", Nested, "use a model that refers to itself"),
    ("input", Json[int], "use dict"),
    ("output", Annotated[int, PlainSerializer(str)], "use a computed_field"),
    ("output", Annotated[list[int], PlainSerializer(str)], "use a computed_field"),
    ("output", Annotated[Left | None, PlainSerializer(str)], "use a computed_field"),
    ("input", Json[list[int]], "use dict"),
    ("output", list[type[int]], "use a pydantic model"),
    ("output", None, "use a pydantic model"),
]


@pytest.mark.parametrize(("position", "annotation", "instead"), REFUSED)
def test_refusal_says_where_what_and_what_instead(position: Position, annotation: Any, instead: str) -> None:
    """An annotation that GraphQL has nothing for is an error that names model and field, and a way out."""
    model = model_of("Order", __module__="shop.models", value=(annotation, ...))
    with pytest.raises(DefinitionError) as caught:
        check(model, position)
    assert "field 'value' of model shop.models.Order: " in str(caught.value) or annotation is PAGE
    assert instead in str(caught.value)


def check(model: type[BaseModel], position: Position) -> None:
    for one in fields_of(model, position):
        if isinstance(one.shape, ModelOf):
            check(one.shape.model, position)


@pytest.mark.parametrize(
    ("annotation", "what"), [(Literal["a"], "an enum needs a name"), (Left | Right, "a union needs")]
)
def test_what_has_no_name_is_refused(annotation: Any, what: str) -> None:
    """A Literal or a union that is nobody's field has no name to go by."""
    with pytest.raises(DefinitionError, match=what):
        shape_of(annotation, Place("output", "output"))


def test_unresolved_annotation_is_a_definition_error() -> None:
    """A model whose annotation names nothing is told of by its name."""

    class Lost(BaseModel):
        value: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match=r"Lost has an annotation that can't be resolved: .*Nowhere"):
        fields_of(Lost, "output")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Left, "Left"),
        (Page[Left], "LeftPage"),
        (Page[Page[Left]], "LeftPagePage"),
        (Page[int], "IntPage"),
        (Page[list[date]], "DateListPage"),
        (Page[Left | None], "LeftOptionalPage"),
        (Page[Annotated[str, "x"]], "StringPage"),
        (Page[Any], "AnyPage"),
    ],
)
def test_generic_model_is_named_by_its_arguments(model: type[BaseModel], name: str) -> None:
    """`Page[User]` is `UserPage`, as Strawberry calls its own generic types."""
    assert type_name(model) == name
