"""Values as JSON text: what can be written can be read again, as it was."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache, cached_property, lru_cache, wraps
from types import NoneType
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import pydantic
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.types import PathType
from pydantic_core import PydanticOmit, PydanticSerializationError, PydanticUseDefault, SchemaValidator, from_json
from typing_extensions import TypeForm

from gqlplugin.errors import FieldProblem, InvalidInputError

Node = Mapping[str, Any]

_CLASSES = ("model", "dataclass", "typed-dict")
_FIELDS = ("model-field", "dataclass-field", "typed-dict-field")
_NO_KEYS = ("tuple", "list", "set", "frozenset", "dict", *_CLASSES)
_LOOKS_AT_THE_DISK = (PathType.validate_new, PathType.validate_file, PathType.validate_directory)
_NO_SCHEMAS = frozenset({"cls", "config", "default", "default_factory", "expected", "function", "members", "metadata"})


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why values of a type can't come back from JSON as they were.

    Attributes:
        place: The model, or the field of one, as `Model.field`; empty for the type itself.
        reason: What happens to values there.
        instead: What to write.
        hides: Whether the value itself is not in the JSON, for whoever reads it.
    """

    place: str
    reason: str
    instead: str
    hides: bool = False


def obstacles(schema: Node) -> list[Obstacle]:
    """What of a type can't come back from JSON, whatever the value.

    What a serializer or validator of the user's own does is not known here: what they write or read is left out.
    """
    return list(dict.fromkeys(_obstacles(schema, "", "", is_known=True)))


def _obstacles(node: Node, owner: str, place: str, *, is_known: bool) -> Iterator[Obstacle]:
    kind = node["type"]
    if kind in _CLASSES:
        owner = place = getattr(node.get("cls"), "__name__", "") or node.get("cls_name", "")
    is_known = is_known and not _has_own_serializer(node)
    if is_known:
        yield from _obstacles_at(node, place)
    yield from _clocks_and_disks(node, place)
    for key, inner in _inner(node):
        inner_place = place
        if inner["type"] in _FIELDS:
            name = inner.get("name", key)
            inner_place = f"{owner}.{name}"
            if is_known:
                yield from _obstacles_of_field(inner, name, inner_place)
        yield from _obstacles(inner, owner, inner_place, is_known=is_known)


def _has_own_serializer(node: Node) -> bool:
    function = node.get("serialization", {}).get("function")
    return function is not None and not _is_pydantics(function)


def _is_pydantics(function: object) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in ("pydantic", "pydantic_core")


def _obstacles_of_field(node: Node, name: str, place: str) -> Iterator[Obstacle]:
    if node.get("serialization_exclude"):
        yield Obstacle(place, "is left out of JSON by exclude=True", "remove exclude=True, or the field", hides=True)
    elif node.get("serialization_alias", name) not in {name, *_aliases(node.get("validation_alias"))}:
        yield Obstacle(
            place,
            "is written under an alias that it can't be read by",
            "use alias= or alias_generator=, not serialization_alias= alone",
        )


def _aliases(alias: object) -> Iterator[object]:
    """The names that a field can be read by: a validation alias is one, or a list of paths."""
    for one in alias if isinstance(alias, list) else [alias]:
        if not isinstance(one, list):
            yield one
        elif len(one) == 1:
            yield one[0]


