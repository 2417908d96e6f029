"""Workflows: a main job under a name that can be started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic import ValidationError
from typing_extensions import TypeForm

from gqlplugin.checks import (
    Source,
    caller_source,
    check_annotation,
    check_function,
    check_type,
    is_async,
    read_invoker,
    shown,
)
from gqlplugin.codec import JsonCodec, NotJsonError, encode, refused
from gqlplugin.errors import (
    DefinitionError,
    FailedPreconditionError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
    missing_extra,
)
from gqlplugin.idempotency import keyed_field, refuse_client_key
from gqlplugin.identity import AnyInvoker, AuthInvoker, User
from gqlplugin.job import WorkflowJob
from gqlplugin.platform.base import Binding, Definitions, RunnableWorkflow, current_binding, current_job, uuid7
from gqlplugin.runs import ConcurrencyPolicy, RetryPolicy, started_name
from gqlplugin.scope import Scope, commit_open, current_scope
from gqlplugin.telemetry import starting

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

I = TypeVar("I")  # noqa: E741 - the input, as O is the output
O = TypeVar("O")  # noqa: E741
O2 = TypeVar("O2")

Permission = Callable[[User, AuthInvoker | None], bool]
"""Decides who may start a workflow; a plain function of the caller and of the invoker the run would have.

