"""`gqlplugin worker`: a process that runs jobs and serves nothing, beside as many others as you like."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from gqlplugin.app import App
from gqlplugin.cli.failure import UsageError
from gqlplugin.cli.loading import find, made
from gqlplugin.cli.logs import log_to_stderr
from gqlplugin.cli.options import ApplicationOption, DatabaseOption
from gqlplugin.cli.output import note
from gqlplugin.cli.serving import one_application, told_to_end
from gqlplugin.cli.target import APPLICATION, DATABASE, Target
from gqlplugin.cli.text import safe
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform

if TYPE_CHECKING:
    import strawberry

    from gqlplugin.graphql.view import GraphQLApp

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
    from gqlplugin.graphql.view import GraphQLApp  # noqa: PLC0415 - quick to start without

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
