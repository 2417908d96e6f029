"""A process whose clock is set while it runs, by libfaketime; what needs no such process is in `test_clocks.py`."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gqlplugin.app import define_app
from gqlplugin.executor import ScheduleArgs, create_executor, function_operation, schedule_trigger
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ConcurrencyPolicy, ExecutionFilter
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, until
from tests.platform.embedded.support import ROOT

pytestmark = pytest.mark.slow

RUNS = 20
PER_PAGE = 7


@create_workflow_job(name="short")
async def short(input: int) -> int:
    await asyncio.sleep(0.02)
    return input


async def note(args: ScheduleArgs) -> None:
    del args


workflow = create_workflow(
    name="short-ones", main_job=short, concurrency_policy=ConcurrencyPolicy(max_concurrent_executions=2)
)
every_hour = create_executor("every-hour", trigger=schedule_trigger("0 * * * *"), operation=function_operation(note))
app = define_app("set-clock", workflows=[workflow], executors=[every_hour])


class Clock:
    """The clock of this process, which libfaketime reads from a file once a second: each time would take seconds."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def set(self, offset: str) -> None:
        """Let it be ahead of the right time by this, such as +365d; returns when it is."""
        before = datetime.now(UTC)
        self._file.write_text(f"{offset}\n")
        await until(lambda: asyncio.sleep(0, abs(datetime.now(UTC) - before) > timedelta(minutes=30)))


async def all_ended(platform: Platform) -> None:
    async def have_ended() -> bool:
        return all(run.status.is_final for run in await all_runs(platform))

    await until(have_ended)


async def ids_by_page(platform: Platform, clock: Clock) -> list[str]:
    """The IDs of a listing, page after page; the clock is set back by a year and an hour after the first one."""
    page = await platform.list_executions(ExecutionFilter(), first=PER_PAGE)
    ids = [run.id for run in page.executions]
    await clock.set("-1h")
    while page.has_next:
        page = await platform.list_executions(ExecutionFilter(), first=PER_PAGE, after=page.cursors[-1])
        ids += [run.id for run in page.executions]
    return ids


async def set_back(directory: Path, clock: Clock) -> dict[str, object]:
    """Start runs, set the clock back by an hour, and set it ahead by a year, always with runs that wait their turn."""
    async with EmbeddedPlatform(directory / "journal.sqlite") as platform, platform.execute(app):
        keyed = await workflow.trigger(-1, idempotency_key="key")
        run_ids = await workflow.trigger_many(list(range(RUNS)))
        await clock.set("-1h")
        await all_ended(platform)
        run_ids += await workflow.trigger_many(list(range(RUNS)))
        await clock.set("+365d")
        await all_ended(platform)
        run_ids += await workflow.trigger_many(list(range(RUNS)))
        pages = await ids_by_page(platform, clock)
        same = await workflow.trigger(-1, idempotency_key="key")
        await all_ended(platform)
        runs = await all_runs(platform)
        return {
            "is_key_kept": same == keyed,
            "are_pages_whole": pages == [*reversed(run_ids), keyed],
            "statuses": Counter(run.status.value for run in runs),
        }


async def ahead(directory: Path, clock: Clock) -> dict[str, object]:
    """Start runs a year ahead, in a process that does not execute them; put the clock right, and execute."""
    await clock.set("+365d")
    async with EmbeddedPlatform(directory / "journal.sqlite"):
        await workflow.trigger_many(list(range(RUNS)))
        year = datetime.now(UTC).year
    await clock.set("+0")
    async with EmbeddedPlatform(directory / "journal.sqlite") as platform, platform.execute(app):
        await all_ended(platform)
        return {
            "years": year - datetime.now(UTC).year,
            "statuses": Counter(run.status.value for run in await all_runs(platform)),
        }


async def fired(directory: Path, clock: Clock) -> dict[str, object]:
    """Let a schedule fire, and set the clock back over the time that it has fired for, and forth again."""
    executor = "executor/every-hour"
    async with EmbeddedPlatform(directory / "journal.sqlite") as platform, platform.execute(app):
        assert platform._worker is not None
        scheduler, looks = platform._worker.scheduler, 0
        scheduler.longest_sleep = timedelta(seconds=0.05)

        def now() -> datetime:
            nonlocal looks
            looks += 1
            return datetime.now(UTC)

        scheduler.now = now

        async def times() -> list[str]:
            page = await platform.list_executions(ExecutionFilter(workflow_name=executor), first=100)
            return [run.input for run in page.executions]

        async def have_fired(count: int) -> bool:
            return len(await times()) >= count

        async def looked() -> None:
            enough = looks + 10
            await until(lambda: asyncio.sleep(0, looks >= enough))

        await clock.set("+3600")
        await until(lambda: have_fired(1))
        await clock.set("+0")
        await looked()
        await clock.set("+3600")
        await looked()
        await clock.set("+7200")
        await until(lambda: have_fired(2))
        return {"times": len(await times()), "different": len(set(await times()))}


def library() -> str | None:
    """Where Debian and its like have libfaketime."""
    found = list(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))
    return str(found[0]) if found else None


def process(name: str, directory: Path) -> dict[str, object]:
    """What one of the functions above returned, in a process whose clock can be set."""
    faketime = library()
    if faketime is None:
        missing = "sets clocks by libfaketime: install your system's package `faketime`"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    file = directory / "clock"
    file.write_text("+0\n")
    environment = {
        "LD_PRELOAD": faketime,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.platform.embedded.test_set_clock", name, directory],
        env=os.environ | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_runs_go_on_when_the_clock_is_set(tmp_path: Path) -> None:
    """Set back by an hour or ahead by a year: the queue moves, pages are whole, and a key stands for its run."""
    assert process("set_back", tmp_path) == {
        "is_key_kept": True,
        "are_pages_whole": True,
        "statuses": {"SUCCESS": 3 * RUNS + 1},
    }


def test_nothing_waits_for_the_year_that_the_clock_was_ahead(tmp_path: Path) -> None:
    """What was accepted then is executed after a restart with the right time."""
    assert process("ahead", tmp_path) == {"years": 1, "statuses": {"SUCCESS": RUNS}}


def test_a_schedule_fires_each_time_once_when_the_clock_is_set(tmp_path: Path) -> None:
    """A time that comes twice, as the clock was set back, fires once; later ones fire."""
    fired = process("fired", tmp_path)
    assert fired["times"] == fired["different"]


if __name__ == "__main__":
    what, where = {"set_back": set_back, "ahead": ahead, "fired": fired}[sys.argv[1]], Path(sys.argv[2])
    print(json.dumps(asyncio.run(what(where, Clock(where / "clock")))))  # noqa: T201 - the answer
