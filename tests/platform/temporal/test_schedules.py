"""Schedules: Temporal follows the definitions, and each time starts one run."""

import asyncio
import json
import zoneinfo
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    ScheduleUpdate,
    WorkflowExecution,
    WorkflowExecutionStatus,
)
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from gqlplugin.app import App, define_app
from gqlplugin.errors import DefinitionError, PlatformUnavailableError
from gqlplugin.executor import ScheduleArgs, create_executor, function_operation, schedule_trigger
from gqlplugin.executor.definition import Firing
from gqlplugin.identity import dump_user, executor_user
from gqlplugin.platform.base import is_uuid7
from gqlplugin.platform.temporal.messages import FACTS, FIRE, Facts, Start
from gqlplugin.platform.temporal.schedules import Fire, FireActivities, Timetable, fires, follow_schedules
from gqlplugin.runs import ConcurrencyPolicy
from gqlplugin.schedule import MissedPolicy
from tests.loopback import free_port
from tests.platform.temporal.waiting import until
from tests.test_schedule import between, parse, utc

pytestmark = pytest.mark.anyio

NAME = "executor/nightly"
TIMEOUT = timedelta(seconds=30)


async def nothing(args: ScheduleArgs) -> None: ...


def app_of(*crons: str, timezone: str = "UTC", missed: MissedPolicy = "all") -> App:
    """An app with schedules."""
    executors = [
        create_executor(
            name,
            trigger=schedule_trigger(cron, timezone=timezone, missed=missed),
            operation=function_operation(nothing),
        )
        for name, cron in zip(("nightly", "often"), crons, strict=False)
    ]
    return define_app("scheduled", executors=executors)


