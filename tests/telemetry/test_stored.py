"""The trace that is kept with a run is a W3C trace context, or none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from gqlplugin.telemetry import current_trace, dump_trace, load_trace, trace_headers, within_trace
from gqlplugin.telemetry.stored import MAX_TRACESTATE_LENGTH, checked_trace

PARENT = f"00-{0xABC:032x}-{8:016x}-01"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def context_of(*entries: tuple[str, str]) -> trace.SpanContext:
    """A context of another process, with what vendors added."""
    flags, state = trace.TraceFlags(1), trace.TraceState(entries)
    return trace.SpanContext(0xABC, 8, is_remote=True, trace_flags=flags, trace_state=state)


@given(text=st.text() | json_values.map(json.dumps) | st.just("[" * 100_000))
def test_any_text_can_be_read(text: str) -> None:
    """Whatever lies in a file or came from elsewhere is a trace or None, and no error."""
    found = load_trace(text)
    assert found is None or found == checked_trace(found)


@given(state=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=MAX_TRACESTATE_LENGTH))
def test_any_trace_that_is_kept_can_be_continued(state: str) -> None:
    """What vendors added may be malformed: it is dropped then, and the trace goes on."""
    with within_trace({"traceparent": PARENT, "tracestate": state}):
        found = current_trace()
    assert current_trace() is None
    assert found is not None
    assert found["traceparent"] == PARENT


@given(
    value=json_values
    | st.fixed_dictionaries(
        {"traceparent": json_values | st.just(PARENT)},
        optional={"tracestate": json_values | st.text(min_size=500), "other": json_values},
    )
)
def test_what_is_kept_is_bounded(value: object) -> None:
    """Nothing but the two headers is kept, each within its length."""
    found = checked_trace(value)
    if found is not None:
        assert set(found) <= {"traceparent", "tracestate"}
        assert len(found["traceparent"]) == 55
        assert 0 < len(found.get("tracestate", "-")) <= MAX_TRACESTATE_LENGTH
        assert load_trace(dump_trace(found)) == found


@pytest.mark.parametrize(
    "parent",
    ["", PARENT[:-1], f"{PARENT}0", PARENT.replace("00-", "ff-", 1), PARENT.upper(), f" {PARENT}", f"{PARENT}\n"],
)
def test_what_is_no_traceparent_is_none(parent: str) -> None:
    """Another version, another length and other letters are malformed, and so are IDs of zeros."""
    assert checked_trace({"traceparent": PARENT}) == {"traceparent": PARENT}
    for one in (parent, f"00-{0:032x}-{8:016x}-01", f"00-{7:032x}-{0:016x}-01"):
        assert checked_trace({"traceparent": one, "tracestate": "a=1"}) is None


def test_without_a_span_there_is_no_trace() -> None:
    """Where nothing is traced, nothing is kept and nothing is sent."""
    assert current_trace() is None
    assert trace_headers() == {}
    assert dump_trace(None) is None
    assert load_trace(None) is None


def test_the_current_trace_is_what_headers_say() -> None:
    """What is kept with a run is what would be sent to a server."""
    with trace.use_span(trace.NonRecordingSpan(context_of(("vendor", "x")))):
        assert current_trace() == trace_headers() == {"traceparent": PARENT, "tracestate": "vendor=x"}


def test_a_long_tracestate_is_left_out() -> None:
    """What vendors added is kept up to the length that everybody keeps; the trace itself always is."""
    with trace.use_span(trace.NonRecordingSpan(context_of(*((f"vendor{one}", "x" * 200) for one in range(3))))):
        assert current_trace() == {"traceparent": PARENT}
