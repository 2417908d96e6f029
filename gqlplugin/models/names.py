"""The names of GraphQL types, and whether two things share one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import NoneType
from typing import Any, Protocol

from pydantic import BaseModel

from gqlplugin.errors import DefinitionError
from gqlplugin.models.annotations import shape_of, strawberry_name
from gqlplugin.models.fields import ModelField, arguments_of, describe_class, model_name, nested_fields_of
from gqlplugin.models.shapes import (
    EnumOf,
    Foreign,
    ListOf,
    LiteralOf,
    ModelOf,
    Nullable,
    Place,
    Position,
    RootOf,
    Scalar,
    Shape,
    UnionOf,
    show,
)
from gqlplugin.names import is_graphql_name, pascal_case
from gqlplugin.source import Source


class TypedResolver(Protocol):
    """A resolver as the check of its types sees it."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...
    @property
    def input(self) -> type[BaseModel] | None: ...
    @property
    def output(self) -> Any: ...


def output_shape(resolver: TypedResolver) -> Shape:
    """What GraphQL makes of the output of a resolver.

    Raises:
        DefinitionError: It has nothing for it.
    """
    if resolver.output in (None, NoneType):
        return Scalar("Void", NoneType)
    where = f"output of resolver {resolver.name!r} ({resolver.source})"
    return shape_of(resolver.output, Place("output", where, f"{pascal_case(resolver.name)}Output"))


def check_type_names(
    resolvers: Iterable[TypedResolver] = (), outputs: Iterable[Any] = (), *, reserved: Mapping[str, str] | None = None
) -> None:
    """Refuse two different things with one GraphQL type name, as Strawberry would merge or mistake them.

    Args:
        resolvers: Their inputs and outputs, with all that is nested in them.
        outputs: Annotations that the schema has besides, such as what a workflow returns.
        reserved: Names the schema uses for types of its own, with what to call those in a message.

    Raises:
        DefinitionError: With every clash, naming both, and every annotation that GraphQL has nothing for.
    """
    problems = type_problems(resolvers, outputs, reserved=reserved)
    if problems:
        raise DefinitionError(problems)


def type_problems(
    resolvers: Iterable[TypedResolver] = (), outputs: Iterable[Any] = (), *, reserved: Mapping[str, str] | None = None
) -> list[str]:
    """What `check_type_names` would raise, to be reported together with other problems."""
    walk = _Walk({name: (name, what) for name, what in {**_GRAPHQL_NAMES, **(reserved or {})}.items()})
    for resolver in resolvers:
        walk.fields(partial(arguments_of, resolver.input), "input")
        walk.output(partial(output_shape, resolver), f"output of resolver {resolver.name!r} ({resolver.source})")
    for output in outputs:
        where = f"output {show(output)}"
        walk.output(partial(shape_of, output, Place("output", where)), where)
    return list(dict.fromkeys(walk.problems))


_GRAPHQL_NAMES = (
    dict.fromkeys(("Query", "Mutation", "Subscription"), "GraphQL's root type")
    | dict.fromkeys(
        ("String", "Int", "Float", "Boolean", "ID", "Void", "JSON", "Date", "DateTime", "Time", "Decimal"), "a scalar"
    )
    | dict.fromkeys(("Duration", "BigInt"), "a scalar of gqlplugin")
)


@dataclass(slots=True)
class _Walk:
    """Goes through everything that is nested in inputs and outputs, and remembers who has which name."""

    names: dict[str, tuple[object, str]]
    problems: list[str] = field(default_factory=list)
    seen: set[tuple[type, Position]] = field(default_factory=set)

    def output(self, read: Callable[[], Shape], where: object) -> None:
        with self.noting():
            self.shape(read(), "output", where)

    def fields(self, read: Callable[[], list[ModelField]], position: Position) -> None:
        with self.noting():
            for one in read():
                self.shape(one.shape, position, one.where)

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except DefinitionError as error:
            self.problems += error.problems

    def shape(self, shape: Shape, position: Position, where: object) -> None:
        match shape:
            case Nullable(inner) | ListOf(inner) | RootOf(inner=inner):
                self.shape(inner, position, where)
            case ModelOf(model):
                if (model, position) not in self.seen:
                    self.seen.add((model, position))
                    self.name(model_name(model, position), (model, position), describe_class(model, position))
                    self.fields(partial(nested_fields_of, model, position), position)
            case EnumOf(type_) | Foreign(type_):
                self.name(strawberry_name(type_) or type_.__name__, type_, describe_class(type_))
            case LiteralOf(name, values):
                self.name(name, values, f"the Literal of {where}")
            case UnionOf(name, members):
                self.name(name, members, f"the union of {where}")
                for member in members:
                    self.shape(member, position, where)

    def name(self, name: str, key: object, what: str) -> None:
        if not is_graphql_name(name):
            self.problems.append(f"{what} would be type {name!r}, which is not a GraphQL name: rename it.")
        first_key, first = self.names.setdefault(name, (key, what))
        if first_key != key:
            self.problems.append(f"two types would be named {name!r}: {first} and {what}; rename one.")
