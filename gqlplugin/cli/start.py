"""`gqlplugin workflow start`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gqlplugin.app import App
from gqlplugin.cli.failure import CommandError, MissingExtraError, UsageError, field_lines, unknown_workflow
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.output import say, say_json
from gqlplugin.cli.shapes import StartedShape
from gqlplugin.cli.target import Target
from gqlplugin.cli.text import safe
from gqlplugin.cli.watching import (
    INTERVAL_HELP,
    IntervalOption,
    JsonOption,
    LogsOption,
    TimeoutOption,
    WaitOption,
    Watching,
    lower,
    report_end,
    watch,
)
from gqlplugin.errors import InvalidInputError
from gqlplugin.execution import ExecutionStatus
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.embedded import EmbeddedPlatform

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
        from gqlplugin.platform.tailor.server.ids import workflow_id  # noqa: PLC0415 - needs an extra
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
