"""Spans, by the OpenTelemetry API, and the trace that crosses processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from types import TracebackType
from typing import Self

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gqlplugin.errors import GqlpluginError, JobFailedError
from gqlplugin.runs import WorkflowExecution, job_id_at
from gqlplugin.telemetry import names
from gqlplugin.telemetry.measured import count_trigger
from gqlplugin.telemetry.span import NO_SPAN, Span, Start
from gqlplugin.telemetry.stored import checked_trace

_OPERATION = "GraphQL Operation"

_MAX_LENGTH = 255
"""Of a value: an operation's name is a client's choice."""

_tracer = trace.get_tracer(names.SCOPE, version(names.SCOPE), schema_url=names.SCHEMA_URL)
_w3c = TraceContextTextMapPropagator()


class TracedSpan(Span):
    """A span that somebody may record.

    Args:
        span: OpenTelemetry's, begun.
        status_key: The attribute that tells how it ended.
    """

    __slots__ = ("_has_failed", "_has_status", "_outer", "_span", "_status_key")

    def __init__(self, span: trace.Span, status_key: str | None = None) -> None:
        self._span = span
        self._status_key = status_key
        self._has_failed = False
        self._has_status = False
        self._outer: Context | None = None

    def __enter__(self) -> Self:
        self._outer = otel.get_current()
        otel.attach(trace.set_span_in_context(self._span, self._outer))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, Exception):
            if not self._has_failed:
                self.fail(code_of(exc))
        elif exc is not None and self._status_key is not None and not self._has_status:
            self.note(self._status_key, names.INTERRUPTED)
        self.leave()

    def rename(self, name: str) -> None:
        if self._span.is_recording():
            self._span.update_name(name)

    def note(self, key: str, value: str | int | bool) -> None:
        if self._span.is_recording():  # and has not ended
            self._span.set_attribute(key, value[:_MAX_LENGTH] if isinstance(value, str) else value)

    def ended(self, status: str, code: str | None = None) -> None:
        self._has_status = True
        if self._status_key is not None:
            self.note(self._status_key, status)
        if code is not None:
            self.fail(code)

    def fail(self, code: str) -> None:
        self._has_failed = True
        self.note(names.ERROR_TYPE, code)
        if self._span.is_recording():
            self._span.set_status(StatusCode.ERROR)

    def leave(self) -> None:
        if self._outer is None:
            return
        self._span.end()
        # not a detach: a stream may end in another context than it began in
        if trace.get_current_span() is self._span:
            otel.attach(self._outer)
        self._outer = None


class TracedStart(Start):
    """The span of a start, if there is one, and its count.

    Args:
        workflow_name: What is started.
        span: The span.
    """

    __slots__ = ("_span", "_workflow_name")

    def __init__(self, workflow_name: str, span: Span) -> None:
        self._workflow_name = workflow_name
        self._span = span

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            count_trigger(self._workflow_name, names.STARTED)
        elif isinstance(exc, GqlpluginError):
            count_trigger(self._workflow_name, exc.code)
        elif isinstance(exc, Exception):
            count_trigger(self._workflow_name, GqlpluginError.code)
        self._span.__exit__(exc_type, exc, traceback)

    def began(self, *run_ids: str) -> None:
        if len(run_ids) == 1:
            self._span.note(names.RUN_ID, run_ids[0])
        else:
            self._span.note(names.RUN_COUNT, len(run_ids))


def code_of(error: BaseException) -> str:
    """What may be told of an error: its code or, of one that is not ours, the name of its class."""
    if isinstance(error, JobFailedError):
        return error.job_code
    return error.code if isinstance(error, GqlpluginError) else type(error).__qualname__


def current_trace() -> Mapping[str, str] | None:
    """The trace that is current here, to be kept with a run that is started; None without one."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    headers: dict[str, str] = {}
    _w3c.inject(headers)
    return checked_trace(headers)


def trace_headers() -> Mapping[str, str]:
    """The headers by which a server that is called from here goes on with the trace."""
    headers: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        propagate.inject(headers)
    return headers


