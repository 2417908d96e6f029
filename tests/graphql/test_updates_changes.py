"""What is told of a run: over any history, with any pauses and reconnections, no gap and no repeat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlplugin.errors import InvalidInputError
from gqlplugin.graphql.cursor import (
    MAX_CURSOR_LENGTH,
    Change,
    GoingOn,
    JobEnd,
    JobLogLine,
    JobProgress,
    JobStart,
    Seen,
    StatusChange,
    changes_since,
    first_look,
    read_cursor,
    seen_of,
)
from gqlplugin.runs import ExecutionStatus, JobExecution, JobStatus, Progress, WorkflowExecution, shown, to_run_again

RUN_ID = "01a20213-804e-7e06-8af0-e3e28c3c3e08"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Snapshot = tuple[WorkflowExecution, list[JobExecution]]
Try = tuple[str, datetime]


@dataclass
class History:
    """A run as a platform executes it: what is recorded, at every commit."""

    draw: Callable[[int], int]
    now: datetime = BEGIN
    record: dict[str, JobExecution] = field(default_factory=dict)
    run: WorkflowExecution = field(
        default_factory=lambda: WorkflowExecution(
            id=RUN_ID, workflow_name="w", status=ExecutionStatus.PENDING, input="null", created_at=BEGIN
        )
    )
    commits: list[Snapshot] = field(default_factory=list)

    def tick(self) -> datetime:
        self.now += timedelta(microseconds=1 + self.draw(1000))
        return self.now

    def commit(self) -> None:
        self.commits.append((replace(self.run), list(shown(list(self.record.values())))))

    def move(self, status: ExecutionStatus, **changes: object) -> None:
        self.run = replace(self.run, status=status, finished_at=self.tick() if status.is_final else None)
        for name, value in changes.items():
            setattr(self.run, name, value)
        self.commit()

    def execute(self, budget: int) -> None:
        """Run, and be tried again, canceled or resumed."""
        self.commit()
        for _ in range(1 + self.draw(3)):
            self.move(ExecutionStatus.RUNNING)
            outcome = self.job("0", budget)
            if outcome is None:  # the process died: it goes on from the record
                continue
            self.record["0"] = outcome
            final = ExecutionStatus(outcome.status.value)
            if outcome.status is JobStatus.FAILED and self.draw(1):
                self.move(ExecutionStatus.PENDING_RETRY, attempt=self.run.attempt + 1)
            else:
                self.move(final)
                if final is ExecutionStatus.SUCCESS or not self.draw(1):
                    return
                self.move(ExecutionStatus.PENDING_RESUME, attempt=0)
            for place in to_run_again(self.record.values()):
                del self.record[place]
        main = self.record.get("0") or self.new_job("0")
        self.record["0"] = replace(main, status=JobStatus.SUCCESS, finished_at=self.tick())
        self.move(ExecutionStatus.SUCCESS)

    def new_job(self, place: str) -> JobExecution:
        return replace(job_of(place, JobStatus.RUNNING, 0), started_at=self.tick())

    def job(self, place: str, budget: int) -> JobExecution | None:
        """Run a job; its outcome, or None when the process died."""
        known = self.record.get(place)
        if known is not None and known.status.is_final:
            return known
        job = self.new_job(place)
        is_noted, step = False, 0
        for _ in range(self.draw(4)):
            match self.draw(6):
                case 0 | 1:
                    job = replace(job, logs=(*job.logs, f"{place} {len(job.logs)} {job.started_at}"))
                case 2:
                    job = replace(job, progress=Progress(self.draw(4) / 4))
                case 3 | 4 if budget and place.count(".") < 3:
                    is_given_up = self.draw(5) == 0  # by a time limit: no outcome is recorded
                    child = f"{place}.{step}"
                    outcome = self.job(child, budget - 1)
                    step += 1
                    if outcome is None:
                        return None
                    if not is_given_up:
                        self.record[child] = outcome
                        self.commit()
                case 5 if self.draw(8) == 0:
                    return None
            if is_noted or self.draw(2):
                is_noted = True
                self.record[place] = job
                self.commit()
        status = [JobStatus.SUCCESS, JobStatus.SUCCESS, JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED]
        return replace(job, status=status[self.draw(4)], finished_at=self.tick())


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    history = History(lambda most: draw(st.integers(0, most)))
    history.execute(budget=4)
    return history.commits


class Told:
    """What a subscriber was told, checked as it comes."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.lines: defaultdict[Try, list[str]] = defaultdict(list)
        self.started: list[Try] = []
        self.ended: list[Try] = []
        self.statuses: list[ExecutionStatus] = []

    def take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.changes.append(change)
            if isinstance(change, StatusChange):
                self.statuses.append(change.status)
                continue
            key = change.job.place, change.job.started_at
            if isinstance(change, JobStart):
                assert key not in self.started, "no start comes twice"
                self.started.append(key)
                continue
            assert key in self.started, "a start comes first"
            assert key not in self.ended, "an end comes last, and once"
            if isinstance(change, JobEnd):
                self.ended.append(key)
            elif isinstance(change, JobLogLine):
                self.lines[key].append(change.line)


