"""`gqlplugin serve` and `serve-platform`: processes that serve until they are told to end."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import SecretStr

from gqlplugin.app import App
from gqlplugin.cli.failure import CommandError, MissingExtraError, UsageError
from gqlplugin.cli.logs import log_to_stderr
from gqlplugin.cli.options import ApplicationOption, DatabaseOption
from gqlplugin.cli.output import note
from gqlplugin.cli.target import Target
from gqlplugin.identity import NIL_UUID
from gqlplugin.platform.embedded import EmbeddedPlatform

TOKEN = "TAILOR_PLATFORM_TOKEN"  # noqa: S105 - the name of a variable

ApplicationArgument = Annotated[
    str | None,
    typer.Argument(metavar="APPLICATION", help="The same as --application.", show_default=False),
]
HostOption = Annotated[str, typer.Option("--host", help="The address to listen on.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, metavar="PORT", help="The port to listen on.")]
ExecuteOption = Annotated[bool, typer.Option("--execute/--no-execute", help="Whether this process also runs the jobs.")]


def serve(
    *,
    named: ApplicationArgument = None,
    application: ApplicationOption = None,
    database: DatabaseOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    execute: ExecuteOption = True,
) -> None:
    """Serve the GraphQL API of the application, and run its jobs."""
    app, path = _said(named, application, database)
    try:
        from gqlplugin.cli.http import serve_http  # noqa: PLC0415 - quick to start without
    except ModuleNotFoundError as error:
        raise MissingExtraError("`gqlplugin serve`", "server", error) from error
    from gqlplugin.asgi import create_asgi  # noqa: PLC0415 - quick to start without

    log_to_stderr()
    asgi = create_asgi(app, EmbeddedPlatform(path), authenticate=None, execute=execute)
    note(f"{app.name}: GraphQL is at /graphql. Callers are anonymous: to tell them apart, serve create_asgi yourself.")
    if not serve_http(asgi, host=host, port=port):
        raise CommandError("The server could not start; its log says why.")


def serve_platform(
    *,
    named: ApplicationArgument = None,
    application: ApplicationOption = None,
    database: DatabaseOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Holds the token of operators; FILE.token by default. (Or: {TOKEN}.)"),
    ] = None,
    workspace_id: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="The only workspace to answer for; any by default.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The URL that clients use, such as https://… of a proxy with TLS."),
    ] = None,
    trusted_proxies: Annotated[
        str,
        typer.Option(
            "--forwarded-allow-ips",
            metavar="IPS",
            help="Proxies whose X-Forwarded-Proto and -Host count: addresses or networks, comma-separated, or *.",
            show_default="none",
        ),
    ] = "",
    execute: ExecuteOption = True,
) -> None:
    """Serve the application as the Tailor Platform does, to its command line and to `TailorPlatform`."""
    app, path = _said(named, application, database)
    try:
        from gqlplugin.platform.tailor.server import create_server  # noqa: PLC0415 - needs an extra
        from gqlplugin.platform.tailor.server.serving import run_server  # noqa: PLC0415 - needs an extra
        from gqlplugin.platform.tailor.settings import is_loopback  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("`gqlplugin serve-platform`", "tailor-server", error) from error
    token, token_said = _operator_token(token_file, path)
    workspace = str(workspace_id or NIL_UUID)
    asgi = create_server(
        app,
        EmbeddedPlatform(path),
        token=token,
        workspace_id=str(workspace_id) if workspace_id else None,
        url=url or "",
        trusted_proxies=[one.strip() for one in trusted_proxies.split(",") if one.strip()],
        execute=execute,
    )
    log_to_stderr()

    def started(real_port: int) -> None:
        local_url = f"http://{_in_url(host)}:{real_port}"
        public_url = (url or local_url).rstrip("/")
        variables = {
            "TAILOR_PLATFORM_URL": shlex.quote(public_url),
            "PLATFORM_URL": shlex.quote(public_url),  # version 1.6.1 of the vendor's command line reads this one only
            TOKEN: token_said,
            "TAILOR_PLATFORM_WORKSPACE_ID": workspace,
        }
        note(f"{app.name} is served as the Tailor Platform does, with the jobs of {path}. To use it:", style="")
        note("".join(f"  export {name}={value}\n" for name, value in variables.items()), style="")
        if url:
            note(f"It listens at {local_url}.", style="")
        if not (is_loopback(host) or public_url.startswith("https:")):
            note("It does not encrypt what is sent: put a proxy with TLS between it and others.", style="yellow")
        note("Ctrl-C ends it.")

    async def serve_until_told() -> None:
        await run_server(asgi, host=host, port=port, shutdown=told_to_end(), started=started)

    try:
        asyncio.run(serve_until_told())
    except OSError as error:
        raise CommandError(f"{_in_url(host)}:{port} can't be listened at: {error.strerror}.") from error


def _said(named: str | None, application: str | None, database: str | None) -> tuple[App, str]:
    target = Target(application=one_application(named, application), database=database)
    path = target.file(made=True)
    return target.need_app(), path


def one_application(named: str | None, application: str | None) -> str | None:
    """What was said to be the application, in one way or in two.

    Raises:
        UsageError: Those two are not the same.
    """
    if named and application and named != application:
        raise UsageError(f"Which application, {named!r} or {application!r}? Give one of them.")
    return named or application


def told_to_end() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; another one ends the process where it stands, which the journal bears."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, lambda number, _: os._exit(128 + number))
        ended.set()

    for number in signals:
        loop.add_signal_handler(number, end)
    return ended


def _operator_token(file: Path | None, database: str) -> tuple[SecretStr, str]:
    """The token, and how a shell gets at it."""
    given = os.environ.get(TOKEN)
    if given and file is None:
        note(f"The operator token is that of {TOKEN}.")
        # where the variable is not set, a placeholder: without one, clients would send the token of another platform
        return SecretStr(given), f'"${{{TOKEN}:-put-the-operator-token-here}}"'
    path = file or Path(f"{database}.token")
    name = shlex.quote(str(path))
    try:
        token = _token_in(path)
    except IsADirectoryError as error:
        raise CommandError(f"The token file {str(path)!r} is a directory: name a file with --token-file.") from error
    except UnicodeDecodeError as error:
        raise CommandError(
            f"The token file {str(path)!r} holds no token, as it is not ASCII text: name another one with "
            f"--token-file, or remove it, so that a new one is made: rm {name}"
        ) from error
    except PermissionError as error:
        raise CommandError(
            f"The token file {str(path)!r} can't be read or made by the user that this process runs as: change its "
            f"owner, or name another one with --token-file. ({error})"
        ) from error
    except OSError as error:
        raise CommandError(f"The token file {str(path)!r} can't be read or made: {error}.") from error
    if path.stat().st_mode & 0o077:
        note(f"Others on this machine may read {path}: chmod 600 {name}", style="yellow")
    note(f"The operator token is in {path}.")
    return SecretStr(token), f"$(cat {shlex.quote(str(path.absolute()))})"


def _token_in(path: Path) -> str:
    """The token in a file; a new one when there is no such file, or it is empty, as a crash may have left it."""
    token, is_there = "", True
    try:
        token = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        is_there = False
    if token:
        return token
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner alone
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        if is_there:
            Path(made).replace(path)
            note(f"The token file {path} was empty: it has a new token now, and clients need that.", style="yellow")
        else:
            with suppress(FileExistsError):  # another process has made it in this moment
                os.link(made, path)
    finally:
        Path(made).unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
