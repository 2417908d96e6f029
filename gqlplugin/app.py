"""`define_app`: all definitions of an application, checked together."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import CodeType, FunctionType, MappingProxyType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, Protocol, cast, get_origin, runtime_checkable

from pydantic import PydanticUndefinedAnnotation, PydanticUserError

from gqlplugin.auth import Auth
from gqlplugin.checks import (
    Source,
    caller_source,
    check_type,
    checked_items,
    firing_name,
    is_graphql_name,
    is_name,
    name_problem,
    pascal_case,
    plain_function,
)
from gqlplugin.codec import JsonCodec
from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.executor.definition import Executor, Firing
from gqlplugin.executor.trigger import RecordTrigger, ResolverExecutedTrigger, ScheduleTrigger
from gqlplugin.identity import AnyInvoker, AuthInvoker
from gqlplugin.job import WorkflowJob
from gqlplugin.models.fields import type_problems
from gqlplugin.platform.base import EnvValue, Platform
from gqlplugin.resolver import Resolver, ResolverContext
from gqlplugin.schedule import Schedule
from gqlplugin.wait_point import WaitPoint
from gqlplugin.workflow import Workflow

if TYPE_CHECKING:
    from gqlplugin.database import Database

__all__ = [
    "App",
    "Discovered",
    "define_app",
    "discover",
    "reachable_jobs",
    "reachable_wait_points",
]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class App:
    """Definitions that fit together. Made by `define_app`."""

    name: str
    auth: Auth[Any] | None
    workflows: Mapping[str, Workflow[Any, Any]]
    jobs: Mapping[str, WorkflowJob[Any, Any]]
    resolvers: Mapping[str, Resolver[Any, Any]]
    env: Mapping[str, EnvValue]
    executors: Mapping[str, Executor[Any]] = field(default_factory=dict)
    databases: Mapping[str, Database] = field(default_factory=dict)
    wait_points: Mapping[str, WaitPoint[Any, Any]] = field(default_factory=dict)
    capture_print: bool = False

    @cached_property
    def firings(self) -> Mapping[str, Firing]:
        """The workflows that do what the executors do, by the names their runs have."""
        return {firing.name: firing for firing in map(Firing, self.executors.values())}

    @cached_property
    def schedules(self) -> Mapping[str, Schedule]:
        """When which of the firings start by themselves."""
        return {
            firing_name(one.name): one.trigger.schedule
            for one in self._enabled()
            if isinstance(one.trigger, ScheduleTrigger)
        }

    @cached_property
    def resolver_listeners(self) -> Mapping[str, Sequence[str]]:
        """Which firings start when a resolver has run."""
        listeners: dict[str, list[str]] = {}
        for one in self._enabled():
            if isinstance(one.trigger, ResolverExecutedTrigger):
                listeners.setdefault(one.trigger.resolver.name, []).append(firing_name(one.name))
        return listeners

    @asynccontextmanager
    async def running(self, platform: Platform) -> AsyncIterator[None]:
        """Open the databases, and start on a platform what is committed to them; may be entered within itself."""
        subscriptions = [
            one.trigger.subscription(one.name) for one in self._enabled() if isinstance(one.trigger, RecordTrigger)
        ]
        async with AsyncExitStack() as stack:
            for database in self.databases.values():
                await stack.enter_async_context(database.running(self, platform, subscriptions))
            yield

    def _enabled(self) -> list[Executor[Any]]:
        return [one for one in self.executors.values() if not one.disabled]

    def jobs_of(self, workflow_name: str) -> Sequence[str]:
        """The names of the jobs that one of the workflows or firings is made of, its main job first.

        Raises:
            KeyError: There is no such workflow.
        """
        if workflow_name in self.firings:
            executor = self.firings[workflow_name].executor
            return [executor.name, *(job.name for job in reachable_jobs([], executor.operation.functions()))]
        main_job = self.workflows[workflow_name].main_job
        return [] if main_job is None else [job.name for job in reachable_jobs([main_job])]

    def resolve_invoker(self, invoker: AnyInvoker | None) -> AuthInvoker | None:
        """The machine user meant by a bare name, an invoker, or a dict of namespace and name; None stays None.

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
    executors: Iterable[Executor[Any]] = (),
    databases: Iterable[Database] = (),
    wait_points: Iterable[WaitPoint[Any, Any]] = (),
    env: Mapping[str, EnvValue] | None = None,
    capture_print: bool = False,
) -> App:
    """Bring definitions together and check them all.

    Jobs are found by themselves: the main jobs of the workflows, and the jobs whose names the functions of those and of
    executors use. So are the wait points that these functions use.

    Args:
        name: The app's name.
        auth: Who the workflows can run as.
        workflows: The workflows that can be triggered.
        resolvers: The resolvers for `create_schema`.
        jobs: Jobs that can't be found by themselves, such as those picked from a dict.
        executors: What happens by itself.
        databases: What resolvers and jobs get by `get_db`, and where changes of records are noticed.
        wait_points: Wait points that can't be found by themselves, such as those of workflows defined elsewhere.
        env: Values that resolvers and jobs get as `ctx.env`.
        capture_print: Whether what a job prints goes to its log, as `ctx.log.info` would log it, instead of to the
            process's stdout. While the app executes, `sys.stdout` is replaced by an object that passes on whatever
            else is written to it.

    Raises:
        DefinitionError: An argument is of another type. Else with every problem: malformed and duplicate names, missing
            main jobs, unknown machine users, types that have no form in JSON or GraphQL.
    """
    where = f"define_app at {caller_source()}"
    check_type(where, "name", name, str, 'define_app("shop", ...)')
    if auth is not None:
        check_type(where, "auth", auth, Auth, "what define_auth(...) makes")
    workflows = checked_items(where, "workflows", workflows, Workflow, "what create_workflow(...) makes")
    resolvers = checked_items(where, "resolvers", resolvers, Resolver, "what create_resolver(...) makes")
    jobs = checked_items(where, "jobs", jobs, WorkflowJob, "what create_workflow_job(...) makes")
    executors = checked_items(where, "executors", executors, Executor, "what create_executor(...) makes")
    wait_points = checked_items(where, "wait_points", wait_points, WaitPoint, "what define_wait_point(...) makes")
    databases = cast(
        "tuple[Database, ...]",  # without SQLAlchemy there is no class to check for
        checked_items(where, "databases", databases, _Named, "what define_database(...) makes"),
    )
    check_type(where, "env", env, (Mapping, NoneType), 'env={"currency": "EUR"}')
    given = [*jobs, *(workflow.main_job for workflow in workflows if workflow.main_job is not None)]
    functions = [function for one in executors for function in one.operation.functions()]
    found = list(reachable_jobs(given, functions))
    waits = list(dict.fromkeys([*wait_points, *reachable_wait_points([*(job.body for job in found), *functions])]))
    problems = [
        *([] if name else ["the app needs a name"]),
        *_bad_auth(auth),
        *_bad_all_names(
            workflow=workflows,
            job=found,
            resolver=resolvers,
            executor=executors,
            database=databases,
            **{"wait point": waits},
        ),
        *_bad_types(found, workflows, waits),
        *_one_graphql_name(waits),
        *_bad_resolvers(resolvers),
        *type_problems(resolvers),
        *_without_main_job(workflows),
        *_unknown_invokers(auth, resolvers),
        *_bad_env(env or {}),
    ]
    app = App(
        name=name,
        auth=auth,
        workflows=MappingProxyType({one.name: one for one in workflows}),
        jobs=MappingProxyType({one.name: one for one in found}),
        resolvers=MappingProxyType({one.name: one for one in resolvers}),
        env=MappingProxyType(dict(env or {})),
        executors=MappingProxyType({one.name: one for one in executors}),
        databases=MappingProxyType({one.name: one for one in databases}),
        wait_points=MappingProxyType({one.name: one for one in waits}),
        capture_print=capture_print,
    )
    problems += _bad_executors(app, executors)
    if problems:
        raise DefinitionError(problems)
    return app


