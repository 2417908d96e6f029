"""`trigger(session=)`: the change and the run, or neither."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.database import Database, define_database
from gqlplugin.errors import (
    DefinitionError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PlatformNotBoundError,
    UnsupportedError,
)
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Binding, Platform, bind, is_uuid7
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.workflow import create_workflow
from tests.database.relaying import rows_of, runs_of, until

pytestmark = pytest.mark.anyio

BOB = User("bob", "user", attributes={"admin": True})


class Base(DeclarativeBase):
    """Of the table here."""


class Order(Base):
    __tablename__ = "customer_order"

    id: Mapped[int] = mapped_column(primary_key=True)


class OrderId(BaseModel):
    """The input of the workflow."""

    id: int


@create_workflow_job(name="process-order")
async def process_order(input: OrderId) -> str:
    return f"processed {input.id}"


@create_workflow_job(name="rest")
async def rest() -> None:
    """Do nothing."""


@create_workflow_job(name="trigger-in-session")
async def trigger_in_session() -> None:
    async with AsyncSession() as session:
        await resting.trigger(session=session)


processing = create_workflow(name="processing", main_job=process_order)
admins_only = create_workflow(
    name="admins-only", main_job=rest, permission=lambda user, invoker: bool((user.attributes or {}).get("admin"))
)
resting = create_workflow(name="resting", main_job=rest)
nesting = create_workflow(name="nesting", main_job=trigger_in_session)
unregistered = create_workflow(name="unregistered", main_job=rest)


def make_app(*databases: Database) -> App:
    return define_app(
        "shop",
        auth=define_auth("shop-auth", Literal["robot"]),
        workflows=[processing, admins_only, resting, nesting],
        databases=databases,
    )


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[EmbeddedPlatform]:
    """The app, with Bob as the caller of what happens within."""
    app = make_app(database)
    platform = EmbeddedPlatform(":memory:")
    async with platform, platform.execute(app), database.session() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        await session.commit()
        with bind(Binding(platform, app, BOB)):
            yield platform


@pytest.fixture
def database(database_url: str) -> Database:
    """A database of an app."""
    return define_database("main", database_url)


async def until_ended(platform: Platform, run_id: str) -> ExecutionStatus:
    """Wait for a run that may not have been started yet."""
    status = ExecutionStatus.PENDING

    async def has_ended() -> bool:
        nonlocal status
        try:
            status = (await platform.get_execution(run_id)).status
        except NotFoundError:
            return False
        return status.is_final

    await until(has_ended)
    return status


async def test_a_commit_starts_the_run(database: Database) -> None:
    """The ID is there at once, the run after the commit, with the caller, invoker and arguments of the trigger."""
    async with running(database) as platform, database.session() as session:
        session.add(Order(id=1))
        run_id = await processing.trigger(OrderId(id=1), auth_invoker="robot", session=session)
        assert is_uuid7(run_id)
        with pytest.raises(NotFoundError):
            await platform.get_execution(run_id)
        await session.commit()
        assert await until_ended(platform, run_id) is ExecutionStatus.SUCCESS
        run = await platform.get_execution(run_id)
        assert (run.workflow_name, run.input, run.output) == ("processing", '{"id":1}', '"processed 1"')
        assert run.caller == BOB
        assert run.invoker is not None
        assert (run.invoker.namespace, run.invoker.machine_user_name) == ("shop-auth", "robot")


async def test_a_rollback_starts_nothing(database: Database) -> None:
    """Neither the order nor the run is there when the transaction is rolled back, and what came after it is."""
    async with running(database) as platform, database.session() as session:
        session.add(Order(id=1))
        await processing.trigger(OrderId(id=1), session=session)
        await session.flush()
        await session.rollback()
        after = await processing.trigger(OrderId(id=2), session=session)
        await session.commit()
        await until_ended(platform, after)
        assert await session.get(Order, 1) is None
        assert [run.id for run in await runs_of(platform)] == [after]


async def test_a_savepoint_that_is_rolled_back_starts_nothing(database: Database) -> None:
    """What was triggered within it is undone with it, and the rest of the transaction is not."""
    async with running(database) as platform, database.session() as session:
        kept = await resting.trigger(session=session)
        savepoint = await session.begin_nested()
        await processing.trigger(OrderId(id=1), session=session)
        await savepoint.rollback()
        await session.commit()
        await until_ended(platform, kept)
        assert [run.id for run in await runs_of(platform)] == [kept]


async def test_a_session_that_is_not_async_will_do(database: Database) -> None:
    """Code within `run_sync` gives the session that it has."""
    async with running(database) as platform, database.session() as session:
        run_id = await resting.trigger(session=session.sync_session)
        assert isinstance(session.sync_session, Session)
        await session.commit()
        assert await until_ended(platform, run_id) is ExecutionStatus.SUCCESS


async def test_everything_is_checked_at_once(database: Database) -> None:
    """What a trigger refuses it refuses with a session too, and writes nothing."""
    async with running(database) as platform, database.session() as session:
        with pytest.raises(InvalidInputError):
            await processing.trigger(OrderId.model_construct(id="x"), session=session)
        with pytest.raises(InvalidInputError, match="nobody"):
            await resting.trigger(auth_invoker="nobody", session=session)
        with pytest.raises(DefinitionError, match="not registered"):
            await unregistered.trigger(session=session)
        with bind(Binding(platform, make_app(database), User("eve", "user"))), pytest.raises(ForbiddenError):
            await admins_only.trigger(session=session)
        await session.commit()
        assert await rows_of(database._engine()) == []


async def test_a_key_beside_a_session_is_refused(database: Database) -> None:
    """A transaction is the guarantee already."""
    async with running(database), database.session() as session:
        with pytest.raises(UnsupportedError, match="session= or idempotency_key="):
            await resting.trigger(session=session, idempotency_key="key")
        assert not session.new


async def test_without_an_app_it_is_refused(database: Database) -> None:
    """Where only a platform is bound, nothing would relay what is written."""
    async with running(database) as platform, database.session() as session:
        with bind(Binding(platform)), pytest.raises(UnsupportedError, match="No app is bound"):
            await resting.trigger(session=session)
        assert not session.new


async def test_without_a_platform_it_is_refused() -> None:
    """As any trigger is."""
    async with AsyncSession() as session:
        with pytest.raises(PlatformNotBoundError):
            await resting.trigger(session=session)


async def test_a_session_of_another_database_is_refused(database: Database, tmp_path: object) -> None:
    """A row that no relay of the app would look at is not written."""
    other = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/other.sqlite")
    async with running(database), AsyncSession(other) as session, AsyncSession() as unbound:
        for one in (session, unbound):
            with pytest.raises(UnsupportedError, match="none of the databases of app 'shop'"):
                await resting.trigger(session=one)
            assert not one.new
    await other.dispose()


async def test_in_a_job_it_is_refused(database: Database) -> None:
    """There a trigger is durable by itself, and a replay of the job would write it again."""
    async with running(database) as platform:
        run_id = await nesting.trigger()
        assert await until_ended(platform, run_id) is ExecutionStatus.FAILED
        (job,) = (await platform.get_jobs([run_id]))[run_id]
        assert job.error is not None
        assert job.error.code == "FAILED_PRECONDITION"
        assert "'resting' can't be triggered with session= in a job" in job.error.message
        assert [run.id for run in await runs_of(platform)] == [run_id]


async def test_without_sqlalchemy_it_says_what_to_install(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes here without the extra is told of it."""
    async with running(database), database.session() as session:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "gqlplugin.database.definition")
            patch.setitem(sys.modules, "sqlalchemy.ext.asyncio", None)
            with pytest.raises(UnsupportedError, match=r"pip install 'gqlplugin\[sqlalchemy\]'"):
                await resting.trigger(session=session)


async def test_many_transactions_at_once_start_what_they_commit(database: Database) -> None:
    """Every second one is rolled back; exactly the others have runs."""
    async with running(database) as platform:

        async def order(n: int) -> str | None:
            async with database.session() as session:
                session.add(Order(id=n))
                run_id = await processing.trigger(OrderId(id=n), session=session)
                if n % 2:
                    await session.commit()
                    return run_id
                await session.flush()
                await session.rollback()
                return None

        run_ids = [run_id for run_id in await asyncio.gather(*map(order, range(1, 21))) if run_id is not None]
        for run_id in run_ids:
            await until_ended(platform, run_id)
        assert sorted(run.id for run in await runs_of(platform)) == sorted(run_ids)
