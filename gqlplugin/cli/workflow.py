"""`gqlplugin workflow`: start, resume, cancel and resolve."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from pydantic_core import from_json
from rich.text import Text

from gqlplugin.app import App
from gqlplugin.cli.executions import (
    INTERVAL_HELP,
    IntervalOption,
    JsonOption,
    LogsOption,
    TimeoutOption,
    WaitOption,
    Watching,
    executions,
    lower,
    report_end,
    watch,
    why_idle,
)
from gqlplugin.cli.output import (
    CommandError,
    MissingExtraError,
    StartedShape,
    UsageError,
    WorkflowShape,
    console,
    facts,
    field_lines,
    local_time,
    not_found,
    note,
    safe,
    say,
    say_block,
    say_json,
    table,
    unknown_workflow,
    wait,
)
from gqlplugin.cli.target import Target, takes_target
from gqlplugin.codec import NotJsonError, refused
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, NotFoundError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus, WaitFilter

if TYPE_CHECKING:
    from gqlplugin.platform.tailor import TailorPlatform

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the execution's ID and nothing else.")]
MachineUserOption = Annotated[
    str | None,
    typer.Option("--machineuser", "-m", metavar="NAME", help="As whom to run; without it the run is anonymous."),
]

_NO_ARGUMENT = "null"


@takes_target
def start(
    target: Target,
    *,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The workflow's name.", show_default=False)] = None,
    workflow_id: Annotated[
        str | None, typer.Option("--workflow-id", metavar="UUID", help="The workflow's ID, instead of its name.")
    ] = None,
    arg: Annotated[
        str | None, typer.Option("--arg", "-a", metavar="JSON", help="The argument: JSON, @FILE, or - for stdin.")
    ] = None,
    machine_user: MachineUserOption = None,
    namespace: Annotated[
        str | None,
        typer.Option("--app", metavar="NAMESPACE", help="The machine user's auth namespace; by default the app's."),
    ] = None,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a workflow, and print the execution's ID."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json, quiet=quiet)
    if (name is None) is (workflow_id is None):
        raise UsageError("Which workflow? Give its NAME, or --workflow-id UUID. `gqlplugin workflow list` lists them.")
    _run(target, Request(name, workflow_id, arg, machine_user, namespace), watching)


@takes_target
def start_by_id(
    target: Target,
    *,
    workflow_id: Annotated[
        str,
        typer.Option("--workflow-id", "-i", metavar="ID", help="The workflow's ID, or its name.", show_default=False),
    ],
    arg: Annotated[
        str | None, typer.Option("--arg", "-g", metavar="JSON", help="The argument: JSON, @FILE, or - for stdin.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--app", "-a", metavar="NAMESPACE", help="The machine user's auth namespace; by default the app's."
        ),
    ] = None,
    machine_user: MachineUserOption = None,
    wait: WaitOption = False,
    interval: Annotated[str, typer.Option("--interval", metavar="DURATION", help=INTERVAL_HELP)] = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a workflow, and print the execution's ID: `workflow start` with the options of `tailorctl`."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json, quiet=quiet)
    _run(target, Request(None, workflow_id, arg, machine_user, namespace), watching)


def _run(target: Target, request: Request, watching: Watching) -> None:
    check_options(watching)
    if request.namespace and not request.machine_user:
        raise UsageError("--app is the namespace of a machine user: add --machineuser NAME.")
    text = None if request.arg is None else read_argument(request.arg)
    asyncio.run(_start(target, replace(request, arg=text), watching))


@dataclass(frozen=True, slots=True)
class Request:
    """What to start."""

    name: str | None
    workflow_id: str | None
    arg: str | None
    machine_user: str | None
    namespace: str | None


def check_options(watching: Watching) -> None:
    """Refuse what was said about a run to start when it can't be meant.

    Raises:
        UsageError: It is refused.
    """
    if watching.logs and not watching.wait:
        raise UsageError("--logs shows the logs of a run that has ended: add --wait.")
    if watching.quiet and watching.as_json:
        raise UsageError("--quiet prints the ID and --json prints JSON: give one of them.")


def read_argument(arg: str) -> str:
    """The argument itself, from where it is said to be.

    Raises:
        UsageError: It can't be read from there.
    """
    try:
        if arg == "-":
            return sys.stdin.read()
        return Path(arg[1:]).read_text(encoding="utf-8") if arg.startswith("@") else arg
    except OSError as error:
        raise UsageError(f"The argument can't be read from {arg[1:]!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The argument in {arg.removeprefix('@')!r} is not UTF-8.") from error


async def _start(target: Target, request: Request, watching: Watching) -> None:
    app = target.app if target.is_remote else target.need_app()
    async with target.platform() as platform:
        name = request.name or await _name_of(platform, app, request.workflow_id or "")
        invoker = await _invoker(platform, app, request)
        arg = _checked(app, name, request.arg, invoker)
        run_id = await platform.start_workflow(name, arg, caller=User(), invoker=invoker)
        say_started(run_id, ExecutionStatus.PENDING, watching)
        if watching.wait:
            report_end(await watch(target, platform, run_id, watching), watching)


def _checked(app: App | None, name: str, arg: str | None, invoker: AuthInvoker | None) -> str:
    """The argument to send, once nothing known here speaks against the start."""
    if app is None:
        return _NO_ARGUMENT if arg is None else arg
    if name not in app.workflows:
        raise unknown_workflow(app, name)
    workflow = app.workflows[name]
    workflow.check_permission(User(), invoker)
    try:
        return workflow.encode_json(_NO_ARGUMENT if arg is None else arg)
    except InvalidInputError as error:
        if arg is None:
            with suppress(InvalidInputError):
                return workflow.encode_json("{}")  # as a platform takes it where the workflow takes no null
            raise CommandError(f"Workflow {name!r} takes an argument: give it with --arg JSON.") from error
        raise CommandError(f"The argument of workflow {name!r} is not valid:", field_lines(error)) from error


async def _invoker(
    platform: EmbeddedPlatform | TailorPlatform, app: App | None, request: Request
) -> AuthInvoker | None:
    if request.machine_user is None:
        return None
    if app is not None:
        namespace = request.namespace
        name = request.machine_user
        return app.resolve_invoker(AuthInvoker(namespace, name) if namespace else name)
    if request.namespace is not None or isinstance(platform, EmbeddedPlatform):
        return AuthInvoker(request.namespace or "", request.machine_user)
    return AuthInvoker(await only_namespace(platform), request.machine_user)


async def only_namespace(platform: TailorPlatform) -> str:
    """The auth namespace of the only application of a workspace.

    Raises:
        UsageError: It has several, or none with machine users.
    """
    namespaces = sorted({one.auth_namespace for one in await platform.list_applications() if one.auth_namespace})
    if len(namespaces) != 1:
        known = ", ".join(map(safe, namespaces)) or "none"
        raise UsageError(f"Which auth namespace? Name it with --app NAMESPACE; the workspace has: {known}.")
    return namespaces[0]


async def _name_of(platform: EmbeddedPlatform | TailorPlatform, app: App | None, workflow_id: str) -> str:
    if isinstance(platform, EmbeddedPlatform):
        names = [] if app is None else list(app.workflows)
        found = workflow_id if workflow_id in names else None
        found = found or next((name for name in names if app and _local_id(app, name) == workflow_id.lower()), None)
    else:
        workflows = await platform.list_workflows()
        found = next((one.name for one in workflows if workflow_id.lower() in (one.id.lower(), one.name)), None)
    if found is None:
        raise CommandError(f"There is no workflow with the ID {workflow_id!r}: `gqlplugin workflow list` lists them.")
    return found


def _local_id(app: App, name: str) -> str:
    """The ID that a server of the app gives the workflow."""
    try:
        from gqlplugin.platform.tailor.server.served import workflow_id  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("An ID of a workflow on this machine", "tailor-server", error) from error
    found: str = workflow_id(app.name, name)
    return found


def say_started(run_id: str, status: ExecutionStatus, watching: Watching) -> None:
    """Print the ID of a run that was started."""
    if watching.quiet:
        say(run_id)
    elif not watching.as_json:
        say(f"Execution ID: {safe(run_id)}")
        say(Text.assemble("Status: ", lower(status)))
    elif not watching.wait:
        say_json(StartedShape(execution_id=run_id, status=status))


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The execution's ID.")]


@takes_target
def resume(
    target: Target,
    *,
    execution_id: IdArgument,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a failed or canceled run again, under its ID; its finished jobs are not repeated."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    check_logs(watching)
    asyncio.run(_resume(target, execution_id, watching))


@takes_target
def cancel(
    target: Target,
    *,
    execution_id: IdArgument,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a run that has not ended. Its running jobs are told to stop, and may clean up; `resume` runs it again."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    check_logs(watching)
    asyncio.run(_cancel(target, execution_id, watching))


def check_logs(watching: Watching) -> None:
    """Refuse `--logs` for a run that goes on.

    Raises:
        UsageError: It is said without `--wait`.
    """
    if watching.logs and not watching.wait:
        raise UsageError("--logs shows the logs of a run that has ended: add --wait.")


@contextmanager
def finding(execution_id: str) -> Iterator[None]:
    """Say in the words of the contract that there is no such run."""
    try:
        yield
    except NotFoundError as error:
        raise not_found(execution_id) from error


def say_status(execution_id: str, status: ExecutionStatus, watching: Watching) -> None:
    """Print where a run is after something was done to it."""
    if not watching.as_json:
        say(f"Execution ID: {safe(execution_id)}")
        say(Text.assemble("Status: ", lower(status)))
    elif not watching.wait:
        say_json(StartedShape(execution_id=execution_id, status=status))


async def _resume(target: Target, execution_id: str, watching: Watching) -> None:
    async with target.platform() as platform:
        try:
            with finding(execution_id):
                await platform.resume(execution_id)
        except FailedPreconditionError as error:
            raise CommandError(f"Execution {execution_id!r} is not in a resumable state.") from error
        say_status(execution_id, ExecutionStatus.PENDING_RESUME, watching)
        if watching.wait:
            report_end(await watch(target, platform, execution_id, watching), watching)


async def _cancel(target: Target, execution_id: str, watching: Watching) -> None:
    async with target.platform() as platform:
        with finding(execution_id):
            await platform.cancel(execution_id)
            status = (await platform.get_execution(execution_id)).status
        say_status(execution_id, status, watching)
        if watching.wait:
            seen = await watch(target, platform, execution_id, watching)
            report_end(seen, watching, wanted=ExecutionStatus.CANCELED)
        elif not status.is_final:
            command = target.command("workflow", "executions", execution_id, "-W")
            note(f"Its jobs are told to stop. To see it end:\n  {command}", style="")
            if idle := why_idle(target):
                note(idle, style="yellow")


_MOST = 100


@takes_target
def resolve(
    target: Target,
    *,
    execution_id: IdArgument,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="The wait point's name.", show_default=False)] = None,
    answer: Annotated[
        str | None,
        typer.Argument(metavar="JSON", help="The answer: JSON, @FILE, or - for stdin.", show_default=False),
    ] = None,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer a run that waits; it goes on with the answer. Without KEY and JSON: show what it waits for."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    check_logs(watching)
    if key is not None and answer is not None:
        asyncio.run(
            _resolve(target, execution_id, key, _checked_answer(target.app, key, read_argument(answer)), watching)
        )
    elif key is not None:
        raise UsageError(
            f"What is the answer? Say it: {target.command('workflow', 'resolve', execution_id, key, 'JSON')}"
        )
    elif wait:
        raise UsageError("--wait follows a run that was answered: give KEY and JSON.")
    else:
        asyncio.run(_show(target, execution_id, as_json=as_json))


def _checked_answer(app: App | None, key: str, answer: str) -> str:
    """The answer to send, once nothing known here speaks against it.

    Where a run waits, and whether it does, is for the platform to say.
    """
    point = None if app is None else app.wait_points.get(key)
    try:
        if point is not None:
            return point.result.dump(point.result.load(answer))
        from_json(answer, allow_inf_nan=False)
    except (ValidationError, NotJsonError) as error:
        problems = field_lines(refused("The answer", error))
        raise CommandError(f"The answer to wait point {key!r} is not valid:", problems) from None
    except ValueError as error:
        raise CommandError(f"The answer to wait point {key!r} is not valid JSON: {safe(str(error))}.") from None
    return answer


async def _resolve(target: Target, execution_id: str, key: str, answer: str, watching: Watching) -> None:
    async with target.platform() as platform:
        with finding(execution_id):
            await platform.resolve(execution_id, key, answer)
        say_status(execution_id, ExecutionStatus.PENDING_RESUME, watching)
        if watching.wait:
            report_end(await watch(target, platform, execution_id, watching), watching)


async def _show(target: Target, execution_id: str, *, as_json: bool) -> None:
    async with target.platform() as platform:
        with finding(execution_id):
            run = await platform.get_execution(execution_id)
        page = await platform.list_waits(WaitFilter(run_id=run.id), first=_MOST)
    if as_json:
        say_json([wait(one) for one in page.waits])
    elif page.waits:
        brief = console().is_terminal
        rows = [
            (one.name, local_time(one.since, brief=brief), local_time(one.expires_at, brief=brief), one.payload)
            for one in page.waits
        ]
        say_block(table(("KEY", "SINCE", "EXPIRES", "PAYLOAD"), rows, whole=("KEY", "SINCE", "EXPIRES")))
        command = target.command("workflow", "resolve", run.id, page.waits[0].name, "JSON")
        note(f"To answer it:\n  {command}", style="")
    else:
        note(f"The run is {run.status}: it waits for no answer.")


commands = typer.Typer(no_args_is_help=True, help="Start workflows, and see what became of them.")


@commands.command("list")
@takes_target
def list_workflows(target: Target, as_json: JsonOption = False) -> None:
    """List the workflows that can be started."""
    found = asyncio.run(_workflows(target))
    if as_json:
        say_json(found)
        return
    rows = [(one.name, one.main_job or "", str(len(one.job_functions)), local_time(one.updated_at)) for one in found]
    headings = ["NAME", "MAIN JOB", "JOBS", "UPDATED"]
    width = 4 if any(one.updated_at for one in found) else 3
    say_block(table(headings[:width], [row[:width] for row in rows]))


@commands.command("get")
@takes_target
def get_workflow(
    target: Target,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The workflow's name.")],
    as_json: JsonOption = False,
) -> None:
    """Show one workflow."""
    found = asyncio.run(_workflow(target, name))
    if as_json:
        say_json(found)
        return
    rows = [
        ("Name", found.name),
        ("Main job", found.main_job or "(defined elsewhere)"),
        ("Jobs", ", ".join(found.job_functions)),
        ("Updated", local_time(found.updated_at)),
    ]
    say_block(facts(rows))


commands.command("start")(start)
workspace = typer.Typer(no_args_is_help=True, help="The same commands, where `tailorctl` has them.")
workspace_commands = typer.Typer(
    no_args_is_help=True, help="As `gqlplugin workflow`; `start` takes tailorctl's options."
)
workspace.add_typer(workspace_commands, name="workflow")
workspace_commands.command("list")(list_workflows)
workspace_commands.command("get")(get_workflow)
workspace_commands.command("start")(start_by_id)
for group in (commands, workspace_commands):
    group.command("executions")(executions)
    group.command("resume")(resume)
    group.command("cancel")(cancel)
    group.command("resolve")(resolve)


async def _workflows(target: Target) -> Sequence[WorkflowShape]:
    app = target.definitions()
    if app is not None:
        return [_of_app(app, name) for name in sorted(app.workflows)]
    async with target.remote_platform() as platform:
        return [
            WorkflowShape(
                name=one.name,
                main_job=one.main_job,
                job_functions=list(one.job_functions),
                updated_at=one.updated_at,
            )
            for one in await platform.list_workflows()
        ]


async def _workflow(target: Target, name: str) -> WorkflowShape:
    app = target.definitions()
    if app is not None:
        if name not in app.workflows:
            raise unknown_workflow(app, name)
        return _of_app(app, name)
    async with target.remote_platform() as platform:
        one = await platform.get_workflow(name)
    return WorkflowShape(
        name=one.name, main_job=one.main_job, job_functions=list(one.job_functions), updated_at=one.updated_at
    )


def _of_app(app: App, name: str) -> WorkflowShape:
    main_job = app.workflows[name].main_job
    return WorkflowShape(
        name=name,
        main_job=main_job.name if main_job else None,
        job_functions=list(app.jobs_of(name)),
        updated_at=None,
    )
