"""Databases of an app: their definition, their engines and sessions, and `get_db`."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext
from sqlalchemy.exc import (
    ArgumentError,
    InvalidRequestError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    UnboundExecutionError,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from gqlplugin.checks import Source, caller_source, check_type
from gqlplugin.database import outbox
from gqlplugin.database.record_changes import Location, Subscription, listening, location_of_engine, location_of_url
from gqlplugin.database.relay import Relay
from gqlplugin.errors import HOW_TO_RUN, DefinitionError, FailedPreconditionError, SetupError
from gqlplugin.platform.base import Definitions, Platform, current_job, find_binding
from gqlplugin.scope import current_scope
from gqlplugin.tasks import begin, result_of

R = TypeVar("R")


class Shared:
    """Holds what several entries share, in one event loop. They may be left in another order than they were entered."""

    def __init__(self) -> None:
        self._changing = asyncio.Lock()
        self._open: dict[Hashable, tuple[AsyncExitStack, object]] = {}
        self._holders: dict[Hashable, int] = {}

    def find(self, key: Hashable) -> object | None:
        """What is open under a key."""
        found = self._open.get(key)
        return None if found is None else found[1]

    @asynccontextmanager
    async def hold(self, key: Hashable, open_: Callable[[], AbstractAsyncContextManager[R]]) -> AsyncIterator[R]:
        """What is open under a key, of one type for each; it stays so until the last of those who hold it leaves."""
        async with self._changing:
            if key not in self._open:
                async with AsyncExitStack() as stack:
                    resource = await stack.enter_async_context(open_())
                    self._open[key] = stack.pop_all(), resource
            self._holders[key] = self._holders.get(key, 0) + 1
        try:
            yield self._open[key][1]  # type: ignore[misc]  # a key stands for one type
        finally:
            await self._let_go(key)

    async def _let_go(self, key: Hashable) -> None:
        async with self._changing:
            self._holders[key] -= 1
            if self._holders[key] == 0:
                del self._holders[key]
                stack, _ = self._open.pop(key)
                await stack.aclose()


BUSY_TIMEOUT_SECONDS: Final = 10.0
_RETRY_SECONDS = 0.01

_READS = ("SELECT", "VALUES", "PRAGMA", "EXPLAIN", "VACUUM", "ATTACH", "DETACH", "ANALYZE")


def prepare(engine: AsyncEngine) -> None:
    """Set up every connection that an engine makes.

    Foreign keys are enforced, and who waits for another's write lock does so for ten seconds. A transaction begins with
    its first write, and is then the only one that writes: what it read before may have changed since, as on PostgreSQL
    under READ COMMITTED. To begin with the first read would be to fail when another has written in between.
    """
    event.listen(engine.sync_engine, "connect", _connected)
    event.listen(engine.sync_engine, "before_cursor_execute", _begin)


def _connected(connection: Any, record: object) -> None:
    del record
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(  # noqa: PLR0917 - as SQLAlchemy calls it
    connection: Connection,
    cursor: DBAPICursor,
    statement: str,
    parameters: object,
    context: ExecutionContext | None,
    executemany: bool,
) -> None:
    del parameters, executemany
    if connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]  # of sqlite3, through aiosqlite
        return
    # the driver itself begins before some statements only, and not before SAVEPOINT, whose release then commits
    if not _only_reads(statement, context) and not _is_autocommit(connection):
        cursor.execute("BEGIN IMMEDIATE")


def _only_reads(statement: str, context: ExecutionContext | None) -> bool:
    start = statement.lstrip()[:8].upper()
    if start.startswith("WITH"):
        invoked = None if context is None else context.invoked_statement
        return invoked is not None and invoked.is_select
    return start.startswith(_READS)


def _is_autocommit(connection: Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


async def enter_wal(engine: AsyncEngine) -> None:
    """Switch the file to WAL mode, in which readers and a writer don't wait for each other; the file stays so."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            async with engine.connect() as connection:
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        except OperationalError as error:
            # SQLite does not wait by itself for another process that is opening the file
            if not _is_busy(error.orig) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def _is_busy(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, sqlite3.OperationalError):
            return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
        error = error.__cause__
    return False


_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}
_ENGINE = "engine"
_POOL_OPTIONS = ("pool", "max_overflow")