def follow(commits: Sequence[Snapshot], looks: Sequence[int], *, reconnecting: bool) -> Told:
    """What is told of a history to somebody who looks at some of its commits, and at the last one."""
    told = Told()
    seen = first_look(*commits[0]).seen
    for number in [*sorted(looks), len(commits) - 1]:
        run, jobs = commits[number]
        if reconnecting:
            seen = read_cursor(seen.cursor, RUN_ID)
        news = changes_since(seen, run, jobs)
        check_order(news.changes)
        told.take(news.changes)
        assert changes_since(news.seen, run, jobs).changes == ()
        seen = news.seen
    return told


def check_order(changes: Sequence[Change]) -> None:
    """Within a message: starts before those of what was triggered, ends after theirs."""
    opened: list[str] = []
    ended: list[str] = []
    for change in changes:
        if isinstance(change, JobStart):
            assert not any(place.startswith(f"{change.job.place}.") for place in opened)
            opened.append(change.job.place)
        elif isinstance(change, JobEnd):
            assert not any(change.job.place.startswith(f"{place}.") for place in ended)
            ended.append(change.job.place)


@settings(max_examples=300)
@given(histories(), st.data(), st.booleans())
def test_no_gap_and_no_repeat(commits: list[Snapshot], data: st.DataObject, reconnecting: bool) -> None:
    """Whoever looks seldom, and comes back with a cursor each time, is told the same as who sees every commit."""
    every = follow(commits, range(1, len(commits) - 1), reconnecting=False)
    some = data.draw(st.lists(st.integers(0, len(commits) - 1), unique=True))
    told = follow(commits, some, reconnecting=reconnecting)
    run, jobs = commits[-1]
    for one in (every, told):
        for job in jobs:
            key = job.place, job.started_at
            assert key in one.started
            assert (key in one.ended) == job.status.is_final
            assert one.lines[key] == list(job.logs)
        assert one.statuses[-1:] == ([run.status] if run.status is not commits[0][0].status else one.statuses[-1:])
    assert set(told.started) <= set(every.started)
    assert set(told.ended) <= set(every.ended)
    for key, lines in told.lines.items():
        assert every.lines[key][: len(lines)] == lines


@settings(max_examples=100)
@given(histories(), st.data())
def test_a_snapshot_in_the_middle_is_a_beginning(commits: list[Snapshot], data: st.DataObject) -> None:
    """Whoever begins with a snapshot is told the rest of the lines of what it shows, and the starts of what comes."""
    first = data.draw(st.integers(0, len(commits) - 1))
    run, jobs = commits[first]
    before = {(job.place, job.started_at): job for job in jobs}
    news = changes_since(first_look(run, jobs).seen, *commits[-1])
    starts = {(one.job.place, one.job.started_at) for one in news.changes if isinstance(one, JobStart)}
    for job in commits[-1][1]:
        key = job.place, job.started_at
        lines = [one.line for one in news.changes if isinstance(one, JobLogLine) and one.job.place == job.place]
        known = before.get(key)
        assert (key in starts) == (known is None)
        assert lines == list(job.logs[len(known.logs) if known else 0 :])