Nobody known is `user.is_anonymous`, and an invoker of None. In a job the caller is who started the job's run; in an
executor that starts a workflow it is the executor itself, and from the command line nobody known.
"""


class Workflow(Generic[I, O]):
    """A main job under a name that can be started. Made by `create_workflow`.

    Attributes:
        main_job: None for a workflow that is defined elsewhere.
    """

    def __init__(
        self,
        name: str,
        *,
        main_job: WorkflowJob[I, O] | None,
        input: JsonCodec[I] | None,
        source: Source,
        permission: Permission | None = None,
        retry_policy: RetryPolicy | None = None,
        concurrency_policy: ConcurrencyPolicy | None = None,
    ) -> None:
        self.name = name
        self.main_job = main_job
        self.permission = permission
        self.retry_policy = retry_policy
        self.concurrency_policy = concurrency_policy
        self.source = source
        self._input = input

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r}>"

    @property
    def has_input(self) -> bool:
        """Whether it was defined with a main job or, when defined elsewhere, with an input."""
        return self.main_job is not None or self._input is not None

    @property
    def input(self) -> JsonCodec[I]:
        """Reads and writes the arguments."""
        if self._input is not None:
            return self._input
        if self.main_job is None:
            raise DefinitionError(f"Workflow {self.name!r} has neither a main job nor an input ({self.source}).")
        return self.main_job.input

    @overload
    async def trigger(
        self: Workflow[None, O2],
        *,
        auth_invoker: AnyInvoker | None = None,
        idempotency_key: str | None = None,
        session: Session | AsyncSession | None = None,
    ) -> str: ...
    @overload
    async def trigger(
        self,
        args: I,
        *,
        auth_invoker: AnyInvoker | None = None,
        idempotency_key: str | None = None,
        session: Session | AsyncSession | None = None,
    ) -> str: ...
    async def trigger(
        self,
        args: Any = None,
        *,
        auth_invoker: AnyInvoker | None = None,
        idempotency_key: str | None = None,
        session: Session | AsyncSession | None = None,
    ) -> str:
        """Start a run on the platform that is bound, and return its ID; the run goes on by itself.

        It may be awaited on any event loop of the process. Plain functions use `trigger_sync`.

        In a job the start is durable: a replay answers with the recorded ID and starts nothing.

        In a resolver that has used its session (`get_db`), the run starts when the resolver has succeeded and its
        session is committed, so that the run finds what the resolver wrote. If the resolver fails, it never starts. The
        ID is there at once; until then the platform answers `NotFoundError` for it. Where the ID can't be known before
        the start (with an idempotency key, be it the client's, in `graphql_operation`, and on the Tailor Platform
        itself), what the resolver did so far is committed first, and stays if the resolver fails later.

        With a `session` the start is part of its transaction: when that commits, the run starts, and otherwise it never
        does. The ID is there at once, and the run a moment after the commit: until then the platform answers
        `NotFoundError` for it.

        Args:
            args: What the main job takes.
            auth_invoker: The machine user the run runs as: from `auth.invoker(...)`, its bare name, or
                `{"namespace": ..., "machineUserName": ...}`. Without one the run is anonymous.
            idempotency_key: At most 255 characters, the caller's own. The same key with the same arguments and invoker
                answers with the same ID and starts nothing. In a resolver it is by default one that follows from the
                key that the client sent, if any.
            session: Of one of the app's databases: the start is written there, and made when that is committed.

        Raises:
            InvalidInputError: The arguments don't fit, or would not come back from JSON as they are; or the machine
                user is unknown.
            FailedPreconditionError: A session was given in a job, or a job triggers from another thread.
            UnsupportedError: A session was given with an idempotency key, be it the client's, without an app, or of
                another database.
            ForbiddenError: The workflow's `permission` refuses the caller.
            IdempotencyKeyReusedError: The key was used with other arguments.
            PlatformNotBoundError: No platform is bound here.
            PlatformUnavailableError: The platform can't answer; nothing was started.
            OutcomeUnknownError: The platform can't answer, and may have started it: ask again under an idempotency key.
        """
        runtime = current_job.get()
        recorded = None if runtime is None else partial(runtime.has_recorded, started_name(self.name))
        arg = encode(self._what, self.input, args, is_recorded=recorded)
        if session is not None:
            return _start_with(session, self, arg, auth_invoker, idempotency_key)
        return await _start(self, arg, auth_invoker, idempotency_key)

    @overload
    def trigger_sync(
        self: Workflow[None, O2],
        *,
        auth_invoker: AnyInvoker | None = None,
        idempotency_key: str | None = None,
        session: Session | AsyncSession | None = None,
    ) -> str: ...
    @overload
    def trigger_sync(
        self,
        args: I,
        *,
        auth_invoker: AnyInvoker | None = None,
        idempotency_key: str | None = None,
        session: Session | AsyncSession | None = None,
    ) -> str: ...
    def trigger_sync(
        self,
        args: Any = None,
        *,
        auth_invoker: AnyInvoker | None = None,
        idempotency_key: str | None = None,
        session: Session | AsyncSession | None = None,
    ) -> str:
        """Start a run as `trigger` does, and block this thread until it is started: for plain functions.

        ```python
        @create_resolver(name="order", operation="mutation")
        def order(ctx: ResolverContext[Order]) -> str:  # a plain resolver runs in a thread
            return order_processing.trigger_sync(ctx.input)
        ```

        It works in any thread that has the context of an operation or of `async with platform:`, such as one of
        `asyncio.to_thread`, and runs no event loop. A plain job can't use it: it can't trigger.

        Args:
            args: As for `trigger`.
            auth_invoker: As for `trigger`.
            idempotency_key: As for `trigger`.
            session: As for `trigger`.

        Raises:
            FailedPreconditionError: This thread runs an event loop, which this would block, or a job triggers. Nothing
                was started.
            PlatformUnavailableError: The platform can't answer, or its event loop is blocked. Nothing was started.
            GqlpluginError: For the other reasons that `trigger` has.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise FailedPreconditionError(
                f"Workflow {self.name!r} is started by trigger_sync in a thread that runs an event loop: write "
                "`await workflow.trigger(...)` in an `async def`. Nothing was started."
            )
        call = self.trigger(args, auth_invoker=auth_invoker, idempotency_key=idempotency_key, session=session)
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # leaves the thread's own loop as it is
            return runner.run(call)

    async def trigger_many(self, args: Iterable[I], *, auth_invoker: AnyInvoker | None = None) -> list[str]:
        """Start one run per argument, all of them or none, and return their IDs in the same order.

        It is one transaction: after an error nothing was started. In a job it is durable, as `trigger` is. In a
        resolver what was done in its session (`get_db`) is committed first.

        Args:
            args: What the main job takes, at most 1000 times.
            auth_invoker: As for `trigger`, for all of them.

        Raises:
            InvalidInputError: One of the arguments doesn't fit, or there are too many.
            ForbiddenError: The workflow's `permission` refuses the caller.
            PlatformNotBoundError: No platform is bound here.
            PlatformUnavailableError: The platform can't answer; nothing was started.
            OutcomeUnknownError: The platform can't answer, and may have started all of them.
            UnsupportedError: The platform can't start several at once, or the client sent an idempotency key.
        """
        return await _start_all(self, [self.encode_args(one) for one in args], auth_invoker)

    @property
    def _what(self) -> str:
        return f"The argument of workflow {self.name!r}"

    def encode_args(self, args: object) -> str:
        """The JSON text of arguments.

        Raises:
            InvalidInputError: They don't fit, or would not come back from JSON as they are.
        """
        return encode(self._what, self.input, args)

    def encode_json(self, text: str) -> str:
        """The JSON text of arguments given as one, such as from another language: checked, and in our own form.

        Raises:
            InvalidInputError: It is not JSON, or doesn't fit.
        """
        try:
            return self.input.dump(self.input.load(text))
        except (ValidationError, NotJsonError) as error:
            raise refused(self._what, error) from None

    def check_permission(self, user: User, invoker: AuthInvoker | None) -> None:
        """Refuse a start that `permission` does not allow.

        Raises:
            ForbiddenError: It does not.
            TypeError: `permission` is an `async def`.
        """
        if self.permission is None:
            return
        answer: object = self.permission(user, invoker)
        if isawaitable(answer):  # which is true whatever it would answer
            raise TypeError(f"create_workflow(permission=) of workflow {self.name!r} must be a plain function.")
        if not answer:
            raise ForbiddenError(f"You may not start workflow {self.name!r}.")