def _obstacles_at(node: Node, place: str) -> Iterator[Obstacle]:
    match node["type"]:
        case "json":
            yield Obstacle(
                place, "is of type Json, which is written as what it holds and not as text", "use the type in Json[...]"
            )
        case "dict" if (keys := _plain_type(node.get("keys_schema"))) in _NO_KEYS:
            yield Obstacle(
                place, f"has keys of type {keys}, and JSON has only strings", "use keys of type str, or a list of pairs"
            )
        case "enum" if member := _lost_member(node["cls"]):
            yield Obstacle(
                place or type(member).__name__,
                f"has the enum member {type(member).__name__}.{member.name}, whose value can't be read from JSON",
                "give its members strings or numbers",
            )
        case "model" | "dataclass" if _refuses_computed(node):
            yield Obstacle(
                place,
                "has computed fields, which are written, and does not ignore them as extra fields when it is read",
                'use extra="ignore", or methods in place of the computed fields',
            )
    if node.get("serialization", {}).get("function") in _secret_serializers():
        yield Obstacle(
            place,
            "is a secret, which is written as asterisks",
            "pass what it is found by, such as its name in a vault; or use str, which is stored and shown as it is",
            hides=True,
        )


def _clocks_and_disks(node: Node, place: str) -> Iterator[Obstacle]:
    if "now_op" in node:
        type_ = node["type"]
        yield Obstacle(
            place,
            f"is a {node['now_op']} {type_}, which depends on the clock, and a run reads it again when it goes on",
            f"use {type_}, and compare it with the clock before you trigger",
        )
    if node.get("function", {}).get("function") in _LOOKS_AT_THE_DISK:
        yield Obstacle(
            place,
            "is a path that is looked up on the disk each time it is read, and a run reads it again when it goes on",
            "use pathlib.Path, and look it up before you trigger",
        )


def _plain_type(node: Node | None) -> str:
    while node is not None and "schema" in node and node["type"] not in _CLASSES:
        node = node["schema"]
    return "" if node is None else str(node["type"])


@cache
def _lost_member(enum: type[Enum]) -> Enum | None:
    """The first member of an enum that is not read from what it is written as."""
    adapter = TypeAdapter(enum)
    for member in enum:
        try:
            if adapter.validate_json(adapter.dump_json(member)) is not member:
                return member
        except ValueError:
            return member
    return None


def _refuses_computed(node: Node) -> bool:
    body = _body(node)
    if not body.get("computed_fields") or node["cls"].__pydantic_decorators__.model_validators:
        return False  # a validator may take them out
    behavior = body.get("extra_behavior") or node.get("config", {}).get("extra_fields_behavior", "ignore")
    return bool(behavior != "ignore")


@cache
def _secret_serializers() -> frozenset[object]:
    """The functions by which pydantic writes asterisks."""
    found = set()
    for type_ in (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret[str]):
        waiting: list[Node] = [TypeAdapter(type_).core_schema]
        while waiting:
            node = waiting.pop()
            found.add(node.get("serialization", {}).get("function"))
            waiting += [inner for _, inner in _inner(node)]
    return frozenset(found - {None})


def _inner(node: Node) -> Iterator[tuple[str, Node]]:
    """The schemas right within a schema, as JSON is read, by their key or the name of their field."""
    # what is read from Python objects, or strictly, has no obstacles of its own
    other = {"python_schema", "strict_schema"} & node.keys()
    for key, value in node.items():
        if key not in _NO_SCHEMAS and key not in other and key != "serialization":
            yield from _schemas(key, value)