def _bad_executors(app: App, executors: Iterable[Executor[Any]]) -> list[str]:
    return [
        f"executor {one.name!r} {problem} ({one.source})"
        for one in executors
        for problem in (*one.trigger.problems(app), *one.operation.problems(app))
    ]


@runtime_checkable
class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...


def _bad_all_names(**definitions: Sequence[_Named]) -> Iterator[str]:
    """Malformed and duplicate names, by kind of definition. Those of resolvers are GraphQL's, and checked there."""
    for kind, found in definitions.items():
        if kind != "resolver":
            yield from _bad_names(kind, found)
    for kind, found in definitions.items():
        yield from _duplicates(kind, found)


def _bad_names(kind: str, definitions: Iterable[_Named]) -> list[str]:
    return [f"{name_problem(kind, one.name)} ({one.source})" for one in definitions if not is_name(one.name)]


def _bad_auth(auth: Auth[Any] | None) -> list[str]:
    if auth is None:
        return []
    named = [("auth namespace", auth.namespace), *(("machine user", name) for name in auth.machine_users)]
    return [f"{name_problem(kind, name)} ({auth.source})" for kind, name in named if not is_name(name)]


def _bad_types(
    jobs: Iterable[WorkflowJob[Any, Any]],
    workflows: Iterable[Workflow[Any, Any]],
    waits: Iterable[WaitPoint[Any, Any]],
) -> list[str]:
    parts: list[tuple[str, _Named, str]] = [("job", job, part) for job in jobs for part in ("input", "output")]
    parts += [("wait point", wait, part) for wait in waits for part in ("payload", "result")]
    parts += [("workflow", one, "input") for one in workflows if one.main_job is None and one.has_input]
    problems = []
    for kind, one, part in parts:
        try:
            codec: JsonCodec[Any] = getattr(one, part)
            if (get_origin(codec.type) or codec.type) is ResolverContext:
                raise DefinitionError(
                    "it takes a ResolverContext, which only resolvers get: write (input, ctx: JobContext) "
                    f"({one.source})"
                )
            obstacles = codec.obstacles()
        except DefinitionError as error:
            problems.append(f"{kind} {one.name!r}: {error}")
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            problems.append(
                f"the {part} of {kind} {one.name!r} can't be read and written as JSON: {reason} ({one.source})"
            )
        else:
            for found in obstacles:
                where = f"{found.place}, in the {part}" if found.place else f"the {part}"
                comma = "," if found.place else ""
                problems.append(f"{where} of {kind} {one.name!r}{comma} {found.reason}: {found.instead} ({one.source})")
    return list(dict.fromkeys(problems))


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


def _one_graphql_name(waits: Iterable[WaitPoint[Any, Any]]) -> Iterator[str]:
    """Two wait points of different names, such as `step-2` and `step2`, whose mutations would have the same."""
    first: dict[str, WaitPoint[Any, Any]] = {}
    for one in waits:
        name = pascal_case(one.name)
        other = first.setdefault(name, one)
        if other.name != one.name:
            yield (
                f"wait points {other.name!r} ({other.source}) and {one.name!r} ({one.source}) would both be answered "
                f"by mutation 'resolve{name}': rename one"
            )


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
