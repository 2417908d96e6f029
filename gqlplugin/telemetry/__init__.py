"""OpenTelemetry: what traces and metrics tell of operations, runs and jobs.

Only this package knows OpenTelemetry, by its API alone. Without the extra `otel` everything here does nothing; without
a provider, which is the application's to configure, next to nothing. See `docs/telemetry.md`.
"""

from __future__ import annotations

from gqlplugin.telemetry.queues import observe_queue
from gqlplugin.telemetry.span import NO_SPAN, Span, Start
from gqlplugin.telemetry.stored import dump_trace, load_trace

try:
    import opentelemetry.trace  # noqa: F401 - only to see whether it is there
except ModuleNotFoundError:
    from gqlplugin.telemetry.absent import (
        count_end,
        count_job,
        current_trace,
        job_span,
        operation_span,
        run_span,
        starting,
        trace_headers,
        within_request,
        within_trace,
    )
else:
    from gqlplugin.telemetry.measured import count_end, count_job
    from gqlplugin.telemetry.traced import (
        current_trace,
        job_span,
        operation_span,
        run_span,
        starting,
        trace_headers,
        within_request,
        within_trace,
    )

__all__ = [
    "NO_SPAN",
    "Span",
    "Start",
    "count_end",
    "count_job",
    "current_trace",
    "dump_trace",
    "job_span",
    "load_trace",
    "observe_queue",
    "operation_span",
    "run_span",
    "starting",
    "trace_headers",
    "within_request",
    "within_trace",
]
