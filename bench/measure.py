"""Taking samples of two things in turns, so that a noisy machine is equally unfair to both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Some operations: how many, and the wall-clock and CPU time they took, in seconds."""

    operations: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    @property
    def milliseconds(self) -> float:
        """Wall-clock time of one operation."""
        return self.seconds / self.operations * 1e3

    @property
    def cpu_microseconds(self) -> float:
        """CPU time of one operation."""
        return self.cpu_seconds / self.operations * 1e6


class Watch:
    """Measures from its making on, in this process with all its threads."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._started = time.perf_counter()

    def sample(self, operations: int) -> Sample:
        """What has passed since, as a sample."""
        return Sample(operations, time.perf_counter() - self._started, time.process_time() - self._cpu)


Take = Callable[[], Sample]


def in_turns(repetitions: int, *takes: Take) -> list[Sequence[Sample]]:
    """Samples of several things, taken as A B A B, after one round that doesn't count."""
    rounds = [[take() for take in takes] for _ in range(repetitions + 1)][1:]
    return list(zip(*rounds, strict=True))


def median_rate(samples: Sequence[Sample]) -> float:
    """The median of operations per second."""
    return statistics.median(sample.rate for sample in samples)


def median_milliseconds(samples: Sequence[Sample]) -> float:
    """The median of wall-clock time per operation."""
    return statistics.median(sample.milliseconds for sample in samples)


def median_cpu(samples: Sequence[Sample]) -> float:
    """The median of CPU time per operation, in microseconds."""
    return statistics.median(sample.cpu_microseconds for sample in samples)
