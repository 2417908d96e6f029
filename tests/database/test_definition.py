"""Tests of databases: how they are defined, opened and closed, and whose sessions are theirs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from gqlplugin import App, define_app
from gqlplugin.database import Database, define_database
from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.testing import MemoryPlatform
from tests.database.models import Base, Customer, Order

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(app: App) -> AsyncIterator[MemoryPlatform]:
    """An app that runs on a platform of its own."""
    async with MemoryPlatform() as platform, platform.execute(app):
        yield platform


async def create_tables(database: Database) -> None:
    """Make the tables of the models."""
    async with database.session() as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
        await session.commit()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("no url, hunter2", "malformed URL: write postgresql\\+asyncpg://"),
        ("sqlite:///hunter2.db", "not async, sqlite: write sqlite\\+aiosqlite://"),
        ("postgresql://u:hunter2@localhost/x", "write postgresql\\+asyncpg://|needs the driver psycopg"),
        ("postgres://u:hunter2@localhost/x", "write postgresql\\+asyncpg://"),
        (
            "postgresql+nothing://u:hunter2@localhost/x",
            "unknown driver, postgresql\\+nothing: write postgresql\\+asyncpg",
        ),
        ("mysql+aiomysql://u:hunter2@localhost/x", "is on 'mysql': gqlplugin works with PostgreSQL"),
        ("sqlite+aiosqlite://", "in memory"),
        ("sqlite+aiosqlite:///:memory:", "in memory"),
        ("sqlite+aiosqlite:///file:x?mode=memory&uri=true", "in memory"),
    ],
)
async def test_a_url_that_can_not_work_is_refused(url: str, says: str) -> None:
    """The error says what to write, names the place, and never shows the URL itself."""
    with pytest.raises(DefinitionError, match=says) as caught:
        define_database("main", url)
    assert "'main'" in str(caught.value)
    assert "test_definition.py:" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_engine_options_are_checked_and_used(sqlite_url: str) -> None:
    """A wrong option is an error at the definition; a right one reaches the engine."""
    with pytest.raises(DefinitionError, match="engine_options that create_async_engine refuses: pool_sizes"):
        define_database("main", sqlite_url, engine_options={"pool_sizes": 3})
    database = define_database("main", sqlite_url, engine_options={"pool_size": 1, "max_overflow": 0})
    async with running(define_app("shop", databases=[database])), database.session() as session:
        await session.connection()
        assert session.bind is not None
        assert "Pool size: 1" in session.bind.pool.status()  # type: ignore[union-attr]


async def test_the_password_is_never_shown(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a repr nor an error nor a log tells the password, nor the options of the URL."""
    caplog.set_level(logging.DEBUG)
    url = make_url("postgresql+asyncpg://shop:hunter2@127.0.0.1:1/shop?ssl=hunter2")
    database = define_database("main", url.set(query={}))
    assert repr(define_database("main", url)) == "<Database 'main' postgresql+asyncpg://127.0.0.1:1/shop>"
    with pytest.raises(FailedPreconditionError, match="Database 'main' can't be opened at postgresql") as caught:
        async with running(define_app("shop", databases=[database])):
            pass
    assert "hunter2" not in str(caught.value) + caplog.text
    missing = define_database("main", make_url(postgres_url).set(database="missing"))
    with pytest.raises(FailedPreconditionError, match='database "missing" does not exist'):
        async with running(define_app("shop", databases=[missing])):
            pass


async def test_a_directory_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    """Opening says which database, and why not."""
    database = define_database("main", f"sqlite+aiosqlite:///{tmp_path}/missing/x.sqlite")
    with pytest.raises(FailedPreconditionError, match=r"Database 'main' can't be opened at .*: unable to open"):
        async with running(define_app("shop", databases=[database])):
            pass


async def test_definitions_are_checked_by_the_app(sqlite_url: str) -> None:
    """A malformed name and two databases of one name are found by `define_app`."""
    bad, one, two = (define_database(name, sqlite_url) for name in ("Main DB", "main", "main"))
    with pytest.raises(DefinitionError) as caught:
        define_app("shop", databases=[bad, one, two])
    assert "database name 'Main DB' is not valid" in str(caught.value)
    assert "two databases are named 'main'" in str(caught.value)


async def test_a_session_works_while_the_app_runs(database_url: str) -> None:
    """Before and after, the error says when it is open; what is not committed is gone."""
    database = define_database("main", database_url)
    with pytest.raises(FailedPreconditionError, match="'main' is not open: it is while its app runs"):
        database.session()
    async with running(define_app("shop", databases=[database])):
        await create_tables(database)
        async with database.session() as session:
            session.add(Order(id=1))
            await session.commit()
            session.add(Order(id=2))
            await session.flush()
        async with database.session() as session:
            assert await session.get(Order, 2) is None
            assert await session.get(Order, 1) is not None
    with pytest.raises(FailedPreconditionError, match="is not open"):
        database.session()


async def test_it_can_be_entered_within_itself_and_left_in_any_order(database_url: str) -> None:
    """Two servers with one app share the database, and it stays open until the last of them has left."""
    database = define_database("main", database_url)
    app = define_app("shop", databases=[database])
    first, second = MemoryPlatform(), MemoryPlatform()
    leave_first, leave_second = asyncio.Event(), asyncio.Event()
    both = asyncio.Barrier(3)

    async def serve(platform: MemoryPlatform, leave: asyncio.Event) -> None:
        async with platform, platform.execute(app), app.running(platform):
            await both.wait()
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        one = group.create_task(serve(first, leave_first))
        group.create_task(serve(second, leave_second))
        await both.wait()
        leave_first.set()
        await one
        async with database.session() as session:
            assert await session.scalar(text("SELECT 1")) == 1
        leave_second.set()
    with pytest.raises(FailedPreconditionError, match="is not open"):
        database.session()