@workflow.defn(dynamic=True)
class Ran:
    """A run: its result is its argument."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        return workflow.payload_converter().from_payload(args[0].payload, Start).input


class Place:
    """A server and a task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self.client = client
        self.task_queue = task_queue

    async def follow(self, app: App, *, heartbeat_seconds: float = 5) -> None:
        """What a worker does when it starts."""
        await follow_schedules(self.client, self.task_queue, app, heartbeat_seconds=heartbeat_seconds, timeout=TIMEOUT)

    def handle(self, name: str = NAME) -> ScheduleHandle:
        """A schedule."""
        return self.client.get_schedule_handle(f"{self.task_queue}/{name}")

    async def describe(self, name: str = NAME) -> ScheduleDescription:
        """A schedule as it is."""
        return await self.handle(name).describe()

    async def is_there(self, name: str = NAME) -> bool:
        """Whether there is a schedule."""
        try:
            await self.describe(name)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    @asynccontextmanager
    async def worker(self, app: App, now: datetime | Callable[[], datetime] | None = None) -> AsyncIterator[None]:
        """A process that runs workflows, whose clock may stand still."""
        activities = FireActivities(app)
        if now is not None:
            activities.now = now if callable(now) else lambda: now
        async with Worker(
            self.client,
            task_queue=self.task_queue,
            workflows=[Fire, Ran],
            activities=activities.activities,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            yield

    async def listed(self, workflow_type: str) -> list[WorkflowExecution]:
        """The workflows of a type."""
        query = f"TaskQueue = '{self.task_queue}' AND WorkflowType = '{workflow_type}'"
        return [one async for one in self.client.list_workflows(query)]

    async def ended(self, count: int) -> list[str]:
        """The IDs of what decides about times, once it has decided about so many and the runs are over."""

        async def have_ended() -> bool:
            fires, runs = await self.listed(FIRE), await self.listed(NAME)
            if {one.status for one in [*fires, *runs]} != {WorkflowExecutionStatus.COMPLETED}:
                return False
            started = {await self.client.get_workflow_handle(fire.id).result() for fire in fires} - {None}
            assert {run.id for run in runs} <= started
            return len(fires) >= count and len(runs) == len(started)

        await until(have_ended)
        return [fire.id for fire in await self.listed(FIRE)]

    async def fired(self) -> list[str]:
        """The times for which runs were started."""
        runs = await self.listed(NAME)
        results = [await self.client.get_workflow_handle(run.id).result() for run in runs]
        return sorted(json.loads(result)["scheduled_time"] for result in results)


@pytest.fixture
async def place(temporal_client: Client, task_queue: str) -> AsyncIterator[Place]:
    """A task queue of its own, whose schedules are deleted in the end."""
    place = Place(temporal_client, task_queue)
    yield place
    for name in (NAME, "executor/often"):
        if await place.is_there(name):
            await place.handle(name).delete()


# What Temporal has of the definitions.


@pytest.mark.parametrize(("missed", "window"), [("last", 999 * 60), ("all", 999 * 60), ("none", 60)])
async def test_a_schedule_is_created(place: Place, missed: MissedPolicy, window: int) -> None:
    """A schedule of the definitions is one of Temporal's, which starts overlapping runs and makes up for outages."""
    await place.follow(app_of("* * * * *", timezone="Asia/Tokyo", missed=missed))
    schedule = (await place.describe()).schedule
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    assert schedule.action.workflow == FIRE
    assert schedule.action.task_queue == place.task_queue
    assert schedule.policy.overlap is ScheduleOverlapPolicy.ALLOW_ALL
    assert schedule.policy.catchup_window == timedelta(seconds=window)
    assert schedule.spec.time_zone_name == "Asia/Tokyo"
    assert not schedule.state.paused


async def test_what_is_unchanged_is_left_alone(place: Place) -> None:
    """A worker that starts with the same definitions changes nothing, also nothing that an operator has changed."""
    await place.follow(app_of("@daily", "@hourly"))
    await place.handle().pause(note="holidays")
    before = await place.describe()
    await place.follow(app_of("@daily", "@hourly"))
    after = await place.describe()
    assert after.info.last_updated_at == before.info.last_updated_at
    assert after.raw_description.conflict_token == before.raw_description.conflict_token
    assert after.schedule.state.note == "holidays"


@pytest.mark.parametrize("change", ["cron", "timezone", "missed", "heartbeat"])
async def test_a_changed_schedule_is_changed(place: Place, change: str) -> None:
    """A schedule follows its definition, and stays paused when an operator has paused it."""
    await place.follow(app_of("@daily"))
    await place.handle().pause(note="holidays")
    app = {
        "cron": app_of("0 5 * * *"),
        "timezone": app_of("@daily", timezone="Europe/Berlin"),
        "missed": app_of("@daily", missed="none"),
    }.get(change, app_of("@daily"))
    await place.follow(app, heartbeat_seconds=9 if change == "heartbeat" else 5)
    described = await place.describe()
    schedule = described.schedule
    assert described.info.last_updated_at is not None
    assert (schedule.state.paused, schedule.state.note) == (True, "holidays")
    assert schedule.spec.calendars[0].hour[0].start == (5 if change == "cron" else 0)
    assert schedule.spec.time_zone_name == ("Europe/Berlin" if change == "timezone" else "UTC")
    assert schedule.policy.catchup_window == timedelta(minutes=1) if change == "missed" else timedelta(days=365)


async def test_the_changes_of_clocks_are_told_again_in_time(place: Place) -> None:
    """A schedule that was made long ago learns of the coming changes of clocks, though its definition is the same."""
    await place.follow(app_of("30 2 * * *", timezone="Europe/Berlin"))
    wanted = (await place.describe()).schedule.spec.intervals
    assert wanted

    def aged(found: object) -> ScheduleUpdate:
        [payload] = schedule.action.args  # type: ignore[attr-defined]  # it starts a workflow
        values = json.loads(payload.data)
        values["until"] = (datetime.now(UTC) + timedelta(days=300)).isoformat()
        schedule.action.args = [values]  # type: ignore[attr-defined]  # as above
        schedule.spec.intervals = []
        return ScheduleUpdate(schedule=schedule)

    schedule = (await place.describe()).schedule
    await place.handle().update(aged)
    assert not (await place.describe()).schedule.spec.intervals
    await place.follow(app_of("30 2 * * *", timezone="Europe/Berlin"))
    assert (await place.describe()).schedule.spec.intervals == wanted


async def test_a_schedule_that_is_gone_is_deleted(place: Place) -> None:
    """What the definitions no longer have is deleted, of this task queue and nothing else."""
    other = Place(place.client, f"{place.task_queue}/executor")
    await other.follow(app_of("@daily"))
    foreign = f"{place.task_queue}/their-own"
    action = ScheduleActionStartWorkflow("theirs", id="theirs", task_queue=place.task_queue)
    await place.client.create_schedule(foreign, Schedule(action=action, spec=(await other.describe()).schedule.spec))
    await place.follow(app_of("@daily", "@hourly"))

    async def are_listed() -> bool:
        return len([one.id async for one in await place.client.list_schedules() if place.task_queue in one.id]) == 4

    await until(are_listed)
    await place.follow(app_of("@daily"))
    assert await place.is_there()
    assert not await place.is_there("executor/often")
    await other.handle().delete()
    await place.client.get_schedule_handle(foreign).delete()


async def test_workers_may_start_at_once(place: Place) -> None:
    """Of several workers that start at once none fails, and there is what each of them wants."""
    for app in (app_of("@daily", "@hourly"), app_of("0 5 * * *"), app_of("0 5 * * *")):
        await asyncio.gather(*(place.follow(app) for _ in range(4)))
    assert (await place.describe()).schedule.spec.calendars[0].hour[0].start == 5


async def test_a_schedule_that_the_service_does_not_know(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zone that the service has no data of is refused at the start, with the executor's name and what to do."""
    [tokyo] = [Path(path) / "Asia/Tokyo" for path in zoneinfo.TZPATH if (Path(path) / "Asia/Tokyo").exists()][:1]
    (tmp_path / "Moon").mkdir()
    (tmp_path / "Moon/Base").write_bytes(tokyo.read_bytes())
    paths = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path, *paths])
    try:
        app = app_of("@daily", timezone="Moon/Base")
        with pytest.raises(DefinitionError, match=r"'executor/nightly'.*timezone='Moon/Base'.*Change it"):
            await place.follow(app)
    finally:
        zoneinfo.reset_tzpath(paths)
        zoneinfo.ZoneInfo.clear_cache()
    assert not await place.is_there()


