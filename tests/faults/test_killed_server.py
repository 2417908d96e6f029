"""A platform server that is killed again and again: what is asked for with a key becomes one run, and ends."""

import asyncio
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from gqlplugin.errors import OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import until
from tests.faults.app import started
from tests.loopback import TOKEN, WORKSPACE, free_port
from tests.rounds import rounds

pytestmark = [pytest.mark.anyio, pytest.mark.rounds]

STARTS = rounds(600, few=150)
CALLERS = 8
FEWEST_KILLS = 3
MOST_BEFORE_A_KILL = STARTS // 6
LONGEST_LIFE_SECONDS = rounds(0.25, few=0.02)


@asynccontextmanager
async def server(path: Path, port: int) -> AsyncIterator[None]:
    """The server, killed at the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.faults.server", str(path), str(port))
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def start_all(platform: Platform, answers: dict[int, str], numbers: list[int]) -> None:
    """Ask for each start, again and again under its key, until it is acknowledged."""
    while numbers:
        number = numbers.pop()
        try:
            answers[number] = await platform.start_workflow(
                "numbered", str(number), caller=User("alice", "user"), idempotency_key=f"start-{number}"
            )
        except (OutcomeUnknownError, PlatformUnavailableError):
            numbers.append(number)
            await asyncio.sleep(0.02)


async def test_every_start_is_one_run_however_often_the_server_is_killed(tmp_path: Path) -> None:
    """Nothing that was acknowledged is lost, nothing is doubled, and every run ends, some by the next server."""
    seed = int(os.environ.get("FAULT_SEED", secrets.randbelow(10**6)))
    print(f"FAULT_SEED={seed}")  # noqa: T201 - shown when the test fails
    dice = random.Random(seed)  # noqa: S311
    path, port = tmp_path / "runs.sqlite", free_port()
    answers: dict[int, str] = {}
    numbers = list(range(STARTS))
    kills = 0
    client = TailorPlatform(
        f"http://127.0.0.1:{port}", token=TOKEN, workspace_id=WORKSPACE, timeout=timedelta(seconds=20)
    )
    async with asyncio.timeout(600), client:
        callers = [asyncio.create_task(start_all(client, answers, numbers)) for _ in range(CALLERS)]
        while len(answers) < 0.9 * STARTS:
            async with server(path, port):
                goal = min(len(answers) + dice.randint(1, MOST_BEFORE_A_KILL), STARTS)
                await until(partial(_are_there, answers, goal))
                await asyncio.sleep(dice.uniform(0, LONGEST_LIFE_SECONDS))
            kills += 1
        async with server(path, port), EmbeddedPlatform(path) as journal:
            await asyncio.gather(*callers)

            async def all_ended() -> bool:
                return len(await started(journal, ExecutionStatus.SUCCESS)) == STARTS

            await until(all_ended)
            assert await started(journal) == Counter(range(STARTS))
            for number, run_id in answers.items():
                assert (await journal.get_execution(run_id)).output == str(number)
    assert kills >= FEWEST_KILLS


async def _are_there(answers: dict[int, str], number: int) -> bool:
    return len(answers) >= number