class Database:
    """A database of an app. Made by `define_database`; open while the app runs.

    Attributes:
        name: What `get_db` takes.
    """

    def __init__(
        self, name: str, url: URL, *, create_outbox: bool, engine_options: Mapping[str, Any], source: Source
    ) -> None:
        self.name = name
        self.source = source
        self._url = url
        self._create_outbox = create_outbox
        self._engine_options = dict(engine_options)
        self._location = location_of_url(url)
        # a connection belongs to the event loop that it was made in
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Shared] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<Database {self.name!r} {_shown(self._url)}>"

    @property
    def location(self) -> Location:
        """The database that is meant, whatever engine is connected to it."""
        assert self._location is not None  # noqa: S101 - define_database refuses databases in memory
        return self._location

    def session(self) -> AsyncSession:
        """A new session, for code outside of jobs and resolvers; committing is up to the caller.

        ```python
        async with database.session() as session, session.begin():
            session.add(Order(id=1))
        ```

        What it holds stays readable after a commit (`expire_on_commit=False`).

        Raises:
            SetupError: The database is not open.
        """
        return AsyncSession(self._engine(), expire_on_commit=False, close_resets_only=False)

    def owns(self, session: Session | AsyncSession) -> bool:
        """Whether a session works on this database, by whatever engine or driver."""
        try:
            bind = (session.sync_session if isinstance(session, AsyncSession) else session).get_bind()
        except UnboundExecutionError:
            return False
        engine = bind if isinstance(bind, Engine) else bind.engine
        return location_of_engine(engine) == self._location

    @asynccontextmanager
    async def running(
        self, definitions: Definitions, platform: Platform, subscriptions: Sequence[Subscription]
    ) -> AsyncIterator[None]:
        """Open it, notice changes of records, and start on a platform what is committed; for `App.running`.

        May be entered within itself, and by several servers of a process. The last exit closes it.

        Raises:
            FailedPreconditionError: It can't be opened.
            DefinitionError: A record of a subscription can't be written as JSON.
        """
        shared = self._by_loop.setdefault(asyncio.get_running_loop(), Shared())
        async with shared.hold(_ENGINE, self._open):
            relaying = partial(self._relaying, definitions, platform, subscriptions)
            async with shared.hold((id(definitions), id(platform)), relaying):
                yield

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[AsyncEngine]:
        async with self._connecting(self._engine_options) as engine:
            await self._prepare(engine)
            yield engine

    @asynccontextmanager
    async def _connecting(self, options: Mapping[str, Any]) -> AsyncIterator[AsyncEngine]:
        engine = create_async_engine(self._url, **options)
        if engine.dialect.name == "sqlite":
            prepare(engine)
        try:
            yield engine
        finally:
            await engine.dispose()

    async def _prepare(self, engine: AsyncEngine) -> None:
        try:
            if engine.dialect.name == "sqlite":
                await enter_wal(engine)
            if self._create_outbox:
                await outbox.create_table(engine)
            else:
                async with engine.connect():
                    pass
        except Exception as error:  # SQLAlchemy 2.0 lets drivers' own errors through
            raise FailedPreconditionError(
                f"Database {self.name!r} can't be opened at {_shown(self._url)}: {_reason(error)}."
            ) from error

    @asynccontextmanager
    async def _relaying(
        self, definitions: Definitions, platform: Platform, subscriptions: Sequence[Subscription]
    ) -> AsyncIterator[None]:
        names = [*definitions.workflows, *definitions.firings]
        # on connections of its own: it keeps one, which may be all that jobs and resolvers have
        options = {name: value for name, value in self._engine_options.items() if not name.startswith(_POOL_OPTIONS)}
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(self._connecting(options))
            relay = Relay(engine, definitions.name, names, platform)
            stack.enter_context(listening(self.location, definitions.name, subscriptions, relay.wake))
            # it starts runs for nobody's request: nothing of the context it is entered in is its own
            task = asyncio.create_task(relay.run(), name=f"gqlplugin-relay-{self.name}", context=Context())
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _engine(self) -> AsyncEngine:
        shared = self._by_loop.get(asyncio.get_running_loop())
        engine = None if shared is None else shared.find(_ENGINE)
        if not isinstance(engine, AsyncEngine):
            raise SetupError(
                f"Database {self.name!r} is not open: it is while its app runs, in the event loop it runs in. "
                f"{HOW_TO_RUN}"
            )
        return engine


def define_database(
    name: str,
    url: str | URL,
    *,
    create_outbox: bool = True,
    engine_options: Mapping[str, Any] | None = None,
) -> Database:
    """Define a database: what resolvers and jobs get by `get_db`, and where changes of records are noticed.

    ```python
    main = define_database("main", os.environ["DATABASE_URL"])  # postgresql+asyncpg://shop:...@db/shop
    app = define_app("shop", databases=[main], ...)
    ```

    Nothing is connected before the app runs. A table `gqlplugin_outbox` is kept in it: what is to start when a
    transaction commits.

    On SQLite, foreign keys are enforced, the file is in WAL mode, and a transaction begins with its first write, for
    which it waits up to ten seconds.

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique among the databases of the app.
        url: For SQLAlchemy, with an async driver: `sqlite+aiosqlite:///shop.sqlite` or `postgresql+asyncpg://...`.
        create_outbox: Create the table when the app starts, unless it is there. Without it, a migration does:
            `gqlplugin.database.metadata` describes it.
        engine_options: For SQLAlchemy's `create_async_engine`, such as `{"pool_size": 20, "pool_pre_ping": True}`.

    Raises:
        DefinitionError: The URL or an option is not valid, or the database is neither PostgreSQL nor a file of SQLite.
    """
    source, options = caller_source(), dict(engine_options or {})
    check_type(f"define_database at {source}", "name", name, str, 'define_database("main", ...)')
    problem = _url_problem(url) or _engine_problem(make_url(url), options)
    if problem is not None:
        raise DefinitionError(f"database {name!r} {problem} ({source})")
    return Database(name, make_url(url), create_outbox=create_outbox, engine_options=options, source=source)


