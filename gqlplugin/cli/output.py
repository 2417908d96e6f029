"""Output of commands: results on stdout, the rest on stderr; what `--json` prints; exit codes."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, JsonValue, PlainSerializer
from pydantic.alias_generators import to_camel
from pydantic_core import from_json
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gqlplugin.app import App
from gqlplugin.checks import executor_of
from gqlplugin.errors import InvalidInputError, missing_extra
from gqlplugin.executor import Executor
from gqlplugin.executor.definition import arguments_hash_of, attempts_of, next_time_of, outcome_of
from gqlplugin.runs import ExecutionError, JobExecution, PendingWait, WorkflowExecution

# What a terminal may take as a command, what turns the direction of text, other line ends, and half surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DURATION = re.compile(r"(\d+)(ms|s|m)", re.ASCII)
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes"}


def safe(text: str) -> str:
    r"""A text on one line, with what a terminal could act on written as `\x1b` and the like."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def brief(text: str, most: int = 200) -> str:
    """The beginning of a text, on one line and safe."""
    return safe(text) if len(text) <= most else f"{safe(text[:most])}…"


def safe_lines(text: str) -> list[str]:
    """The lines of a text, each of them safe."""
    return [safe(line.expandtabs(4)) for line in text.splitlines()]


def safe_json(text: str) -> str:
    """JSON text whose strings hold nothing that a terminal could act on; it means the same.

    A line break or a tab between its values stays.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


def parse_duration(text: str) -> timedelta:
    """The duration that a text such as `500ms`, `3s` or `5m` means (TAILOR.md section 3).

    Raises:
        ValueError: It means none, or one of no length, or one too long to be measured.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration: write a number with ms, s or m, such as 500ms, 3s or 5m")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except (OverflowError, ValueError):
        raise ValueError(f"{text!r} is too long") from None
    if not duration:
        raise ValueError("it must be longer than 0")
    return duration


def elapsed(started: datetime | None, finished: datetime | None) -> str:
    """The time between start and end, or until now: `30ms`, `4.2s`, `2m 05s`, `3h 10m`."""
    if started is None:
        return ""
    seconds = max(((finished or datetime.now(UTC)) - started).total_seconds(), 0.0)
    if finished is not None and seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"


def local_time(moment: datetime | None, *, brief: bool = False) -> str:
    """A moment in the time zone of this machine.

    Args:
        moment: The moment.
        brief: Leave out the day of a time of today, and the year of a time of this year.
    """
    if moment is None:
        return ""
    local, now = moment.astimezone(), datetime.now(UTC).astimezone()
    if not brief or local.year != now.year:
        return local.strftime("%Y-%m-%d %H:%M:%S")
    return local.strftime("%H:%M:%S" if local.date() == now.date() else "%b %d %H:%M")


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_in_utc)]


