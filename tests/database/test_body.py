"""Tests of the sessions that jobs and resolvers get."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from gqlplugin import (
    App,
    ExecutionStatus,
    ResolverContext,
    WorkflowExecution,
    WorkflowJob,
    create_asgi,
    create_resolver,
    create_workflow,
    create_workflow_job,
    define_app,
    define_wait_point,
    trigger_workflow,
)
from gqlplugin.database import Database, define_database, get_db
from gqlplugin.database.definition import _BodySession
from gqlplugin.errors import FailedPreconditionError, JobFailedError, NotFoundError
from gqlplugin.identity import User
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionFilter
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.abandoned import Failing, nothing_reported
from tests.database.models import Base, Order

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(database_url: str) -> Database:
    """With no more connections than one, so that whoever keeps one is in everybody's way."""
    return define_database("main", database_url, engine_options={"pool_size": 1, "max_overflow": 0, "pool_timeout": 20})


@asynccontextmanager
async def running(database: Database, *jobs: WorkflowJob[Any, Any], path: object = None) -> AsyncIterator[Platform]:
    """An app with a workflow for each job, under the job's name, and the tables."""
    async with MemoryPlatform() as platform, platform.execute(app_of(database, *jobs)):
        async with database.session() as session:
            await (await session.connection()).run_sync(Base.metadata.create_all)
            await session.commit()
        yield platform


def app_of(database: Database, *jobs: WorkflowJob[Any, Any]) -> App:
    """An app with a workflow for each job, under the job's name."""
    return define_app(
        "shop", databases=[database], workflows=[create_workflow(name=job.name, main_job=job) for job in jobs]
    )


async def ended(platform: Platform, run_id: str) -> WorkflowExecution:
    """A run once it has ended."""
    async with asyncio.timeout(60):
        async for run in platform.watch(run_id):
            last = run
    return last


async def run(platform: Platform, job: WorkflowJob[Any, Any], arg: str = "null") -> WorkflowExecution:
    """Run a job as its workflow, to its end."""
    return await ended(platform, await platform.start_workflow(job.name, arg, caller=User()))


async def ids(database: Database) -> list[int]:
    """The orders that are committed."""
    async with database.session() as session:
        return list(await session.scalars(select(Order.id).order_by(Order.id)))


async def test_a_job_commits_before_it_triggers_and_when_it_succeeds(database: Database) -> None:
    """What a job triggers sees what the job did; each body has one session of its own."""
    seen: list[list[int]] = []
    sessions: list[AsyncSession] = []

    @create_workflow_job(name="look")
    async def look() -> None:
        sessions.append(get_db("main"))
        seen.append(list(await get_db("main").scalars(select(Order.id))))

    @create_workflow_job(name="place")
    async def place() -> str:
        db = get_db("main")
        sessions.append(db)
        order = Order(id=1)
        db.add(order)
        await look.trigger()
        assert get_db("main") is db
        db.add(Order(id=2))
        return order.state  # readable after the commit

    async with running(database, place) as platform:
        result = await run(platform, place)
        assert (result.status, result.output) == (ExecutionStatus.SUCCESS, '"open"')
        assert seen == [[1]]
        assert sessions[0] is not sessions[1]
        assert await ids(database) == [1, 2]


async def test_a_job_that_fails_is_rolled_back(database: Database) -> None:
    """What it did since its last trigger is undone, also when the failure is caught by the job that triggered it."""

    @create_workflow_job(name="fail")
    async def fail() -> None:
        get_db("main").add(Order(id=2))
        await get_db("main").flush()
        raise JobFailedError("No.")

    @create_workflow_job(name="catch-it")
    async def catch_it() -> None:
        get_db("main").add(Order(id=1))
        with pytest.raises(JobFailedError):
            await fail.trigger()
        get_db("main").add(Order(id=3))

    @create_workflow_job(name="let-it-pass")
    async def let_it_pass() -> None:
        get_db("main").add(Order(id=4))
        try:
            await fail.trigger()
        finally:
            get_db("main").add(Order(id=5))
            await get_db("main").flush()

    async with running(database, catch_it, let_it_pass) as platform:
        assert (await run(platform, catch_it)).status is ExecutionStatus.SUCCESS
        assert (await run(platform, let_it_pass)).status is ExecutionStatus.FAILED
        assert await ids(database) == [1, 3, 4]