async def _start(
    workflow: RunnableWorkflow, arg: str, auth_invoker: AnyInvoker | None, idempotency_key: str | None
) -> str:
    runtime = current_job.get()
    if runtime is not None:
        _check_registered(workflow, runtime.definitions)
        invoker = _resolve(runtime.definitions, auth_invoker)
        workflow.check_permission(runtime.execution.caller, invoker)
        return await runtime.start_workflow(workflow.name, arg, invoker=invoker, idempotency_key=idempotency_key)
    binding = current_binding()
    keyed = keyed_field.get() if idempotency_key is None else None
    scope = current_scope()
    waits = scope is not None and scope.is_open and idempotency_key is None and keyed is None
    if scope is not None and waits and await binding.platform.takes_run_ids():
        return _start_after_commit(scope, binding, workflow, arg, auth_invoker)
    with starting(workflow.name) as start:
        invoker = _allowed(workflow, binding, auth_invoker)
        await commit_open()
        with nullcontext(idempotency_key) if keyed is None else keyed.start() as key:
            run_id = await binding.platform.start_workflow(
                workflow.name, arg, caller=binding.user, invoker=invoker, idempotency_key=key
            )
        start.began(run_id)
    return run_id


def _start_after_commit(
    scope: Scope, binding: Binding, workflow: RunnableWorkflow, arg: str, auth_invoker: AnyInvoker | None
) -> str:
    """The ID of a run that starts when the resolver's sessions are committed: it must find what they wrote."""
    invoker, run_id = _allowed(workflow, binding, auth_invoker), uuid7()

    async def start() -> None:
        with starting(workflow.name) as begun:
            await binding.platform.start_workflow(
                workflow.name, arg, caller=binding.user, invoker=invoker, run_id=run_id
            )
            begun.began(run_id)

    scope.defer(start)
    return run_id


