"""Starts through a network that fails: none that was acknowledged is lost, and none is doubled."""

import asyncio
import os
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from gqlplugin.errors import OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.tailor.server import create_server
from tests.faults.app import app, started
from tests.faults.proxy import PATIENCE_SECONDS, SERVED, Fault, Proxy
from tests.loopback import TOKEN, WORKSPACE, serving
from tests.rounds import rounds

pytestmark = [pytest.mark.anyio, pytest.mark.rounds]

STARTS = rounds(500, few=100)
CALLERS = 12
ALICE = User("alice", "user")


@dataclass
class Book:
    """What was answered to each start: its run's ID, that nothing was started, or that nobody knows."""

    run_ids: dict[int, str] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)

    async def start(self, platform: Platform, number: int, key: str | None = None) -> None:
        try:
            self.run_ids[number] = await platform.start_workflow(
                "numbered", str(number), caller=ALICE, idempotency_key=key
            )
        except OutcomeUnknownError:
            self.unknown.add(number)
        except PlatformUnavailableError:
            self.refused.add(number)


@asynccontextmanager
async def behind_a_bad_network(directory: Path, *, extensions: bool) -> AsyncIterator[tuple[Platform, Platform, Proxy]]:
    """A journal, a client whose every request goes through the proxy, and the proxy."""
    seed = int(os.environ.get("FAULT_SEED", secrets.randbelow(10**6)))
    print(f"FAULT_SEED={seed}")  # noqa: T201 - shown when the test fails
    journal = EmbeddedPlatform(directory / "runs.sqlite")
    server = create_server(app, journal, token=TOKEN, execute=False, extensions=extensions)
    async with serving(server) as url:
        proxy = Proxy(url, random.Random(seed), sound=0.6)  # noqa: S311 - dice
        async with proxy.running():
            client = TailorPlatform(
                proxy.url,
                token=TOKEN,
                workspace_id=WORKSPACE,
                timeout=timedelta(seconds=PATIENCE_SECONDS),
            )
            async with journal, client:
                yield journal, client, proxy


async def start_all(book: Book, platform: Platform, keys: bool) -> None:
    """Ask for every start that is not acknowledged yet, some at a time."""
    numbers = iter([number for number in range(STARTS) if number not in book.run_ids])

    async def call() -> None:
        for number in numbers:
            await book.start(platform, number, key=f"start-{number}" if keys else None)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def check(book: Book, journal: Platform, proxy: Proxy) -> Counter[int]:
    """What was answered is true, and every kind of fault had its part in it."""
    counts = await started(journal)
    assert max(counts.values()) == 1, "a start was doubled"
    assert set(book.run_ids) <= set(counts), "an acknowledged start was lost"
    for number, run_id in book.run_ids.items():
        run = await journal.get_execution(run_id)
        assert run.input == str(number)
    assert not book.refused & set(counts), "a start was refused, and a run is there"
    assert set(counts) <= set(book.run_ids) | book.unknown
    assert all(proxy.happened[fault] for fault in Fault)
    assert proxy.closed
    return counts


async def test_without_keys_nothing_is_asked_for_twice(tmp_path: Path) -> None:
    """A server that knows no keys: a start is asked for again only where it can't have been accepted."""
    book = Book()
    async with behind_a_bad_network(tmp_path, extensions=False) as (journal, client, proxy):
        await start_all(book, client, keys=False)
        counts = await check(book, journal, proxy)
        assert len(book.run_ids) + len(book.unknown) + len(book.refused) == STARTS
        assert book.unknown & set(counts), "no start had its answer lost: the network was too good"
        assert book.unknown - set(counts), "no start was lost itself: the network was too good"


async def test_with_keys_of_the_client_a_start_is_asked_for_again(tmp_path: Path) -> None:
    """A server that honours keys: every start carries one, is tried again, and is one run."""
    book = Book()
    async with behind_a_bad_network(tmp_path, extensions=True) as (journal, client, proxy):
        await start_all(book, client, keys=False)
        await check(book, journal, proxy)
        again = [faults for faults in proxy.faults_of.values() if len(faults) > 1]
        assert any(faults[0] in SERVED and faults[-1] is Fault.NONE for faults in again), "none was tried again"
        assert len(proxy.faults_of) <= STARTS, "a try had a key of its own"


async def test_with_keys_of_the_caller_every_start_becomes_one_run(tmp_path: Path) -> None:
    """Asked for with its key until it is acknowledged, every start is one run."""
    book = Book()
    async with behind_a_bad_network(tmp_path, extensions=True) as (journal, client, proxy):
        async with asyncio.timeout(600):
            while len(book.run_ids) < STARTS:
                await start_all(book, client, keys=True)
        book.unknown.clear()
        book.refused.clear()
        counts = await check(book, journal, proxy)
        assert counts == Counter(range(STARTS))