async def test_a_commit_that_fails_fails_the_job(database: Database) -> None:
    """A job whose last changes the database refuses is no success, and can be resumed."""

    @create_workflow_job(name="place-order")
    async def place_order() -> None:
        get_db("main").add(Order(id=1))

    async with running(database, place_order) as platform:
        assert (await run(platform, place_order)).status is ExecutionStatus.SUCCESS
        second = await run(platform, place_order)
        assert second.status is ExecutionStatus.FAILED
        async with database.session() as session:
            await session.delete(await session.get_one(Order, 1))
            await session.commit()
        await platform.resume(second.id)
        assert (await ended(platform, second.id)).status is ExecutionStatus.SUCCESS


async def test_a_replay_goes_on_after_the_last_commit(database: Database) -> None:
    """A body that runs again finds what it had committed before the trigger, and can tell."""
    attempts: list[bool] = []

    @create_workflow_job(name="second-step")
    async def second_step() -> None:
        attempts.append(True)
        if len(attempts) == 1:
            raise JobFailedError("Not yet.")

    @create_workflow_job(name="first-step")
    async def first_step() -> None:
        db = get_db("main")
        if await db.get(Order, 1) is None:
            db.add(Order(id=1))
        await second_step.trigger()
        (await db.get_one(Order, 1)).state = "done"

    async with running(database, first_step) as platform:
        failed = await run(platform, first_step)
        assert failed.status is ExecutionStatus.FAILED
        assert await ids(database) == [1]
        await platform.resume(failed.id)
        assert (await ended(platform, failed.id)).status is ExecutionStatus.SUCCESS
        async with database.session() as session:
            assert (await session.get_one(Order, 1)).state == "done"


async def test_many_runs_share_few_connections(database: Database) -> None:
    """Thirty runs of jobs within jobs get by with one connection: it is given back at every trigger."""

    @create_workflow_job(name="inner")
    async def inner(number: int) -> None:
        get_db("main").add(Order(id=number))

    @create_workflow_job(name="outer")
    async def outer(number: int) -> None:
        await get_db("main").execute(select(Order))
        get_db("main").add(Order(id=number))
        await inner.trigger(number + 100)
        await get_db("main").execute(select(Order))
        await inner.trigger(number + 200)

    async with running(database, outer) as platform:
        started = [await platform.start_workflow("outer", str(number), caller=User()) for number in range(30)]
        ended_ = await asyncio.gather(*(ended(platform, run_id) for run_id in started))
        assert {one.status for one in ended_} == {ExecutionStatus.SUCCESS}
        assert len(await ids(database)) == 90


async def test_a_job_that_is_cancelled_gives_its_connection_back(database_url: str) -> None:
    """When the process leaves, a job in the middle of a query ends, and the database closes without a warning."""
    database = define_database("main", database_url)
    app_platform = MemoryPlatform()
    app_platform._shutdown_grace *= 0
    reached = asyncio.Event()

    @create_workflow_job(name="wait-for-ever")
    async def wait_for_ever() -> None:
        get_db("main").add(Order(id=1))
        await get_db("main").flush()
        reached.set()
        while True:
            await get_db("main").execute(text("SELECT 1"))
            await asyncio.sleep(0)

    @create_workflow_job(name="unused")
    async def unused() -> None: ...

    async with running(database, unused):
        async with app_platform, app_platform.execute(app_of(database, wait_for_ever)):
            await app_platform.start_workflow("wait-for-ever", "null", caller=User())
            await asyncio.wait_for(reached.wait(), 60)
        engine = database._engine()
        assert "Current Checked out connections: 0" in engine.pool.status() or " 0 checked out" in engine.pool.status()
        assert await ids(database) == []


