"""A network that is cut for a while: between an API and the server, and between a worker and the server."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from gqlplugin.asgi import create_asgi
from gqlplugin.identity import User
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.testing import GraphQLClient, GraphQLResult, serve
from tests.faults.temporal.app import Order, app
from tests.faults.temporal.ledger import Ledger, Word
from tests.faults.temporal.link import Cut, Link
from tests.faults.temporal.support import all_ended, check_all_done, numbers_of_all, worker
from tests.faults.temporal.worker import HEARTBEAT_TIMEOUT

pytestmark = pytest.mark.anyio

LONGEST_SECONDS = 600
API_TIMEOUT = timedelta(seconds=3)
CALLERS = 8
CUT_SECONDS = float(os.environ.get("FAULT_CUT_SECONDS", "30"))
ALICE = User("alice", "user")


async def until_slowly(condition: Callable[[], object]) -> None:
    """Wait for something that may take a while, when the machine is busy with other things."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)


def authenticate(_: HTTPConnection) -> User:
    """Everybody is Alice."""
    return ALICE


async def trigger(client: GraphQLClient, number: int, key: str | None = None) -> GraphQLResult:
    """Start an order over GraphQL; it must answer, whatever it says."""
    async with asyncio.timeout(10 * API_TIMEOUT.total_seconds()):
        headers = None if key is None else {"idempotency-key": key}
        return await client.execute(f"mutation {{ startOrder(number: {number}) }}", headers=headers)


async def acknowledged(client: GraphQLClient, number: int, key: str | None = None) -> str:
    """Start an order, again and again until it is acknowledged; its run's ID."""
    while (answer := await trigger(client, number, key)).errors:
        assert answer.codes == ["PLATFORM_UNAVAILABLE"]
        await asyncio.sleep(0.1)
    return str(answer.data["startOrder"])


async def check_refused(client: GraphQLClient, numbers: Iterator[int], seconds: float) -> None:
    """What is triggered for so long is refused, all of it, in words that a client can act on."""
    loop = asyncio.get_running_loop()
    end, waits = loop.time() + seconds, list[float]()
    while (begin := loop.time()) < end:
        for answer in await asyncio.gather(*(trigger(client, next(numbers)) for _ in range(CALLERS))):
            [error] = answer.errors
            assert error["extensions"]["code"] == "PLATFORM_UNAVAILABLE"
            assert error["extensions"]["retryable"] is True
        waits.append(loop.time() - begin)
    print(f"{len(waits) * CALLERS} refused, the slowest after {max(waits):.2f} s")  # noqa: T201 - for those who ask


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
async def test_an_api_that_is_cut_off_says_so_in_time_and_goes_on_afterwards(
    tmp_path: Path, temporal_address: str, task_queue: str, cut: Cut
) -> None:
    """Triggers are refused while the network is cut, runs go on; what is asked for again with its key is one run.

    Also where the first request got through, and only its answer was lost.
    """
    ledger, link, numbers = Ledger(tmp_path / "ledger"), Link(temporal_address), count(100)
    direct = TemporalPlatform(temporal_address, task_queue=task_queue, heartbeat_timeout=HEARTBEAT_TIMEOUT)
    api = TemporalPlatform(
        link.address, task_queue=task_queue, heartbeat_timeout=HEARTBEAT_TIMEOUT, timeout=API_TIMEOUT
    )
    asgi = create_asgi(app, api, authenticate=authenticate, execute=False)
    async with (
        asyncio.timeout(LONGEST_SECONDS),
        worker(temporal_address, task_queue, ledger),
        link.running(),
        serve(asgi) as client,
        direct,
    ):
        orders = {await acknowledged(client, 0): Order(number=0)}
        link.cut(cut)
        assert (await trigger(client, 1, key="k")).codes == ["PLATFORM_UNAVAILABLE"]
        await check_refused(client, numbers, CUT_SECONDS)
        runs = await all_ended(direct, orders)
        while cut is Cut.UNANSWERED and not (await numbers_of_all(direct, orders))[1]:  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.05)
        await link.mend()
        keyed = await acknowledged(client, 1, key="k")
        assert await acknowledged(client, 1, key="k") == keyed
        orders |= {keyed: Order(number=1), await acknowledged(client, 2): Order(number=2)}
        runs |= await all_ended(direct, orders)
        check_all_done(runs, orders, ledger)
        assert max((await numbers_of_all(direct, orders)).values()) == 1


@pytest.mark.parametrize(
    ("cut", "held_at"),
    [(Cut.SILENT, "between"), (Cut.RESET, "bill"), (None, "between")],
    ids=["silent", "reset", "stopped"],
)
async def test_a_worker_that_was_given_up_does_nothing_again_and_stops(
    tmp_path: Path,
    temporal_address: str,
    task_queue: str,
    cut: Cut | None,
    held_at: str,
) -> None:
    """Cut off in a job or between two, it records nothing, begins nothing that is known, and goes on with new runs."""
    after = ("bill", Word.BEGINS) if held_at == "bill" else ("pay", Word.KNOWN)
    ledger, link = Ledger(tmp_path / "ledger"), Link(temporal_address)
    order = Order(number=7, seconds=0.01, asks=False)
    platform = TemporalPlatform(temporal_address, task_queue=task_queue, heartbeat_timeout=HEARTBEAT_TIMEOUT)
    async with asyncio.timeout(LONGEST_SECONDS), link.running(), platform:  # noqa: SIM117 - the worker needs the link
        async with worker(link.address, task_queue, ledger, held=held_at) as zombie:
            run_id = await platform.start_workflow("order", order.model_dump_json(), caller=ALICE)
            await until_slowly(lambda: after in [(one.step, one.word) for one in ledger.of(run_id, zombie.pid)])
            if cut is None:
                zombie.send_signal(signal.SIGSTOP)
            else:
                link.cut(cut)
            said = len(ledger.of(run_id, zombie.pid))
            async with worker(temporal_address, task_queue, ledger):
                runs = await all_ended(platform, [run_id])
            ledger.let_go()
            if cut is None:
                zombie.send_signal(signal.SIGCONT)
            else:
                await until_slowly(lambda: len(ledger.of(run_id, zombie.pid)) > said)
                await link.mend()
            await until_slowly(lambda: ledger.of(run_id, zombie.pid)[-1].word is Word.LEAVES)
            again = await platform.start_workflow("order", order.model_dump_json(), caller=ALICE)
            runs |= await all_ended(platform, [again])
            assert (await platform.get_execution(run_id)) == runs[run_id]
            check_all_done(runs, {run_id: order, again: order}, ledger)
