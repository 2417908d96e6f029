"""Values as JSON text: what crosses the border between typed code and a platform."""

from __future__ import annotations

import json
import re
from typing import Any, Generic, TypeVar, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json
from typing_extensions import TypeForm

from gqlplugin.errors import FieldProblem, InvalidInputError

T = TypeVar("T")

_MAY_BE_NON_FINITE = re.compile(rb"null|NaN|Infinity")


class NotJsonError(ValueError):
    """The value can't be written as JSON."""


class JsonCodec(Generic[T]):
    """Reads and writes the values of one type as JSON text, by alias where the type has aliases.

    The adapter is built on first use: a job may be defined above the models its annotation names.
    """

    def __init__(self, type_: TypeForm[T]) -> None:
        self.type = type_
        self._adapter: TypeAdapter[T] | None = None

    @property
    def adapter(self) -> TypeAdapter[T]:
        """The pydantic adapter of the type."""
        if self._adapter is None:
            self._adapter = TypeAdapter(self.type)
        return self._adapter

    def dump(self, value: T) -> str:
        """Write a value of the type.

        Raises:
            NotJsonError: It holds something JSON has no form for, NaN and the infinities included.
        """
        try:
            text = self.adapter.serializer.to_json(value, by_alias=True, warnings="error")
        except PydanticSerializationError as error:
            raise NotJsonError(_reason(error)) from error
        if _MAY_BE_NON_FINITE.search(text):
            self._refuse_non_finite(text, value)
        return text.decode()

    def _refuse_non_finite(self, text: bytes, value: T) -> None:
        # pydantic writes them as null, or, in a model with `ser_json_inf_nan="constants"`, as names that aren't JSON
        lost = b"null" in text and _has_non_finite(self.adapter.dump_python(value, by_alias=True))
        if lost or ((b"NaN" in text or b"Infinity" in text) and not _is_json(text)):
            raise NotJsonError("it holds NaN or an infinity, which JSON has no form for")

    def coerce(self, value: object) -> T:
        """A value of the type from one that may only look like it, such as a dict for a model.

        Raises:
            pydantic.ValidationError: It doesn't fit.
        """
        return self.adapter.validator.validate_python(value, by_alias=True, by_name=True)  # type: ignore[no-any-return]

    def load(self, text: str | bytes) -> T:
        """Read a value of the type.

        Raises:
            pydantic.ValidationError: The text is not JSON, or doesn't fit the type.
        """
        return self.adapter.validator.validate_json(text, by_alias=True, by_name=True)  # type: ignore[no-any-return]


def _has_non_finite(value: object) -> bool:
    if isinstance(value, float):
        return value - value != 0
    if isinstance(value, dict):
        return any(_has_non_finite(item) for pair in value.items() for item in pair)
    return isinstance(value, (list, tuple, set, frozenset)) and any(_has_non_finite(item) for item in value)


def _reason(error: PydanticSerializationError) -> str:
    text = str(error)
    if text.startswith("Pydantic serializer warnings"):  # those quote the values, which may be secret
        return "a value in it doesn't fit its declared type"
    return f"it can't be written as JSON: {text}"


def _is_json(text: bytes) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def one_way_fields(type_: object) -> list[str]:
    """The fields of models within a type that are written under a name they can't be read by, as `Model.field`."""
    found: dict[str, None] = {}
    seen: set[object] = set()
    waiting = [type_]
    while waiting:
        one = waiting.pop()
        waiting += get_args(one)
        if not (isinstance(one, type) and issubclass(one, BaseModel)) or one in seen:
            continue
        seen.add(one)
        for name, field in one.model_fields.items():
            waiting.append(field.annotation)
            if (field.serialization_alias or name) not in {name, *_aliases_of(field.validation_alias)}:
                found[f"{one.__name__}.{name}"] = None
    return list(found)


def _aliases_of(alias: str | AliasPath | AliasChoices | None) -> list[object]:
    if isinstance(alias, AliasChoices):
        return [one for choice in alias.choices for one in _aliases_of(choice)]
    return [alias.path[0] if len(alias.path) == 1 else None] if isinstance(alias, AliasPath) else [alias]


def check_json(text: str, *, max_bytes: int) -> None:
    """Refuse a text that isn't JSON, or is longer than `max_bytes` in UTF-8.

    Raises:
        InvalidInputError: It is refused.
    """
    if len(text) > max_bytes or len(encoded := text.encode(errors="replace")) > max_bytes:
        raise InvalidInputError(f"The arguments are larger than the limit of {max_bytes} bytes.")
    try:
        from_json(encoded, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInputError(f"The arguments are not valid JSON: {error}.") from None


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON clients can send half a surrogate pair, which can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def same_json(left: str, right: str) -> bool:
    """Whether two JSON texts say the same, whatever the order of keys and the white space."""
    return left == right or _normal(left) == _normal(right)


def _normal(text: str) -> str:
    return json.dumps(from_json(text), sort_keys=True)  # not the values: to Python 1 and true are equal


def problems_of(error: ValidationError) -> list[FieldProblem]:
    """What pydantic found, without the values it found it in."""
    return [
        FieldProblem(tuple(item["loc"]), item["msg"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def describe(error: ValidationError) -> str:
    """What pydantic found, in one line."""
    return "; ".join(
        f"{'.'.join(str(step) for step in problem.path)}: {problem.message}" if problem.path else problem.message
        for problem in problems_of(error)
    )


def encode(what: str, codec: JsonCodec[Any], value: object) -> str:
    """Write a value as JSON text.

    Raises:
        InvalidInputError: It doesn't fit the type, or isn't JSON; `what` says what was being written.
    """
    try:
        return codec.dump(codec.coerce(value))
    except (ValidationError, NotJsonError) as error:
        raise refused(what, error) from None


def refused(what: str, error: ValidationError | NotJsonError) -> InvalidInputError:
    """The error for a value that doesn't fit."""
    if isinstance(error, ValidationError):
        return InvalidInputError(f"{what} is not valid: {describe(error)}.", problems_of(error))
    return InvalidInputError(f"{what} is not valid: {error}.")