async def _start_all(workflow: RunnableWorkflow, args: list[str], auth_invoker: AnyInvoker | None) -> list[str]:
    runtime = current_job.get()
    if runtime is not None:
        _check_registered(workflow, runtime.definitions)
        invoker = _resolve(runtime.definitions, auth_invoker)
        workflow.check_permission(runtime.execution.caller, invoker)
        return await runtime.start_workflows(workflow.name, args, invoker=invoker)
    binding = current_binding()
    with starting(workflow.name) as start:
        invoker = _allowed(workflow, binding, auth_invoker)
        refuse_client_key(f"trigger_many of workflow {workflow.name!r}")
        await commit_open()
        run_ids = await binding.platform.start_workflows(workflow.name, args, caller=binding.user, invoker=invoker)
        start.began(*run_ids)
    return run_ids


def _allowed(workflow: RunnableWorkflow, binding: Binding, auth_invoker: AnyInvoker | None) -> AuthInvoker | None:
    """The invoker of a start that the caller may make."""
    if binding.definitions is not None:
        _check_registered(workflow, binding.definitions)
    invoker = _resolve(binding.definitions, auth_invoker)
    workflow.check_permission(binding.user, invoker)
    return invoker


def _start_with(
    session: Session | AsyncSession,
    workflow: RunnableWorkflow,
    arg: str,
    auth_invoker: AnyInvoker | None,
    idempotency_key: str | None,
) -> str:
    if current_job.get() is not None:
        raise FailedPreconditionError(
            f"Workflow {workflow.name!r} can't be triggered with session= in a job: leave it out. What a job triggers "
            "starts once, whatever happens."
        )
    if idempotency_key is not None:
        raise UnsupportedError(
            "A trigger takes session= or idempotency_key=: a transaction commits once, so that "
            "there is nothing to ask for again."
        )
    refuse_client_key(f"A start of workflow {workflow.name!r} with session=")
    binding = current_binding()
    definitions = binding.definitions
    if definitions is None:
        raise UnsupportedError(
            "No app is bound, so nothing would start what session= writes: enter platform.execute(app)."
        )
    _check_registered(workflow, definitions)
    invoker = definitions.resolve_invoker(read_invoker(auth_invoker))
    workflow.check_permission(binding.user, invoker)
    try:
        from gqlplugin.database.definition import Database  # noqa: PLC0415 - only who gives a session has SQLAlchemy
        from gqlplugin.database.outbox import Start, add_start  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(str(missing_extra("session=", "sqlalchemy", error))) from error
    if not any(isinstance(one, Database) and one.owns(session) for one in definitions.databases.values()):
        raise UnsupportedError(
            f"The session of session= works on none of the databases of app {definitions.name!r}: take it from "
            "get_db(), or add its database to define_app(databases=[...])."
        )
    start = Start(
        run_id=uuid7(),
        app=definitions.name,
        workflow_name=workflow.name,
        arg=arg,
        caller=binding.user,
        invoker=invoker,
    )
    add_start(session, start)
    return start.run_id


def _check_registered(workflow: RunnableWorkflow, definitions: Definitions) -> None:
    if definitions.workflows.get(workflow.name) is not workflow:
        raise DefinitionError(
            f"Workflow {workflow.name!r} is not registered in app {definitions.name!r}: "
            "add it to define_app(workflows=[...])."
        )


def _resolve(definitions: Definitions | None, auth_invoker: AnyInvoker | None) -> AuthInvoker | None:
    given = read_invoker(auth_invoker)
    if definitions is not None:
        return definitions.resolve_invoker(given)
    if isinstance(given, str):
        raise InvalidInputError(
            f"Machine user {given!r} can't be looked up, as no app is bound: use auth.invoker({given!r})."
        )
    return given


