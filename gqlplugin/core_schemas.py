"""What pydantic's core schemas show of a type: what of it can't cross JSON, and how to read what was accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, wraps
from typing import Any, cast

import pydantic
from pydantic import TypeAdapter
from pydantic.types import PathType
from pydantic_core import PydanticOmit, PydanticUseDefault, SchemaValidator

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