async def test_two_event_loops_have_engines_of_their_own(database_url: str) -> None:
    """A server in another thread, with a loop of its own, opens the same database for itself."""
    database = define_database("main", database_url)
    app = define_app("shop", databases=[database])

    async def other() -> int:
        with pytest.raises(FailedPreconditionError, match="is not open"):
            database.session()
        async with running(app), database.session() as session:
            return int(await session.scalar(text("SELECT 1")) or 0)

    async with running(app):
        assert await asyncio.to_thread(asyncio.run, other()) == 1
        async with database.session() as session:
            assert await session.scalar(text("SELECT 1")) == 1


async def test_sessions_of_any_engine_on_the_database_are_its_own(database_url: str, tmp_path: Path) -> None:
    """What counts is the database that is connected to, not the engine, the driver or how the URL is spelled."""
    database = define_database("main", database_url)
    url = make_url(database_url)
    same, other = create_async_engine(url), create_async_engine(url.set(database=str(tmp_path / "other")))
    assert database.owns(AsyncSession(same))
    assert database.owns(Session(same.sync_engine))
    assert not database.owns(AsyncSession(other))
    assert not database.owns(Session())
    assert not database.owns(Session(create_engine("sqlite://")))
    async with same.connect() as connection:
        assert database.owns(AsyncSession(connection))
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        assert database.owns(Session(create_engine(f"sqlite:///{path.parent}/../{path.parent.name}/{path.name}")))
        assert database.owns(Session(create_engine(f"sqlite:///file:{path}?uri=true")))
    await same.dispose()


@pytest.mark.parametrize(
    ("one", "two", "are_same"),
    [
        ("postgresql+asyncpg://a:x@localhost/shop", "postgresql+asyncpg://b:y@127.0.0.1:5432/shop", True),
        ("postgresql+asyncpg://a@db.internal:5432/shop", "postgresql+asyncpg://a@db.internal/shop", True),
        ("postgresql+asyncpg://a@db.internal/shop", "postgresql+asyncpg://a@db.internal:5433/shop", False),
        ("postgresql+asyncpg://a@db.internal/shop", "postgresql+asyncpg://a@other.internal/shop", False),
        ("postgresql+asyncpg://a@db.internal/shop", "postgresql+asyncpg://a@db.internal/other", False),
        ("postgresql+asyncpg:///shop?host=/run/one", "postgresql+asyncpg:///shop?host=/run/two", False),
        ("postgresql+asyncpg:///shop?host=/run/one&port=7", "postgresql+asyncpg:///shop?host=/run/one&port=8", False),
    ],
)
async def test_which_urls_are_one_database(one: str, two: str, are_same: bool) -> None:
    """Users and spellings don't count; hosts, ports, sockets and names do."""
    assert define_database("main", one).owns(AsyncSession(create_async_engine(two))) is are_same


async def test_sqlite_behaves_as_documented(sqlite_url: str) -> None:
    """WAL mode, foreign keys, a wait for locks, and savepoints that belong to their transaction."""
    database = define_database("main", sqlite_url)
    async with running(define_app("shop", databases=[database])):
        await create_tables(database)
        async with database.session() as session:
            assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
            assert await session.scalar(text("PRAGMA busy_timeout")) == 10_000
            session.add(Order(id=1, customer_id=7))
            with pytest.raises(IntegrityError, match="FOREIGN KEY"):
                await session.commit()
            await session.rollback()
            async with session.begin_nested():
                session.add(Customer(id=1, name="Ann"))
            await session.rollback()
            assert await session.get(Customer, 1) is None
            await session.execute(text("WITH new AS (SELECT 2 AS id) INSERT INTO customer SELECT id, 'Bob' FROM new"))
            await session.rollback()
            assert await session.get(Customer, 2) is None


async def test_sqlite_writers_wait_for_each_other(sqlite_url: str) -> None:
    """Transactions that read first and write then don't fail when another one has written in between."""
    database = define_database("main", sqlite_url)

    async def work(number: int) -> None:
        async with database.session() as session:
            customer = await session.get_one(Customer, 1)
            await asyncio.sleep(0)
            customer.name = f"{number}"
            session.add(Order(id=number))
            await session.commit()

    async with running(define_app("shop", databases=[database])):
        await create_tables(database)
        async with database.session() as session:
            session.add(Customer(id=1, name="Ann"))
            await session.commit()
        await asyncio.gather(*(work(number) for number in range(1, 31)))
        async with database.session() as session:
            assert await session.scalar(text("SELECT count(*) FROM shop_order")) == 30


async def test_the_outbox_is_there_unless_it_is_left_to_migrations(database_url: str) -> None:
    """`create_outbox=False` creates nothing, and the app starts all the same."""
    count = text("SELECT count(*) FROM gqlplugin_outbox")
    without = define_database("main", database_url, create_outbox=False)
    async with running(define_app("shop", databases=[without])), without.session() as session:
        with pytest.raises(Exception, match="gqlplugin_outbox"):
            await session.scalar(count)
    database = define_database("main", database_url)
    async with running(define_app("shop", databases=[database])), database.session() as session:
        assert await session.scalar(count) == 0


async def test_a_closed_session_can_not_be_used_again(sqlite_url: str) -> None:
    """A task that outlives the session's block gets an error instead of a connection that nobody gives back."""
    database = define_database("main", sqlite_url)
    async with running(define_app("shop", databases=[database])):
        async with database.session() as session:
            pass
        with pytest.raises(InvalidRequestError, match="permanently closed"):
            await session.scalar(text("SELECT 1"))