async def test_a_session_that_breaks_after_its_body_has_left_is_not_reported() -> None:
    """A body that is cancelled while its session is being closed is told nothing any more."""
    failing = Failing()
    database: Any = SimpleNamespace(session=lambda: SimpleNamespace(close=failing))
    with nothing_reported():
        await failing.outlive(_BodySession(database).close())


async def test_a_resolver_has_a_session_too(database: Database) -> None:
    """It is committed before the client is answered, and rolled back when the resolver fails."""

    async def place(ctx: ResolverContext[None]) -> bool:
        get_db("main").add(Order(id=1))
        return True

    async def fail(ctx: ResolverContext[None]) -> bool:
        get_db("main").add(Order(id=2))
        await get_db("main").flush()
        raise RuntimeError("No.")

    resolvers = [
        create_resolver(name=name, operation="mutation", output=bool, body=body)
        for name, body in (("placeOrder", place), ("failOrder", fail))
    ]
    app = define_app("shop", databases=[database], resolvers=resolvers)
    async with running(database), serve(create_asgi(app, MemoryPlatform())) as client:
        assert await client.run("mutation { placeOrder }") == {"placeOrder": True}
        assert (await client.execute("mutation { failOrder }")).codes == ["INTERNAL"]
        assert await ids(database) == [1]


async def _unknown() -> None:
    get_db("other")


def _plain() -> None:
    get_db("main")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (_unknown, "App 'shop' has no database 'other', its databases are: 'main'. Add it to define_app"),
        (_plain, r"get_db\('main'\) is called by a plain function.*write it as `async def`"),
    ],
)
async def test_what_a_job_does_wrong_is_told(database: Database, body: Callable[[], Any], says: str) -> None:
    """Unknown names and plain functions are errors that say what to do."""
    job = create_workflow_job(name="wrong-job")(body)
    async with running(database, job) as platform:
        result = await run(platform, job)
    assert result.status is ExecutionStatus.FAILED
    assert result.error is not None
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(result.error.message)


async def test_outside_of_bodies_there_is_no_session_to_get(database: Database) -> None:
    """Elsewhere the error names what to use, even while the app runs."""
    async with running(database):
        with pytest.raises(FailedPreconditionError, match=r"use `async with database.session\(\) as session:`"):
            get_db("main")


@create_workflow_job(name="read-state")
async def read_state(order_id: int) -> str:
    order = await get_db("main").get(Order, order_id)
    return "no such order" if order is None else order.state


@create_workflow_job(name="ask")
async def ask() -> str:
    order_id = await question.wait(None)
    return await read_state.trigger(order_id)


question = define_wait_point("question", payload=type(None), result=int)
reading = create_workflow(name="read-state", main_job=read_state)
asking = create_workflow(name="ask", main_job=ask)
Body = Callable[[], Awaitable[list[str]]]


class WithoutIds(MemoryPlatform):
    """Gives runs IDs of its own alone, as the Tailor Platform does."""

    async def takes_run_ids(self) -> bool:
        return False

    async def start_workflow(self, name: str, arg: str, **options: Any) -> str:
        assert options.get("run_id") is None
        return await super().start_workflow(name, arg, **options)


@pytest.fixture
def roomy(database_url: str) -> Database:
    """With a connection for each run and resolver, so that none waits for another one's commit by chance."""
    return define_database("main", database_url)


@asynccontextmanager
async def serving(database: Database, platform: Platform, body: Body) -> AsyncIterator[GraphQLClient]:
    """An app whose mutation `do` adds an order, and then runs a body that returns IDs of runs."""

    async def do(ctx: ResolverContext[None]) -> list[str]:
        get_db("main").add(Order(id=7, state="placed"))
        await get_db("main").flush()
        return await body()

    resolver = create_resolver(name="do", operation="mutation", output=list[str], body=do)
    app = define_app("shop", databases=[database], workflows=[reading, asking], resolvers=[resolver])
    async with running(database), serve(create_asgi(app, platform)) as client:
        yield client