@contextmanager
def within_request(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[None]:
    """Go on with the trace that the headers of a request tell of, unless one is current.

    Args:
        headers: As ASGI has them.
    """
    current = trace.get_current_span().get_span_context()
    incoming = None if current.is_valid else _incoming(headers)
    if incoming is None:
        yield
        return
    token = otel.attach(incoming)
    try:
        yield
    finally:
        otel.detach(token)


@contextmanager
def within_trace(kept: Mapping[str, str] | None) -> Iterator[None]:
    """Go on with a trace that was kept, and with none where there is none, whatever is current."""
    token = otel.attach(_context_of(kept))
    try:
        yield
    finally:
        otel.detach(token)


def operation_span(headers: Iterable[tuple[bytes, bytes]]) -> Span:
    """The span of a GraphQL operation, below the one that is current, else the one that the request tells of.

    Args:
        headers: Of the request.
    """
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        parent = _incoming(headers)
        return NO_SPAN if parent is None and _is_off() else _begun(_OPERATION, SpanKind.SERVER, None, parent)
    return _begun(_OPERATION, SpanKind.SERVER if current.is_remote else SpanKind.INTERNAL, None)


def starting(workflow_name: str) -> Start:
    """The span of what starts runs of a workflow, which is counted."""
    if _is_off():
        return TracedStart(workflow_name, NO_SPAN)
    span = _begun(f"start {workflow_name}", SpanKind.PRODUCER, {names.WORKFLOW: workflow_name})
    return TracedStart(workflow_name, span)


def run_span(run: WorkflowExecution, *, recorded: int) -> Span:
    """The span of one execution of a run, in the trace that is kept with it, else in one of its own.

    Args:
        run: As it was picked up; the status tells why.
        recorded: How many jobs answer from the record.
    """
    if run.trace is None and _is_off():
        return NO_SPAN
    attributes: dict[str, str | int] = {
        names.WORKFLOW: run.workflow_name,
        names.RUN_ID: run.id,
        names.RUN_ATTEMPT: run.attempt,
        names.RUN_FROM: run.status.value,
        names.RUN_RECORDED: recorded,
    }
    parent = _context_of(run.trace)
    return _begun(f"run {run.workflow_name}", SpanKind.CONSUMER, attributes, parent, names.RUN_STATUS)


def job_span(run: WorkflowExecution, *, name: str, place: str, id_at: Callable[[str, str], str] = job_id_at) -> Span:
    """The span of a job whose body runs, within the one that is current."""
    if _is_off():
        return NO_SPAN
    span = _begun(
        f"job {name}",
        SpanKind.INTERNAL,
        {names.WORKFLOW: run.workflow_name, names.RUN_ID: run.id, names.JOB: name, names.JOB_PLACE: place},
        status_key=names.JOB_STATUS,
    )
    if span is not NO_SPAN:
        span.note(names.JOB_ID, id_at(run.id, place))
    return span


def _is_off() -> bool:
    """Whether the application has set no provider, so that a span would be what is current already.

    The API can only be asked by beginning a span or by `get_tracer_provider`, which looks into the environment each
    time: both take longer than all the rest. A version that keeps its provider elsewhere is asked in that way.
    """
    return type(_tracer) is trace.ProxyTracer and getattr(trace, "_TRACER_PROVIDER", _tracer) is None


def _begun(
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, str | int] | None,
    parent: Context | None = None,
    status_key: str | None = None,
) -> Span:
    span = _tracer.start_span(name, parent, kind, attributes)
    # without a provider there is none, unless a trace only passes through this process
    return TracedSpan(span, status_key) if span.get_span_context().is_valid else NO_SPAN


def _context_of(kept: Mapping[str, str] | None) -> Context:
    # what was current when the process began to work is no part of it
    nothing = trace.set_span_in_context(trace.INVALID_SPAN)
    checked = None if kept is None else checked_trace(kept)
    return nothing if checked is None else _w3c.extract(checked, nothing)


def _incoming(headers: Iterable[tuple[bytes, bytes]]) -> Context | None:
    """The context that a request's headers tell of, if any."""
    propagator = propagate.get_global_textmap()
    fields = _fields_of(propagator)
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        if name in fields:
            carrier.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return propagator.extract(carrier) if carrier else None


@lru_cache(maxsize=4)
def _fields_of(propagator: TextMapPropagator) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in propagator.fields)
