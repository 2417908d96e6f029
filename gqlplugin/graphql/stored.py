"""Values that are kept as JSON text as fields, with GraphQL's types where it has some for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Optional

import strawberry
from pydantic import ValidationError
from pydantic_core import from_json
from strawberry.scalars import JSON
from strawberry.types.field import StrawberryField

from gqlplugin.codec import JsonCodec, describe
from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.graphql.budget import parse_for_answer
from gqlplugin.graphql.types import output_annotation, output_converter


def stored_field(
    codec: JsonCodec[Any], text_of: Callable[[Any], str | None], *, misfit: str, description: str
) -> StrawberryField | None:
    """A nullable field for a kept value, or None when there is nothing in it but null.

    Args:
        codec: Reads the value.
        text_of: Tells the text from the object that has the field.
        misfit: What to tell the client when the value can't be read, as after a change of its type.
        description: Of the field.
    """
    if codec.type in (None, type(None)):
        return None
    annotation, convert = _as_graphql(codec)

    def value(self: Any) -> Any:
        text = text_of(self)
        try:
            return None if text is None else convert(parse_for_answer(text))
        except ValidationError as error:
            raise FailedPreconditionError(f"{misfit}: {describe(error)}.") from None

    return strawberry.field(value, graphql_type=Optional[annotation], description=description)  # noqa: UP045 - no `|`


def typed(codecs: Iterable[JsonCodec[Any]]) -> list[Any]:
    """The annotations of kept values that have a GraphQL type, for `check_type_names`."""
    return [one.type for one in codecs if one.type not in (None, type(None)) and _as_graphql(one)[0] is not JSON]


def _as_graphql(codec: JsonCodec[Any]) -> tuple[Any, Callable[[str], Any]]:
    """The GraphQL type of kept values, and how they are read; what GraphQL has no type for is shown as JSON."""
    try:
        annotation = output_annotation(codec.type)
        convert = output_converter(codec.type)
    except DefinitionError:
        return JSON, from_json
    read = codec.load_accepted
    return annotation, read if convert is None else lambda text: convert(read(text))