def run_of(status: ExecutionStatus, **changes: object) -> WorkflowExecution:
    run = WorkflowExecution(id=RUN_ID, workflow_name="w", status=status, input="null", created_at=BEGIN)
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def job_of(place: str, status: JobStatus, start: int, end: int | None = None, *logs: str) -> JobExecution:
    return JobExecution(
        run_id=RUN_ID,
        place=place,
        name="j",
        stacked_name="j",
        status=status,
        input="null",
        started_at=BEGIN + timedelta(seconds=start),
        finished_at=None if end is None else BEGIN + timedelta(seconds=end),
        logs=logs,
    )


def names(changes: Sequence[Change]) -> list[str]:
    return [
        one.status.value if isinstance(one, StatusChange) else f"{type(one).__name__} {one.job.place}"
        for one in changes
    ]


RUNNING, SUCCESS, FAILED = ExecutionStatus.RUNNING, ExecutionStatus.SUCCESS, ExecutionStatus.FAILED


def test_changes_are_in_the_order_of_a_traversal() -> None:
    """Everything at once: the status RUNNING first, a job around what it triggered, a final status last."""
    jobs = [
        job_of("0", JobStatus.SUCCESS, 1, 9, "a"),
        job_of("0.0", JobStatus.SUCCESS, 2, 4),
        job_of("0.0.0", JobStatus.SUCCESS, 3, 4),
        job_of("0.1", JobStatus.SUCCESS, 5, 6),
    ]
    seen = first_look(run_of(ExecutionStatus.PENDING), []).seen
    within = ["JobStart 0", "JobLogLine 0", "JobStart 0.0", "JobStart 0.0.0", "JobEnd 0.0.0", "JobEnd 0.0"]
    within += ["JobStart 0.1", "JobEnd 0.1", "JobEnd 0"]
    ended = run_of(SUCCESS, finished_at=BEGIN + timedelta(seconds=9))
    assert names(changes_since(seen, ended, jobs).changes) == [*within, "SUCCESS"]
    assert names(changes_since(seen, run_of(RUNNING), jobs).changes) == ["RUNNING", *within]


def test_a_short_job_waits_for_its_caller_to_be_recorded() -> None:
    """A job that was recorded before its caller is told of with it, also when another one has ended meanwhile."""
    main, given_up = job_of("0", JobStatus.RUNNING, 1), job_of("0.0", JobStatus.RUNNING, 2)
    short, other = job_of("0.0.0", JobStatus.SUCCESS, 3, 4, "a"), job_of("0.1", JobStatus.SUCCESS, 5, 6)
    news = changes_since(first_look(run_of(RUNNING), []).seen, run_of(RUNNING), [main, short])
    assert names(news.changes) == ["JobStart 0"]
    seen = read_cursor(news.seen.cursor, RUN_ID)
    news = changes_since(seen, run_of(RUNNING), [main, short, other])
    assert names(news.changes) == ["JobStart 0.1", "JobEnd 0.1"]
    seen = read_cursor(news.seen.cursor, RUN_ID)
    news = changes_since(seen, run_of(RUNNING), [main, given_up, short, other])
    assert names(news.changes) == ["JobStart 0.0", "JobStart 0.0.0", "JobLogLine 0.0.0", "JobEnd 0.0.0"]


def test_a_failure_after_a_resume_is_told_again() -> None:
    """A run that was resumed and failed again between two looks is told as failed again, with its main job."""
    first = run_of(FAILED, finished_at=BEGIN + timedelta(seconds=3))
    second = run_of(FAILED, finished_at=BEGIN + timedelta(seconds=9))
    seen = first_look(first, [job_of("0", JobStatus.FAILED, 1, 3)]).seen
    news = changes_since(seen, second, [job_of("0", JobStatus.FAILED, 7, 9)])
    assert names(news.changes) == ["JobStart 0", "JobEnd 0", "FAILED"]


