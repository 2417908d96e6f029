"""Checks of names and of arguments to definitions: an error names the place where the definition is written."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel

from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.identity import AuthInvoker, InvokerFields


@dataclass(frozen=True, slots=True)
class Source:
    """A file and a line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller_source(depth: int = 2) -> Source:
    """Where the function `depth` calls up is being called from: 1 is whoever calls this, 2 its caller."""
    frame = sys._getframe(depth)  # noqa: SLF001 - inspect.stack() reads every source file on the way up
    return Source(frame.f_code.co_filename, frame.f_lineno)


_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_GRAPHQL_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
_FIRING = "executor/"


def is_name(name: str) -> bool:
    """Whether this can name a workflow, a job or a machine user."""
    return _NAME.fullmatch(name) is not None


def is_graphql_name(name: str) -> bool:
    """Whether this can name a GraphQL field or type of an app."""
    return _GRAPHQL_NAME.fullmatch(name) is not None


def firing_name(executor_name: str) -> str:
    """The workflow name under which a platform keeps the firings of an executor; no workflow of a user can have it."""
    return f"{_FIRING}{executor_name}"


def executor_of(workflow_name: str) -> str | None:
    """The executor whose firings have this workflow name; None for a workflow."""
    return workflow_name.removeprefix(_FIRING) if workflow_name.startswith(_FIRING) else None


def is_startable_name(name: str) -> bool:
    """Whether this can name what a run is of: a workflow, or the firings of an executor."""
    return is_name(executor_of(name) or name)


def name_problem(kind: str, name: str) -> str:
    """What to say of a name that `is_name` refuses."""
    return (
        f"{kind} name {name!r} is not valid: use 3 to 63 lower-case letters, digits and hyphens, no hyphen at the ends"
    )


def pascal_case(name: str) -> str:
    """`order-processing`, `order_processing` or `orderProcessing` as `OrderProcessing`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))


T = TypeVar("T")

_MAX_SHOWN = 80


class UnresolvedAnnotationError(DefinitionError):
    """An annotation can't be resolved, at least not yet."""


def check_type(where: str, name: str, value: object, types: type | tuple[type, ...], instead: str) -> None:
    """Refuse an argument of another type.

    Args:
        where: What is defined and where, such as `Workflow 'order-processing' at shop.py:3`.
        name: The argument's name.
        value: What was given; it is shown, so it must not be a secret.
        types: What is taken. `int` takes no bool.
        instead: What to write.

    Raises:
        DefinitionError: It is of another type.
    """
    if not isinstance(value, types) or (types is int and isinstance(value, bool)):
        raise DefinitionError(f"{where} has {name}={shown(value)}: write {instead}.")


def check_duration(where: str, name: str, value: object) -> None:
    """Refuse a time that is given as a number.

    Raises:
        DefinitionError: It is not a timedelta.
    """
    seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else 30
    check_type(where, name, value, timedelta, f"timedelta(seconds={seconds})")


def check_durations(where: str, given: Mapping[str, object]) -> None:
    """Refuse times, by the names of their arguments, that are given as numbers.

    Raises:
        DefinitionError: One is not a timedelta.
    """
    for name, value in given.items():
        check_duration(where, name, value)


def check_counts(where: str, given: Mapping[str, object]) -> None:
    """Refuse numbers, by the names of their arguments, that are given as something else.

    Raises:
        DefinitionError: One is not an int.
    """
    for name, value in given.items():
        check_type(where, name, value, int, f"{name}=100")


def checked_items(where: str, name: str, values: object, type_: type[T], instead: str) -> tuple[T, ...]:
    """The items of an argument that is a collection.

    Raises:
        DefinitionError: It is not one, or has an item of another type.
    """
    if isinstance(values, str | type_) or not isinstance(values, Iterable):
        raise DefinitionError(f"{where} has {name}={shown(values)}: write {name}=[...], with {instead} in it.")
    items = tuple(values)
    for item in items:
        if not isinstance(item, type_):
            raise DefinitionError(f"{where} has {shown(item)} in {name}=: write {instead}.")
    return items