async def test_a_service_that_is_gone_is_told(place: Place) -> None:
    """Without the service the schedules can't be followed, which is an error that may pass."""
    gone = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)
    with pytest.raises(PlatformUnavailableError):
        await follow_schedules(
            gone, place.task_queue, app_of("@daily"), heartbeat_seconds=5, timeout=timedelta(seconds=0.5)
        )


async def test_a_firing_by_hand(place: Place) -> None:
    """Who triggers a schedule gets one run at once: of the firing, by its executor, with the time as argument."""
    app = app_of("@daily", missed="none")
    await place.follow(app)
    async with place.worker(app):
        await place.handle().trigger()
        [fire_id] = await place.ended(1)
        [run] = await place.listed(NAME)
        facts = await run.memo_value(FACTS, type_hint=Facts)
        [fired] = await place.fired()
    assert is_uuid7(run.id)
    assert await place.client.get_workflow_handle(fire_id).result() == run.id
    assert run.task_queue == place.task_queue
    assert facts.caller == dump_user(executor_user("nightly"))
    assert facts.invoker is None
    assert facts.input == json.dumps({"scheduled_time": fired}, separators=(",", ":"))
    assert fire_id == f"{place.task_queue}/{NAME}-{fired}"


@pytest.mark.parametrize(
    ("missed", "now", "expected"),
    [
        ("all", "03:30", ["01:00", "02:00", "03:00"]),
        ("last", "03:30", ["03:00"]),
        ("none", "03:30", []),
        ("none", "03:00:45", ["03:00"]),
        ("all", "02:59:50", ["01:00", "02:00", "03:00"]),
    ],
)
async def test_missed_times(place: Place, missed: MissedPolicy, now: str, expected: list[str]) -> None:
    """Of three times that Temporal makes up for, those start a run that the policy says; clocks may differ."""
    app = app_of("@hourly", missed=missed)
    await place.follow(app)
    async with place.worker(app, utc(f"2026-02-01T{now}")):
        await backfill(place, utc("2026-02-01T00:30"), utc("2026-02-01T03:30"))
        await place.ended(3)
        assert await place.fired() == [f"2026-02-01T{time}:00Z" for time in expected]


