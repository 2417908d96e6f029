"""What GraphQL makes of an annotation, before any GraphQL type exists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, RootModel

from gqlplugin.errors import DefinitionError

Position = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class BigIntMarker:
    """Tells an `int` that may need more than 32 bits."""


BigInt: TypeAlias = Annotated[int, BigIntMarker()]
"""An `int` of any size. A plain `int` is GraphQL's `Int`, which has 32 bits."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A GraphQL scalar.

    Attributes:
        name: Its GraphQL name.
        annotation: The Python type behind it, with its metadata.
        config: The configuration of the model around it.
        as_json: Whether an output value is first put into pydantic's JSON form.
    """

    name: str
    annotation: Any
    config: ConfigDict | None = None
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, whatever collection Python makes of it."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value that may be null."""

    of: Shape


@dataclass(frozen=True, slots=True)
class ModelOf:
    """A model as an object or an input object."""

    model: type[BaseModel]


@dataclass(frozen=True, slots=True)
class EnumOf:
    """A Python enum."""

    enum: type[Enum]


@dataclass(frozen=True, slots=True)
class LiteralOf:
    """A `Literal` as an enum: GraphQL names to the strings they stand for."""

    name: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RootOf:
    """A `RootModel`, which GraphQL sees as what is inside it."""

    model: type[RootModel[Any]]
    inner: Shape


@dataclass(frozen=True, slots=True)
class Foreign:
    """A type the user made with Strawberry, `strawberry.pydantic` included."""

    type: type


@dataclass(frozen=True, slots=True)
class UnionOf:
    """A union of models, in an output."""

    name: str
    members: tuple[ModelOf | Foreign, ...]


Shape: TypeAlias = Scalar | ListOf | Nullable | ModelOf | EnumOf | LiteralOf | UnionOf | RootOf | Foreign


@dataclass(frozen=True, slots=True)
class Place:
    """Where an annotation stands.

    Attributes:
        position: Whether clients write it or read it.
        where: For messages, when it is turned into a string: finding the line of a class takes its time.
        type_name: What a `Literal` or a union that stands here is called; None where it can't have a name.
        config: The configuration of the model around it.
        around: The type aliases and root models around it.
        model: The model that has it as a field.
    """

    position: Position
    where: object
    type_name: str | None = None
    config: ConfigDict | None = None
    around: tuple[object, ...] = ()
    model: type[BaseModel] | None = None

    def inside(self, thing: object, name: str) -> Place:
        """The place inside a type alias or a root model, which names what is in it.

        Raises:
            DefinitionError: It is inside itself already.
        """
        if thing in self.around:
            raise self.refuse(thing, "use a model that refers to itself, or pydantic.JsonValue")
        return replace(self, type_name=name, around=(*self.around, thing))

    def refuse(self, annotation: object, instead: str) -> DefinitionError:
        """The error for an annotation that has no GraphQL type here."""
        return DefinitionError(
            f"{self.where}: {show(annotation)} has no GraphQL type as an {self.position}; {instead}."
        )


def leaf_of(shape: Shape) -> Scalar | ModelOf | EnumOf | LiteralOf | UnionOf | Foreign:
    """What is inside the lists and optionals of a shape."""
    while isinstance(shape, (Nullable, ListOf, RootOf)):
        shape = shape.item if isinstance(shape, ListOf) else shape.of if isinstance(shape, Nullable) else shape.inner
    return shape


def show(annotation: object) -> str:
    """An annotation for a message."""
    return annotation.__qualname__ if isinstance(annotation, type) else repr(annotation).replace("typing.", "")
