"""Starting runs from workflows of Temporal's: several at once, which are all started once their batch is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.converter import DataConverter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from gqlplugin.platform.temporal.messages import BATCH, Facts, NewRun, Start

MAX_BATCH_BYTES = 1_900_000
"""How long a batch may be, as `batch_bytes` has it; Temporal refuses payloads above 2 MB."""

_AT_ONCE = 20
_IN_A_HISTORY = 100

_Plain = Mapping[str, Any]


def batch_bytes(runs: Sequence[NewRun]) -> int:
    """How long the message is that starts a batch."""
    return sum(len(payload.data) for payload in DataConverter.default.payload_converter.to_payloads([list(runs)]))


@workflow.defn(name=BATCH)
class Batch:
    """Starts runs, all of them, however often the process that does it dies."""

    @workflow.run
    async def run(self, runs: list[_Plain]) -> None:
        """Start them, and return when each is there.

        Few at a time, and few in a history: the message of a step is limited to 4 MB, and what those that end meanwhile
        have returned is in this workflow's history, which is limited too.

        Args:
            runs: Each a `NewRun`, in plain values: Temporal's own conversion of a thousand takes seconds.
        """
        for index in range(0, len(runs), _AT_ONCE):
            if index >= _IN_A_HISTORY or workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(runs[index:])
            await asyncio.gather(*map(start_child, map(_new_run, runs[index : index + _AT_ONCE])))


def _new_run(values: _Plain) -> NewRun:
    parts = {"start": Start(**_known(Start, values["start"])), "facts": Facts(**_known(Facts, values["facts"]))}
    return NewRun(**{**_known(NewRun, values), **parts})


def _known(kind: type[NewRun | Start | Facts], values: _Plain) -> _Plain:
    """Those of the values that this version knows."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


async def start_child(new: NewRun, record: bytes = b"") -> None:
    """Start a run from a workflow of Temporal's that may end before it, unless it was started before.

    Args:
        new: The run.
        record: What it begins with.
    """
    try:
        await workflow.start_child_workflow(
            new.name,
            args=[new.start, record],
            id=new.run_id,
            memo=new.memo,
            search_attributes=new.search_attributes,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            cancellation_type=ChildWorkflowCancellationType.ABANDON,
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.debug("The run %s was started before", new.run_id)
