"""`gqlplugin serve`, `serve-platform` and `worker`: processes that run until they are stopped."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast
from uuid import UUID

import typer
from pydantic import SecretStr

from gqlplugin.app import App
from gqlplugin.cli.output import CommandError, MissingExtraError, UsageError, log_to_stderr, note, safe
from gqlplugin.cli.target import APPLICATION, DATABASE, ApplicationOption, DatabaseOption, Target, find, made
from gqlplugin.identity import NIL_UUID
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform

if TYPE_CHECKING:
    import strawberry

    from gqlplugin.graphql.endpoint import GraphQLApp

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
        from gqlplugin.platform.tailor.credentials import is_loopback  # noqa: PLC0415 - needs an extra
        from gqlplugin.platform.tailor.server import create_server  # noqa: PLC0415 - needs an extra
        from gqlplugin.platform.tailor.server.serving import run_server  # noqa: PLC0415 - needs an extra
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


PLATFORM = "GQLPLUGIN_PLATFORM"

_DEEPEST = 20
_WAYS = [
    "What serves the app, with its platform:  gqlplugin worker module:asgi",
    f"A platform:  --platform module:platform, or set {PLATFORM}",
    f"A file:      --database FILE, or set {DATABASE}",
]

WorkerArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="APPLICATION",
        help="The same as --application; or what serves it, such as shop.main:asgi, whose platform is taken.",
        show_default=False,
    ),
]
PlatformOption = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="MODULE:PLATFORM",
        help=f"Where the runs are: a platform, or a callable that makes one. (Or: {PLATFORM}.)",
        rich_help_panel="Where to look",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker does.

    Attributes:
        app: The definitions.
        platform: Where the runs are.
        place: The same, for people.
        schema: On which executors run their GraphQL; by default one that is made for it.
    """

    app: App
    platform: Platform
    place: str
    schema: strawberry.Schema | None = None


def worker(
    named: WorkerArgument = None,
    application: ApplicationOption = None,
    platform: PlatformOption = None,
    database: DatabaseOption = None,
) -> None:
    """Run the jobs of the application, and serve nothing.

    Any number of workers may run at once. SIGTERM and Ctrl-C let running jobs end first, a second one does not.
    """
    ended: list[int] = []
    atexit.register(_leave, ended)  # before the application is imported: what that registers runs first
    work = find_work(one_application(named, application) or os.environ.get(APPLICATION), platform, database)
    log_to_stderr()
    try:
        asyncio.run(do_work(work))
        ended.append(0)
    except Exception:
        ended.append(1)
        raise


def _leave(ended: Sequence[int]) -> None:
    """End without Python's very last steps, in which a thread of temporalio's that has something to say aborts it."""
    if ended:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(ended[0])


def find_work(spec: str | None, platform: str | None, database: str | None) -> Work:
    """What the command line and the environment ask for.

    Args:
        spec: Where the application is, or what serves it.
        platform: Where a platform is, from `--platform`.
        database: A file, from `--database`.

    Raises:
        UsageError: Something is not said, said twice, or not there.
    """
    if platform and database:
        raise UsageError("--platform says where the runs are, and so does --database: give one of them.")
    endpoint = find_endpoint(spec) if spec else None
    if endpoint is None:
        work = _on_said_platform(spec, platform, database)
    elif platform or database:
        said = "--platform" if platform else "--database"
        raise UsageError(f"{spec!r} has a platform of its own: leave out {said}, or name the App itself.")
    else:
        place = f"on {endpoint.platform!r}"
        work = Work(
            app=endpoint.app, platform=endpoint.platform, place=place, schema=cast("strawberry.Schema", endpoint.schema)
        )
    _check_runs_jobs(work.platform)
    return work


def find_endpoint(spec: str) -> GraphQLApp | None:
    """The GraphQL endpoint of what is at a place in a module, if that serves one: it knows app and platform.

    Raises:
        UsageError: There is nothing at the place, or it serves several apps.
    """
    served = find(spec)
    if isinstance(served, App) or not (hasattr(served, "routes") or hasattr(served, "app")):
        return None
    endpoints = {(id(one.app), id(one.platform)): one for one in _endpoints(served)}
    if len(endpoints) > 1:
        raise UsageError(f"{spec!r} serves {len(endpoints)} apps: name one with -A, and its platform with --platform.")
    return next(iter(endpoints.values()), None)


def _endpoints(served: object, depth: int = 0) -> Iterator[GraphQLApp]:
    """The endpoints of an ASGI app, behind middleware and in what it mounts."""
    from gqlplugin.graphql.endpoint import GraphQLApp  # noqa: PLC0415 - quick to start without

    if isinstance(served, GraphQLApp):
        yield served
    elif served is not None and depth < _DEEPEST:
        inner = [getattr(served, name, None) for name in ("app", "endpoint")]
        for one in (*inner, *(getattr(served, "routes", None) or ())):
            yield from _endpoints(one, depth + 1)


def _on_said_platform(spec: str | None, platform: str | None, database: str | None) -> Work:
    if not (platform or database):  # options beat the environment
        platform, database = os.environ.get(PLATFORM), os.environ.get(DATABASE)
        if platform and database:
            raise UsageError(f"The environment has both {PLATFORM} and {DATABASE}: say which, as an option.")
        if not (platform or database):
            raise UsageError("Where the runs are is not said.", _WAYS)
    app = Target(application=spec).need_app()
    if platform:
        found = _load_platform(platform)
        return Work(app=app, platform=found, place=f"on {found!r}")
    path = Target(database=database).file(made=True)
    return Work(app=app, platform=EmbeddedPlatform(path), place=f"in {path}")


def _load_platform(spec: str) -> Platform:
    found = find(spec, "Platform")
    if isinstance(found, type) or not _is_platform(found):
        found = made(found, spec)
    if not _is_platform(found):
        raise UsageError(f"{spec!r} is a {type(found).__name__}, not a platform, such as a TemporalPlatform.")
    return cast(Platform, found)


def _is_platform(found: object) -> bool:
    return hasattr(found, "start_workflow") and hasattr(found, "execute")


def _check_runs_jobs(platform: Platform) -> None:
    try:
        from gqlplugin.platform.tailor import TailorPlatform  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError:
        return
    if isinstance(platform, TailorPlatform):
        raise UsageError("The Tailor Platform runs jobs itself: a worker has nothing to do there.")


async def do_work(work: Work) -> None:
    """Run jobs until this process is told to end, then let running ones end."""
    told, ready = told_to_end(), asyncio.Event()
    note(f"A worker for the jobs of {work.app.name} {work.place}. It serves nothing; Ctrl-C ends it.", style="")
    note(f"Its workflows: {', '.join(map(safe, sorted(work.app.workflows))) or 'none'}.")
    working = asyncio.create_task(_run_jobs(work, told, ready))
    asking = asyncio.create_task(told.wait())
    await asyncio.wait({working, asking}, return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    if told.is_set() and not ready.is_set():  # it may wait for a service that can't be reached
        working.cancel()
        await asyncio.wait({working})
    if not working.cancelled():
        await working


async def _run_jobs(work: Work, told: asyncio.Event, ready: asyncio.Event) -> None:
    from gqlplugin.asgi import lifespan  # noqa: PLC0415 - quick to start without

    async with lifespan(work.app, work.platform, schema=work.schema, execute=True)(None):
        ready.set()
        note("Ready.")
        await told.wait()
        note("Ending. Running jobs may go on for a while, and are begun again when they don't end in it.")
        note("Ctrl-C again ends them at once.")
