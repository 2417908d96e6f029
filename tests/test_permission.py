"""Who may start a workflow: its permission is asked on every way to a start, by caller and invoker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.checks import firing_name
from gqlplugin.database import define_database
from gqlplugin.errors import ForbiddenError, JobFailedError
from gqlplugin.executor import create_executor, schedule_trigger, workflow_operation
from gqlplugin.identity import AuthInvoker, User, executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Binding, bind
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, WorkflowExecution
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow, trigger_workflow

pytestmark = pytest.mark.anyio

ANN = User(id="ann", type="user")
auth = define_auth("shop-auth", Literal["clerk"])
CLERK = auth.invoker("clerk")


@dataclass
class Door:
    """Lets through whom the test says, and remembers who was asked about."""

    is_open: bool = False
    asked: list[tuple[User, AuthInvoker | None]] = field(default_factory=list)

    def permission(self, user: User, invoker: AuthInvoker | None) -> bool:
        self.asked.append((user, invoker))
        return self.is_open


door = Door()


@create_workflow_job(name="rest")
async def rest() -> None: ...


guarded = create_workflow(name="guarded", main_job=rest, permission=door.permission)


@create_workflow_job(name="start-it")
async def start_it(way: str) -> None:
    try:
        await WAYS[way](None)
    except ForbiddenError as error:
        raise JobFailedError(str(error), code="REFUSED") from None


starting = create_workflow(name="starting", main_job=start_it)
nightly = create_executor(
    "nightly", trigger=schedule_trigger("@daily"), operation=workflow_operation(guarded, auth_invoker="clerk")
)


@pytest.fixture(autouse=True)
def closed() -> None:
    door.is_open = False
    door.asked.clear()


@dataclass
class Shop:
    app: App
    platform: MemoryPlatform
    session: AsyncSession

    async def guarded_runs(self) -> list[WorkflowExecution]:
        where = ExecutionFilter(workflow_name="guarded")
        return list((await self.platform.list_executions(where, first=100)).executions)

    async def ended(self, run_id: str) -> WorkflowExecution:
        return [run async for run in self.platform.watch(run_id)][-1]


@pytest.fixture
async def shop(tmp_path: Any) -> AsyncIterator[Shop]:
    database = define_database("shop-db", f"sqlite+aiosqlite:///{tmp_path}/shop.sqlite")
    app = define_app("shop", auth=auth, workflows=[guarded, starting], executors=[nightly], databases=[database])
    async with MemoryPlatform() as platform, platform.execute(app), database.session() as session:
        yield Shop(app, platform, session)


async def _with_session(shop: Shop | None) -> object:
    assert shop is not None
    run_id = await guarded.trigger(auth_invoker="clerk", session=shop.session)
    await shop.session.commit()
    return run_id


async def _trigger(_: Shop | None) -> object:
    return await guarded.trigger(auth_invoker="clerk")


async def _trigger_many(_: Shop | None) -> object:
    return await guarded.trigger_many([None], auth_invoker="clerk")


async def _by_name(_: Shop | None) -> object:
    return await trigger_workflow("guarded", auth_invoker="clerk")


async def _with_key(_: Shop | None) -> object:
    return await guarded.trigger(auth_invoker="clerk", idempotency_key="a key")


WAYS: dict[str, Callable[[Shop | None], Awaitable[object]]] = {
    "trigger": _trigger,
    "trigger_many": _trigger_many,
    "trigger_workflow": _by_name,
    "key": _with_key,
}
FROM_OUTSIDE = {**WAYS, "session": _with_session}


@pytest.mark.parametrize("user", [ANN, User()], ids=["ann", "anonymous"])
@pytest.mark.parametrize("way", FROM_OUTSIDE)
async def test_a_start_from_outside_asks(shop: Shop, way: str, user: User) -> None:
    """With the caller, who may be nobody known, and the invoker; a refusal starts nothing."""
    with bind(Binding(shop.platform, shop.app, user)):
        with pytest.raises(ForbiddenError, match="may not start workflow 'guarded'"):
            await FROM_OUTSIDE[way](shop)
        assert await shop.guarded_runs() == []
        door.is_open = True
        assert await FROM_OUTSIDE[way](shop)
    assert door.asked == [(user, CLERK)] * 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_start_from_a_job_asks(shop: Shop, way: str) -> None:
    """With who started the job's run as the caller; a refusal is an error in the job."""
    run = await shop.ended(await shop.platform.start_workflow("starting", f'"{way}"', caller=ANN))
    assert run.error is not None
    assert run.error.code == "REFUSED"
    assert await shop.guarded_runs() == []
    door.is_open = True
    run = await shop.ended(await shop.platform.start_workflow("starting", f'"{way}"', caller=ANN))
    assert run.status is ExecutionStatus.SUCCESS
    assert len(await shop.guarded_runs()) == 1
    assert set(door.asked) == {(ANN, CLERK)}


async def test_an_executor_that_starts_a_workflow_asks(shop: Shop) -> None:
    """With the executor as the caller, and the machine user that the run would have."""
    name, due, caller = firing_name("nightly"), '{"scheduled_time": "2026-11-22T02:00:00Z"}', executor_user("nightly")
    run = await shop.ended(await shop.platform.start_workflow(name, due, caller=caller))
    assert run.status is ExecutionStatus.FAILED
    assert await shop.guarded_runs() == []
    door.is_open = True
    run = await shop.ended(await shop.platform.start_workflow(name, due, caller=caller))
    assert run.status is ExecutionStatus.SUCCESS
    assert len(await shop.guarded_runs()) == 1
    assert [(user.id, invoker) for user, invoker in door.asked] == [("executor/nightly", CLERK)] * 2


async def test_no_invoker_is_a_case_like_any_other(shop: Shop) -> None:
    """The permission sees None, and may refuse it."""
    with bind(Binding(shop.platform, shop.app, ANN)), pytest.raises(ForbiddenError):
        await guarded.trigger()
    assert door.asked == [(ANN, None)]


async def test_a_permission_that_has_to_be_awaited_lets_nobody_through() -> None:
    """An `async def` answers with something that is true whatever it would say: that is refused."""

    class Later:
        def __await__(self) -> Any:
            yield

    later = create_workflow(name="later", main_job=rest, permission=lambda user, invoker: Later())  # type: ignore[arg-type,return-value]  # the mistake
    app = define_app("shop", workflows=[later])
    async with MemoryPlatform() as platform, platform.execute(app):
        with pytest.raises(TypeError, match=r"permission=.* 'later'"):
            await later.trigger()
        assert not (await platform.list_executions(ExecutionFilter(), first=1)).executions