async def backfill(place: Place, start: datetime, end: datetime) -> None:
    """Have a schedule fire for the times after a moment and up to another."""
    await place.handle().backfill(ScheduleBackfill(start_at=start, end_at=end))


@pytest.mark.parametrize("season", ["spring", "autumn"])
async def test_a_night_in_which_clocks_are_set(place: Place, season: str) -> None:
    """A local time that comes twice, or is skipped, starts one run, when the embedded platform starts it."""
    schedule = parse("30 2 * * *", "Europe/Berlin")
    now = datetime.now(UTC)
    changes = schedule.clock_changes(now + timedelta(days=1), now + timedelta(days=400))
    change = next(one for one in changes if (one.month < 6) == (season == "spring"))
    [expected] = between(schedule, change - timedelta(hours=2), change + timedelta(hours=4))
    app = app_of(schedule.cron, timezone=schedule.timezone)
    await place.follow(app)
    async with place.worker(app, change + timedelta(hours=4)):
        await backfill(place, change - timedelta(hours=2), change + timedelta(hours=4))
        await place.ended(1)
        assert await place.fired() == [f"{expected:%Y-%m-%dT%H:%M:%SZ}"]


async def test_a_worker_that_dies(place: Place) -> None:
    """However often what starts runs dies, each time starts one run."""
    app = app_of("*/10 * * * *", missed="all")
    await place.follow(app)
    await backfill(place, utc("2026-02-01T00:05"), utc("2026-02-01T02:05"))
    now = utc("2026-02-01T02:05")
    for _ in range(4):
        async with place.worker(app, now):
            await until(lambda: True)
    async with place.worker(app, now):
        fire_ids = await place.ended(12)
        for fire_id in fire_ids:
            history = await place.client.get_workflow_handle(fire_id).fetch_history()
            await Replayer(workflows=[Fire], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(history)
        times = between(parse("*/10 * * * *"), utc("2026-02-01T00:05"), now)
        assert await place.fired() == [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in times]


async def test_a_decision_that_fails_is_made_again(place: Place) -> None:
    """An error on the way to a run loses no time of a schedule."""
    app = app_of("@hourly", missed="all")
    await place.follow(app)
    calls = 0

    def now() -> datetime:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise OSError("no clock")
        return utc("2026-02-01T01:30")

    async with place.worker(app, now):
        await backfill(place, utc("2026-02-01T00:30"), utc("2026-02-01T01:30"))
        await place.ended(1)
        assert await place.fired() == ["2026-02-01T01:00:00Z"]


def test_which_times_fire() -> None:
    """A moment fires by the rule of its schedule; one that is none of its times was asked for by hand."""
    late = parse("@hourly", missed="none")
    noon = utc("2026-02-01T12:00")
    assert fires(late, noon, noon + timedelta(seconds=60))
    assert not fires(late, noon, noon + timedelta(seconds=61))
    assert fires(late, noon + timedelta(seconds=7), noon + timedelta(days=1))
    assert fires(late, noon, noon - timedelta(seconds=5))
    berlin = parse("30 2 * * *", "Europe/Berlin", "all")
    assert fires(berlin, utc("2026-10-25T00:30"), noon)
    assert not fires(berlin, utc("2026-10-25T01:30"), noon)


async def test_a_firing_keeps_its_limit() -> None:
    """A run knows from its start how many of its kind execute at once, as those that are started otherwise."""
    app = app_of("@hourly")
    firing = app.firings[NAME]
    assert isinstance(firing, Firing)
    firing.concurrency_policy = ConcurrencyPolicy(3)
    timetable = Timetable(name=NAME, cron="@hourly", timezone="UTC", missed="all", heartbeat_seconds=5, until="")
    new = await FireActivities(app).decide(timetable, "2026-02-01T12:00:07+00:00")
    assert new is not None
    assert new.start.limit == 3
    assert new.start.heartbeat_seconds == 5