async def trigger_workflow(
    name: str,
    args: object = None,
    *,
    auth_invoker: AnyInvoker | None = None,
    idempotency_key: str | None = None,
) -> str:
    """Start a run of a workflow by its name, and return the run's ID.

    Args:
        name: A workflow of the app that is bound.
        args: What its main job takes: a model, a mapping, or JSON text.
        auth_invoker: As for `Workflow.trigger`.
        idempotency_key: As for `Workflow.trigger`.

    Raises:
        NotFoundError: The app has no such workflow.
        InvalidInputError: The arguments don't fit, or the text isn't JSON.
    """
    runtime = current_job.get()
    definitions = runtime.definitions if runtime is not None else current_binding().definitions
    if definitions is None:
        raise UnsupportedError("No app is bound, so workflows can't be found by name: enter platform.execute(app).")
    workflow = definitions.workflows.get(name)
    if workflow is None:
        raise NotFoundError(f"App {definitions.name!r} has no workflow {name!r}.")
    arg = workflow.encode_json(args) if isinstance(args, str) else workflow.encode_args(args)
    return await _start(workflow, arg, auth_invoker, idempotency_key)


@overload
def create_workflow(
    *,
    name: str,
    main_job: WorkflowJob[I, O],
    permission: Permission | None = None,
    retry_policy: RetryPolicy | None = None,
    concurrency_policy: ConcurrencyPolicy | None = None,
) -> Workflow[I, O]: ...
@overload
def create_workflow(*, name: str, input: TypeForm[I], permission: Permission | None = None) -> Workflow[I, Any]: ...
def create_workflow(
    *,
    name: str,
    main_job: WorkflowJob[Any, Any] | None = None,
    input: Any = None,
    permission: Permission | None = None,
    retry_policy: RetryPolicy | None = None,
    concurrency_policy: ConcurrencyPolicy | None = None,
) -> Workflow[Any, Any]:
    """Define a workflow.

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique in the app (TAILOR.md section 5).
        main_job: The job that a run starts with.
        input: Instead of `main_job`: the type of the arguments of a workflow that is defined elsewhere, on a platform
            whose jobs are not Python. It can be triggered and cannot be run here.
        permission: Decides who may start it, by caller and invoker, as a plain function; anyone by default. It is asked
            at every start, wherever that comes from, and not when a run is resumed or tried again.
        retry_policy: Tries a failed run again by itself.
        concurrency_policy: How many of its runs execute at once.

    Raises:
        DefinitionError: It has both `main_job` and `input`, or an argument is of another type. That it has neither is
            found by `define_app`.
    """
    source = caller_source()
    where = f"Workflow {name!r} at {source}"
    check_type(where, "name", name, str, 'name="order-processing"')
    if main_job is not None:
        check_type(
            where, "main_job", main_job, WorkflowJob, "a job, which @create_workflow_job(name=...) makes of a function"
        )
    check_annotation(where, "input", input)
    if permission is not None:
        check_function(where, "permission", permission, 2, "a function (user, invoker) that returns a bool")
        if is_async(permission):
            raise DefinitionError(
                f"{where} has permission={shown(permission)}, which is async: write a plain function."
            )
    if retry_policy is not None:
        check_type(where, "retry_policy", retry_policy, RetryPolicy, "RetryPolicy(max_retries=3)")
    if concurrency_policy is not None:
        instead = "ConcurrencyPolicy(max_concurrent_executions=10)"
        check_type(where, "concurrency_policy", concurrency_policy, ConcurrencyPolicy, instead)
    if main_job is not None and input is not None:
        raise DefinitionError(f"{where} has main_job= and input=: the main job says what the input is.")
    return Workflow(
        name,
        main_job=main_job,
        input=None if input is None else JsonCodec(input, is_read=False),
        source=source,
        permission=permission,
        retry_policy=retry_policy,
        concurrency_policy=concurrency_policy,
    )