class Shape(BaseModel):
    """What the shapes share: names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class WorkflowShape(Shape):
    """A workflow, of `workflow list` (an array of them) and `workflow get`.

    Attributes:
        name: Its name.
        main_job: The name of its main job; null for one that is defined elsewhere.
        job_functions: The names of the jobs it is made of.
        updated_at: When it was last deployed; null for an application on this machine.
    """

    name: str
    main_job: str | None
    job_functions: list[str]
    updated_at: Moment | None


class ExecutionRowShape(Shape):
    """A run, of `workflow executions` (an array of them, newest first).

    Attributes:
        id: The execution's ID.
        workflow_name: The workflow's name.
        status: PENDING, PENDING_RESUME, PENDING_RETRY, RUNNING, WAITING (for an answer), SUCCESS, FAILED or CANCELED.
        job_executions: How many jobs it has triggered so far, its main job included.
        started_at: When its first job began.
        finished_at: When it ended.
    """

    id: str
    workflow_name: str
    status: str
    job_executions: int
    started_at: Moment | None
    finished_at: Moment | None


class ErrorShape(Shape):
    """Why a run or a job failed.

    Attributes:
        code: A stable code.
        message: What callers may read.
        detail: The traceback, for operators.
    """

    code: str
    message: str
    detail: str | None


class JobShape(Shape):
    """A job of a run, or a wait of it at a wait point.

    Attributes:
        id: The job execution's ID.
        stacked_name: The names of the jobs down to this one, joined by "/".
        status: RUNNING, SUSPEND (it waits for what is below it), WAITING (of a wait), SUCCESS, FAILED or CANCELED.
        is_wait_point: Whether it is no job but a wait for an answer.
        input: Its argument; of a wait, what those who answer are told.
        result: What it returned; of a wait, the answer.
        error: Why it failed.
        logs: The lines it logged.
        started_at: When it began.
        finished_at: When it ended.
    """

    id: str
    stacked_name: str
    status: str
    is_wait_point: bool
    input: JsonValue
    result: JsonValue
    error: ErrorShape | None
    logs: list[str]
    started_at: Moment
    finished_at: Moment | None


class ExecutionShape(Shape):
    """A run with its jobs, of `workflow executions ID`, and of `start`, `resume`, `cancel` and `resolve` with `--wait`.

    Attributes:
        id: The execution's ID.
        workflow_name: The workflow's name.
        status: As in the list of runs.
        input: The argument it was started with.
        output: What its main job returned.
        error: Why it failed.
        machine_user: As whom it runs; null when it is anonymous.
        started_at: When its first job began.
        finished_at: When it ended.
        jobs: Its jobs, in the order they were triggered.
    """

    id: str
    workflow_name: str
    status: str
    input: JsonValue
    output: JsonValue
    error: ErrorShape | None
    machine_user: str | None
    started_at: Moment | None
    finished_at: Moment | None
    jobs: list[JobShape]


class StartedShape(Shape):
    """A run that goes on by itself, of `workflow start`, `resume`, `cancel` and `resolve`.

    Attributes:
        execution_id: The execution's ID.
        status: As in the list of runs.
    """

    execution_id: str
    status: str


class WaitShape(Shape):
    """What a run waits for, of `workflow resolve ID` (an array of them).

    Attributes:
        id: The ID of the job execution that stands for the wait.
        execution_id: The execution's ID.
        key: The wait point's name.
        payload: What those who answer are told.
        since: When it began to wait.
        expires_at: When it goes on without an answer; null is never.
    """

    id: str
    execution_id: str
    key: str
    payload: JsonValue
    since: Moment
    expires_at: Moment | None


class MachineUserShape(Shape):
    """A machine user, of `machineuser list` (an array of them).

    Attributes:
        name: Its name.
        namespace: The auth namespace it belongs to.
        client_id: Its OAuth client ID; null for an application on this machine. The client secret is never shown.
        attributes: JSON values by name.
    """

    name: str
    namespace: str
    client_id: str | None
    attributes: dict[str, JsonValue]


class ExecutorShape(Shape):
    """An executor, of `executor list` (an array of them) and `executor get`.

    Attributes:
        name: Its name.
        description: For people.
        disabled: Nothing fires it.
        trigger_kind: schedule, incoming-webhook, record-created, record-updated, record-deleted or resolver-executed.
        trigger_detail: What exactly it waits for.
        operation_kind: workflow, function, graphql or webhook.
        operation_detail: What exactly it does.
        next_time: When a schedule fires next.
    """

    name: str
    description: str
    disabled: bool
    trigger_kind: str
    trigger_detail: str
    operation_kind: str
    operation_detail: str
    next_time: Moment | None


class ExecutorJobShape(Shape):
    """What an executor did, of `executor jobs` (an array, newest first).

    Attributes:
        id: The execution's ID.
        executor: The executor's name.
        status: As in the list of runs.
        attempts: How many tries have begun, since it was fired or resumed.
        arguments_hash: The SHA-256 of the arguments, in hexadecimal.
        skipped: The condition was not met, and nothing was done.
        workflow_run_id: The run that it started.
        error: Why it failed.
        started_at: When it began.
        finished_at: When it ended.
    """

    id: str
    executor: str
    status: str
    attempts: int
    arguments_hash: str
    skipped: bool
    workflow_run_id: str | None
    error: ErrorShape | None
    started_at: Moment | None
    finished_at: Moment | None


def execution_row(run: WorkflowExecution, jobs: Sequence[JobExecution]) -> ExecutionRowShape:
    """A run as the list of runs shows it."""
    return ExecutionRowShape(
        id=run.id,
        workflow_name=run.workflow_name,
        status=run.status,
        job_executions=len(jobs),
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def executor(one: Executor[Any], now: datetime) -> ExecutorShape:
    """An executor as it is defined, at a moment."""
    return ExecutorShape(
        name=one.name,
        description=one.description,
        disabled=one.disabled,
        trigger_kind=one.trigger.kind,
        trigger_detail=one.trigger.detail,
        operation_kind=one.operation.kind,
        operation_detail=one.operation.detail,
        next_time=next_time_of(one, now),
    )


def executor_job(run: WorkflowExecution) -> ExecutorJobShape:
    """A run of a firing, as the list of an executor's jobs shows it."""
    outcome = outcome_of(run)
    return ExecutorJobShape(
        id=run.id,
        executor=executor_of(run.workflow_name) or "",
        status=run.status,
        attempts=attempts_of(run),
        arguments_hash=arguments_hash_of(run),
        skipped=outcome is not None and outcome.skipped,
        workflow_run_id=None if outcome is None else outcome.workflow_run_id,
        error=_error(run.error),
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def execution(run: WorkflowExecution, jobs: Sequence[JobExecution]) -> ExecutionShape:
    """A run with its jobs."""
    return ExecutionShape(
        id=run.id,
        workflow_name=run.workflow_name,
        status=run.status,
        input=json_value(run.input),
        output=json_value(run.output),
        error=_error(run.error),
        machine_user=run.invoker.machine_user_name if run.invoker else None,
        started_at=run.started_at,
        finished_at=run.finished_at,
        jobs=[_job(job) for job in jobs],
    )


def wait(one: PendingWait) -> WaitShape:
    """What a run waits for."""
    return WaitShape(
        id=one.job_id,
        execution_id=one.execution.id,
        key=one.name,
        payload=json_value(one.payload),
        since=one.since,
        expires_at=one.expires_at,
    )


def _job(job: JobExecution) -> JobShape:
    return JobShape(
        id=job.id,
        stacked_name=job.stacked_name,
        status=job.status,
        is_wait_point=job.is_wait_point,
        input=json_value(job.input),
        result=json_value(job.result),
        error=_error(job.error),
        logs=list(job.logs),
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _error(error: ExecutionError | None) -> ErrorShape | None:
    return None if error is None else ErrorShape(code=error.code, message=error.message, detail=error.detail)


def json_value(text: str | None) -> JsonValue:
    """The value of a JSON text; a text that isn't JSON, which some platforms keep, stays a text."""
    if not text:
        return None
    try:
        return from_json(text, allow_inf_nan=False)  # type: ignore[no-any-return]  # JSON is all it returns
    except ValueError:
        return text


def as_json(shape: Shape | Sequence[Shape]) -> str:
    """A shape, or an array of them, as JSON text that is safe to print."""
    if isinstance(shape, Shape):
        value: object = shape.model_dump(mode="json", by_alias=True)
    else:
        value = [one.model_dump(mode="json", by_alias=True) for one in shape]
    return safe_json(json.dumps(value, indent=2, ensure_ascii=False))


class CommandError(Exception):
    """The command can't go on.

    Args:
        message: What was wrong, and what to do.
        details: Lines that belong below it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, details: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class UsageError(CommandError):
    """What was typed, or what the environment says, can't be meant."""

    exit_code = 2


class MissingExtraError(CommandError):
    """A part of gqlplugin that the command needs is not installed."""

    def __init__(self, what: str, extra: str, error: ImportError) -> None:
        super().__init__(str(missing_extra(what, extra, error)))


def not_found(execution_id: str) -> CommandError:
    """The error for an ID that no run has."""
    return CommandError(f"Execution {execution_id!r} not found.")


def unknown_workflow(app: App, name: str) -> CommandError:
    """The error for a name that no workflow of the app has."""
    close = get_close_matches(name, app.workflows)
    known = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(sorted(app.workflows)) or 'none'}."
    return CommandError(f"App {app.name!r} has no workflow {name!r}. {known}")


def unknown_executor(app: App, name: str) -> CommandError:
    """The error for a name that no executor of the app has."""
    close = get_close_matches(name, app.executors)
    known = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(sorted(app.executors)) or 'none'}."
    return CommandError(f"App {app.name!r} has no executor {name!r}. {known}")


