"""Runs that began under an earlier version go on: the workflows lead to the same commands from its histories."""

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from gqlplugin.platform.temporal.worker import WORKFLOWS

pytestmark = pytest.mark.anyio

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def history_of(path: Path) -> WorkflowHistory:
    kept = json.loads(path.read_text())
    return WorkflowHistory.from_json(kept.pop("workflow_id"), kept)


def replayer() -> Replayer:
    return Replayer(workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_histories_of_earlier_versions_replay(path: Path) -> None:
    """Nested jobs, retries, waits, cancels, admission, and a run that went on in a new history."""
    await replayer().replay_workflow(history_of(path))


def test_there_are_histories_of_every_way_that_a_run_can_go() -> None:
    """None has been lost."""
    assert len(HISTORIES) == 8


async def test_another_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow that would do something else than its history says does not replay."""

    def more(attributes: Any) -> None:
        workflow.upsert_memo({"more": 1})

    monkeypatch.setattr(workflow, "upsert_search_attributes", more)
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(history_of(HISTORIES[0].with_stem("nested-jobs")))