def _url_problem(given: str | URL) -> str | None:
    """What is wrong with a URL, in words that don't show it: it may hold a password."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        return "has a malformed URL: write postgresql+asyncpg://USER:PASSWORD@HOST/NAME or sqlite+aiosqlite:///FILE"
    backend = url.get_backend_name()
    driver = _DRIVERS.get("postgresql" if backend == "postgres" else backend)
    if driver is None:
        return f"is on {backend!r}: gqlplugin works with PostgreSQL (postgresql+asyncpg://) and SQLite (sqlite+aiosqlite://)"
    if backend == "postgres":
        return "has a URL with postgres://: write postgresql+asyncpg://"
    if location_of_url(url) is None:
        return "is in memory, where all sessions would share a transaction: write sqlite+aiosqlite:///FILE"
    return None


def _engine_problem(url: URL, options: Mapping[str, Any]) -> str | None:
    backend = url.get_backend_name()
    wanted = f"{backend}+{_DRIVERS[backend]}://"
    try:
        create_async_engine(url, **options)  # connects to nothing
    except ImportError as error:
        name = "'gqlplugin[sqlalchemy]'" if error.name == "aiosqlite" else error.name
        return f"needs the driver {error.name}: pip install {name}"
    except NoSuchModuleError:
        return f"has a URL with an unknown driver, {url.drivername}: write {wanted}"
    except InvalidRequestError:
        return f"has a URL with a driver that is not async, {url.drivername}: write {wanted}"
    except (ArgumentError, TypeError, ValueError):
        return f"has engine_options that create_async_engine refuses: {', '.join(sorted(options))}"
    return None


def _shown(url: URL) -> str:
    """A URL without what may be secret: the user, the password, and the options."""
    return URL.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()


def _reason(error: Exception) -> str:
    # not of an SQLAlchemyError itself, which shows statements
    text = str(getattr(error, "orig", None) or "") if isinstance(error, SQLAlchemyError) else str(error)
    return (text or type(error).__name__).partition("\n")[0].rstrip(".")


class _BodySession:
    """A session that ends with its body."""

    def __init__(self, database: Database) -> None:
        self.session = database.session()

    @property
    def is_open(self) -> bool:
        return self.session.in_transaction()

    async def commit(self) -> None:
        await self.session.commit()

    async def close(self) -> None:
        # a body that is cancelled once more must not keep its connection
        await result_of(begin(self.session.close()))


def get_db(name: str) -> AsyncSession:
    """The session of the resolver or job that is running: the same at every call, made by the first.

    ```python
    order = await get_db("main").get(Order, order_id)
    order.status = "paid"
    await notify.trigger(order_id)  # the status is committed before the job starts
    ```

    In a job, what the body did is committed when it triggers something durable (a job or a workflow), and when it
    succeeds; it is rolled back when it fails. So a job whose body runs again after a crash finds what it had committed
    up to its last trigger.

    In a resolver, what the body did is committed when it succeeds, and rolled back when it fails. A workflow that it
    triggers meanwhile starts after the commit, and not at all after a rollback; see `Workflow.trigger`.

    Nothing needs to be committed by hand; `begin()` around a trigger in a job does not work. Objects stay readable
    after a commit (`expire_on_commit=False`).

    A session serves one task at a time: under `asyncio.gather`, give each its own, by `async with database.session()`.

    Args:
        name: As in `define_database`.

    Raises:
        SetupError: No resolver or job is running here, it is a plain function, or the app has no such
            database or is not running.
    """
    scope = current_scope()
    if scope is None:
        raise SetupError(
            f"get_db({name!r}) works in resolvers and jobs; elsewhere use `async with database.session() as session:`."
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise SetupError(
            f"get_db({name!r}) is called by a plain function, which can't await queries: write it as `async def`."
        ) from None
    database = _find(name)
    return scope.hold((_BodySession, database), lambda: _BodySession(database)).session


def _find(name: str) -> Database:
    definitions = _definitions()
    database = definitions.databases.get(name)
    if not isinstance(database, Database):
        known = ", ".join(map(repr, definitions.databases)) or "none"
        raise SetupError(
            f"App {definitions.name!r} has no database {name!r}, its databases are: {known}. "
            "Add it to define_app(databases=[...])."
        )
    return database


def _definitions() -> Definitions:
    if (job := current_job.get()) is not None:
        return job.definitions
    binding = find_binding()
    if binding is None or binding.definitions is None:
        raise SetupError("get_db finds no app: mount the resolvers with create_asgi(app, platform).")
    return binding.definitions