def field_lines(error: InvalidInputError) -> list[str]:
    """What is wrong with each field, below each other."""
    paths = [".".join(map(str, problem.path)) for problem in error.problems]
    width = max(map(len, paths), default=0)
    lines = [safe(f"{path:{width}}  {problem.message}") for path, problem in zip(paths, error.problems, strict=True)]
    return [line.strip() for line in lines] or [safe(error.message)]


LOGGERS = ("gqlplugin", "hypercorn", "stamina", "temporalio")
"""The loggers of what a command uses."""


class SafeFormatter(logging.Formatter):
    """Writes what is logged, by jobs too, in a form that a terminal does not act on."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return "\n".join(safe_lines(super().format(record)))


def log_nothing() -> None:
    """Leave it to the command to say what went wrong; Python would write warnings to stderr as well."""
    for name in LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write what is logged to stderr; of the parts that serve, only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s  %(levelname)-7s  %(message)s", "%H:%M:%S"))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level if name == "gqlplugin" else logging.WARNING)


_WIDE = 10_000
_GAP = 2
_SHORTEST = 8
_READABLE = 40
_STYLES = {
    "PENDING": "yellow",
    "PENDING_RESUME": "yellow",
    "PENDING_RETRY": "yellow",
    "RUNNING": "cyan",
    "WAITING": "magenta",
    "SUSPEND": "blue",
    "SUCCESS": "green",
    "FAILED": "bold red",
    "CANCELED": "red",
}


def prepare_streams() -> None:
    """Let no character that the encoding of a stream lacks end a command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test may have put something else in its place
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def console(*, stderr: bool = False) -> Console:
    """Where to write; lines are not broken where there is no terminal."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=None if is_terminal else _WIDE)


def say(text: str | Text) -> None:
    """Write data: a line, on stdout."""
    console().print(text, soft_wrap=True)


def say_block(block: RenderableType) -> None:
    """Write data: a table or a tree, on stdout. Lines have no blanks at their end where there is no terminal."""
    out = console()
    if out.is_terminal:
        out.print(block)
        return
    with out.capture() as captured:
        out.print(block)
    for line in captured.get().splitlines():
        say(line.rstrip())


def note(text: str | Text, style: str = "dim") -> None:
    """Write what is not data: a line, on stderr."""
    console(stderr=True).print(text, style=style, soft_wrap=True)


def say_json(shape: Shape | Sequence[Shape]) -> None:
    """Write a shape, on stdout."""
    say(as_json(shape))


def status_text(status: str) -> Text:
    """A status, in its colour."""
    return Text(safe(status), style=_STYLES.get(status.upper(), ""))


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    spare: Sequence[str] = (),
) -> Table:
    """A table without lines. Text of the cells is not markup.

    Args:
        headings: Of the columns.
        rows: Of cells.
        whole: The headings of columns that are not shortened in a narrow terminal.
        spare: The headings of columns that are left out where there is no room for all, the first one first.
    """
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    cells = [[cell if isinstance(cell, Text) else Text(safe(cell)) for cell in row] for row in rows]
    widths = [max([len(heading), *(row[index].cell_len for row in cells)]) for index, heading in enumerate(headings)]
    fitted = _fitted(dict(zip(headings, widths, strict=True)), whole, spare)
    for heading, width in fitted.items():
        made.add_column(heading, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        made.add_row(*(cell for heading, cell in zip(headings, row, strict=True) if heading in fitted))
    return made


def _fitted(widths: Mapping[str, int], whole: Collection[str], spare: Sequence[str]) -> dict[str, int]:
    """The columns to show with their widths: the widest of those that may be shortened give way first."""
    # rich would shorten all of them alike, and cut off what is then still too wide
    room = console().width + _GAP
    fitted = {heading: min(width + _GAP, room) for heading, width in widths.items()}
    for heading in spare:
        if sum(width if one in whole else min(width, _READABLE) for one, width in fitted.items()) > room:
            del fitted[heading]
    shortened = [heading for heading in fitted if heading not in whole]
    while sum(fitted.values()) > room and any(fitted[heading] > _SHORTEST for heading in shortened):
        fitted[max(shortened, key=fitted.__getitem__)] -= 1
    return {heading: width - _GAP for heading, width in fitted.items()}


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values below each other; a name without a value is left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value:
            made.add_row(f"{name}:", value if isinstance(value, Text) else Text(safe(value)))
    return made