def test_a_clock_that_goes_back_hides_nothing() -> None:
    """A job that was triggered later is told of whatever its times are."""
    main = job_of("0", JobStatus.RUNNING, 10)
    seen = first_look(run_of(RUNNING), [main, job_of("0.0", JobStatus.SUCCESS, 11, 12)]).seen
    later = [main, job_of("0.0", JobStatus.SUCCESS, 11, 12), job_of("0.1", JobStatus.SUCCESS, 5, 6)]
    assert names(changes_since(seen, run_of(RUNNING), later).changes) == ["JobStart 0.1", "JobEnd 0.1"]


def test_progress_is_told_once() -> None:
    """The same progress is not told again; another message with the same fraction is."""
    job = replace(job_of("0", JobStatus.RUNNING, 1), progress=Progress(0.5, "half"))
    news = changes_since(first_look(run_of(RUNNING), []).seen, run_of(RUNNING), [job])
    assert names(news.changes) == ["JobStart 0", "JobProgress 0"]
    assert changes_since(read_cursor(news.seen.cursor, RUN_ID), run_of(RUNNING), [job]).changes == ()
    job = replace(job, progress=Progress(0.5, "really"))
    (change,) = changes_since(news.seen, run_of(RUNNING), [job]).changes
    assert change == JobProgress(job, 0.5, "really")


GOOD = first_look(run_of(RUNNING), [job_of("0", JobStatus.RUNNING, 1)]).seen.cursor


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "1.", "1.x", "2" + GOOD[1:], GOOD[:-3], GOOD + "é", "\ud800", GOOD + "A" * MAX_CURSOR_LENGTH],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """Garbage and other versions are the caller's error, which says what to do and repeats nothing of them."""
    with pytest.raises(InvalidInputError) as caught:
        read_cursor(cursor, RUN_ID)
    (problem,) = caught.value.problems
    assert problem.path == ("after",)
    assert problem.message.startswith("This is not a cursor of this workflow run: subscribe without `after`")


def test_a_cursor_of_another_run_is_refused() -> None:
    """Each run has its own."""
    assert read_cursor(GOOD, RUN_ID).cursor == GOOD
    with pytest.raises(InvalidInputError):
        read_cursor(GOOD, str(uuid4()))


@pytest.mark.parametrize(
    "values",
    [
        {"last": "0.x"},
        {"last": "0." + "9" * 5000},
        {"ended": ("..",)},
        {"ended_at": -1},
        {"attempt": 1 << 80},
        {"going_on": (GoingOn("0", 1, -5),)},
        {"going_on": (GoingOn("", 1),)},
        {"going_on": (GoingOn("0", 1, 0, "p" * 100),)},
    ],
)
def test_a_forged_cursor_is_refused(values: dict[str, object]) -> None:
    """What no cursor can say is not taken from one."""
    seen = replace(Seen(RUN_ID, RUNNING, 0, None), **values)  # type: ignore[arg-type] # as said by name
    with pytest.raises(InvalidInputError):
        read_cursor(seen.cursor, RUN_ID)


def test_a_cursor_is_short_whatever_happens() -> None:
    """However many jobs are unfinished, untold or ended at once, a cursor stays below what is read."""
    many = [job_of(f"0.{number}.123456789.123456789", JobStatus.RUNNING, number) for number in range(5000)]
    ended = [replace(job, status=JobStatus.CANCELED, finished_at=BEGIN) for job in many]
    for told, untold in ((many, ended), (ended, many)):
        cursor = seen_of(run_of(RUNNING), told, untold).cursor
        assert len(cursor) <= MAX_CURSOR_LENGTH
        assert read_cursor(cursor, RUN_ID).cursor == cursor