def check_annotation(where: str, name: str, type_: object) -> None:
    """Refuse a value where a type is wanted.

    Raises:
        DefinitionError: It is an instance of a model.
    """
    if isinstance(type_, BaseModel):
        raise DefinitionError(f"{where} has {name}={shown(type_)}: write the class, {name}={type(type_).__name__}.")


def check_function(where: str, name: str, function: object, takes: int, instead: str) -> None:
    """Refuse an argument that can't be called with a number of arguments by position.

    Raises:
        DefinitionError: It can't.
    """
    if not callable(function):
        raise DefinitionError(f"{where} has {name}={shown(function)}: write {instead}.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a function that is written in C
        return
    try:
        signature.bind(*range(takes))
    except TypeError:
        raise DefinitionError(
            f"{where} has {name}={shown(function)}, which takes {signature}: write {instead}."
        ) from None


def read_invoker(given: object) -> AuthInvoker | str | None:
    """The invoker that `auth_invoker=` means, or the name of a machine user.

    Raises:
        InvalidInputError: It is neither, nor a dict of namespace and name.
    """
    if given is None or isinstance(given, AuthInvoker | str):
        return given
    names = InvokerFields.__required_keys__
    if isinstance(given, Mapping) and given.keys() == names and all(isinstance(one, str) for one in given.values()):
        return AuthInvoker(given["namespace"], given["machineUserName"])
    raise InvalidInputError(
        f"auth_invoker={shown(given)} is not an invoker: write auth.invoker(...), the name of a machine user, or "
        '{"namespace": "...", "machineUserName": "..."}.'
    )


def checked_invoker(where: str, given: object) -> AuthInvoker | str | None:
    """The same, for a definition.

    Raises:
        DefinitionError: As above.
    """
    try:
        return read_invoker(given)
    except InvalidInputError as error:
        raise DefinitionError(f"{where}: {error.message}") from None


def parameters_of(where: str, function: object) -> list[inspect.Parameter]:
    """The parameters of a body that a definition is made of.

    Raises:
        DefinitionError: It is not a function, or yields what it should return.
    """
    if isinstance(function, type) or not callable(function):
        raise DefinitionError(f"{where} is made of {shown(function)}: make it of a function.")
    plain = plain_function(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise DefinitionError(f"{where} is made of a function that yields: write `return` with the whole result.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a function that is written in C
        raise DefinitionError(
            f"{where} is made of {shown(function)}, whose parameters are unknown: call it in a function of yours."
        ) from None
    # a keyword with a default, as functools.partial leaves them, does not get in the way
    return [one for one in parameters if one.kind is not one.KEYWORD_ONLY or one.default is one.empty]


def hints_of(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, a method, a partial or a callable object, resolved.

    Args:
        where: What is said not to be resolved, such as `An annotation of job 'main' at shop.py:3`.
        function: The function.

    Raises:
        UnresolvedAnnotationError: One of them can't be resolved.
    """
    try:
        return get_type_hints(plain_function(function), include_extras=True)
    except Exception as error:  # whatever evaluating an annotation raises
        raise UnresolvedAnnotationError(f"{where} can't be resolved: {error}.") from error


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine. False of a plain wrapper around an async function: await its result."""
    return inspect.iscoroutinefunction(plain_function(function))


def function_source(function: Callable[..., Any]) -> Source | None:
    """Where a function is defined, if it is a Python function."""
    code = getattr(plain_function(function), "__code__", None)
    return Source(code.co_filename, code.co_firstlineno) if code is not None else None


def plain_function(function: Any) -> Any:
    """What a partial, or an object with `__call__`, calls in the end; anything else is itself."""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, FunctionType | MethodType | BuiltinFunctionType | type) or hasattr(function, "__wrapped__"):
        return function
    return type(function).__call__ if callable(function) else function


def shown(value: object) -> str:
    """A value for a message."""
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if isinstance(value, FunctionType | MethodType):
        return f"the function {value.__qualname__}"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