def _schemas(key: str, value: object) -> Iterator[tuple[str, Node]]:
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield key, value
        else:
            for name, one in value.items():
                yield from _schemas(name, one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _schemas(key, one)


def open_fields(schema: Node) -> Mapping[type | None, frozenset[str]]:
    """The fields, by model or dataclass, in which values have no type but that of their JSON form, as under `Any`.

    The type itself, when it is so, is the field "" of None.
    """
    definitions = {inner["ref"]: inner for inner in _all(schema) if "ref" in inner}
    found: dict[type | None, frozenset[str]] = {}
    if _is_open(schema, definitions):
        found[None] = frozenset({""})
    for node in _all(schema):
        if node["type"] in ("model", "dataclass"):
            found[node["cls"]] = frozenset(name for name, inner in _fields(node) if _is_open(inner, definitions))
    return found


def _all(node: Node) -> Iterator[Node]:
    yield node
    for _, inner in _inner(node):
        yield from _all(inner)


def _fields(node: Node) -> Iterator[tuple[str, Node]]:
    """The fields of a model or dataclass."""
    if node.get("root_model"):
        yield "root", node["schema"]
        return
    fields = _body(node).get("fields", ())
    yield from fields.items() if isinstance(fields, dict) else ((one["name"], one) for one in fields)


def _body(node: Node) -> Node:
    """Where the schema of a model or dataclass has its fields, within the validators of the whole."""
    inside: Node = node["schema"]
    while "fields" not in inside and "schema" in inside:
        inside = inside["schema"]
    return inside


def _is_open(node: Node, definitions: Mapping[str, Node], within: frozenset[str] = frozenset()) -> bool:
    kind = node["type"]
    if kind == "any" or (kind == "json-or-python" and node["python_schema"]["type"] == "chain"):  # a `Sequence`
        return True
    if kind == "definition-ref":
        ref = node["schema_ref"]
        return ref not in within and ref in definitions and _is_open(definitions[ref], definitions, within | {ref})
    if kind in ("model", "dataclass"):
        return False
    return any(_is_open(inner, definitions, within) for _, inner in _inner(node))


def trusting(schema: Node) -> SchemaValidator:
    """A validator for values that were accepted before: what the user's own validators refuse now is let through.

    A validator may look at the clock, the disk or a configuration, so that it can refuse today what it took yesterday.
    Types are still checked, and what validators make of a value is still taken.
    """
    copy = cast(Any, _trusting(schema))
    try:
        # pydantic would take the validators that nested models have, and not what this schema says of them
        return SchemaValidator(copy, _use_prebuilt=False)
    except TypeError:  # before pydantic 2.13, which always takes them
        return SchemaValidator(copy)


def _trusting(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return type(value)(_trusting(one) for one in value)
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if not isinstance(kind, str):  # schemas by the names of fields
        return {name: _trusting(one) for name, one in value.items()}
    copy: dict[str, Any] = {
        key: one if key in _NO_SCHEMAS or key == "serialization" else _trusting(one)
        for key, one in value.items()
        if key != "now_op"
    }
    if kind in ("function-before", "function-after", "function-wrap"):
        function = copy["function"]["function"]
        if function in _LOOKS_AT_THE_DISK or not _is_pydantics(function):
            wrapped = _tolerant_wrap(function) if kind == "function-wrap" else _tolerant(function)
            copy["function"] = {**copy["function"], "function": wrapped}
    return copy


def _tolerant(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def validate(value: Any, *info: Any) -> Any:
        try:
            return function(value, *info)
        except (PydanticOmit, PydanticUseDefault):
            raise
        except Exception:
            return value

    return validate


def _tolerant_wrap(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def validate(value: Any, handler: Callable[[Any], Any], *info: Any) -> Any:
        try:
            return function(value, handler, *info)
        except (PydanticOmit, PydanticUseDefault):
            raise
        except Exception:
            return handler(value)

    return validate


T = TypeVar("T")

_MAY_BE_NON_FINITE = re.compile(rb"null|NaN|Infinity")


class NotJsonError(ValueError):
    """The value can't be written as JSON."""


class JsonCodec(Generic[T]):
    """Reads and writes the values of one type as JSON text, by alias where the type has aliases.

    The adapter is built on first use: a job may be defined above the models its annotation names.

    Args:
        type_: The type.
        is_read: Whether what is written is read here too. It is not where jobs are not Python.
    """

    def __init__(self, type_: TypeForm[T], *, is_read: bool = True) -> None:
        self.type = type_
        self.is_read = is_read
        self._adapter: TypeAdapter[T] | None = None

    @property
    def adapter(self) -> TypeAdapter[T]:
        """The pydantic adapter of the type."""
        if self._adapter is None:
            self._adapter = TypeAdapter(self.type)
        return self._adapter

    def obstacles(self) -> list[Obstacle]:
        """What the type alone shows of values that can't come back from JSON."""
        found = obstacles(self.adapter.core_schema)
        return found if self.is_read else [one for one in found if one.hides]

    def dump(self, value: T) -> str:
        """Write a value of the type, once it is known to come back as it is.

        Raises:
            NotJsonError: It holds something JSON has no form for, NaN and the infinities included, or something that
                would be read back as another value.
        """
        text = self.write(value)
        if self.is_read and not self._always_comes_back:
            self._check_that_it_comes_back(text, value)
        return text

    def write(self, value: T) -> str:
        """Write a value of the type for somebody else, who may read less than it is.

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

    @cached_property
    def _always_comes_back(self) -> bool:
        return self.adapter.core_schema["type"] in _ALWAYS_COME_BACK

    @cached_property
    def _compare(self) -> Comparison:
        return Comparison(open_fields(self.adapter.core_schema))

    def _check_that_it_comes_back(self, text: str, value: T) -> None:
        try:
            # as it will be read: a value that a validator took once is not to be refused because time went by
            back = self.load_accepted(text)
        except Exception as error:
            reason = describe(error) if isinstance(error, ValidationError) else f"{type(error).__name__} was raised"
            raise NotJsonError(f"it could be written as JSON and not be read again: {reason}") from error
        self._compare.check(value, back)

    def coerce(self, value: object) -> T:
        """A value of the type from one that may only look like it, such as a dict for a model.

        Raises:
            pydantic.ValidationError: It doesn't fit.
        """
        return self.adapter.validator.validate_python(value, by_alias=True, by_name=True)  # type: ignore[no-any-return]

    def load(self, text: str | bytes) -> T:
        """Read a value of the type that is new: all its validators are asked.

        Raises:
            pydantic.ValidationError: The text is not JSON, or doesn't fit the type.
        """
        return self.adapter.validator.validate_json(text, by_alias=True, by_name=True)  # type: ignore[no-any-return]

    def load_accepted(self, text: str | bytes) -> T:
        """Read a value of the type that was accepted before, as a replay does.

        A run reads its input again whenever it goes on: after a wait, a crash, a retry, a resume, days later and on
        another machine. A validator that looks at the clock or the disk may refuse it by then, and no resume could
        ever help. So when the validators refuse, it is read without their objections.

        Raises:
            pydantic.ValidationError: The text is not JSON, or doesn't fit the type, as after a change of the type.
        """
        try:
            return self.load(text)
        except Exception as refusal:
            try:
                return self._trusting.validate_json(text, by_alias=True, by_name=True)  # type: ignore[no-any-return]
            except Exception:
                raise refusal from None

    @cached_property
    def _trusting(self) -> SchemaValidator:
        return trusting(self.adapter.core_schema)

    def write_accepted(self, value: object) -> str | None:
        """Write a value without asking the user's validators, or whether it comes back; None when it doesn't fit."""
        try:
            return self.write(self._trusting.validate_python(value, by_alias=True, by_name=True))
        except Exception:
            return None


_ALWAYS_COME_BACK = frozenset({"none", "bool", "int", "str"})
"""Kinds of types whose values always come back: most results are of one."""


class _LostError(Exception):
    """Something in a value does not come back. Built from the inside out: `steps` is the way to it, reversed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[object] = []


_SIMPLE = frozenset({str, int, bool, NoneType, bytes, Decimal, UUID, date, timedelta, time})
_JSON_KINDS = frozenset({str, int, float, bool, NoneType, list, dict})
_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)


class Comparison:
    """Compares the values of one type with what they come back as from JSON.

    pydantic's own `==` is not enough: to it 1 is true, and a model may have its own `__eq__`. A value that has no
    declared type, as under `Any`, comes back as its JSON form; that is compared by the value's own type.

    Args:
        open_fields: Where values have no declared type; see `core_schemas.open_fields`.
    """

    def __init__(self, open_fields: Mapping[type | None, frozenset[str]]) -> None:
        self._open_fields = open_fields

    def check(self, value: object, back: object) -> None:
        """Refuse a value that comes back as another one.

        Raises:
            NotJsonError: It does; the message says where and as what, without the values.
        """
        try:
            self._check(value, back, None in self._open_fields)
        except RecursionError:
            raise NotJsonError("it is nested too deep") from None
        except _LostError as lost:
            where = ".".join(str(step) for step in reversed(lost.steps))
            raise NotJsonError(f"{f'{where}: ' if where else ''}{lost.reason}") from None

    def _check(self, value: object, back: object, is_open: bool) -> None:  # noqa: C901, PLR0912 - one case per kind
        kind = type(value)
        if kind is type(back):
            if kind in _SIMPLE:
                if value != back:
                    raise _changed(value)
            elif kind is float:
                if value != back and value == value:  # noqa: PLR0124 - NaN, where a model has a form for it
                    raise _changed(value)
            elif is_open and value == back:  # at once, as most are
                pass
            elif isinstance(value, BaseModel):
                self._check_model(value, back)
            elif isinstance(value, dict):
                self._check_mapping(value, back, is_open)
            elif isinstance(value, _SEQUENCES):
                self._check_items(value, back, is_open)
            elif isinstance(value, datetime):
                _check_datetime(value, back)
            elif is_dataclass(value):
                self._check_fields(value, _state_of(value), _state_of(back))
            elif value != back and not _is_opaque(value, back):
                raise _changed(value)
        elif is_open:
            self._check_form(value, back)
        elif isinstance(value, Mapping) and isinstance(back, dict):
            self._check_mapping(value, back, is_open)
        elif isinstance(value, datetime) and isinstance(back, datetime):  # a subclass, such as that of freezegun
            _check_datetime(value, back)
        elif not (value == back and (isinstance(value, _SETS) or kind is int)):  # an int in place of a float
            raise _LostError(f"a value of type {kind.__name__} would come back from JSON as {type(back).__name__}")

    def _check_model(self, value: BaseModel, back: Any) -> None:
        self._check_fields(value, value.__dict__, back.__dict__)
        if value.__pydantic_extra__:
            self._check_mapping(value.__pydantic_extra__, back.__pydantic_extra__ or {}, True)
        elif back.__pydantic_extra__:
            raise _LostError("what is written of it would come back from JSON as extra fields")
        hidden, hidden_back = value.__pydantic_private__, back.__pydantic_private__
        if hidden:
            for name, one in hidden.items():
                found = (hidden_back or {}).get(name)
                if one is not found and one != found and not _is_opaque(one, found):
                    raise _LostError(f"its private attribute {name} would not come back from JSON")

    def _check_fields(self, value: object, mine: Mapping[str, object], other: Mapping[str, object]) -> None:
        kind = type(value)
        opened = self._open_fields.get(kind, frozenset())
        declared: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", mine)
        for name in declared:
            one, found = mine.get(name), other.get(name)
            try:
                self._check(one, found, name in opened)
            except _LostError as lost:
                if one == found and isinstance(value, BaseModel) and one is declared[name].default:
                    continue  # pydantic does not validate defaults, so that they may have another type
                lost.steps.append(name)
                raise

    def _check_items(self, value: Any, back: Any, is_open: bool) -> None:
        if len(value) != len(back):
            raise _changed(value)
        for index, (one, other) in enumerate(zip(value, back, strict=True)):
            try:
                self._check(one, other, is_open)
            except _LostError as lost:
                lost.steps.append(index)
                raise

    def _check_mapping(self, value: Any, back: Any, is_open: bool) -> None:
        if len(value) != len(back):
            raise _LostError("two of its keys are the same in JSON")
        for (key, one), (back_key, other) in zip(value.items(), back.items(), strict=True):
            try:
                if key == back_key and type(key) is type(back_key):
                    self._check(one, other, is_open)
                elif key in back:  # a TypedDict is read in the order of its fields
                    self._check(one, back[key], is_open)
                else:
                    self._check(key, back_key, is_open)
                    self._check(one, other, is_open)
            except _LostError as lost:
                lost.steps.append(back_key)
                raise

    def _check_form(self, value: object, back: object) -> None:
        """Compare a value that has no declared type with its JSON form."""
        kind = type(value)
        if isinstance(value, Mapping) and isinstance(back, dict):
            self._check_mapping(value, back, True)
        elif isinstance(value, (*_SEQUENCES, *_SETS)) and isinstance(back, (list, tuple)):
            self._check_items(value, back, True)
        elif isinstance(back, str) and kind in (int, float, bool, NoneType):
            pass  # the key of a dict
        elif type(back) not in _JSON_KINDS or kind in _JSON_KINDS or isinstance(value, (*_SEQUENCES, *_SETS)):
            raise _LostError(f"a value of type {kind.__name__} would come back from JSON as {type(back).__name__}")
        elif (codec := _codec_of(kind)) is not None:  # type: ignore[arg-type]  # a class is hashable
            try:
                codec.dump(value)
            except NotJsonError as error:
                raise _LostError(str(error)) from None


@lru_cache(maxsize=200)
def _codec_of(kind: type) -> JsonCodec[Any] | None:
    """The codec of a class; None where pydantic knows nothing of it, such as a subclass of str."""
    codec: JsonCodec[Any] = JsonCodec(kind)
    try:
        codec.adapter  # noqa: B018 - building it is the question
    except PydanticUserError:
        return None
    return codec


def _state_of(value: Any) -> dict[str, object]:
    return {field.name: getattr(value, field.name, None) for field in fields(value)}


def _changed(value: object) -> _LostError:
    return _LostError(
        f"a value of type {type(value).__name__} would come back from JSON as another one: it is hidden or left out "
        "there, or a serializer or validator changes it each time"
    )


def _check_datetime(value: datetime, back: Any) -> None:
    # not by ==, to which two times in a night whose hour is repeated are never the same
    if value.utcoffset() != back.utcoffset() or value.replace(tzinfo=None) != back.replace(tzinfo=None):
        raise _changed(value)


def _is_opaque(value: object, back: object) -> bool:
    """Whether two values are of a class without `__eq__` and, as far as can be seen, the same."""
    kind = type(value)
    if kind is not type(back) or kind.__eq__ is not object.__eq__:
        return False
    return bool(object.__getstate__(value) == object.__getstate__(back))


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


def is_longer(text: str, max_bytes: int) -> bool:
    """Whether a text has more bytes in UTF-8; it is encoded only where its number of characters leaves that open."""
    if len(text) * 4 <= max_bytes:
        return False
    return len(text) > max_bytes or len(text.encode(errors="replace")) > max_bytes


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


def encode(what: str, codec: JsonCodec[Any], value: object, *, is_recorded: Callable[[str], bool] | None = None) -> str:
    """Write a value as JSON text.

    Args:
        what: What is being written, for messages.
        codec: Of its type.
        value: The value.
        is_recorded: Whether a text is what this run has recorded here. Then the value was accepted once, and is not
            refused on a replay because its validators have changed their mind since.

    Raises:
        InvalidInputError: It doesn't fit the type, isn't JSON, or would not come back from it as it is.
    """
    try:
        return codec.dump(codec.coerce(value))
    except Exception as error:
        if is_recorded is not None and (text := codec.write_accepted(value)) is not None and is_recorded(text):
            return text
        if isinstance(error, (ValidationError, NotJsonError)):
            raise refused(what, error) from None
        raise


def refused(what: str, error: ValidationError | NotJsonError) -> InvalidInputError:
    """The error for a value that doesn't fit."""
    if isinstance(error, ValidationError):
        return InvalidInputError(f"{what} is not valid: {describe(error)}.", problems_of(error))
    return InvalidInputError(f"{what} is not valid: {error}.")
