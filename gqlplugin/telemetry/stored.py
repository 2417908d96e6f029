"""The trace that a run belongs to, as platforms keep it: W3C Trace Context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

MAX_TRACESTATE_LENGTH = 512
"""What the specification has everybody keep, in characters; a longer one is left out."""

_VERSION_0 = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PRINTABLE = re.compile("[\x20-\x7e]+")


def checked_trace(trace: object) -> Mapping[str, str] | None:
    """What of something that was stored or sent is a trace; None when nothing is."""
    if not isinstance(trace, Mapping):
        return None
    parent, state = trace.get(TRACEPARENT), trace.get(TRACESTATE)
    if not isinstance(parent, str) or not _VERSION_0.fullmatch(parent):
        return None
    if not isinstance(state, str) or len(state) > MAX_TRACESTATE_LENGTH or not _PRINTABLE.fullmatch(state):
        return {TRACEPARENT: parent}
    return {TRACEPARENT: parent, TRACESTATE: state}


def dump_trace(trace: Mapping[str, str] | None) -> str | None:
    """The text that a platform keeps of `WorkflowExecution.trace`."""
    return None if trace is None else json.dumps(dict(trace), separators=(",", ":"))


def load_trace(text: str | None) -> Mapping[str, str] | None:
    """The trace in a text from `dump_trace`; None in one that is malformed, as a run matters more than its trace."""
    if text is None:
        return None
    try:
        return checked_trace(json.loads(text))
    except (ValueError, RecursionError):
        return None
