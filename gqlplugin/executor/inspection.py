"""Executors as people look at them: when they fire next, and what the run of a firing tells of it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from gqlplugin.codec import JsonCodec
from gqlplugin.execution import ExecutionStatus, WorkflowExecution
from gqlplugin.executor.definition import Executor
from gqlplugin.executor.operation import FiringOutcome
from gqlplugin.executor.trigger import ScheduleTrigger

_OUTCOME: JsonCodec[FiringOutcome] = JsonCodec(FiringOutcome)
_BETWEEN_TRIES = (ExecutionStatus.PENDING, ExecutionStatus.PENDING_RESUME, ExecutionStatus.PENDING_RETRY)


def next_time_of(executor: Executor[Any], now: datetime) -> datetime | None:
    """When a schedule fires next; None for what has no schedule, or is disabled."""
    if executor.disabled or not isinstance(executor.trigger, ScheduleTrigger):
        return None
    return executor.trigger.schedule.after(now)


def attempts_of(run: WorkflowExecution) -> int:
    """How many tries have begun, since the firing or since it was resumed."""
    return run.attempt if run.status in _BETWEEN_TRIES else run.attempt + 1


def arguments_hash_of(run: WorkflowExecution) -> str:
    """The SHA-256 of the arguments, in hexadecimal: tells whether two firings had the same, and not which.

    It is that of their JSON with sorted keys and no white space, in UTF-8.
    """
    text = json.dumps(from_json(run.input), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def outcome_of(run: WorkflowExecution) -> FiringOutcome | None:
    """What came of it; None until it has succeeded."""
    return None if run.output is None else _OUTCOME.load(run.output)
