"""Finding definitions: those of a package, and the jobs that the functions of other jobs name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from gqlplugin.checks import check_type, plain_function
from gqlplugin.errors import DefinitionError
from gqlplugin.executor.definition import Executor
from gqlplugin.job import WorkflowJob
from gqlplugin.resolver import Resolver
from gqlplugin.wait_point import WaitPoint
from gqlplugin.workflow import Workflow

__all__ = ["Discovered", "discover", "reachable_jobs", "reachable_wait_points"]


@dataclass(frozen=True, slots=True)
class Discovered:
    """The definitions of a package; give its fields to `define_app`."""

    workflows: tuple[Workflow[Any, Any], ...]
    jobs: tuple[WorkflowJob[Any, Any], ...]
    resolvers: tuple[Resolver[Any, Any], ...]
    executors: tuple[Executor[Any], ...]


def discover(*packages: str) -> Discovered:
    """Import packages with all their modules, and collect the definitions at module level.

    ```python
    found = discover("shop.workflows", "shop.resolvers")
    app = define_app(
        "shop", workflows=found.workflows, jobs=found.jobs, resolvers=found.resolvers, executors=found.executors
    )
    ```

    Args:
        packages: Dotted names of packages or modules.

    Raises:
        DefinitionError: There is no such package. An error inside one of its modules is raised as it is.
    """
    found: dict[int, object] = {}
    for module in (module for package in packages for module in _modules_of(package)):
        found |= {id(value): value for value in vars(module).values()}
    values = list(found.values())
    return Discovered(
        workflows=tuple(value for value in values if isinstance(value, Workflow)),
        jobs=tuple(value for value in values if isinstance(value, WorkflowJob)),
        resolvers=tuple(value for value in values if isinstance(value, Resolver)),
        executors=tuple(value for value in values if isinstance(value, Executor)),
    )


def _modules_of(package: str) -> Iterator[ModuleType]:
    check_type("discover", "package", package, str, 'its dotted name, such as discover("shop.workflows")')
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise
        raise DefinitionError(f"discover({package!r}): there is no such package.") from error
    yield module
    for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{package}."):
        yield importlib.import_module(info.name)


def reachable_jobs(
    jobs: Sequence[WorkflowJob[Any, Any]], functions: Iterable[Callable[..., Any]] = ()
) -> Iterator[WorkflowJob[Any, Any]]:
    """The jobs, and those that their functions and some other functions name, and so on; each once.

    A function names a job directly, in a closure, as an attribute of a module or a class, or through a function of its
    own top-level package that it names in one of these ways.
    """
    seen: set[int] = set()
    waiting = [*jobs, *(job for function in functions for job in _jobs_named_by(function))]
    while waiting:
        job = waiting.pop(0)
        if id(job) not in seen:
            seen.add(id(job))
            yield job
            waiting.extend(_jobs_named_by(job.body))


def reachable_wait_points(bodies: Iterable[Callable[..., Any]]) -> Iterator[WaitPoint[Any, Any]]:
    """The wait points that functions name, found as jobs are; each once."""
    found = {id(named): named for body in bodies for named in _named_by(body) if isinstance(named, WaitPoint)}
    yield from found.values()


def _jobs_named_by(body: object) -> Iterator[WorkflowJob[Any, Any]]:
    return (named for named in _named_by(body) if isinstance(named, WorkflowJob))


def _named_by(body: object) -> Iterator[WorkflowJob[Any, Any] | WaitPoint[Any, Any]]:
    """The jobs and wait points that a function names."""
    seen: set[int] = set()
    waiting = [body]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, partial):
            arguments = [*value.args, *value.keywords.values()]
            yield from (one for one in arguments if isinstance(one, WorkflowJob | WaitPoint))
            waiting += arguments
        function = plain_function(value)
        function = getattr(function, "__func__", function)
        if not isinstance(function, FunctionType) or id(function) in seen:
            continue
        seen.add(id(function))
        for named in _values_named_by(function):
            if isinstance(named, (WorkflowJob, WaitPoint)):
                yield named
            elif _package_of(named) == _package_of(function):
                waiting.append(named)


def _values_named_by(function: FunctionType) -> Iterator[object]:
    names = dict.fromkeys(_names_in(function.__code__))
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    values += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    seen: set[int] = set()
    while values:
        value = values.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, (ModuleType, type)):
            attributes = vars(value)
            values += [attributes[name] for name in names if name in attributes]


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _package_of(value: object) -> str:
    return str(getattr(value, "__module__", "")).partition(".")[0]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the question
    except ValueError:
        return False
    return True
