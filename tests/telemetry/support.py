"""What the tests of traces and metrics share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from gqlplugin.app import define_app
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import Workflow

Tree: TypeAlias = dict[str, Any]
"""The names of spans, with the trees below them. Spans of one name below the same parent are one here."""


class Spans:
    """The spans that have ended.

    Attributes:
        tracer: Of the application, for spans of its own.
    """

    def __init__(self, exporter: InMemorySpanExporter, tracer: Tracer) -> None:
        self._exporter = exporter
        self.tracer = tracer

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name, in the order they ended."""
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of a name."""
        (span,) = self.named(name)
        return span

    def names(self) -> set[str]:
        return {span.name for span in self.all}

    def trees(self) -> list[Tree]:
        """One tree for each trace, without order."""
        return [_tree([span for span in self.all if trace_of(span) == one], None) for one in self.traces()]

    def traces(self) -> set[int]:
        return {trace_of(span) for span in self.all}


def _tree(spans: list[ReadableSpan], parent: int | None) -> Tree:
    known = {id_of(span) for span in spans}
    tree: Tree = {}
    for span in spans:
        above = None if span.parent is None or span.parent.span_id not in known else span.parent.span_id
        if above == parent:
            tree.setdefault(span.name, {}).update(_tree_below(spans, span))
    return tree


def _tree_below(spans: list[ReadableSpan], span: ReadableSpan) -> Tree:
    tree: Tree = {}
    for child in spans:
        if child.parent is not None and child.parent.span_id == id_of(span):
            tree.setdefault(child.name, {}).update(_tree_below(spans, child))
    return tree


def trace_of(span: ReadableSpan) -> int:
    """The ID of a span's trace."""
    assert span.context is not None
    return int(span.context.trace_id)


def id_of(span: ReadableSpan) -> int:
    """The ID of a span."""
    assert span.context is not None
    return int(span.context.span_id)


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """What a span tells, its kind left out."""
    return dict(span.attributes or {})


def has_failed(span: ReadableSpan) -> bool:
    """Whether a span is marked as failed."""
    return span.status.status_code is StatusCode.ERROR


class Metrics:
    """What is measured so far."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def points(self, name: str) -> list[NumberDataPoint | HistogramDataPoint]:
        """The points of a metric."""
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint | HistogramDataPoint)
        ]

    def counts(self, name: str) -> dict[tuple[Any, ...], int]:
        """How often, by the values of the attributes in the order of their names."""
        return {
            tuple(value for _, value in sorted((point.attributes or {}).items())): int(
                point.count if isinstance(point, HistogramDataPoint) else point.value
            )
            for point in self.points(name)
        }

    def text(self) -> str:
        """All of it."""
        data = self._reader.get_metrics_data()
        return "" if data is None else str(data.to_json())


@asynccontextmanager
async def executing(*workflows: Workflow[Any, Any]) -> AsyncIterator[MemoryPlatform]:
    """A platform in memory that executes an app of these workflows."""
    platform = MemoryPlatform()
    async with platform, platform.execute(define_app("traced", workflows=workflows)):
        yield platform
