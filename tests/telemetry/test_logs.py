"""Log records tell of which run and job they are."""

import copy
import logging
import logging.config
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.logs import RunContextFilter
from gqlplugin.workflow import create_workflow
from tests.contract.support import jobs_of, output_of
from tests.telemetry.support import executing

pytestmark = pytest.mark.anyio

GUIDE = Path(__file__).parents[2] / "docs" / "telemetry.md"
_elsewhere = logging.getLogger("a.library.of.somebody")


@create_workflow_job(name="logging-in-a-thread")
def in_a_thread() -> None:
    _elsewhere.warning("from a thread")


@create_workflow_job(name="logging-job")
async def logging_job(text: str, ctx: JobContext) -> None:
    ctx.log.warning("by the job: %s", text)
    await in_a_thread.trigger()
    _elsewhere.warning("by a library")


workflow = create_workflow(name="logging-run", main_job=logging_job)


class Records(logging.Handler):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.kept[record.getMessage()] = record

    def ids(self, message: str) -> tuple[Any, ...]:
        record = self.kept[message]
        return record.run_id, record.job_id, record.workflow


@pytest.fixture
def records() -> Iterator[Records]:
    """What reaches the root logger's handler."""
    handler, root = Records(), logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


async def test_every_record_of_a_job_has_its_ids(records: Records) -> None:
    """The job's own lines, those of libraries, and those of a thread have the IDs of the run and of their job."""
    records.addFilter(RunContextFilter())
    async with executing(workflow) as platform:
        run_id = await workflow.trigger("hello")
        await output_of(platform, run_id)
        jobs = await jobs_of(platform, run_id)
    _elsewhere.warning("outside")
    main, inner = jobs["logging-job"].id, jobs["logging-job/logging-in-a-thread"].id
    assert records.ids("by the job: hello") == (run_id, main, "logging-run")
    assert records.ids("by a library") == (run_id, main, "logging-run")
    assert records.ids("from a thread") == (run_id, inner, "logging-run")
    assert records.ids("outside") == (None, None, None)


async def test_lines_of_a_job_have_their_ids_without_a_filter(records: Records) -> None:
    """`ctx.log` says of itself where it belongs."""
    async with executing(workflow) as platform:
        run_id = await workflow.trigger("hello")
        await output_of(platform, run_id)
        jobs = await jobs_of(platform, run_id)
    assert records.ids("by the job: hello") == (run_id, jobs["logging-job"].id, "logging-run")
    assert not hasattr(records.kept["by a library"], "run_id")


def test_what_a_record_knows_already_stays() -> None:
    """A record that is handled later, by another thread, keeps the IDs it was logged with."""
    record = logging.makeLogRecord({"run_id": "r", "job_id": "j", "workflow": "w"})
    thread = threading.Thread(target=RunContextFilter("-").filter, args=(record,))
    thread.start()
    thread.join()
    assert (record.run_id, record.job_id, record.workflow) == ("r", "j", "w")  # type: ignore[attr-defined]  # added


async def test_the_configuration_of_the_guide_works() -> None:
    """The example of docs/telemetry.md, as it is, writes lines with IDs, and dashes outside of jobs."""
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    given, *last = example.rpartition("\n}\n")[0] + "\n}\n", example.rpartition("\n}\n")[2]
    assert last == ["logging.config.dictConfig(LOGGING)\n"]
    names: dict[str, Any] = {}
    exec(given, names)  # noqa: S102 - our own guide
    out, configuration = StringIO(), copy.deepcopy(names["LOGGING"])
    configuration["handlers"]["stderr"]["stream"] = out
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logging.config.dictConfig(configuration)
        async with executing(workflow) as platform:
            run_id = await workflow.trigger("hello")
            await output_of(platform, run_id)
            jobs = await jobs_of(platform, run_id)
        _elsewhere.warning("outside")
    finally:
        root.handlers[:], root.level = before
    lines = out.getvalue().splitlines()
    job_id = jobs["logging-job"].id
    assert f"WARNING gqlplugin.jobs run={run_id} job={job_id} by the job: hello" in lines
    assert "WARNING a.library.of.somebody run=- job=- outside" in lines


SHOP = """
import logging
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from gqlplugin import JobContext, create_workflow, create_workflow_job, define_app, lifespan
from gqlplugin.testing import MemoryPlatform

{setting}

@create_workflow_job(name="talks")
async def talks(text: str, ctx: JobContext) -> None:
    ctx.log.info("by the job: %s", text)
    raise RuntimeError("and then it broke")

talk = create_workflow(name="talk", main_job=talks)
app, platform = define_app("talking", workflows=[talk]), MemoryPlatform()

@asynccontextmanager
async def run(asgi):
    async with lifespan(app, platform)(asgi):
        await talk.trigger("hello")
        yield

asgi = Starlette(lifespan=run)
"""


def test_one_setting_shows_the_lines_of_jobs_under_uvicorn(tmp_path: Path) -> None:
    """With the line of docs/telemetry.md, uvicorn's own configuration shows what jobs log, and why they failed."""
    (setting,) = re.findall(r"^    (logging\.basicConfig.*)$", GUIDE.read_text(), re.MULTILINE)
    (tmp_path / "talking.py").write_text(SHOP.format(setting=setting))
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "talking:asgi", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(GUIDE.parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip())
            if line.startswith("RuntimeError: and then it broke"):
                break
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
    assert any(line.startswith("INFO:gqlplugin.jobs") and "by the job: hello" in line for line in lines), lines
    assert any(line.startswith("ERROR:gqlplugin.runs") and "JOB_FAILED" in line for line in lines), lines
    assert "Traceback (most recent call last):" in lines