async def settle() -> None:
    """Give a run that has started by mistake the time to read."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_run_waits_for_the_commit_of_its_resolver(roomy: Database) -> None:
    """It finds what the resolver wrote before and after the trigger, however long the resolver goes on."""
    platform = MemoryPlatform()

    async def body() -> list[str]:
        run_id = await reading.trigger(7)
        await settle()
        with pytest.raises(NotFoundError):
            await platform.get_execution(run_id)
        (await get_db("main").get_one(Order, 7)).state = "paid"
        return [run_id]

    async with serving(roomy, platform, body) as client:
        (run_id,) = (await client.run("mutation { do }"))["do"]
        assert (await ended(platform, run_id)).output == '"paid"'


@pytest.mark.parametrize("triggers", [1, 3])
async def test_a_resolver_that_fails_starts_nothing(roomy: Database, triggers: int) -> None:
    """What it wrote is rolled back, and the runs that it triggered never start."""
    platform = MemoryPlatform()

    async def body() -> list[str]:
        for _ in range(triggers):
            await reading.trigger(7)
        raise RuntimeError("No.")

    async with serving(roomy, platform, body) as client:
        assert (await client.execute("mutation { do }")).codes == ["INTERNAL"]
        await settle()
        assert (await platform.list_executions(ExecutionFilter(), first=10)).executions == []
        assert await ids(roomy) == []


async def with_a_key() -> list[str]:
    return list(await asyncio.gather(*(reading.trigger(7, idempotency_key=f"key-{n}") for n in range(3))))


async def many() -> list[str]:
    return await reading.trigger_many([7, 7])


async def several() -> list[str]:
    return [await reading.trigger(7), *await asyncio.gather(reading.trigger(7), trigger_workflow("read-state", 7))]


@pytest.mark.parametrize("body", [with_a_key, many, several])
@pytest.mark.parametrize("platform", [MemoryPlatform(), WithoutIds()], ids=["memory", "without-ids"])
@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "7d3a8d0e-40f2-4d0f-8f04-1b1b7a4f7d0a"}])
async def test_whatever_a_resolver_starts_finds_what_it_wrote(
    roomy: Database, platform: Platform, body: Body, headers: dict[str, str]
) -> None:
    """Also where the run's ID can't be known before the start: the session is committed first."""

    async def slow() -> list[str]:
        run_ids = await body()
        await asyncio.gather(*(ended(platform, one) for one in run_ids), return_exceptions=True)  # if they have started
        return run_ids

    async with serving(roomy, platform, slow) as client:
        answer = await client.execute("mutation { do }", headers=headers)
        if headers and body is many:
            assert answer.codes == ["UNSUPPORTED"]  # under a client's key, whatever the session
            return
        assert {(await ended(platform, one)).output for one in answer.data["do"]} == {'"placed"'}


async def test_a_run_that_a_resolver_answers_finds_what_it_wrote(roomy: Database) -> None:
    """The session is committed before the answer to a wait point."""
    platform = MemoryPlatform()
    waiting: list[str] = []

    async def body() -> list[str]:
        await question.resolve(waiting[0], 7)
        await ended(platform, waiting[0])
        return waiting

    async with serving(roomy, platform, body) as client:
        waiting.append(await platform.start_workflow("ask", "null", caller=User()))
        async for one in platform.watch(waiting[0]):
            if one.status is ExecutionStatus.WAITING:
                break
        await client.run("mutation { do }")
        assert (await ended(platform, waiting[0])).output == '"placed"'


async def test_a_start_that_is_refused_commits_nothing(database: Database) -> None:
    """Arguments that don't fit fail the resolver, whose session is rolled back."""

    async def body() -> list[str]:
        return [await reading.trigger("seven", idempotency_key="a-key")]  # type: ignore[arg-type]  # which is the point

    async with serving(database, MemoryPlatform(), body) as client:
        assert (await client.execute("mutation { do }")).codes == ["BAD_USER_INPUT"]
        assert await ids(database) == []
