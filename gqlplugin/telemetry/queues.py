"""How many runs wait: platforms tell, metrics ask."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

ReadQueue = Callable[[], Mapping[str, int]]
"""Runs that are due and have not begun, by workflow."""

_logger = logging.getLogger("gqlplugin.telemetry")

_reads: dict[object, ReadQueue] = {}


def observe_queue(read: ReadQueue) -> Callable[[], None]:
    """Let the metric `gqlplugin.queue.depth` tell how many runs wait on a platform.

    Args:
        read: Called whenever metrics are collected, on any thread: it must not block. It tells how many runs are due
            and have not begun, by workflow; a workflow without one is best told as 0.

    Returns:
        A function that takes it back.
    """
    key = object()
    _reads[key] = read

    def forget() -> None:
        _reads.pop(key, None)

    return forget


def queue_depths() -> Mapping[str, int]:
    """How many runs wait on all platforms of this process, by workflow."""
    depths: Counter[str] = Counter()
    for read in list(_reads.values()):
        try:
            depths.update(dict(read()))
        except Exception:  # of a platform: the others are told all the same
            _logger.exception("The length of a queue could not be read")
    return depths
