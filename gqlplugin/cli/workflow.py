"""`gqlplugin workflow`: what can be started, and what was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from gqlplugin.app import App
from gqlplugin.cli.executions import executions
from gqlplugin.cli.failure import unknown_workflow
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.output import facts, say_block, say_json, table
from gqlplugin.cli.resolve import resolve
from gqlplugin.cli.shapes import WorkflowShape
from gqlplugin.cli.start import start, start_by_id
from gqlplugin.cli.steering import cancel, resume
from gqlplugin.cli.target import Target
from gqlplugin.cli.text import local_time
from gqlplugin.cli.watching import JsonOption

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
