"""Signals that come while a job computes: they end the process, and the run goes on at the next start."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import executing, output_of, workflow_of

PROGRAM = """
import asyncio, signal, sys
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.contract.support import executing, workflow_of

@create_workflow_job(name="main-job")
async def main_job() -> str:
    await asyncio.sleep(0.1)  # that it runs is in the journal by then
    print("computing", flush=True)
    while True:
        pass

async def main() -> None:
    workflow, platform = workflow_of(main_job), EmbeddedPlatform(sys.argv[1])
    async with executing(platform, workflow):
        print(await workflow.trigger(), flush=True)
        await asyncio.Event().wait()
"""

ENDS = {
    "asyncio.run": ("asyncio.run(main())", signal.SIGINT),
    "default handler": ("asyncio.new_event_loop().run_until_complete(main())", signal.SIGINT),
    "own handler": ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nasyncio.run(main())", signal.SIGTERM),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_signal_ends_a_process_whose_job_computes(tmp_path: Path, how: str) -> None:
    """The job does not take it for a failure of its own: its run is not FAILED, and starts again."""
    file = tmp_path / "runs.sqlite"
    ending, number = ENDS[how]
    command = [sys.executable, "-c", f"{PROGRAM}\n{ending}", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            run_id = process.stdout.readline().strip()
            assert process.stdout.readline() == "computing\n"
            until = time.monotonic() + 60
            while process.poll() is None:  # asyncio.run takes the first Ctrl-C for a request
                assert time.monotonic() < until
                process.send_signal(number)
                time.sleep(0.2)
        finally:
            process.kill()
    assert process.returncode != -signal.SIGKILL

    asyncio.run(_check_starts_again(file, run_id))


async def _check_starts_again(file: Path, run_id: str) -> None:
    @create_workflow_job(name="main-job")
    async def main_job() -> str:
        return "done"

    platform = EmbeddedPlatform(file)
    async with platform:
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.RUNNING
    async with executing(platform, workflow_of(main_job)):
        assert await output_of(platform, run_id) == "done"
