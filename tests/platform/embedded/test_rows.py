"""Records survive the way into the file and back, whatever they hold."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gqlplugin.codec import is_unicode
from gqlplugin.errors import plain_text as replaced
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.embedded.rows import (
    from_microseconds,
    job_row,
    run_row,
    to_job,
    to_microseconds,
    to_run,
)
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    Progress,
    WorkflowExecution,
)

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
any_text = st.text(st.characters(exclude_categories=[]))
plain_text = st.text()
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=5,
)
errors = st.builds(ExecutionError, any_text, any_text, st.none() | any_text)
users = st.just(User()) | st.builds(
    User,
    plain_text,
    st.sampled_from(["user", "machine_user", ""]),
    any_text,
    st.none() | st.dictionaries(any_text, json_values, max_size=3),
    st.lists(any_text, max_size=3).map(tuple),
)

traceparents = st.from_regex("00-[1-9a-f][0-9a-f]{31}-[1-9a-f][0-9a-f]{15}-0[01]", fullmatch=True)
traces = st.fixed_dictionaries(
    {"traceparent": traceparents}, optional={"tracestate": st.from_regex("[ -~]{1,512}", fullmatch=True)}
)

runs = st.builds(
    WorkflowExecution,
    id=plain_text,
    workflow_name=plain_text,
    status=st.sampled_from(ExecutionStatus),
    input=plain_text,
    created_at=moments,
    caller=users,
    invoker=st.none() | st.builds(AuthInvoker, any_text, any_text),
    output=st.none() | plain_text,
    error=st.none() | errors,
    attempt=st.integers(0, 10),
    depth=st.integers(0, 10),
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
    trace=st.none() | traces,
)
jobs = st.builds(
    JobExecution,
    run_id=plain_text,
    place=plain_text,
    name=plain_text,
    stacked_name=plain_text,
    status=st.sampled_from(JobStatus),
    input=plain_text,
    started_at=moments,
    result=st.none() | plain_text,
    error=st.none() | errors,
    logs=st.lists(any_text.map(replaced), max_size=3).map(tuple),
    progress=st.none() | st.builds(Progress, st.floats(0, 1), st.none() | any_text),
    finished_at=st.none() | moments,
)


def through_sqlite(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row as SQLite gives it back."""
    with closing(sqlite3.connect(":memory:")) as connection:
        marks = ", ".join("?" * len(row))
        found: tuple[Any, ...] = connection.execute(f"SELECT {marks}", row).fetchone()
        return found


@given(run=runs)
def test_a_run_comes_back_as_it_was(run: WorkflowExecution) -> None:
    """Every field of a run, to the microsecond, with any characters in what callers and jobs say."""
    assert to_run(through_sqlite(run_row(run, due_at=None)), None) == run


@given(job=jobs)
def test_a_job_comes_back_as_it_was(job: JobExecution) -> None:
    """Every field of a job, to the microsecond, with any characters in errors and logs."""
    assert to_job(through_sqlite(job_row(job))) == job


@given(moment=moments)
def test_a_moment_comes_back_as_it_was(moment: datetime) -> None:
    """Microseconds are kept exactly, and sort as the moments do."""
    assert from_microseconds(to_microseconds(moment)) == moment
    assert to_microseconds(moment + timedelta(microseconds=1)) == to_microseconds(moment) + 1


@given(text=plain_text)
def test_unicode_is_what_sqlite_takes(text: str) -> None:
    """`is_unicode` tells exactly which texts SQLite can be given."""
    try:
        through_sqlite((text,))
    except UnicodeEncodeError:
        assert not is_unicode(text)
    else:
        assert is_unicode(text)


def test_text_of_an_earlier_version_can_be_shown() -> None:
    """A row that holds what is not UTF-8, as earlier versions wrote it, is read with its escapes."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    job = JobExecution(
        run_id="r", place="0", name="j", stacked_name="j", status=JobStatus.FAILED, input="null", started_at=now
    )
    row = list(job_row(job))
    row[7] = r'["NO_\udce9","no caf\udce9","at caf\udce9",true,null]'
    row[8] = r'["reading caf\udce9","a\u0000b"]'
    row[9] = r'[0.5,"reading caf\udce9"]'
    read = to_job(row)
    assert read.error == ExecutionError(r"NO_\udce9", r"no caf\udce9", r"at caf\udce9")
    assert read.logs == (r"reading caf\udce9", r"a\x00b")
    assert read.progress == Progress(0.5, r"reading caf\udce9")
