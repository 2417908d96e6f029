"""Runs that are answered and canceled through a network that fails: what the caller is told is what became of them."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.app import define_app
from gqlplugin.errors import FailedPreconditionError, OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, in_status
from tests.faults.proxy import SERVED, Fault
from tests.faults.test_starts import behind_a_bad_network
from tests.rounds import rounds

pytestmark = [pytest.mark.anyio, pytest.mark.rounds]

RUNS = rounds(100, few=30)
AT_ONCE = 12
UNANSWERED = SERVED - {Fault.NONE, Fault.LATE}

signature = define_wait_point("signature", payload=int, result=str)


@create_workflow_job(name="ask-for-signature")
async def ask(input: int) -> str:
    return await signature.wait(input)


app = define_app("signing", workflows=[create_workflow(name="sign", main_job=ask)])


async def waiting_runs(journal: Platform) -> list[str]:
    run_ids = [await journal.start_workflow("sign", str(number), caller=User()) for number in range(RUNS)]
    for run_id in run_ids:
        await in_status(journal, run_id, ExecutionStatus.WAITING)
    return run_ids


async def outcomes(calls: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> list[Exception | None]:
    """What was answered to each call: None where it was done."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(call: Callable[[], Coroutine[Any, Any, None]]) -> Exception | None:
        async with free:
            try:
                await call()
            except (OutcomeUnknownError, PlatformUnavailableError, FailedPreconditionError) as error:
                return error
            return None

    return await asyncio.gather(*map(one, calls))


async def test_a_cancel_that_is_acknowledged_has_canceled(tmp_path: Path) -> None:
    """It is asked for again where its answer is lost, and never refused for having been heard the first time."""
    async with behind_a_bad_network(tmp_path, extensions=True) as (journal, client, proxy), journal.execute(app):
        run_ids = await waiting_runs(journal)
        told = await outcomes([partial(client.cancel, run_id) for run_id in run_ids])
        for run_id, outcome in zip(run_ids, told, strict=True):
            status = (await journal.get_execution(run_id)).status
            if outcome is None:
                assert status is ExecutionStatus.CANCELED
            elif isinstance(outcome, PlatformUnavailableError):
                assert status is ExecutionStatus.WAITING
            else:
                assert isinstance(outcome, OutcomeUnknownError), outcome
        assert told.count(None)
        assert sum(proxy.happened[fault] for fault in UNANSWERED)


async def test_of_two_answers_the_one_that_is_acknowledged_was_taken(tmp_path: Path) -> None:
    """Two answer each run at once: never are both told that theirs was taken, and who is told so is right."""
    async with behind_a_bad_network(tmp_path, extensions=True) as (journal, client, proxy), journal.execute(app):
        run_ids = await waiting_runs(journal)
        both = [(run_id, name) for run_id in run_ids for name in ("ann", "bob")]
        told = await outcomes([partial(client.resolve, run_id, "signature", f'"{name}"') for run_id, name in both])
        told_of = dict(zip(both, told, strict=True))
        for run_id in run_ids:
            answers = {name: told_of[run_id, name] for name in ("ann", "bob")}
            taken = [name for name, outcome in answers.items() if outcome is None]
            may_be = [name for name, outcome in answers.items() if isinstance(outcome, OutcomeUnknownError)]
            if (await journal.get_execution(run_id)).status is ExecutionStatus.WAITING:
                assert not taken
                assert not any(isinstance(outcome, FailedPreconditionError) for outcome in answers.values())
                continue
            output = (await ended(journal, run_id)).output
            assert output in [f'"{name}"' for name in (taken or may_be)]
            assert len(taken) <= 1
        assert told.count(None)
        assert sum(proxy.happened[fault] for fault in UNANSWERED)
