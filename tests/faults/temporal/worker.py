"""A process that runs jobs: `python -m tests.faults.temporal.worker ADDRESS QUEUE`. It writes a line once it does."""

import asyncio
import sys
from datetime import timedelta

from gqlplugin.platform.temporal import TemporalPlatform
from tests.faults.temporal.app import app

HEARTBEAT_TIMEOUT = timedelta(seconds=2)


async def main(address: str, task_queue: str) -> None:
    platform = TemporalPlatform(address, task_queue=task_queue, heartbeat_timeout=HEARTBEAT_TIMEOUT)
    async with platform, platform.execute(app):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
