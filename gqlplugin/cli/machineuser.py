"""`gqlplugin machineuser`: as whom workflows can run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated

import typer

from gqlplugin.cli.executions import JsonOption
from gqlplugin.cli.output import MachineUserShape, note, say_block, say_json, table
from gqlplugin.cli.target import Target, takes_target
from gqlplugin.cli.workflow import only_namespace

commands = typer.Typer(no_args_is_help=True, help="See as whom workflows can run.")


@commands.callback()
def _group() -> None:
    """Make this a group, though it has one command."""


@commands.command("list")
@takes_target
def list_machine_users(
    target: Target,
    namespace: Annotated[
        str | None,
        typer.Option("--app", metavar="NAMESPACE", help="The auth namespace; by default the only one."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the machine users of the application."""
    found = asyncio.run(_machine_users(target, namespace))
    if as_json:
        say_json(found)
    elif found:
        rows = [(one.name, one.namespace, json.dumps(one.attributes, ensure_ascii=False)) for one in found]
        say_block(table(("NAME", "NAMESPACE", "ATTRIBUTES"), rows))
    else:
        note("There are no machine users.")


async def _machine_users(target: Target, namespace: str | None) -> Sequence[MachineUserShape]:
    app = target.definitions()
    if app is None:
        return await _remote(target, namespace)
    if app.auth is None or namespace not in (None, app.auth.namespace):
        return []
    return [
        MachineUserShape(name=user.name, namespace=app.auth.namespace, client_id=None, attributes=dict(user.attributes))
        for user in app.auth.machine_users.values()
    ]


async def _remote(target: Target, namespace: str | None) -> Sequence[MachineUserShape]:
    async with target.remote_platform() as platform:
        if namespace is None:
            auth = target.app.auth if target.app is not None else None
            namespace = auth.namespace if auth is not None else await only_namespace(platform)
        return [
            MachineUserShape(
                name=user.name, namespace=namespace, client_id=user.client_id, attributes=dict(user.attributes)
            )
            for user in await platform.list_machine_users(namespace)
        ]
