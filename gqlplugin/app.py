"""The one place where definitions meet: every name and reference is checked here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any, Protocol

from gqlplugin.auth import Auth
from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.identity import AuthInvoker
from gqlplugin.job import WorkflowJob
from gqlplugin.names import is_graphql_name, is_name, name_problem
from gqlplugin.platform.base import EnvValue
from gqlplugin.resolver import Resolver
from gqlplugin.source import Source
from gqlplugin.workflow import Workflow

__all__ = ["App", "Discovered", "define_app", "discover"]


@dataclass(frozen=True, kw_only=True, eq=False)
class App:
    """Definitions that fit together. Made by `define_app`."""

    name: str
    auth: Auth[Any] | None
    workflows: Mapping[str, Workflow[Any, Any]]
    jobs: Mapping[str, WorkflowJob[Any, Any]]
    resolvers: Mapping[str, Resolver[Any, Any]]
    env: Mapping[str, EnvValue]

    def resolve_invoker(self, invoker: AuthInvoker | str | None) -> AuthInvoker | None:
        """The machine user meant by a bare name or an invoker; None stays None.

        Raises:
            InvalidInputError: The app's auth does not define it.
        """
        if invoker is None:
            return None
        if self.auth is None:
            raise InvalidInputError(
                f"App {self.name!r} has no auth, so nothing can run as {invoker!r}: define_app(auth=...)."
            )
        return self.auth.resolve(invoker)


def define_app(
    name: str,
    *,
    auth: Auth[Any] | None = None,
    workflows: Iterable[Workflow[Any, Any]] = (),
    resolvers: Iterable[Resolver[Any, Any]] = (),
    jobs: Iterable[WorkflowJob[Any, Any]] = (),
    env: Mapping[str, EnvValue] | None = None,
) -> App:
    """Bring definitions together and check them all.

    Jobs are found by themselves: the main jobs of the workflows, and the jobs whose names the functions of those use.

    Args:
        name: The app's name.
        auth: Who the workflows can run as.
        workflows: The workflows that can be triggered.
        resolvers: The resolvers for `create_schema`.
        jobs: Jobs that can't be found by themselves, such as those picked from a dict.
        env: Values that resolvers and jobs get as `ctx.env`.

    Raises:
        DefinitionError: With every problem: malformed and duplicate names, missing main jobs, unknown machine users.
    """
    workflows, resolvers = tuple(workflows), tuple(resolvers)
    given = [*jobs, *(workflow.main_job for workflow in workflows if workflow.main_job is not None)]
    found = list(_reachable_jobs(given))
    problems = [
        *([] if name else ["the app needs a name"]),
        *_bad_names("workflow", workflows),
        *_bad_names("job", found),
        *_bad_resolvers(resolvers),
        *_duplicates("workflow", workflows),
        *_duplicates("job", found),
        *_duplicates("resolver", resolvers),
        *_without_main_job(workflows),
        *_unknown_invokers(auth, resolvers),
        *_bad_env(env or {}),
    ]
    if problems:
        raise DefinitionError(problems)
    return App(
        name=name,
        auth=auth,
        workflows=MappingProxyType({workflow.name: workflow for workflow in workflows}),
        jobs=MappingProxyType({job.name: job for job in found}),
        resolvers=MappingProxyType({resolver.name: resolver for resolver in resolvers}),
        env=MappingProxyType(dict(env or {})),
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...


def _bad_names(kind: str, definitions: Iterable[_Named]) -> list[str]:
    return [f"{name_problem(kind, one.name)} ({one.source})" for one in definitions if not is_name(one.name)]


def _bad_resolvers(resolvers: Iterable[Resolver[Any, Any]]) -> list[str]:
    problems = [
        f"resolver name {one.name!r} is not a GraphQL name: use letters, digits and _, no __ first ({one.source})"
        for one in resolvers
        if not is_graphql_name(one.name)
    ]
    return problems + [
        f'resolver {one.name!r} has operation {one.operation!r}: use "query" or "mutation" ({one.source})'
        for one in resolvers
        if one.operation not in ("query", "mutation")
    ]


def _duplicates(kind: str, definitions: Iterable[_Named]) -> Iterator[str]:
    first: dict[str, _Named] = {}
    for one in definitions:
        other = first.setdefault(one.name, one)
        if other is not one:
            yield f"two {kind}s are named {one.name!r}: {other.source} and {one.source}"


def _without_main_job(workflows: Iterable[Workflow[Any, Any]]) -> list[str]:
    return [
        f"workflow {one.name!r} has no main job: pass main_job=, or input= if it is defined elsewhere ({one.source})"
        for one in workflows
        if not one.has_input
    ]


def _unknown_invokers(auth: Auth[Any] | None, resolvers: Iterable[Resolver[Any, Any]]) -> Iterator[str]:
    for resolver in resolvers:
        if resolver.auth_invoker is None:
            continue
        if auth is None:
            yield f"resolver {resolver.name!r} has an auth_invoker, and the app has no auth ({resolver.source})"
            continue
        try:
            auth.resolve(resolver.auth_invoker)
        except InvalidInputError as error:
            yield f"resolver {resolver.name!r}: {error} ({resolver.source}; the auth is defined at {auth.source})"


def _bad_env(env: Mapping[str, EnvValue]) -> list[str]:
    return [
        f"env value {name!r} is of type {type(value).__name__}: use str, int, float or bool"
        for name, value in env.items()
        if type(value) not in (str, int, float, bool)
    ]


def _reachable_jobs(jobs: Sequence[WorkflowJob[Any, Any]]) -> Iterator[WorkflowJob[Any, Any]]:
    """The jobs, and those that their functions name, and so on; each once."""
    seen: set[int] = set()
    waiting = list(jobs)
    while waiting:
        job = waiting.pop(0)
        if id(job) not in seen:
            seen.add(id(job))
            yield job
            waiting.extend(_named_jobs(job.body, seen_functions=set()))


def _named_jobs(function: Any, seen_functions: set[int]) -> Iterator[WorkflowJob[Any, Any]]:
    """The jobs a function names, directly, as attributes of a module, or through functions of its module."""
    if not isinstance(function, FunctionType) or id(function) in seen_functions:
        return
    seen_functions.add(id(function))
    names = set(_names_in(function.__code__))
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    values += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    modules = [value for value in values if isinstance(value, ModuleType)]
    values += [vars(module)[name] for module in modules for name in names if name in vars(module)]
    for value in values:
        if isinstance(value, WorkflowJob):
            yield value
        elif isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield from _named_jobs(value, seen_functions)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the question
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Discovered:
    """The definitions of a package; give its fields to `define_app`."""

    workflows: tuple[Workflow[Any, Any], ...]
    jobs: tuple[WorkflowJob[Any, Any], ...]
    resolvers: tuple[Resolver[Any, Any], ...]


def discover(*packages: str) -> Discovered:
    """Import packages with all their modules, and collect the definitions at module level.

    ```python
    found = discover("shop.workflows", "shop.resolvers")
    app = define_app("shop", workflows=found.workflows, jobs=found.jobs, resolvers=found.resolvers)
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
    )


def _modules_of(package: str) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not package.startswith(error.name):
            raise
        raise DefinitionError(f"discover({package!r}): there is no such package.") from error
    yield module
    for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{package}."):
        yield importlib.import_module(info.name)
