"""What the processes of an app tell each other through Temporal: arguments, results, memos, and names.

All of it is JSON made of dataclasses. A field is added with a default, and none is taken away: what runs today was
started by an earlier version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from gqlplugin.execution import ExecutionStatus
from gqlplugin.platform.temporal.records import Row

STATUS = SearchAttributeKey.for_keyword("GqlpluginStatus")
"""The status of a run that has not ended."""

CALLER = SearchAttributeKey.for_keyword("GqlpluginCaller")
"""Who started a run, as `caller_mark` says: to find runs, not to tell who it was."""

CREATED_AT = SearchAttributeKey.for_datetime("GqlpluginCreatedAt")
"""When a run was started first; only runs have it."""

WAIT_POINT = SearchAttributeKey.for_keyword("GqlpluginWaitPoint")
"""What a run waits at; unset again when it goes on."""

WAITING_SINCE = SearchAttributeKey.for_datetime("GqlpluginWaitingSince")
"""Since when."""

SEARCH_ATTRIBUTES = (STATUS, CALLER, CREATED_AT, WAIT_POINT, WAITING_SINCE)

FACTS = "gqlplugin.facts"
"""The memo that says what a run was started with, a `Facts`."""

STATE = "gqlplugin.state"
"""The memo that says how far it is, a `State`."""

RUN_JOBS = "run-jobs"
"""The activity that runs the jobs of a run."""

ADMISSION = "gqlplugin-admission"
"""The workflow that admits runs of a workflow that has a concurrency policy."""

BATCH = "gqlplugin-batch"
"""The workflow that starts several runs."""

FIRE = "gqlplugin-fire"
"""The workflow that starts the run of a time of a schedule."""

MAX_MEMO_CHARACTERS = 4096
"""Up to which length an input, an output or a payload is also in the memo, where listings find it."""


MOST_RECORDED = 1500
"""How many jobs a history takes: each is an update, of which Temporal allows 2000."""


@dataclass(kw_only=True)
class Facts:
    """What a run was started with. Set at its start and never changed.

    Attributes:
        caller, invoker: As `dump_user` and `dump_invoker` write them.
        created_at: ISO 8601.
        input: JSON text; None where it is too long for a memo.
        fingerprint: What tells its request from others.
        trace: Of which trace it is part, as W3C headers.
    """

    caller: str
    invoker: str | None
    created_at: str
    fingerprint: str
    depth: int = 0
    input: str | None = None
    trace: dict[str, str] | None = None


@dataclass(kw_only=True)
class Wait:
    """Where a run waits.

    Attributes:
        place: The place of the wait in the record.
        name: The wait point.
        payload: JSON text; None where it is too long for a memo.
        since, expires_at: ISO 8601.
        expired: The message of the error when nobody resolves it in time.
    """

    place: str
    name: str
    payload: str | None
    since: str
    expires_at: str | None = None
    expired: str = ""


@dataclass(kw_only=True)
class State:
    """How far a run is, beside what Temporal tells of it.

    Attributes:
        output: JSON text; None also where it is too long for a memo: it is the workflow's result.
        started_at, finished_at: ISO 8601.
        answered: Which answers the last waits have got, by place; an empty one is none in time.
    """

    attempt: int = 0
    output: str | None = None
    error: list[Any] | None = None
    progress: list[Any] | None = None
    started_at: str | None = None
    finished_at: str | None = None
    wait: Wait | None = None
    answered: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Start:
    """The argument of the workflow of a run. The record that it begins with, compressed, is the second argument.

    Attributes:
        input: JSON text.
        heartbeat_seconds: After which silence a process that runs jobs counts as dead.
        limit: How many runs of the workflow execute at once, as far as the starting process knows.
        limit_at: When it was told that, as ISO 8601; by default when it starts.
        attempt: Of a run that goes on in a new history.
        began_at: When its first job began.
        most_recorded: How many jobs a history takes before the run goes on in a new one. It is told, as a version that
            took another number could not go on with what an earlier one began.
    """

    input: str
    heartbeat_seconds: float
    limit: int | None = None
    limit_at: str | None = None
    attempt: int = 0
    began_at: str | None = None
    most_recorded: int = field(default_factory=lambda: MOST_RECORDED)


@dataclass(kw_only=True)
class Session:
    """The argument of the activity that runs the jobs of a run from its record, which is the second argument.

    Attributes:
        epoch: Which session of this history it is: what a session that was given up says is not heard.
        limit: Under which limit it was admitted; None is without.
        status: The run's before.
    """

    workflow_name: str
    input: str
    facts: Facts
    epoch: int
    attempt: int
    limit: int | None = None
    began_at: str | None = None
    status: str = ExecutionStatus.PENDING.value


class End(StrEnum):
    """Why a session ended."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    RETRY = "RETRY"
    WAITING = "WAITING"
    INTERRUPTED = "INTERRUPTED"
    LIMITED = "LIMITED"
    UNKNOWN = "UNKNOWN"


@dataclass(kw_only=True)
class Outcome:
    """How a session ended.

    Attributes:
        rows: The jobs as they were then: what has changed since they were recorded.
        output: Of a run that has succeeded.
        error: Of one that has failed, or is tried again.
        retry_seconds: After which wait it is tried again.
        limit: Of a run that must be admitted first.
        wait: Where it waits.
    """

    end: End
    rows: list[Row] = field(default_factory=list)
    output: str | None = None
    error: list[Any] | None = None
    retry_seconds: float = 0
    limit: int | None = None
    wait: Wait | None = None


@dataclass(kw_only=True)
class Recorded:
    """The argument of the update `record`: jobs that have ended."""

    epoch: int
    rows: list[Row]


@dataclass(kw_only=True)
class Answer:
    """The argument of the signal `resolve`: an answer to a wait. The first one that comes is taken."""

    id: str
    place: str
    result: str


@dataclass(kw_only=True)
class NewRun:
    """A run that is to be started: as a workflow of Temporal's whose ID is the run's and whose type is its workflow.

    Attributes:
        caller: As `caller_mark` says.
    """

    run_id: str
    name: str
    start: Start
    facts: Facts
    caller: str
    status: str = ExecutionStatus.PENDING.value

    @property
    def memo(self) -> dict[str, Any]:
        """The memo of its workflow."""
        return {FACTS: vars(self.facts)}

    @property
    def search_attributes(self) -> TypedSearchAttributes:
        """The search attributes of its workflow."""
        return TypedSearchAttributes(
            [
                SearchAttributePair(STATUS, self.status),
                SearchAttributePair(CALLER, self.caller),
                SearchAttributePair(CREATED_AT, datetime.fromisoformat(self.facts.created_at)),
            ]
        )


def caller_mark(caller_id: str) -> str:
    """What runs of a caller are found by: short, and free of characters that a query would trip over."""
    return blake2b(caller_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def admission_id(task_queue: str, workflow_name: str) -> str:
    """The ID of the workflow that admits the runs of a workflow."""
    return f"{task_queue}/admission/{workflow_name}"


ALWAYS = timedelta(days=3650)
"""How long a session may last: jobs have no time limit of their own, and silence is found out by heartbeats."""
